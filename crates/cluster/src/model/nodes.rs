//! Nodes, their devices and pod CIDRs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use indexmap::IndexMap;
use podwire_ipam::NodeCidrs;
use podwire_packet::{DeviceName, Prefix};

use super::at::{At, Reader};
use super::expand::{count, parsed};
use super::schema::{LinkModel, Model, NicModel, NodeModel};
use crate::load::{Parsed, Problem};
use crate::{LinkFacts, Meta, Network, Nic, Node, NodeAddress, NodeAddressKind, ObjectName};

/// Where addresses of generated nodes begin in their network.
const FIRST_HOST: u128 = 11;

pub(super) fn expand(
    reader: &mut Reader<'_>,
    model: &Model,
    network: &Network,
) -> Vec<(u32, Node)> {
    let mut pools = pools(reader, model, network);
    occupy(reader, model, network, &mut pools);
    let mut nodes: Vec<(u32, Node)> = Vec::new();
    for said in &model.nodes {
        let Some(name) = reader.get(&said.name, "name").cloned() else {
            continue;
        };
        if nodes.iter().any(|(_, node)| *node.meta.name.name == *name) {
            let problem = Problem::DuplicateName {
                kind: "node",
                name: name.clone(),
            };
            reader.fault(&said.name, problem);
        }
        let line = reader.place(&said.name).line;
        let mut nics: Vec<_> = said
            .nics
            .iter()
            .filter_map(|nic| device(reader, nic, network.mtu))
            .collect();
        if said.nics.is_empty() {
            nics.extend(usual_device(reader, model, network, nodes.len()));
        }
        let node = node(reader, said, &name, nics);
        nodes.push((line, node));
    }
    let generated = match &model.node_count {
        Some(at) => count(reader, Some(at), "node_count"),
        None => 0,
    };
    for n in 1..=generated {
        let Some(nic) = usual_device(reader, model, network, nodes.len()) else {
            break;
        };
        let name = format!("node-{n}");
        let addresses = addresses(nic.addresses.iter().map(|a| a.0), &name);
        let line = model
            .node_count
            .as_ref()
            .map_or(1, |at| reader.place(at).line);
        let node = Node {
            meta: meta(&name),
            pod_cidrs: Vec::new(),
            addresses,
            nics: vec![nic],
            links: IndexMap::new(),
            cpus: None,
        };
        nodes.push((line, node));
    }
    check_networks(reader, model, network, &nodes);
    for (line, node) in &mut nodes {
        if !node.pod_cidrs.is_empty() {
            continue;
        }
        for pool in &mut pools {
            match pool.allocate() {
                Ok(cidr) => node.pod_cidrs.push(cidr),
                Err(error) => {
                    let place = crate::load::Place {
                        line: *line,
                        column: 1,
                    };
                    reader.problems.push((place, Problem::NodeCidr { error }));
                    return nodes;
                }
            }
        }
    }
    nodes
}

/// A pool of node CIDRs for each pod range.
fn pools(reader: &mut Reader<'_>, model: &Model, network: &Network) -> Vec<NodeCidrs> {
    let mask = model.network.node_cidr_mask.as_ref();
    let mut pools = Vec::new();
    for (index, &range) in network.pod_cidrs.iter().enumerate() {
        let pool = match mask.and_then(|at| reader.get(at, "node_cidr_mask")) {
            Some(&mask) => NodeCidrs::new(range, mask),
            None => NodeCidrs::usual(range),
        };
        match (pool, mask, model.network.pod_cidrs.get(index)) {
            (Ok(pool), _, _) => pools.push(pool),
            (Err(error), Some(at), _) => reader.fault(at, Problem::NodeCidr { error }),
            (Err(error), None, Some(at)) => reader.fault(at, Problem::NodeCidr { error }),
            (Err(_), None, None) => {}
        }
    }
    pools
}

/// Takes what nodes have fixed out of the pools.
fn occupy(reader: &mut Reader<'_>, model: &Model, network: &Network, pools: &mut [NodeCidrs]) {
    let mut seen: Vec<Prefix> = Vec::new();
    for at in model.nodes.iter().flat_map(|node| &node.pod_cidrs) {
        let Some(cidr) = parsed(reader, at, "pod_cidrs") else {
            continue;
        };
        if let Some(&other) = seen.iter().find(|other| other.overlaps(&cidr)) {
            let prefix = cidr;
            reader.fault(at, Problem::Overlap { prefix, other });
        }
        seen.push(cidr);
        if !network.pod_cidrs.iter().any(|range| range.covers(&cidr)) {
            let problem = Problem::WrongValue {
                field: "pod_cidrs".to_owned(),
                found: cidr.to_string(),
                accepted: format!("a part of {}", list(&network.pod_cidrs)),
            };
            reader.fault(at, problem);
            continue;
        }
        for pool in pools.iter_mut().filter(|pool| pool.range().covers(&cidr)) {
            if let Err(error) = pool.occupy(cidr) {
                reader.fault(at, Problem::NodeCidr { error });
            }
        }
    }
}

