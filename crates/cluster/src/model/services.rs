//! Services, their addresses and node ports.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{Family, Prefix, Protocol};

use super::at::{At, Reader};
use super::expand::{count, filled, labels, numbered, parsed};
use super::nodes::list;
use super::schema::{ServiceModel, ServicePortModel, ServiceTypeModel};
use crate::load::Problem;
use crate::{
    ClientIpAffinity, LoadBalancerIngress, Meta, Network, ObjectName, Service, ServicePort,
    TargetPort, TrafficPolicy,
};

/// Node ports unless the API server is told otherwise (`--service-node-port-range`).
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Where the API server begins to choose node ports by itself (KEP-3668: 86 are kept for people).
const FIRST_NODE_PORT: u16 = 30_086;

/// A service, the line of its model, and the model.
pub(super) struct Made<'m> {
    pub(super) line: u32,
    pub(super) service: Service,
    pub(super) model: &'m ServiceModel,
}

pub(super) fn expand<'m>(
    reader: &mut Reader<'_>,
    models: &'m [ServiceModel],
    network: &Network,
) -> Vec<Made<'m>> {
    let mut made: Vec<Made<'_>> = Vec::new();
    let mut addresses = Addresses::new(&network.service_cidrs);
    let mut node_ports = NodePorts::default();
    let mut names = std::collections::BTreeSet::new();
    for model in models {
        let Some(name) = reader.get(&model.name, "name").cloned() else {
            continue;
        };
        let line = reader.place(&model.name).line;
        let repeat = count(reader, model.repeat.as_ref(), "repeat");
        let parts = Parts::read(reader, model);
        for n in 1..=repeat {
            let name = numbered(&name, model.repeat.is_some(), n);
            let name = ObjectName::new(&model.namespace, &name);
            if !names.insert(name.clone()) {
                let problem = Problem::DuplicateName {
                    kind: "service",
                    name: name.to_string(),
                };
                reader.fault(&model.name, problem);
                break;
            }
            let service = service(model, name, n, &parts, network);
            made.push(Made {
                line,
                service,
                model,
            });
        }
    }
    // What is fixed goes first, so that nothing chosen stands in its way.
    for one in &mut made {
        addresses.fix(reader, one);
        node_ports.fix(reader, one);
    }
    for one in &mut made {
        if !addresses.choose(reader, one) || !node_ports.choose(reader, one) {
            break;
        }
    }
    made
}

/// What all repetitions of a service have in common.
struct Parts {
    external_ips: Vec<Box<str>>,
    load_balancer: Vec<LoadBalancerIngress>,
    source_ranges: Vec<Box<str>>,
    ports: Vec<ServicePort>,
}

impl Parts {
    fn read(reader: &mut Reader<'_>, model: &ServiceModel) -> Self {
        let texts = |reader: &mut Reader<'_>, list: &[At<crate::load::Parsed<IpAddr>>], field| {
            let ips = list.iter().filter_map(|at| parsed(reader, at, field));
            ips.map(|ip| ip.to_string().into())
                .collect::<Vec<Box<str>>>()
        };
        let balancers = texts(reader, &model.load_balancer_ips, "load_balancer_ips");
        Self {
            external_ips: texts(reader, &model.external_ips, "external_ips"),
            load_balancer: balancers
                .into_iter()
                .map(|ip| LoadBalancerIngress {
                    ip,
                    ip_mode: model.ip_mode.into(),
                })
                .collect(),
            source_ranges: model
                .load_balancer_source_ranges
                .iter()
                .filter_map(|at| parsed(reader, at, "load_balancer_source_ranges"))
                .map(|prefix| prefix.to_string().into())
                .collect(),
            ports: model
                .ports
                .iter()
                .map(|port| service_port(reader, port))
                .collect(),
        }
    }
}

fn service_port(reader: &mut Reader<'_>, said: &ServicePortModel) -> ServicePort {
    let target = said.target_port.as_ref();
    let target = target.and_then(|at| reader.get(at, "target_port")?.0.clone());
    let port = reader.get(&said.port, "port").map_or(0, |port| port.0);
    ServicePort {
        name: said.name.clone(),
        protocol: said.protocol.into(),
        port,
        target_port: target.unwrap_or(TargetPort::Number(port)),
        node_port: 0,
    }
}

