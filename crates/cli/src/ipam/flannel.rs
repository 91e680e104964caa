//! Histories of flannel's own leases.

use std::collections::BTreeMap;

use podwire_ipam::FlannelConfig;
use podwire_packet::Prefix;
use serde::{Deserialize, Serialize};

use super::{Told, prefix};

/// `net-conf.json`, as far as addresses go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetConf {
    #[serde(rename = "Network", deserialize_with = "prefix")]
    network: Prefix,
    #[serde(default, rename = "SubnetLen")]
    subnet_len: Option<u8>,
}

/// What happens.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Step {
    /// A node gets the subnet that it has, or a free one.
    Alloc { peer: String },
    /// A node's lease runs out.
    Free { peer: String },
}

/// What came of a step.
#[derive(Debug, Serialize)]
pub(super) struct After {
    ok: bool,
    /// The subnet that was given or taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The subnet of each node.
    owned: BTreeMap<String, String>,
}

/// Plays a history.
pub(super) fn replay(conf: NetConf, steps: Vec<Step>) -> Result<Vec<After>, String> {
    let mut config =
        FlannelConfig::new(conf.network, conf.subnet_len).map_err(|error| error.to_string())?;
    let mut leases: BTreeMap<String, Prefix> = BTreeMap::new();
    let play = |step| {
        let (subnet, error) = match step {
            Step::Alloc { peer } => match leases.get(&peer) {
                Some(&subnet) => (Some(subnet), None),
                None => match config.lease() {
                    Ok(subnet) => {
                        leases.insert(peer, subnet);
                        (Some(subnet), None)
                    }
                    Err(error) => (None, Some(error.to_string())),
                },
            },
            Step::Free { peer } => {
                let subnet = leases.remove(&peer);
                if let Some(subnet) = subnet {
                    config.release(subnet);
                }
                let none = || format!("{peer} has no lease");
                (subnet, subnet.is_none().then(none))
            }
        };
        let owned = leases.iter();
        After {
            ok: error.is_none(),
            got: subnet.map(|subnet| subnet.to_string()),
            error,
            owned: owned.map(|(n, s)| (n.clone(), s.to_string())).collect(),
        }
    };
    Ok(steps.into_iter().map(play).collect())
}

impl Told for After {
    fn told(&self) -> String {
        let what = self.error.as_deref().or(self.got.as_deref());
        what.unwrap_or_default().to_owned()
    }
}
