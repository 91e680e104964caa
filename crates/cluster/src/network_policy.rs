//! NetworkPolicies, with the API's defaults put in and its rules of validity held.
//!
//! # Map
//! - [`NetworkPolicy`], [`PolicyRule`], [`Peer`], [`PolicyPort`]: the object.
//! - [`LabelSelector`]: which objects a selector is about, in the one form that every wording has.
//! - [`InvalidPolicy`]: what the API server would refuse.
//!
//! # Sources
//! staging/src/k8s.io/api/networking/v1/types.go, pkg/apis/networking/v1/defaults.go and
//! pkg/apis/networking/validation/validation.go of kubernetes 1.30.
//!
//! # Departures
//! Keys, values and names are not held to their alphabet.

mod selector;

use std::fmt;
use std::ops::RangeInclusive;

use podwire_packet::{Prefix, Protocol};

use crate::{Meta, TargetPort};

pub use selector::{LabelSelector, Operator, Requirement};

/// What the API server refuses of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPolicy {
    /// What is there.
    pub(crate) found: String,
    /// What may be there.
    pub(crate) accepted: &'static str,
}

/// A way that traffic goes, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ingress => "Ingress",
            Self::Egress => "Egress",
        })
    }
}

/// A prefix, and the words for it: its host bits, which mean nothing, among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// As it was written.
    pub text: Box<str>,
    /// What it means.
    pub prefix: Prefix,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let prefix = text.contains('/').then(|| text.parse().ok()).flatten();
        let prefix = prefix.ok_or_else(|| InvalidPolicy {
            found: format!("{text:?}"),
            accepted: "an address prefix such as `10.0.0.0/8` or `fd00::/64`",
        })?;
        Ok(Self {
            text: text.into(),
            prefix,
        })
    }
}

/// Addresses of a prefix but for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpBlock {
    /// The prefix.
    pub cidr: Cidr,
    /// Parts of it that are left out.
    pub except: Vec<Cidr>,
}

impl IpBlock {
    pub(crate) fn new(cidr: Cidr, except: Vec<Cidr>) -> Result<Self, InvalidPolicy> {
        let is_outside = |part: &&Cidr| {
            !cidr.prefix.covers(&part.prefix) || part.prefix.len() == cidr.prefix.len()
        };
        if let Some(outside) = except.iter().find(is_outside) {
            return Err(InvalidPolicy {
                found: format!("`{}` except `{}`", cidr.text, outside.text),
                accepted: "exceptions that are true parts of `cidr`",
            });
        }
        Ok(Self { cidr, except })
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods, those of the policy's own namespace unless namespaces are selected.
    Pods {
        /// Which namespaces.
        namespaces: Option<LabelSelector>,
        /// Which of their pods; all if not said.
        pods: Option<LabelSelector>,
    },
    /// Addresses.
    Block(IpBlock),
}

impl Peer {
    pub(crate) fn new(
        namespaces: Option<LabelSelector>,
        pods: Option<LabelSelector>,
        block: Option<IpBlock>,
    ) -> Result<Self, InvalidPolicy> {
        let accepted = "`ipBlock` alone, or one or both of `podSelector` and `namespaceSelector`";
        let invalid = |found: &str| InvalidPolicy {
            found: found.to_owned(),
            accepted,
        };
        match (namespaces, pods, block) {
            (None, None, Some(block)) => Ok(Self::Block(block)),
            (None, None, None) => Err(invalid("a peer that names nobody")),
            (_, _, Some(_)) => Err(invalid("an `ipBlock` beside a selector")),
            (namespaces, pods, None) => Ok(Self::Pods { namespaces, pods }),
        }
    }
}

/// A port by number or by the name that containers give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortNumbers {
    /// Every port of the protocol.
    All,
    /// From one to another, both included: `port` to `endPort`.
    Range(RangeInclusive<u16>),
    /// Whatever number the receiving pod's containers have under that name and protocol.
    Named(Box<str>),
}

/// An entry of a rule's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPort {
    /// TCP unless said.
    pub protocol: Protocol,
    /// Which ports.
    pub numbers: PortNumbers,
}

impl PolicyPort {
    pub(crate) fn new(
        protocol: Protocol,
        port: Option<TargetPort>,
        end: Option<u16>,
    ) -> Result<Self, InvalidPolicy> {
        let accepted = "an `endPort` beside a `port` that is a number and not above it";
        let numbers = match (port, end) {
            (None, None) => PortNumbers::All,
            (Some(TargetPort::Name(name)), None) => PortNumbers::Named(name),
            (Some(TargetPort::Number(port)), None) => PortNumbers::Range(port..=port),
            (Some(TargetPort::Number(port)), Some(end)) if port <= end => {
                PortNumbers::Range(port..=end)
            }
            (Some(TargetPort::Number(port)), Some(end)) => {
                return Err(InvalidPolicy {
                    found: format!("`endPort` {end} below `port` {port}"),
                    accepted,
                });
            }
            (Some(TargetPort::Name(name)), Some(_)) => {
                return Err(InvalidPolicy {
                    found: format!("`endPort` beside the named port `{name}`"),
                    accepted,
                });
            }
            (None, Some(_)) => {
                return Err(InvalidPolicy {
                    found: "`endPort` without `port`".to_owned(),
                    accepted,
                });
            }
        };
        Ok(Self { protocol, numbers })
    }
}

/// What is let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// From or to whom: `from` or `to`. Everybody if it is empty.
    pub peers: Vec<Peer>,
    /// To which ports. All of all protocols if it is empty.
    pub ports: Vec<PolicyPort>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Name, place in the file.
    pub meta: Meta,
    /// The pods of its namespace that it is about.
    pub pod_selector: LabelSelector,
    /// What may come to them.
    pub ingress: Vec<PolicyRule>,
    /// What they may send.
    pub egress: Vec<PolicyRule>,
    /// `spec.policyTypes`: the ways in which the pods are isolated, in the order written.
    pub policy_types: Vec<PolicyType>,
}

impl NetworkPolicy {
    /// `policyTypes` where nothing is said: Ingress, and Egress where `egress` has rules
    /// (`SetDefaults_NetworkPolicy`).
    pub(crate) fn default_types(egress: &[PolicyRule]) -> Vec<PolicyType> {
        match egress {
            [] => vec![PolicyType::Ingress],
            [..] => vec![PolicyType::Ingress, PolicyType::Egress],
        }
    }

    /// Whether it isolates the pods that it selects that way.
    #[must_use]
    pub fn isolates(&self, way: PolicyType) -> bool {
        self.policy_types.contains(&way)
    }

    /// Its rules for that way, whether or not `policyTypes` lets them count.
    #[must_use]
    pub fn rules(&self, way: PolicyType) -> &[PolicyRule] {
        match way {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        }
    }
}
