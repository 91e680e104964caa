//! Results that were given, as files `results/NETWORK-CONTAINER-DEVICE` in the state directory.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NetworkList, Runtime, Shim};
use crate::protocol::Options;
use crate::state::Locked;
use crate::{StateError, json};

const KIND: &str = "cniCacheV1";

/// A file, in the form that libcni gives it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Cached {
    kind: String,
    #[serde(rename = "containerId")]
    container_id: String,
    config: String,
    #[serde(rename = "ifName")]
    ifname: String,
    #[serde(rename = "networkName")]
    network: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(rename = "cniArgs", skip_serializing_if = "Vec::is_empty")]
    args: Vec<[String; 2]>,
    #[serde(rename = "capabilityArgs", skip_serializing_if = "Map::is_empty")]
    capabilities: Map<String, Value>,
    result: Value,
}

/// A container that was attached to a network.
pub(crate) struct Attachment {
    pub(crate) network: String,
    pub(crate) runtime: Runtime,
}

fn folder(options: &Options) -> Result<Locked, StateError> {
    let dir: PathBuf = options.state.join("results");
    Locked::open(&dir, ".lock")
}

fn file_name(network: &str, runtime: &Runtime) -> Option<String> {
    let parts = [network, &runtime.container_id, &runtime.ifname];
    let usable = parts
        .iter()
        .all(|part| !part.is_empty() && !part.contains('/'));
    usable.then(|| parts.join("-"))
}

/// Remembers a result.
pub(super) fn put(
    options: &Options,
    list: &NetworkList,
    runtime: &Runtime,
    result: &Value,
) -> Result<(), StateError> {
    let Some(file) = file_name(&list.name, runtime) else {
        return Ok(());
    };
    let pairs = runtime
        .args
        .split(';')
        .filter_map(|pair| pair.split_once('='));
    let cached = Cached {
        kind: KIND.to_owned(),
        container_id: runtime.container_id.clone(),
        config: BASE64.encode(list.text.as_bytes()),
        ifname: runtime.ifname.clone(),
        network: list.name.clone(),
        netns: runtime.netns.clone(),
        args: pairs.map(|(k, v)| [k.to_owned(), v.to_owned()]).collect(),
        capabilities: runtime.capabilities.clone(),
        result: result.clone(),
    };
    let text = serde_json::to_string(&cached).expect("JSON has text keys");
    folder(options)?.write(&file, &text)
}

/// The result that was given, if it is remembered; a file that cannot be read is none.
///
/// A file that is no cache's is a result itself, as libcni before 0.8 kept it.
///
/// # Errors
/// When it is not JSON, or nothing could be remembered of such a container.
pub(super) fn get(
    options: &Options,
    network: &str,
    runtime: &Runtime,
) -> Result<Option<Value>, String> {
    let (id, device) = (&runtime.container_id, &runtime.ifname);
    if [network, id, device].iter().any(|part| part.is_empty()) {
        return Err(format!(
            "cache file path requires network name ({network:?}), container ID ({id:?}), and \
             interface name ({device:?})"
        ));
    }
    let Some(file) = file_name(network, runtime) else {
        return Ok(None);
    };
    let Ok(Some(text)) = folder(options).and_then(|folder| folder.read(&file)) else {
        return Ok(None);
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| format!("decoding version from network config: {error}"))?;
    let value = json::without_nulls(value);
    Ok(Some(match json::decode::<Cached>(&value) {
        Ok(cached) if cached.kind == KIND => cached.result,
        _ => value,
    }))
}

/// Forgets a result. If that fails, the library says nothing.
pub(super) fn forget(options: &Options, network: &str, runtime: &Runtime) {
    if let Some(file) = file_name(network, runtime) {
        let _ = folder(options).and_then(|folder| folder.remove(&file));
    }
}

/// Everyone that is remembered, by file name; files that are no such results are passed over.
pub(super) fn all(options: &Options, path: &str) -> Result<Vec<Attachment>, StateError> {
    let files = folder(options)?;
    let mut found = Vec::new();
    for name in files.names()? {
        let text = files.read(&name)?.unwrap_or_default();
        let value = serde_json::from_str(&text).map(json::without_nulls);
        let Ok(cached) = json::decode::<Cached>(&value.unwrap_or_default()) else {
            continue;
        };
        if cached.kind != KIND || cached.ifname.is_empty() || cached.network.is_empty() {
            continue;
        }
        let args: Vec<String> = cached.args.iter().map(|pair| pair.join("=")).collect();
        found.push(Attachment {
            network: cached.network,
            runtime: Runtime {
                container_id: cached.container_id,
                netns: cached.netns,
                ifname: cached.ifname,
                args: args.join(";"),
                path: path.to_owned(),
                capabilities: cached.capabilities,
                shim: Shim::default(),
            },
        });
    }
    Ok(found)
}