/// Prefixes with commas between.
pub(super) fn list(prefixes: &[Prefix]) -> String {
    let all: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn meta(name: &str) -> Meta {
    let hostname = ("kubernetes.io/hostname".into(), name.into());
    Meta {
        name: ObjectName::new("", name),
        labels: [hostname].into(),
        annotations: BTreeMap::new(),
        source: None,
    }
}

fn addresses(ips: impl Iterator<Item = IpAddr>, name: &str) -> Vec<NodeAddress> {
    let ips = ips.map(|ip| NodeAddress {
        kind: NodeAddressKind::InternalIp,
        address: ip.to_string().into(),
    });
    ips.chain([NodeAddress {
        kind: NodeAddressKind::Name,
        address: name.into(),
    }])
    .collect()
}

fn node(reader: &mut Reader<'_>, said: &NodeModel, name: &str, nics: Vec<Nic>) -> Node {
    let mut meta = meta(name);
    if let Some(zone) = &said.zone {
        let key = "topology.kubernetes.io/zone";
        meta.labels.insert(key.into(), zone.as_str().into());
    }
    meta.labels.extend(said.labels.clone());
    let mut ips: Vec<_> = said
        .internal_ips
        .iter()
        .filter_map(|at| parsed(reader, at, "internal_ips"))
        .collect();
    if ips.is_empty() {
        ips.extend(
            nics.first()
                .into_iter()
                .flat_map(|nic| nic.addresses.iter().map(|a| a.0)),
        );
    }
    Node {
        meta,
        // Faults in these were told when they were taken out of the pools.
        pod_cidrs: said
            .pod_cidrs
            .iter()
            .filter_map(|at| reader.quiet(at)?.0)
            .collect(),
        addresses: addresses(ips.into_iter(), name),
        nics,
        links: links(reader, &said.links),
        cpus: said.cpus,
    }
}

/// What is said of devices; a device and a number are there once.
fn links(reader: &mut Reader<'_>, said: &[LinkModel]) -> IndexMap<DeviceName, LinkFacts> {
    let mut links: IndexMap<DeviceName, LinkFacts> = IndexMap::new();
    for link in said {
        let Some(name) = parsed(reader, &link.name, "name") else {
            continue;
        };
        let index = link.index.as_ref();
        let index = index.and_then(|at| reader.get(at, "index").copied());
        let known = links
            .iter()
            .find(|(other, facts)| **other == name || (index.is_some() && facts.index == index));
        if let Some((other, _)) = known {
            let (kind, at) = if *other == name {
                ("device", name.to_string())
            } else {
                ("device number", index.unwrap_or_default().to_string())
            };
            let problem = Problem::DuplicateName { kind, name: at };
            reader.fault(&link.name, problem);
            continue;
        }
        let addresses = link.addresses.iter();
        let addresses = addresses.filter_map(|at| parsed(reader, at, "addresses"));
        let addresses = addresses.map(|address| (address.0, address.1)).collect();
        let mac = link.mac.as_ref();
        let pod = link.pod.as_ref();
        let facts = LinkFacts {
            index,
            peer_index: link.peer_index,
            netnsid: link.netnsid,
            mac: mac.and_then(|at| parsed(reader, at, "mac")),
            mtu: link.mtu,
            qdisc: link.qdisc.clone(),
            pod: pod.and_then(|at| parsed(reader, at, "pod")),
            bridge: link.bridge,
            addresses,
        };
        links.insert(name, facts);
    }
    links
}

fn device(reader: &mut Reader<'_>, said: &NicModel, mtu: u32) -> Option<Nic> {
    let name = parsed(reader, &said.name, "name")?;
    let mut addresses = Vec::new();
    for at in &said.addresses {
        if let Some(address) = parsed(reader, at, "addresses") {
            addresses.push((address.0, address.1));
        }
    }
    Some(Nic {
        name,
        mac: said.mac.as_ref().and_then(|at| parsed(reader, at, "mac")),
        mtu: said.mtu.unwrap_or(mtu),
        addresses,
        gateway: said
            .gateway
            .as_ref()
            .and_then(|at| parsed(reader, at, "gateway")),
    })
}

/// The `eth0` of a node that has nothing said about devices.
fn usual_device(
    reader: &mut Reader<'_>,
    model: &Model,
    network: &Network,
    index: usize,
) -> Option<Nic> {
    let said: Option<&At<Parsed<Prefix>>> = model.node_network.as_ref();
    let prefix = match said {
        Some(at) => parsed(reader, at, "node_network")?,
        None => Prefix::new(IpAddr::from([192, 168, 0, 0]), 16),
    };
    let offset = u128::try_from(index)
        .unwrap_or(u128::MAX)
        .saturating_add(FIRST_HOST);
    let free = prefix.nth(offset).filter(|&ip| ip != prefix.last());
    let Some(ip) = free else {
        let problem = Problem::NoNodeAddress { network: prefix };
        match (said, &model.node_count) {
            (Some(at), _) => reader.fault(at, problem),
            (None, Some(at)) => reader.fault(at, problem),
            (None, None) => {}
        }
        return None;
    };
    Some(Nic {
        name: DeviceName::ETH0,
        mac: None,
        mtu: network.mtu,
        addresses: vec![(ip, prefix.len())],
        gateway: prefix.nth(1),
    })
}

/// Pod and service ranges must not hold a network that a node is on.
fn check_networks(
    reader: &mut Reader<'_>,
    model: &Model,
    network: &Network,
    nodes: &[(u32, Node)],
) {
    let on: Vec<Prefix> = nodes
        .iter()
        .flat_map(|(_, node)| node.nics.iter().flat_map(Nic::networks))
        .collect();
    let ranges = network.pod_cidrs.iter().chain(&network.service_cidrs);
    for &prefix in ranges {
        let Some(&other) = on.iter().find(|other| other.overlaps(&prefix)) else {
            continue;
        };
        let said = model
            .network
            .pod_cidrs
            .iter()
            .chain(&model.network.service_cidrs);
        let at = said
            .into_iter()
            .find(|at| reader.quiet(at).is_some_and(|said| said.0 == Some(prefix)));
        let problem = Problem::Overlap { prefix, other };
        match (at, &model.node_network, model.nodes.first()) {
            (Some(at), _, _) => reader.fault(at, problem),
            (None, Some(at), _) => reader.fault(at, problem),
            (None, None, Some(node)) => reader.fault(&node.name, problem),
            (None, None, None) => {}
        }
    }
}
