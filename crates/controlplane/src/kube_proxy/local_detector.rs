//! How kube-proxy knows a packet of a pod on its own node: `detectLocalMode`.

use podwire_cluster::{DetectLocalMode, KubeProxyConfiguration, Node};
use podwire_packet::{Family, Prefix};
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
