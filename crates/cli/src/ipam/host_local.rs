//! Histories of host-local.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podwire_ipam::{HostLocal, Range, RangeSet, RangeSets};
use serde::{Deserialize, Serialize};

use super::{Told, optional_text, text};

/// The ranges of an `ipam` section: each set gives a container one address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ipam {
    ranges: Vec<Vec<RangeOf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RangeOf {
    subnet: String,
    #[serde(default, deserialize_with = "optional_text")]
    range_start: Option<IpAddr>,
    #[serde(default, deserialize_with = "optional_text")]
    range_end: Option<IpAddr>,
    #[serde(default, deserialize_with = "optional_text")]
    gateway: Option<IpAddr>,
}

/// What happens.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Step {
    /// A container's device gets an address of each set.
    Alloc {
        container: String,
        #[serde(default = "eth0")]
        device: String,
        #[serde(default)]
        ips: Vec<Requested>,
    },
    /// It gives them back.
    Free {
        container: String,
        #[serde(default = "eth0")]
        device: String,
    },
}

fn eth0() -> String {
    "eth0".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Requested(#[serde(deserialize_with = "text")] IpAddr);

/// What came of a step.
#[derive(Debug, Serialize)]
pub(super) struct After {
    ok: bool,
    got: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The files: an address's says whose it is.
    state: BTreeMap<String, String>,
}

impl RangeOf {
    fn read(&self) -> Result<Range, String> {
        let (network, length) = self.subnet.split_once('/').unwrap_or((&self.subnet, ""));
        let (Ok(network), Ok(length)) = (network.parse(), length.parse()) else {
            return Err(format!("invalid CIDR address: {}", self.subnet));
        };
        Range::new(
            network,
            length,
            self.range_start,
            self.range_end,
            self.gateway,
        )
        .map_err(|error| error.to_string())
    }
}

/// Plays a history.
pub(super) fn replay(ipam: Ipam, steps: Vec<Step>) -> Result<Vec<After>, String> {
    let sets = ipam.ranges.iter().map(|set| {
        let ranges = set.iter().map(RangeOf::read);
        let ranges = ranges.collect::<Result<_, _>>()?;
        RangeSet::new(ranges).map_err(|error| error.to_string())
    });
    let sets = RangeSets::new(sets.collect::<Result<_, _>>()?).map_err(|e| e.to_string())?;
    let mut state = HostLocal::default();
    let play = |step| {
        let result = match step {
            Step::Alloc {
                container,
                device,
                ips,
            } => {
                let ips: Vec<IpAddr> = ips.into_iter().map(|Requested(ip)| ip).collect();
                state.add(&sets, &container, &device, &ips)
            }
            Step::Free { container, device } => {
                state.del(&container, &device);
                Ok(Vec::new())
            }
        };
        let (given, error) = match result {
            Ok(given) => (given, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        After {
            ok: error.is_none(),
            got: given.iter().map(|allocation| allocation.ip).collect(),
            error,
            state: state.export(),
        }
    };
    Ok(steps.into_iter().map(play).collect())
}

impl Told for After {
    fn told(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        if self.got.is_empty() {
            return "freed".to_owned();
        }
        let got: Vec<String> = self.got.iter().map(IpAddr::to_string).collect();
        got.join(" ")
    }
}
