//! flannel: calls another plugin, bridge unless said, with the subnet that flanneld wrote down.
//!
//! Source: flannel.go and flannel_linux.go of flannel-io/cni-plugin; messages as there.

use std::fs;
use std::path::{Path, PathBuf};

use podwire_packet::Prefix;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::host::Host;
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::state::{Locked, open_error};
use crate::{CniError, ipam};

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    ipam: Map<String, Value>,
    subnet_file: PathBuf,
    data_dir: String,
    delegate: Map<String, Value>,
    runtime_config: Option<Value>,
}

impl Default for Conf {
    fn default() -> Self {
        Self {
            ipam: Map::new(),
            subnet_file: "/run/flannel/subnet.env".into(),
            data_dir: String::new(),
            delegate: Map::new(),
            runtime_config: None,
        }
    }
}

impl Conf {
    /// Where the configuration of a container's delegate is kept for DEL.
    fn scratch(&self, invocation: &Invocation<'_>) -> PathBuf {
        if self.data_dir.is_empty() {
            invocation.options.state.join("flannel")
        } else {
            PathBuf::from(&self.data_dir)
        }
    }
}

/// What flanneld writes to subnet.env.
#[derive(Debug, Default, PartialEq)]
struct SubnetEnv {
    networks: Vec<Prefix>,
    subnets: Vec<Prefix>,
    mtu: Option<u32>,
    ip_masq: Option<bool>,
}

impl SubnetEnv {
    fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| open_error(path, &error))?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, path: &str) -> Result<Self, String> {
        let mut env = Self::default();
        let prefix = |value: &str| {
            let cidr = value.parse::<crate::result::Cidr>();
            cidr.map(crate::result::Cidr::network)
        };
        for line in text.lines() {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            match key {
                // Later releases of flannel write several, with commas between.
                "FLANNEL_NETWORK" | "FLANNEL_IPV6_NETWORK" => {
                    for one in value.split(',') {
                        env.networks.push(prefix(one)?);
                    }
                }
                "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET" => env.subnets.push(prefix(value)?),
                "FLANNEL_MTU" => {
                    let mtu = value.parse().map_err(|_| {
                        format!("strconv.ParseUint: parsing {value:?}: invalid syntax")
                    });
                    env.mtu = Some(mtu?);
                }
                "FLANNEL_IPMASQ" => env.ip_masq = Some(value == "true"),
                _ => {}
            }
        }
        let lacks = [
            (
                env.networks.is_empty(),
                "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK",
            ),
            (
                env.subnets.is_empty(),
                "FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET",
            ),
            (env.mtu.is_none(), "FLANNEL_MTU"),
            (env.ip_masq.is_none(), "FLANNEL_IPMASQ"),
        ];
        let lacks = lacks
            .iter()
            .filter(|(lacks, _)| *lacks)
            .map(|(_, name)| *name);
        let missing: Vec<&str> = lacks.collect();
        if missing.is_empty() {
            // IPv4 first, whatever the file's order.
            env.networks.sort_by_key(Prefix::family);
            env.subnets.sort_by_key(Prefix::family);
            return Ok(env);
        }
        Err(format!("{path} is missing {}", missing.join(", ")))
    }
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf: Conf = invocation.decode()?;
    let env = SubnetEnv::read(&conf.subnet_file).map_err(|why| {
        CniError::other(if invocation.is_newer() {
            format!(
                "failed to load flannel 'subnet.env' file: {why}. Check the flannel pod log for \
                 this node."
            )
        } else {
            why
        })
    })?;
    let scratch = conf.scratch(invocation);
    let delegate = delegate_conf(conf, &env, invocation)?;
    let plugin = delegate["type"].as_str().unwrap_or_default().to_owned();
    let text = serde_json::to_string(&delegate).expect("JSON has text keys");
    Locked::open(&scratch, ".lock")?.write(&invocation.env.container_id, &text)?;
    let result = ipam::delegate(&plugin, "ADD", &invocation.with(delegate)?, host);
    result
        .map_err(|error| CniError::new(error.code, format!("failed to delegate add: {error}"), ""))
}

/// The configuration that the other plugin gets.
fn delegate_conf(
    conf: Conf,
    env: &SubnetEnv,
    invocation: &Invocation<'_>,
) -> Result<Value, CniError> {
    let mut delegate = conf.delegate;
    if delegate.get("type").is_some_and(|kind| !kind.is_string()) {
        let why = "'delegate' dictionary, if present, must have (string) 'type' field";
        return Err(CniError::other(why));
    }
    if let Some(key) = ["name", "ipam"]
        .into_iter()
        .find(|key| delegate.contains_key(*key))
    {
        return Err(CniError::other(format!(
            "'delegate' dictionary must not have '{key}' field, it'll be set by flannel"
        )));
    }
    if let Some(runtime) = conf.runtime_config {
        delegate.insert("runtimeConfig".to_owned(), runtime);
    }
    let mut or_insert = |key: &str, value: Value| {
        delegate.entry(key).or_insert(value);
    };
    or_insert("type", json!("bridge"));
    // If flanneld does not masquerade, the plugin does.
    or_insert("ipMasq", json!(env.ip_masq != Some(true)));
    or_insert("mtu", json!(env.mtu));
    if delegate["type"] == "bridge" {
        delegate.entry("isGateway").or_insert(json!(true));
    }
    delegate.insert("name".to_owned(), json!(invocation.net.name));
    if !invocation.net.cni_version.is_empty() {
        delegate.insert("cniVersion".to_owned(), json!(invocation.net.cni_version));
    }
    let mut ipam = conf.ipam;
    ipam.entry("type").or_insert(json!("host-local"));
    let ranges = env
        .subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet.to_string()}]));
    let mut routes: Vec<Value> = match ipam.get("routes") {
        Some(Value::Array(routes)) => routes.clone(),
        _ => Vec::new(),
    };
    routes.extend(
        env.networks
            .iter()
            .map(|network| json!({"dst": network.to_string()})),
    );
    ipam.insert("ranges".to_owned(), ranges.collect());
    ipam.insert("routes".to_owned(), routes.into());
    delegate.insert("ipam".to_owned(), ipam.into());
    Ok(delegate.into())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf: Conf = invocation.decode()?;
    let scratch = conf.scratch(invocation);
    let id = &invocation.env.container_id;
    if !scratch.join(id).exists() {
        return Ok(());
    }
    let files = Locked::open(&scratch, ".lock")?;
    let text = files.read(id)?.unwrap_or_default();
    let Ok(delegate) = serde_json::from_str::<Value>(&text) else {
        return Ok(());
    };
    let plugin = delegate["type"].as_str().unwrap_or_default().to_owned();
    ipam::delegate(&plugin, "DEL", &invocation.with(delegate)?, host)?;
    Ok(files.remove(id)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_subnet_env_lacks_is_named() {
        let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n";
        let error = SubnetEnv::parse(text, "subnet.env").unwrap_err();
        assert_eq!(error, "subnet.env is missing FLANNEL_MTU, FLANNEL_IPMASQ");
        let text = format!("{text}FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
        let env = SubnetEnv::parse(&text, "").unwrap();
        assert_eq!(env.subnets, ["10.244.1.0/24".parse().unwrap()]);
        assert_eq!((env.mtu, env.ip_masq), (Some(1450), Some(true)));
        assert!(SubnetEnv::parse("FLANNEL_SUBNET=10.244.1.1", "").is_err());
    }
}
