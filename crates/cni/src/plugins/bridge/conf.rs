//! The configuration of bridge.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::kernel::device::Port;
use crate::plugins::common::MacConf;
use crate::protocol::Invocation;
use crate::{CniError, args};

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Conf {
    pub(super) bridge: String,
    #[serde(rename = "isGateway")]
    pub(super) is_gateway: bool,
    #[serde(rename = "isDefaultGateway")]
    pub(super) is_default_gateway: bool,
    #[serde(rename = "forceAddress")]
    pub(super) force_address: bool,
    #[serde(rename = "ipMasq")]
    pub(super) ip_masq: bool,
    pub(super) mtu: u32,
    #[serde(rename = "hairpinMode")]
    pub(super) hairpin_mode: bool,
    #[serde(rename = "promiscMode")]
    pub(super) promisc_mode: bool,
    vlan: i64,
    #[serde(rename = "vlanTrunk")]
    vlan_trunk: Option<Vec<Trunk>>,
    #[serde(rename = "preserveDefaultVlan")]
    preserve_default_vlan: bool,
    #[serde(rename = "macspoofchk")]
    pub(super) mac_spoof_chk: bool,
    #[serde(rename = "disableContainerInterface")]
    pub(super) disable_container_interface: bool,
    #[serde(rename = "portIsolation")]
    port_isolation: bool,
    args: Args,
    #[serde(rename = "runtimeConfig")]
    runtime_config: MacConf,
    /// The container's Ethernet address, wherever it was named.
    #[serde(skip)]
    pub(super) mac: String,
    #[serde(skip)]
    trunk: Vec<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: MacConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trunk {
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
    id: Option<i64>,
}

impl Default for Conf {
    fn default() -> Self {
        Self {
            bridge: "cni0".to_owned(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            vlan: 0,
            vlan_trunk: None,
            preserve_default_vlan: true,
            mac_spoof_chk: false,
            disable_container_interface: false,
            port_isolation: false,
            args: Args::default(),
            runtime_config: MacConf::default(),
            mac: String::new(),
            trunk: Vec::new(),
        }
    }
}

/// The highest VLAN.
const LAST_VLAN: i64 = 4_094;

impl Conf {
    pub(super) fn read(invocation: &Invocation<'_>) -> Result<Self, CniError> {
        let mut conf: Self = invocation.decode()?;
        let newer = invocation.is_newer();
        if !newer {
            // Options of later releases.
            conf.vlan_trunk = None;
            conf.preserve_default_vlan = true;
            conf.disable_container_interface = false;
            conf.port_isolation = false;
        }
        if conf.vlan < 0 || conf.vlan > LAST_VLAN {
            return Err(CniError::other(format!(
                "invalid VLAN ID {} (must be between 0 and {LAST_VLAN})",
                conf.vlan
            )));
        }
        let trunk = conf.vlan_trunk.as_deref().unwrap_or_default();
        conf.trunk = trunk_vlans(trunk).map_err(CniError::other)?;
        if conf.vlan > 0 && !conf.trunk.is_empty() {
            let why = "cannot set vlan and vlanTrunk at the same time";
            return Err(CniError::other(why));
        }
        let from_env = args::load(&invocation.env.args, &["MAC"])?;
        let told = [
            from_env.get("MAC").cloned().unwrap_or_default(),
            std::mem::take(&mut conf.args.cni.mac),
            std::mem::take(&mut conf.runtime_config.mac),
        ];
        let told = told.into_iter().rfind(|mac| !mac.is_empty());
        conf.mac = told.unwrap_or_default();
        conf.is_gateway |= conf.is_default_gateway;
        if conf.disable_container_interface && invocation.net.has_ipam() {
            let why = "cannot use IPAM when DisableContainerInterface flag is set";
            return Err(CniError::other(why));
        }
        Ok(conf)
    }

    /// Whether the bridge looks at VLAN tags.
    pub(super) const fn has_vlans(&self) -> bool {
        self.vlan != 0 || self.vlan_trunk.is_some()
    }

    /// The VLAN of untagged frames, if it is not the default one.
    pub(super) fn vlan(&self) -> Option<u16> {
        u16::try_from(self.vlan).ok().filter(|&vlan| vlan != 0)
    }

    /// What the container's port of the bridge is to be.
    pub(super) fn port(&self) -> Port {
        let tagged = self.vlan().into_iter().chain(self.trunk.iter().copied());
        let default = (self.has_vlans() && self.preserve_default_vlan).then_some(1);
        Port {
            bridge: self.bridge.clone(),
            hairpin: self.hairpin_mode,
            isolated: self.port_isolation,
            vlans: default.into_iter().chain(tagged).collect(),
            untagged: self.vlan != 0,
        }
    }
}

/// The VLANs of a trunk, in order.
fn trunk_vlans(trunk: &[Trunk]) -> Result<Vec<u16>, String> {
    let vlan = |id: i64, name: &str| {
        let valid = u16::try_from(id)
            .ok()
            .filter(|_| (1..=LAST_VLAN).contains(&id));
        valid.ok_or_else(|| format!("incorrect trunk {name} parameter"))
    };
    let mut vlans = BTreeSet::new();
    for item in trunk {
        match (item.min, item.max) {
            (Some(min), Some(max)) => {
                let (min, max) = (vlan(min, "minID")?, vlan(max, "maxID")?);
                if max < min {
                    return Err("minID is greater than maxID in trunk parameter".to_owned());
                }
                vlans.extend(min..=max);
            }
            (None, None) => {}
            (min, _) => {
                let missing = if min.is_none() { "minID" } else { "maxID" };
                let why = "minID and maxID should be configured simultaneously";
                return Err(format!("{why}, {missing} is missing"));
            }
        }
        if let Some(id) = item.id {
            vlans.insert(vlan(id, "id")?);
        }
    }
    Ok(vlans.into_iter().collect())
}
