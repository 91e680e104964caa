//! How kube-proxy knows a packet of a pod on its own node: `detectLocalMode`.

use podwire_cluster::{DetectLocalMode, KubeProxyConfiguration, Node};
use podwire_packet::{Family, Prefix};
use podwire_ruleset::nft::{Expression, MetaKey, Payload, Span, Statement, Value};
use podwire_ruleset::{AddressMatch, InterfaceMatch, Inv, Match};

use super::ProxierError;

/// What packets of the node's pods have in common.
///
/// Source: pkg/proxy/util/localdetector.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LocalDetector {
    /// A source address in this prefix.
    Source(Prefix),
    /// A device that they come in by.
    Interface(InterfaceMatch),
}

impl LocalDetector {
    /// What the configuration asks for; `None` where the node or the configuration does not say
    /// enough, and no packet counts as a pod's (`getLocalDetector`, cmd/kube-proxy/app/server_linux.go).
    pub(super) fn of(
        config: &KubeProxyConfiguration,
        node: &Node,
        family: Family,
    ) -> Result<Option<Self>, ProxierError> {
        let device = |field: &'static str, text: &str| {
            text.parse()
                .map_err(|source| ProxierError::DeviceName { field, source })
        };
        Ok(match config.detect_local_mode {
            DetectLocalMode::ClusterCidr => super::settings::prefixes(
                "clusterCIDR",
                config
                    .cluster_cidr
                    .split(',')
                    .filter(|text| !text.is_empty()),
            )?
            .into_iter()
            .find(|prefix| prefix.family() == family)
            .map(Self::Source),
            DetectLocalMode::NodeCidr => node.pod_cidr(family).map(Self::Source),
            DetectLocalMode::BridgeInterface => {
                let name = &config.detect_local.bridge_interface;
                let name = device("detectLocal.bridgeInterface", name)?;
                Some(Self::Interface(InterfaceMatch::Exact(name)))
            }
            DetectLocalMode::InterfaceNamePrefix => {
                let name = &config.detect_local.interface_name_prefix;
                let name = device("detectLocal.interfaceNamePrefix", name)?;
                Some(Self::Interface(InterfaceMatch::Prefix(name)))
            }
        })
    }

    /// Holds for packets of the node's pods.
    pub(super) fn if_local(&self) -> Match {
        self.matching(false)
    }

    /// Holds for all others.
    pub(super) fn if_not_local(&self) -> Match {
        self.matching(true)
    }

    /// The same for nftables mode.
    ///
    /// The words are those of kube-proxy 1.30, which asks for the number of a device by a name with a
    /// star; nft refuses that.
    pub(super) fn nft(&self, is_local: bool) -> Statement {
        let (left, right) = match *self {
            Self::Source(prefix) => {
                let source = Expression::Payload(Payload::Saddr(prefix.family()));
                (source, Span::Prefix(prefix))
            }
            Self::Interface(device) => {
                let span = match device {
                    InterfaceMatch::Exact(name) => Span::One(Value::Interface(name)),
                    InterfaceMatch::Prefix(name) => Span::InterfacePrefix(name),
                    InterfaceMatch::Any => Span::Any,
                };
                (Expression::Meta(MetaKey::Iif), span)
            }
        };
        if is_local {
            Statement::is(left, right)
        } else {
            Statement::is_not(left, right)
        }
    }

    fn matching(&self, inverted: bool) -> Match {
        match *self {
            Self::Source(prefix) => Match::Source(Inv {
                inverted,
                value: AddressMatch::Prefix(prefix),
            }),
            Self::Interface(value) => Match::InInterface(Inv { inverted, value }),
        }
    }
}
