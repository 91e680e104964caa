//! NetworkPolicies.

use podwire_packet::Protocol;
use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected};

use super::Metadata;
use crate::load::field::{Port, PortProtocol, Target, Word, Worded, labels, nullable};
use crate::network_policy::InvalidPolicy;
use crate::{
    Cidr, IpBlock, LabelSelector, Labels, NetworkPolicy, Operator, Peer, PolicyPort, PolicyRule,
    PolicyType, Requirement,
};

/// What is written, and what it must be more than its fields say each by itself.
pub(crate) trait Check: Sized {
    /// What it stands for.
    type Checked;

    fn check(self) -> Result<Self::Checked, InvalidPolicy>;
}

/// The checked form of what is written; a fault of it stands where it begins.
#[derive(Debug)]
pub(crate) struct Sound<R: Check>(pub(crate) R::Checked);

impl<'de, R: Check + Deserialize<'de>> Deserialize<'de> for Sound<R> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        R::deserialize(d)?.check().map(Self).map_err(|invalid| {
            let found = Unexpected::Other(&invalid.found);
            de::Error::invalid_value(found, &invalid.accepted)
        })
    }
}

/// The sound ones of a list.
pub(crate) fn sound<R: Check>(list: Vec<Sound<R>>) -> Vec<R::Checked> {
    list.into_iter().map(|one| one.0).collect()
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(in crate::load) struct NetworkPolicyObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawSpec {
    #[serde(deserialize_with = "nullable")]
    pod_selector: RawSelector,
    #[serde(deserialize_with = "nullable")]
    ingress: Vec<RawIngress>,
    #[serde(deserialize_with = "nullable")]
    egress: Vec<RawEgress>,
    #[serde(deserialize_with = "nullable")]
    policy_types: Vec<Worded<PolicyType>>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawIngress {
    #[serde(deserialize_with = "nullable")]
    from: Vec<Sound<RawPeer>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Sound<RawPort>>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawEgress {
    #[serde(deserialize_with = "nullable")]
    to: Vec<Sound<RawPeer>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Sound<RawPort>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawSelector {
    #[serde(deserialize_with = "labels")]
    match_labels: Labels,
    #[serde(deserialize_with = "nullable")]
    match_expressions: Vec<Sound<RawRequirement>>,
}

impl From<RawSelector> for LabelSelector {
    fn from(raw: RawSelector) -> Self {
        Self::new(raw.match_labels, sound(raw.match_expressions))
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawRequirement {
    key: Box<str>,
    operator: Worded<RawOperator>,
    #[serde(default, deserialize_with = "nullable")]
    values: Vec<Box<str>>,
}

impl Check for RawRequirement {
    type Checked = Requirement;

    fn check(self) -> Result<Requirement, InvalidPolicy> {
        Requirement::new(self.key, self.operator.0.0, self.values)
    }
}

struct RawOperator(Operator);

impl Word for RawOperator {
    const ACCEPTED: &'static str = "In, NotIn, Exists or DoesNotExist";

    fn of(word: &str) -> Option<Self> {
        Some(Self(match word {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        }))
    }
}

impl Word for PolicyType {
    const ACCEPTED: &'static str = "Ingress or Egress";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Ingress" => Self::Ingress,
            "Egress" => Self::Egress,
            _ => return None,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawPeer {
    pod_selector: Option<RawSelector>,
    namespace_selector: Option<RawSelector>,
    ip_block: Option<Sound<RawBlock>>,
}

impl Check for RawPeer {
    type Checked = Peer;

    fn check(self) -> Result<Peer, InvalidPolicy> {
        Peer::new(
            self.namespace_selector.map(LabelSelector::from),
            self.pod_selector.map(LabelSelector::from),
            self.ip_block.map(|block| block.0),
        )
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawBlock {
    cidr: Sound<RawCidr>,
    #[serde(default, deserialize_with = "nullable")]
    except: Vec<Sound<RawCidr>>,
}

impl Check for RawBlock {
    type Checked = IpBlock;

    fn check(self) -> Result<IpBlock, InvalidPolicy> {
        IpBlock::new(self.cidr.0, sound(self.except))
    }
}

/// A prefix as text.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct RawCidr(Box<str>);

impl Check for RawCidr {
    type Checked = Cidr;

    fn check(self) -> Result<Cidr, InvalidPolicy> {
        Cidr::parse(&self.0)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawPort {
    #[serde(deserialize_with = "nullable")]
    protocol: Worded<PortProtocol>,
    port: Option<Target>,
    end_port: Option<Port<1>>,
}

impl Check for RawPort {
    type Checked = PolicyPort;

    fn check(self) -> Result<PolicyPort, InvalidPolicy> {
        policy_port(self.protocol.0.0, self.port, self.end_port)
    }
}

/// The checked form of an entry of `ports`.
pub(crate) fn policy_port(
    protocol: Protocol,
    port: Option<Target>,
    end: Option<Port<1>>,
) -> Result<PolicyPort, InvalidPolicy> {
    let port = match port {
        None => None,
        Some(Target(Some(port))) => Some(port),
        Some(Target(None)) => {
            return Err(InvalidPolicy {
                found: "a `port` that is none".to_owned(),
                accepted: "a port number from 1 to 65535, or the name of a container port",
            });
        }
    };
    PolicyPort::new(protocol, port, end.map(|end| end.0))
}

impl From<RawIngress> for PolicyRule {
    fn from(raw: RawIngress) -> Self {
        Self {
            peers: sound(raw.from),
            ports: sound(raw.ports),
        }
    }
}

impl From<RawEgress> for PolicyRule {
    fn from(raw: RawEgress) -> Self {
        Self {
            peers: sound(raw.to),
            ports: sound(raw.ports),
        }
    }
}

impl From<NetworkPolicyObject> for NetworkPolicy {
    fn from(raw: NetworkPolicyObject) -> Self {
        let egress = raw.spec.egress.into_iter();
        let egress: Vec<PolicyRule> = egress.map(PolicyRule::from).collect();
        let said: Vec<_> = raw.spec.policy_types.into_iter().map(|t| t.0).collect();
        Self {
            meta: raw.metadata.namespaced(),
            pod_selector: raw.spec.pod_selector.into(),
            ingress: raw.spec.ingress.into_iter().map(PolicyRule::from).collect(),
            policy_types: if said.is_empty() {
                Self::default_types(&egress)
            } else {
                said
            },
            egress,
        }
    }
}
