//! Pods of workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podwire_ipam::{HostLocal, RangeSets};
use podwire_packet::Family;

use super::at::{At, Reader};
use super::expand::{count, labels, numbered, parsed};
use super::schema::{ContainerPortModel, WorkloadModel};
use crate::load::Problem;
use crate::{Container, ContainerPort, Meta, Node, ObjectName, Pod};

/// The most pods that a workload makes.
const MOST_PODS: u64 = 1_000_000;

/// A pod that has no address yet.
struct Waiting<'m> {
    pod: Pod,
    line: u32,
    node: usize,
    ip: Option<IpAddr>,
    name: &'m At<String>,
}

pub(super) fn expand(
    reader: &mut Reader<'_>,
    workloads: &[WorkloadModel],
    nodes: &[(u32, Node)],
) -> Vec<(u32, Pod)> {
    let mut turn = 0;
    let mut names = BTreeSet::new();
    let mut waiting = Vec::new();
    for workload in workloads {
        let pods = pods(reader, workload, nodes, &mut turn);
        for one in pods {
            if names.insert(one.pod.meta.name.clone()) {
                waiting.push(one);
            } else {
                let problem = Problem::DuplicateName {
                    kind: "pod",
                    name: one.pod.meta.name.to_string(),
                };
                reader.fault(one.name, problem);
                break;
            }
        }
    }
    address(reader, &mut waiting, nodes);
    waiting.into_iter().map(|one| (one.line, one.pod)).collect()
}

fn pods<'m>(
    reader: &mut Reader<'_>,
    workload: &'m WorkloadModel,
    nodes: &[(u32, Node)],
    turn: &mut usize,
) -> Vec<Waiting<'m>> {
    let mut found = Vec::new();
    let Some(name) = reader.get(&workload.name, "name").cloned() else {
        return found;
    };
    let own = own_nodes(reader, workload, nodes);
    if nodes.is_empty() || own.is_empty() && !workload.nodes.is_empty() {
        if nodes.is_empty() {
            reader.fault(&workload.name, Problem::NoNodes);
        }
        return found;
    }
    let repeat = count(reader, workload.repeat.as_ref(), "repeat");
    let replicas = count(reader, workload.replicas.as_ref(), "replicas");
    if u64::from(repeat) * u64::from(replicas) > MOST_PODS {
        let problem = Problem::WrongValue {
            field: "repeat".to_owned(),
            found: format!("{repeat} for {replicas} replicas"),
            accepted: format!("at most {MOST_PODS} pods of a workload"),
        };
        reader.fault(&workload.name, problem);
        return found;
    }
    let ips: Vec<_> = workload
        .ips
        .iter()
        .filter_map(|at| parsed(reader, at, "ips"))
        .collect();
    let ports: Vec<_> = workload
        .ports
        .iter()
        .map(|port| container_port(reader, port))
        .collect();
    let line = reader.place(&workload.name).line;
    let container = (!workload.image.is_empty()).then(|| Container {
        image: workload.image.clone(),
        args: workload.args.clone(),
        ..Container::default()
    });
    let mut own_turn = 0;
    for n in 1..=repeat {
        let name = numbered(&name, workload.repeat.is_some(), n);
        let labels = match &workload.labels {
            Some(said) => labels(said, n),
            None => [("app".into(), name.as_str().into())].into(),
        };
        for replica in 0..replicas {
            let index = usize::try_from(replica).unwrap_or(usize::MAX);
            let ip = ips
                .get(index)
                .copied()
                .filter(|_| workload.repeat.is_none());
            let holder = ip.and_then(|ip| {
                let holds = |node: &Node| node.pod_cidrs.iter().any(|cidr| cidr.contains(ip));
                nodes.iter().position(|(_, node)| holds(node))
            });
            let node = match (holder, own.is_empty()) {
                (Some(node), true) => node,
                (Some(node), false) if own.contains(&node) => node,
                (_, false) => {
                    own_turn += 1;
                    own[(own_turn - 1) % own.len()]
                }
                (None, true) => {
                    *turn += 1;
                    (*turn - 1) % nodes.len()
                }
            };
            let pod_name = if replicas == 1 {
                name.clone()
            } else {
                format!("{name}-{}", replica + 1)
            };
            let pod = Pod {
                meta: Meta {
                    name: ObjectName::new(&workload.namespace, &pod_name),
                    labels: labels.clone(),
                    annotations: BTreeMap::new(),
                    source: None,
                },
                node: Some((&*nodes[node].1.meta.name.name).into()),
                host_network: workload.host_network,
                ips: Vec::new(),
                dns: None,
                containers: container.clone().into_iter().collect(),
                ports: ports.clone(),
                started: None,
                ready: workload.ready.is_none_or(|ready| replica < ready),
                terminating: false,
                finished: false,
                unknown: false,
            };
            found.push(Waiting {
                pod,
                line,
                node,
                ip,
                name: &workload.name,
            });
        }
    }
    found
}

