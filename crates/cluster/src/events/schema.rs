//! The file of events.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use podwire_packet::Protocol;
use serde::{Deserialize, Deserializer, de};

use crate::kube_proxy_configuration::parse_go_duration;
use crate::load::Accepted;
use crate::model::at::{At, unique};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(rename = "Events", deny_unknown_fields)]
pub(super) struct EventsModel {
    #[serde(default)]
    pub(super) cluster: Vec<At<String>>,
    #[serde(default)]
    pub(super) watch_delay: Option<At<Time>>,
    #[serde(default)]
    pub(super) sync_takes: Option<At<Time>>,
    #[serde(default, deserialize_with = "unique")]
    pub(super) nodes: BTreeMap<String, At<TimingModel>>,
    #[serde(default)]
    pub(super) events: Vec<At<EventModel>>,
    #[serde(default)]
    pub(super) probes: Vec<At<ProbeModel>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimingModel {
    #[serde(default)]
    pub(super) watch_delay: Option<At<Time>>,
    #[serde(default)]
    pub(super) sync_takes: Option<At<Time>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventModel {
    pub(super) at: At<Time>,
    /// Files of objects.
    #[serde(default)]
    pub(super) apply: Vec<At<String>>,
    /// A text of objects.
    #[serde(default)]
    pub(super) objects: Option<At<String>>,
    #[serde(default)]
    pub(super) delete: Vec<At<String>>,
    /// Endpoints by `NAMESPACE/NAME` of their Service.
    #[serde(default, deserialize_with = "unique")]
    pub(super) endpoints: BTreeMap<String, At<Vec<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeModel {
    #[serde(default)]
    pub(super) name: Option<String>,
    pub(super) at: At<Time>,
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default)]
    pub(super) protocol: Option<ProtocolModel>,
    #[serde(default)]
    pub(super) sport: Option<u16>,
    #[serde(default)]
    pub(super) every: Option<At<Time>>,
    #[serde(default)]
    pub(super) until: Option<At<Time>>,
    #[serde(default)]
    pub(super) one_way: bool,
}

/// A protocol that a probe may have.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ProtocolModel {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
    #[serde(rename = "ICMP")]
    Icmp,
}

impl From<ProtocolModel> for Protocol {
    fn from(model: ProtocolModel) -> Self {
        match model {
            ProtocolModel::Tcp => Self::TCP,
            ProtocolModel::Udp => Self::UDP,
            ProtocolModel::Sctp => Self::SCTP,
            ProtocolModel::Icmp => Self::ICMP,
        }
    }
}

/// A time since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Duration);

impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        parse_go_duration(text).map(Self).ok_or(())
    }
}

impl Accepted for Time {
    const ACCEPTED: &'static str = "a time since the start such as `1.5s`, `300ms` or `1m30s`";
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = de::Unexpected::Str(&text);
        text.parse()
            .map_err(|()| de::Error::invalid_value(wrong, &Self::ACCEPTED))
    }
}
