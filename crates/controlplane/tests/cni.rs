//! The pod network of the models in `models/`, device by device.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::path::PathBuf;

use podwire_cluster::{Cluster, load, read_inputs};
use podwire_controlplane::cni::PodNetwork;
use podwire_dataplane::{LinkKind, Lookup, Netns, Route};
use podwire_packet::{DeviceName, Family};
use podwire_ruleset::{RuleSet, iptables};

fn model(name: &str) -> Cluster {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name);
    load(read_inputs(&[path]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn device(name: &str) -> DeviceName {
    name.parse().unwrap()
}

/// The namespace of the node with that number, with ports for these pods.
fn host(network: &PodNetwork, node: usize, pods: &[&str]) -> Netns<()> {
    network.host(&network.nodes()[node], pods.iter().map(|pod| ip(pod)))
}

fn route(netns: &Netns<()>, to: &str) -> Route {
    let Lookup::By(route) = netns.fib.lookup(ip(to)) else {
        panic!("no route to {to}")
    };
    route
}

#[test]
fn flannel_takes_50_bytes_off_every_pods_mtu() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let controlplane = host(&network, 0, &["10.244.0.2"]);
    let mtus: Vec<(String, u32)> = controlplane
        .links
        .values()
        .map(|link| (link.name.to_string(), link.mtu))
        .collect();
    let port = network
        .port_name(&network.nodes()[0], ip("10.244.0.2"))
        .to_string();
    let expected = [
        ("lo", 65_536),
        ("eth0", 1_450),
        ("eth1", 1_500),
        ("flannel.1", 1_400),
        ("cni0", 1_400),
        (port.as_str(), 1_400),
    ];
    assert_eq!(mtus, expected.map(|(name, mtu)| (name.to_owned(), mtu)));
    let pod: Netns<()> = network.pod(&network.nodes()[0], &[ip("10.244.0.2")]);
    assert_eq!(pod.links[&DeviceName::ETH0].mtu, 1_400);
}

#[test]
fn cards_have_dockers_address_or_the_models_own() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let macs = [(0, "eth0"), (0, "eth1"), (1, "eth0")].map(|(node, nic)| {
        host(&network, node, &[]).links[&device(nic)]
            .mac
            .to_string()
    });
    // node01's eth0 is at .8, and yet its address ends in :07.
    assert_eq!(
        macs,
        [
            "02:42:0a:08:0b:06",
            "02:42:ac:11:00:39",
            "02:42:0a:08:0b:07"
        ]
    );
}

#[test]
fn every_device_has_the_link_local_address_of_its_ethernet_address() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let controlplane = host(&network, 0, &[]);
    let link_local = controlplane.links[&device("eth0")].link_local();
    assert_eq!(link_local.unwrap().to_string(), "fe80::42:aff:fe08:b06");
    assert_eq!(controlplane.links[&DeviceName::LO].link_local(), None);
}

#[test]
fn flannel_writes_a_route_an_arp_and_an_fdb_entry_for_the_other_node() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let (controlplane, node01) = (host(&network, 0, &[]), host(&network, 1, &[]));
    let flannel = device("flannel.1");
    let to_node01 = route(&controlplane, "10.244.1.2");
    assert_eq!(
        (to_node01.device, to_node01.via, to_node01.onlink),
        (flannel, Some(ip("10.244.1.0")), true)
    );
    let remote = node01.links[&flannel].mac;
    assert_eq!(controlplane.neighbors[&(flannel, ip("10.244.1.0"))], remote);
    let LinkKind::Vxlan(vxlan) = &controlplane.links[&flannel].kind else {
        panic!("flannel.1 is no VXLAN device")
    };
    assert_eq!(
        (vxlan.vni, vxlan.port, vxlan.local),
        (1, 8_472, ip("10.8.11.6"))
    );
    assert_eq!(vxlan.fdb, [(remote, ip("10.8.11.8"))]);
    assert_eq!(
        controlplane.links[&flannel].addresses,
        [(ip("10.244.0.0"), 32)]
    );
}

#[test]
fn the_default_route_is_the_labs() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let default = route(&host(&network, 0, &[]), "8.8.8.8");
    assert_eq!(
        (default.device, default.via),
        (device("eth1"), Some(ip("172.17.0.1")))
    );
}

#[test]
fn a_pod_has_the_bridge_as_gateway_and_its_neighbours_on_link() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let controlplane = host(&network, 0, &["10.244.0.2"]);
    assert_eq!(
        controlplane.links[&network.bridge()].addresses,
        [(ip("10.244.0.1"), 24)]
    );
    let pod: Netns<()> = network.pod(&network.nodes()[0], &[ip("10.244.0.2")]);
    assert_eq!(route(&pod, "10.96.0.1").via, Some(ip("10.244.0.1")));
    assert_eq!(route(&pod, "10.244.0.3").via, None);
    let port = network.port_name(&network.nodes()[0], ip("10.244.0.2"));
    let port = controlplane.links[&port].port_of.unwrap();
    assert_eq!((port.bridge, port.hairpin), (network.bridge(), true));
}

#[test]
fn host_gw_routes_by_the_other_nodes_address_and_keeps_the_mtu() {
    let network = PodNetwork::new(&model("host-gw.ron"));
    let first = host(&network, 0, &[]);
    let other = &network.nodes()[1];
    let target = other.pod_cidrs[0].nth(2).unwrap().to_string();
    let found = route(&first, &target);
    assert_eq!(found.via, other.internal_ips.first().copied());
    assert_eq!(first.links[&network.bridge()].mtu, other.underlay_mtu());
    assert!(!first.links.contains_key(&device("flannel.1")));
}

#[test]
fn flannels_rules_are_those_of_its_manifest() {
    let network = PodNetwork::new(&model("two-node.ron"));
    let mut rules = RuleSet::empty(Family::Ipv4);
    network.add_rules(&network.nodes()[1], &mut rules);
    let text = iptables::print(&rules, iptables::Wording::Save);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("-A")).collect();
    assert_eq!(
        lines,
        [
            "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG",
            "-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN",
            "-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment \"flanneld masq\" -j RETURN",
            "-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment \"flanneld masq\" -j RETURN",
            "-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment \"flanneld masq\" -j RETURN",
            "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully",
            "-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully",
            "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD",
            "-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT",
            "-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT",
        ]
    );
}
