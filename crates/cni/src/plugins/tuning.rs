//! tuning: sysctls of a container, and settings of its device, which DEL sets back.
//!
//! # Departures
//! - Any sysctl below `net` can be set, whether the kernel has it or not.
//! - There is no `/etc/cni/tuning/allowlist.conf`.
//!
//! Source: plugins/meta/tuning/tuning.go of containernetworking/plugins; messages as there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::common::{MacConf, mac_address, required_previous};
use crate::host::Host;
use crate::kernel::device::Device;
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::state::Locked;
use crate::{CniError, args, json};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    data_dir: String,
    sysctl: BTreeMap<String, String>,
    mac: String,
    promisc: bool,
    mtu: u32,
    allmulti: Option<bool>,
    runtime_config: MacConf,
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Overrides,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overrides {
    sysctl: BTreeMap<String, String>,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<u32>,
    allmulti: Option<bool>,
}

/// What a device was before.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Backup {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promisc: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allmulti: Option<bool>,
}

impl Conf {
    fn read(invocation: &Invocation<'_>) -> Result<Self, CniError> {
        let mut conf: Self = invocation.decode()?;
        if let Some(mac) = args::load(&invocation.env.args, &["MAC"])?.remove("MAC") {
            conf.mac = mac;
        }
        if !conf.runtime_config.mac.is_empty() {
            conf.mac = std::mem::take(&mut conf.runtime_config.mac);
        }
        let over = std::mem::take(&mut conf.args.cni);
        conf.sysctl.extend(over.sysctl);
        conf.mac = over.mac.unwrap_or(conf.mac);
        conf.promisc = over.promisc.unwrap_or(conf.promisc);
        conf.mtu = over.mtu.unwrap_or(conf.mtu);
        conf.allmulti = over.allmulti.or(conf.allmulti);
        Ok(conf)
    }

    /// Where backups are kept: a folder and the file in it.
    fn backup(&self, invocation: &Invocation<'_>) -> (PathBuf, String) {
        let dir = if self.data_dir.is_empty() {
            invocation.options.state.join("tuning")
        } else {
            PathBuf::from(&self.data_dir)
        };
        let env = &invocation.env;
        (dir, format!("{}_{}.json", env.container_id, env.ifname))
    }

    const fn changes_device(&self) -> bool {
        !self.mac.is_empty() || self.promisc || self.mtu != 0 || self.allmulti.is_some()
    }
}

/// A sysctl's name with slashes, below `net`.
fn sysctl_name(key: &str, ifname: &str, newer: bool) -> Result<String, CniError> {
    let name = key.replace('.', "/").replacen("IFNAME", ifname, 1);
    let outside = name.split('/').any(|part| part == "..");
    if name.starts_with("net/") && !outside {
        return Ok(name);
    }
    let told = if newer { &name } else { key };
    Err(CniError::other(format!("invalid net sysctl key: {told:?}")))
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf = Conf::read(invocation)?;
    let mut result = required_previous(invocation)?;
    let env = &invocation.env;
    let name = &env.ifname;
    let namespace = host.enter(&env.netns)?.get_mut(&env.netns);
    for (key, value) in &conf.sysctl {
        namespace.set_sysctl(&sysctl_name(key, name, invocation.is_newer())?, value);
    }
    if !conf.changes_device() {
        return Ok(result);
    }
    let Some(device) = namespace.link_mut(name) else {
        let why = format!("failed to get {name:?}: Link not found");
        return Err(CniError::other(why));
    };
    let backup = Backup {
        mac: (!conf.mac.is_empty()).then(|| device.mac.to_string()),
        promisc: conf.promisc.then_some(device.promisc),
        mtu: (conf.mtu != 0).then_some(device.mtu),
        allmulti: conf.allmulti.map(|_| device.allmulti),
    };
    let (dir, file) = conf.backup(invocation);
    let backup = json::indented(&backup);
    Locked::open(&dir, ".lock")?.write(&file, &backup)?;
    let mac = mac_address(&conf.mac)
        .map_err(|why| CniError::other(format!("invalid args {} for MAC addr: {why}", conf.mac)))?;
    if let Some(mac) = mac {
        device.mac = mac;
        for own in result.interfaces.iter_mut().filter(|own| own.name == *name) {
            own.mac.clone_from(&conf.mac);
        }
    }
    device.promisc |= conf.promisc;
    if conf.mtu != 0 {
        device.mtu = conf.mtu;
    }
    device.allmulti = conf.allmulti.unwrap_or(device.allmulti);
    Ok(result)
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf = Conf::read(invocation)?;
    let (dir, file) = conf.backup(invocation);
    let env = &invocation.env;
    if !dir.join(&file).exists() {
        return Ok(());
    }
    let files = Locked::open(&dir, ".lock")?;
    let backup = files.read(&file)?.unwrap_or_default();
    let backup: Backup = serde_json::from_str(&backup).unwrap_or_default();
    if let Some(kernel) = host.enter_if_there(&env.netns)?
        && let Some(device) = kernel.get_mut(&env.netns).link_mut(&env.ifname)
    {
        let mac = backup.mac.and_then(|mac| mac.parse().ok());
        device.mac = mac.unwrap_or(device.mac);
        device.promisc = backup.promisc.unwrap_or(device.promisc);
        device.mtu = backup.mtu.unwrap_or(device.mtu);
        device.allmulti = backup.allmulti.unwrap_or(device.allmulti);
        files.remove(&file)?;
    }
    Ok(())
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf = Conf::read(invocation)?;
    required_previous(invocation)?;
    let env = &invocation.env;
    let name = &env.ifname;
    let namespace = host.enter(&env.netns)?.get(&env.netns);
    for (key, wanted) in &conf.sysctl {
        let key = key.replace('.', "/");
        if key.contains("IFNAME") {
            // ADD puts the device's name there, CHECK does not.
            let why = format!("open /proc/sys/{key}: no such file or directory");
            return Err(CniError::other(why));
        }
        let found = namespace.sysctl(&key);
        if found != wanted {
            return Err(CniError::other(format!(
                "Error: Tuning configured value of /proc/sys/{key} is {wanted}, current value is {found}"
            )));
        }
    }
    let Some(device) = namespace.link(name) else {
        let why = format!("Cannot find container link {name}");
        return Err(CniError::other(why));
    };
    check_device(&conf, name, device).map_err(CniError::other)
}

fn check_device(conf: &Conf, name: &str, device: &Device) -> Result<(), String> {
    if !conf.mac.is_empty() && conf.mac != device.mac.to_string() {
        return Err(format!(
            "Error: Tuning configured Ethernet of {name} is {}, current value is {}",
            conf.mac, device.mac
        ));
    }
    if conf.promisc != device.promisc {
        return Err(format!(
            "Error: Tuning link {name} configured promisc is {}, current value is {}",
            conf.promisc,
            u8::from(device.promisc)
        ));
    }
    if conf.mtu != 0 && conf.mtu != device.mtu {
        return Err(format!(
            "Error: Tuning configured MTU of {name} is {}, current value is {}",
            conf.mtu, device.mtu
        ));
    }
    if let Some(wanted) = conf.allmulti
        && wanted != device.allmulti
    {
        return Err(format!(
            "Error: Tuning configured all-multicast mode of {name} is {wanted}, current value is {}",
            device.allmulti
        ));
    }
    Ok(())
}
