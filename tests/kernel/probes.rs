//! Which packets are sent on a node.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use podwire_cluster::{Cluster, Service};
use podwire_controlplane::cni::NodeNetwork;
use podwire_packet::{Family, Protocol};

use crate::lab::{BEYOND, Sender};

/// A destination of packets.
pub(crate) type Target = (Protocol, IpAddr, u16);

/// An address of the usual service range that no Service has.
const UNUSED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 255, 250));

/// Everything that a service port answers to on this node, what it should not, and what is none:
/// ClusterIPs, node ports, balancers' and external addresses; the next port, another protocol, an
/// address that nobody has, an endpoint itself, the node.
pub(crate) fn targets(cluster: &Cluster, node: &NodeNetwork) -> BTreeSet<Target> {
    let own = node.internal_ip(Family::Ipv4);
    let gateway = node.pod_gateway(Family::Ipv4);
    let mut all = BTreeSet::new();
    for service in cluster.services.values() {
        let addresses = addresses(service);
        for port in &service.ports {
            for &ip in &addresses {
                all.insert((port.protocol, ip, port.port));
                all.insert((port.protocol, ip, port.port.wrapping_add(1)));
                let other = if port.protocol == Protocol::UDP {
                    Protocol::TCP
                } else {
                    Protocol::UDP
                };
                all.insert((other, ip, port.port));
            }
            if port.node_port != 0 {
                let loopback = IpAddr::from([127, 0, 0, 1]);
                for ip in own.into_iter().chain(gateway).chain([loopback]) {
                    all.insert((port.protocol, ip, port.node_port));
                }
            }
        }
    }
    all.extend(
        endpoints(cluster)
            .into_iter()
            .map(|(ip, protocol, port)| (protocol, ip, port)),
    );
    for protocol in [Protocol::TCP, Protocol::UDP] {
        all.insert((protocol, UNUSED, 80));
        all.extend(own.map(|ip| (protocol, ip, 22)));
    }
    all
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let balancer = service.load_balancer.iter().map(|ingress| &ingress.ip);
    let texts = service
        .cluster_ips
        .iter()
        .chain(&service.external_ips)
        .chain(balancer);
    texts
        .filter_map(|text| text.parse().ok())
        .filter(IpAddr::is_ipv4)
        .collect()
}

/// Who sends: the node, two pods with a Service and one without, a client on the node network, one
/// beyond the router, a pod of another node.
pub(crate) fn senders(
    cluster: &Cluster,
    node: &NodeNetwork,
    others: &[NodeNetwork],
    client: Option<IpAddr>,
) -> Vec<Sender> {
    let pods = local_pods(cluster, node);
    let mut senders = vec![Sender::Host, Sender::Outside(BEYOND)];
    senders.extend(client.map(Sender::Outside));
    senders.extend(
        pods.iter()
            .take(2)
            .chain(pods.last())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .copied()
            .map(Sender::Pod),
    );
    let elsewhere = others.iter().find(|other| other.name != node.name);
    let remote = elsewhere.and_then(|other| other.pod_cidr(Family::Ipv4)?.nth(77));
    senders.extend(remote.map(Sender::Outside));
    senders
}

/// The IPv4 addresses of pods on a node: of Pod objects, of endpoints, and one that is no endpoint.
pub(crate) fn local_pods(cluster: &Cluster, node: &NodeNetwork) -> BTreeSet<IpAddr> {
    let Some(range) = node.pod_cidr(Family::Ipv4) else {
        return BTreeSet::new();
    };
    let of_pods = cluster
        .pods
        .values()
        .flat_map(|pod| pod.ips.iter().copied());
    let of_slices = endpoints(cluster).into_iter().map(|(ip, _, _)| ip);
    let client = range.nth(200);
    of_pods
        .chain(of_slices)
        .chain(client)
        .filter(|ip| range.contains(*ip) && Some(*ip) != range.nth(1))
        .collect()
}

/// Every endpoint of every slice: address, protocol and port.
pub(crate) fn endpoints(cluster: &Cluster) -> BTreeSet<(IpAddr, Protocol, u16)> {
    let mut all = BTreeSet::new();
    for slice in cluster.endpoint_slices.values() {
        let addresses = slice
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        for ip in addresses
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .filter(IpAddr::is_ipv4)
        {
            all.extend(
                slice
                    .ports
                    .iter()
                    .filter_map(|port| Some((ip, port.protocol, port.port?))),
            );
        }
    }
    all
}
