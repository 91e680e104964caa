//! What every network configuration has.

use serde::Deserialize;
use serde_json::Value;

use crate::CniError;
use crate::json::decode;
use crate::result::{CniResult, Dns};

/// The members that all plugins read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NetConf {
    /// The version whose form results have.
    pub(crate) cni_version: String,
    /// The network.
    pub(crate) name: String,
    /// Who gives addresses.
    pub(crate) ipam: IpamType,
    /// The resolver.
    pub(crate) dns: Dns,
    /// What the plugin before gave.
    pub(crate) prev_result: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IpamType {
    #[serde(rename = "type")]
    pub(crate) plugin: String,
}

impl NetConf {
    /// Whether a plugin gives addresses.
    pub(crate) fn has_ipam(&self) -> bool {
        !self.ipam.plugin.is_empty()
    }

    /// The result of the plugin before, if there is one.
    ///
    /// # Errors
    /// When it has another form than the configuration's version says; the words are the library's.
    pub(crate) fn previous(&self) -> Result<Option<CniResult>, CniError> {
        let Some(value) = &self.prev_result else {
            return Ok(None);
        };
        // The name's case is the library's. It sorts before `cniVersion`, which counts if it is there.
        let mut value = value.clone();
        if let Some(members) = value.as_object_mut() {
            let told = members.entry("CNIVersion").or_insert_with(|| "".into());
            if told == "" {
                *told = self.cni_version.as_str().into();
            }
        }
        let read = CniResult::read(&self.cni_version, &value);
        read.map(Some)
            .map_err(|why| CniError::other(format!("could not parse prevResult: {why}")))
    }
}

/// The version that a configuration names; 0.1.0 if none.
pub(crate) fn version_of(conf: &Value) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "cniVersion", default)]
        version: String,
    }
    let named: Version =
        decode(conf).map_err(|why| format!("decoding version from network config: {why}"))?;
    if named.version.is_empty() {
        return Ok("0.1.0".to_owned());
    }
    Ok(named.version)
}