/// The nodes that a workload is pinned to.
fn own_nodes(
    reader: &mut Reader<'_>,
    workload: &WorkloadModel,
    nodes: &[(u32, Node)],
) -> Vec<usize> {
    let mut own = Vec::new();
    for at in &workload.nodes {
        let Some(wanted) = reader.get(at, "nodes") else {
            continue;
        };
        let named = |(_, node): &(u32, Node)| *node.meta.name.name == **wanted;
        match nodes.iter().position(named) {
            Some(node) => own.push(node),
            None => {
                let known = nodes.iter().map(|(_, node)| node.meta.name.to_string());
                let known: Vec<_> = known.take(20).collect();
                let problem = Problem::UnknownNode {
                    node: wanted.clone(),
                    known: known.join(", "),
                };
                reader.fault(at, problem);
            }
        }
    }
    own
}

fn container_port(reader: &mut Reader<'_>, said: &ContainerPortModel) -> ContainerPort {
    ContainerPort {
        name: said.name.clone(),
        port: reader.get(&said.port, "port").map_or(0, |port| port.0),
        protocol: said.protocol.into(),
        host_port: said
            .host_port
            .as_ref()
            .and_then(|at| Some(reader.get(at, "host_port")?.0)),
        host_ip: said
            .host_ip
            .as_ref()
            .and_then(|at| parsed(reader, at, "host_ip")),
    }
}

/// Gives pods their addresses: those fixed first, then the rest in order.
fn address(reader: &mut Reader<'_>, pods: &mut [Waiting<'_>], nodes: &[(u32, Node)]) {
    let mut spaces: Vec<_> = nodes
        .iter()
        .map(|(_, node)| (RangeSets::of_subnets(&node.pod_cidrs), HostLocal::default()))
        .collect();
    for fixed in [true, false] {
        for (_, space) in &mut spaces {
            space.rewind();
        }
        for one in pods.iter_mut().filter(|one| one.ip.is_some() == fixed) {
            if one.pod.host_network {
                let node = &nodes[one.node].1;
                one.pod.ips = node.internal_ips(Family::Ipv4).collect();
                one.pod.ips.extend(node.internal_ips(Family::Ipv6));
                continue;
            }
            let (sets, space) = &mut spaces[one.node];
            let given = match sets {
                Ok(sets) => {
                    let container = one.pod.meta.name.to_string();
                    let requested: Vec<_> = one.ip.into_iter().collect();
                    space
                        .add(sets, &container, "eth0", &requested)
                        .map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            match given {
                Ok(given) => one.pod.ips = given.iter().map(|a| a.ip).collect(),
                Err(reason) => {
                    let problem = Problem::NoPodAddress {
                        pod: one.pod.meta.name.clone(),
                        node: nodes[one.node].1.meta.name.name.clone(),
                        reason,
                    };
                    reader.fault(one.name, problem);
                    return;
                }
            }
        }
    }
}
