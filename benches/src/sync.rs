//! The cluster that syncs of kube-proxy are measured on.
//!
//! ClusterIP Services of one TCP port named `http` in a hundred namespaces, each with one slice of ready
//! endpoints, which lie spread over a hundred nodes; `clusterCIDR` is set. kube-proxy was driven with the
//! same to learn what its own syncs cost.

use podwire_cluster::{Cluster, EndpointSlice, KubeProxyConfiguration, ObjectName, synthetic};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, IpvsProxier, KubeProxyVersion, NftablesForm, NftablesProxier, ProxierError,
    ServicePorts,
};
use podwire_packet::Family;

/// Nodes, and namespaces.
const SPREAD: usize = 100;

/// The node whose rules are rendered.
pub const NODE: &str = "node-0";

/// A mode of kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// iptables.
    Iptables,
    /// nftables.
    Nftables,
    /// IPVS.
    Ipvs,
}

impl Mode {
    /// Those whose syncs are measured.
    pub const ALL: [Self; 3] = [Self::Iptables, Self::Nftables, Self::Ipvs];

    /// Its name in kube-proxy's configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }

    /// What a first sync writes.
    ///
    /// # Errors
    /// Those of the proxier.
    pub fn text(
        self,
        cluster: &Cluster,
        ports: &ServicePorts<'_>,
        node: &str,
    ) -> Result<String, ProxierError> {
        Ok(match self {
            Self::Iptables => IptablesProxier::new(cluster, ports, node)?.restore_text(),
            Self::Nftables => {
                NftablesProxier::new(cluster, ports, node)?.text(NftablesForm::Commands)
            }
            Self::Ipvs => IpvsProxier::new(cluster, ports, node)?.program().text(),
        })
    }

    /// Whether a text has as many rules, or real servers, as [`cluster`] of these sizes calls for.
    #[must_use]
    pub fn is_right(self, text: &str, services: usize, endpoints: usize) -> bool {
        let (beginning, each, others) = match self {
            Self::Iptables => ("-A ", 2 + 3 * endpoints, 9),
            Self::Nftables => ("add rule ", 2 + 2 * endpoints, 22),
            Self::Ipvs => ("-a ", endpoints, 0),
        };
        let lines = text.lines().filter(|line| line.starts_with(beginning));
        lines.count() == services * each + others
    }
}

/// The service ports of a cluster.
#[must_use]
pub fn ports(cluster: &Cluster) -> ServicePorts<'_> {
    ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default())
}

/// So many Services, each with so many endpoints.
#[must_use]
pub fn cluster(services: u32, endpoints: u32) -> Cluster {
    let alike = synthetic::services(services, endpoints);
    let mut cluster = Cluster {
        kube_proxy: Some(KubeProxyConfiguration {
            cluster_cidr: "10.128.0.0/9".into(),
            ..KubeProxyConfiguration::default()
        }),
        ..Cluster::default()
    };
    for (number, node) in (0..SPREAD).zip(alike.nodes.values().cycle()) {
        let mut node = node.clone();
        node.meta.name = ObjectName::new("", &format!("node-{number}"));
        node.pod_cidrs.clear();
        cluster.nodes.insert(node.meta.name.name.clone(), node);
    }
    let moved = |name: &ObjectName, number: usize| {
        ObjectName::new(&format!("ns-{}", number % SPREAD), &name.name)
    };
    for (number, service) in alike.services.values().enumerate() {
        let mut service = service.clone();
        service.meta.name = moved(&service.meta.name, number);
        service.ports[0].name = "http".into();
        cluster.services.insert(service.meta.name.clone(), service);
    }
    for (number, slice) in alike.endpoint_slices.values().enumerate() {
        let mut slice = slice.clone();
        slice.meta.name = moved(&slice.meta.name, number);
        slice.ports[0].name = Some("http".into());
        for (place, endpoint) in slice.endpoints.iter_mut().enumerate() {
            endpoint.node = Some(format!("node-{}", (number + place) % SPREAD).into());
        }
        cluster
            .endpoint_slices
            .insert(slice.meta.name.clone(), slice);
    }
    cluster
}

/// The slice in the middle with other endpoints: one is gone, and one came in its place.
///
/// # Panics
/// If there is no slice, or it has no endpoint.
#[must_use]
pub fn one_endpoint_changed(cluster: &Cluster, round: u8) -> EndpointSlice {
    let middle = cluster.endpoint_slices.len() / 2;
    let slice = cluster.endpoint_slices.values().nth(middle);
    let mut slice = slice.expect("there are slices").clone();
    slice.endpoints[0].addresses = vec![format!("10.255.0.{round}").into()];
    slice
}
