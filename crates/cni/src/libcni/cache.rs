//! Results that were given, as files `results/NETWORK-CONTAINER-DEVICE` in the state directory.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NetworkList, Runtime, Shim};
use crate::StateError;
use crate::protocol::Options;
use crate::state::Locked;

const KIND: &str = "cniCacheV1";

/// A file, in the form that libcni gives it.
#[derive(Debug, Serialize, Deserialize)]
struct Cached {
    kind: String,
    #[serde(rename = "containerId")]
    container_id: String,
    config: String,
    #[serde(rename = "ifName")]
    ifname: String,
    #[serde(rename = "networkName")]
    network: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(rename = "cniArgs", default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<[String; 2]>,
    #[serde(
        rename = "capabilityArgs",
        default,
        skip_serializing_if = "Map::is_empty"
    )]
    capabilities: Map<String, Value>,
    #[serde(default)]
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

/// The result that was given, if it is remembered.
pub(super) fn get(
    options: &Options,
    network: &str,
    runtime: &Runtime,
) -> Result<Option<Value>, StateError> {
    let Some(file) = file_name(network, runtime) else {
        return Ok(None);
    };
    let Some(text) = folder(options)?.read(&file)? else {
        return Ok(None);
    };
    let content = |why: String| StateError::Content {
        path: options
            .state
            .join("results")
            .join(&file)
            .display()
            .to_string(),
        why,
    };
    let cached: Cached = serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
    Ok(Some(cached.result))
}

/// Forgets a result.
pub(super) fn remove(
    options: &Options,
    network: &str,
    runtime: &Runtime,
) -> Result<(), StateError> {
    match file_name(network, runtime) {
        Some(file) => folder(options)?.remove(&file),
        None => Ok(()),
    }
}

/// Everyone that is remembered, by file name; files that are no such results are passed over.
pub(super) fn all(options: &Options, path: &str) -> Result<Vec<Attachment>, StateError> {
    let files = folder(options)?;
    let mut found = Vec::new();
    for name in files.names()? {
        let text = files.read(&name)?.unwrap_or_default();
        let Ok(cached) = serde_json::from_str::<Cached>(&text) else {
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