fn service(
    model: &ServiceModel,
    name: ObjectName,
    n: u32,
    parts: &Parts,
    network: &Network,
) -> Service {
    let mut ip_families: Vec<Family> = model.ip_families.iter().map(|&f| f.into()).collect();
    if ip_families.is_empty() && model.kind != ServiceTypeModel::ExternalName {
        ip_families.extend(network.service_cidrs.first().map(Prefix::family));
    }
    Service {
        meta: Meta {
            name,
            labels: labels(&model.labels, n),
            annotations: labels(&model.annotations, n),
            source: None,
        },
        kind: model.kind.into(),
        cluster_ips: Vec::new(),
        ip_families,
        ports: parts.ports.clone(),
        selector: labels(&model.selector, n),
        session_affinity: model.client_ip_affinity.map(|seconds| ClientIpAffinity {
            timeout: Duration::from_secs(u64::from(seconds)),
        }),
        internal_traffic_policy: model.internal_traffic_policy.into(),
        external_traffic_policy: model.external_traffic_policy.into(),
        external_ips: parts.external_ips.clone(),
        load_balancer: parts.load_balancer.clone(),
        load_balancer_source_ranges: parts.source_ranges.clone(),
        health_check_node_port: 0,
        publish_not_ready_addresses: model.publish_not_ready_addresses,
        external_name: model
            .external_name
            .as_ref()
            .map(|name| filled(name, n).into()),
    }
}

/// ClusterIPs of a range for each family.
struct Addresses {
    cidrs: Vec<Prefix>,
    taken: BTreeMap<IpAddr, ObjectName>,
    /// How far each range's dynamic part is used.
    next: Vec<u128>,
}

impl Addresses {
    fn new(cidrs: &[Prefix]) -> Self {
        Self {
            cidrs: cidrs.to_vec(),
            taken: BTreeMap::new(),
            next: cidrs.iter().map(|&cidr| dynamic_start(cidr)).collect(),
        }
    }

    /// Takes a fixed address, or the one that convention fixes.
    fn fix(&mut self, reader: &mut Reader<'_>, one: &mut Made<'_>) {
        if one.model.kind == ServiceTypeModel::ExternalName {
            return;
        }
        let name = one.service.meta.name.clone();
        if let Some(at) = &one.model.cluster_ip {
            let Some(text) = reader.get(at, "cluster_ip").cloned() else {
                return;
            };
            one.service.cluster_ips = vec![text.as_str().into()];
            if text == "None" {
                return;
            }
            if self.cidrs.is_empty() {
                // The ranges could not be read, which is told where they stand.
                return;
            }
            let ip = text.parse().ok();
            let inside = ip.filter(|&ip| self.cidrs.iter().any(|cidr| cidr.contains(ip)));
            let Some(ip) = inside else {
                let problem = Problem::WrongValue {
                    field: "cluster_ip".to_owned(),
                    found: format!("{text:?}"),
                    accepted: format!("an address of {}, or \"None\"", list(&self.cidrs)),
                };
                reader.fault(at, problem);
                return;
            };
            one.service.ip_families = vec![Family::of(ip)];
            if let Some(owner) = self.taken.get(&ip) {
                let owner = owner.clone();
                reader.fault(at, Problem::AddressTaken { ip, owner });
            } else {
                self.taken.insert(ip, name);
            }
            return;
        }
        let place = match (&*name.namespace, &*name.name) {
            ("default", "kubernetes") => 1,
            ("kube-system", "kube-dns") => 10,
            _ => return,
        };
        for cidr in &self.cidrs {
            let wanted = one.service.ip_families.contains(&cidr.family());
            let Some(ip) = cidr.nth(place).filter(|_| wanted) else {
                continue;
            };
            if let Entry::Vacant(free) = self.taken.entry(ip) {
                free.insert(name.clone());
                one.service.cluster_ips.push(ip.to_string().into());
            }
        }
    }

    /// Chooses an address of each family that is wanted; false when none is left.
    fn choose(&mut self, reader: &mut Reader<'_>, one: &mut Made<'_>) -> bool {
        if one.model.kind == ServiceTypeModel::ExternalName || !one.service.cluster_ips.is_empty() {
            return true;
        }
        for family in one.service.ip_families.clone() {
            let Some(index) = self.cidrs.iter().position(|cidr| cidr.family() == family) else {
                let problem = Problem::NoServiceRange { family };
                reader.fault(&one.model.name, problem);
                return false;
            };
            let cidr = self.cidrs[index];
            let free = (self.next[index]..)
                .map_while(|n| {
                    cidr.nth(n)
                        .filter(|&ip| is_host(cidr, ip))
                        .map(|ip| (n, ip))
                })
                .chain((1..dynamic_start(cidr)).filter_map(|n| Some((n, cidr.nth(n)?))))
                .find(|(_, ip)| !self.taken.contains_key(ip) && is_host(cidr, *ip));
            let Some((n, ip)) = free else {
                let problem = Problem::NoServiceAddress { range: cidr };
                reader.fault(&one.model.name, problem);
                return false;
            };
            self.next[index] = self.next[index].max(n);
            self.taken.insert(ip, one.service.meta.name.clone());
            one.service.cluster_ips.push(ip.to_string().into());
        }
        true
    }
}

/// Whether an address of a range is handed out: not its first, nor its last in IPv4.
fn is_host(cidr: Prefix, ip: IpAddr) -> bool {
    ip != cidr.address() && (ip != cidr.last() || cidr.family() == Family::Ipv6)
}

/// Where the API server begins to choose addresses by itself: after the range's 16th part, at least 16
/// and at most 256 addresses (KEP-3070). A range too small for that has no static part.
fn dynamic_start(cidr: Prefix) -> u128 {
    let size = 1_u128
        .checked_shl(u32::from(cidr.family().bits() - cidr.len()))
        .unwrap_or(u128::MAX);
    if size <= 16 {
        1
    } else {
        (size / 16).clamp(16, 256) + 1
    }
}

/// Node ports, which a TCP and a UDP port may share.
#[derive(Default)]
struct NodePorts {
    taken: BTreeMap<(u16, Protocol), ObjectName>,
    chosen: u16,
}

impl NodePorts {
    fn take(
        &mut self,
        reader: &mut Reader<'_>,
        at: &At<u16>,
        port: u16,
        of: (&ObjectName, Protocol),
    ) {
        if !NODE_PORTS.contains(&port) {
            let problem = Problem::WrongValue {
                field: "node_port".to_owned(),
                found: port.to_string(),
                accepted: "30000 to 32767".to_owned(),
            };
            reader.fault(at, problem);
        } else if let Some(owner) = self.taken.get(&(port, of.1)) {
            let owner = owner.clone();
            reader.fault(at, Problem::NodePortTaken { port, owner });
        } else {
            self.taken.insert((port, of.1), of.0.clone());
        }
    }

    fn fix(&mut self, reader: &mut Reader<'_>, one: &mut Made<'_>) {
        let name = one.service.meta.name.clone();
        for (port, said) in one.service.ports.iter_mut().zip(&one.model.ports) {
            let Some(at) = &said.node_port else { continue };
            if let Some(&wanted) = reader.get(at, "node_port") {
                self.take(reader, at, wanted, (&name, port.protocol));
                port.node_port = wanted;
            }
        }
        if let Some(at) = &one.model.health_check_node_port
            && let Some(&wanted) = reader.get(at, "health_check_node_port")
        {
            self.take(reader, at, wanted, (&name, Protocol::TCP));
            one.service.health_check_node_port = wanted;
        }
    }

    /// Chooses the ports that the type asks for; false when none is left.
    fn choose(&mut self, reader: &mut Reader<'_>, one: &mut Made<'_>) -> bool {
        let (wants_ports, balanced) = match one.model.kind {
            ServiceTypeModel::ClusterIp | ServiceTypeModel::ExternalName => return true,
            ServiceTypeModel::NodePort => (true, false),
            ServiceTypeModel::LoadBalancer => (one.model.allocate_node_ports, true),
        };
        let name = one.service.meta.name.clone();
        let local = one.service.external_traffic_policy == TrafficPolicy::Local;
        let check = &mut one.service.health_check_node_port;
        let check = (balanced && local).then_some((check, Protocol::TCP));
        let ports = one.service.ports.iter_mut().filter(|_| wants_ports);
        let ports = ports.map(|port| (&mut port.node_port, port.protocol));
        for (port, protocol) in ports.chain(check) {
            if *port != 0 {
                continue;
            }
            let Some(free) = self.free(protocol) else {
                reader.fault(&one.model.name, Problem::NoNodePort);
                return false;
            };
            self.taken.insert((free, protocol), name.clone());
            *port = free;
        }
        true
    }

    fn free(&mut self, protocol: Protocol) -> Option<u16> {
        let dynamic = FIRST_NODE_PORT.max(self.chosen)..=*NODE_PORTS.end();
        let found = dynamic
            .chain(*NODE_PORTS.start()..FIRST_NODE_PORT)
            .find(|&port| !self.taken.contains_key(&(port, protocol)))?;
        // One count for all protocols keeps numbers apart, which is easier to read.
        self.chosen = self
            .chosen
            .max(found.saturating_add(1).min(*NODE_PORTS.end()));
        Some(found)
    }
}
