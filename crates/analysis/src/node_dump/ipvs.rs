//! Virtual servers and ipsets of IPVS mode as listings.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use podwire_packet::{Family, Prefix, Protocol, socket};
use podwire_ruleset::ipvs::{self, VirtualAddress, VirtualServer, VirtualServers};
use podwire_ruleset::{IpSet, SetEntry, Sets, ipset};

use super::NodeDump;
use super::files::Read;
use super::known::Known;
use super::lines::Lines;
use super::listing::{Block, Entry, Kind, Listing, Order, Subject};

/// The virtual servers that the objects call for, and the dump's of that family. Those in
/// `ipvs.excludeCIDRs` are not kube-proxy's.
pub(super) fn servers(
    dump: &NodeDump,
    read: &Read<VirtualServers>,
    expected: &VirtualServers,
    known: &Known<'_>,
    (family, excluded): (Family, &[String]),
) -> (Listing, Listing) {
    let excluded: Vec<Prefix> = excluded
        .iter()
        .filter_map(|cidr| cidr.parse().ok())
        .collect();
    let is_ours = |address: &VirtualAddress| {
        Family::of(address.address) == family
            && (expected.contains_key(address)
                || !excluded.iter().any(|cidr| cidr.contains(address.address)))
    };
    let lines = Lines::of_commands(dump.text(read.file));
    let own = read.value.iter().filter(|(address, _)| is_ours(address));
    (
        servers_listing(expected.iter(), known, &Lines::default(), None),
        servers_listing(own, known, &lines, Some(read.file)),
    )
}

fn servers_listing<'v>(
    servers: impl Iterator<Item = (&'v VirtualAddress, &'v VirtualServer)>,
    known: &Known<'_>,
    lines: &Lines,
    file: Option<usize>,
) -> Listing {
    let blocks = servers.map(|(address, server)| {
        let label = format!("virtual server {address}");
        let block_lines = lines.block(&label);
        let port = port_at(address, known);
        let text = ipvs::print(&VirtualServers::from([(*address, server.clone())]));
        let count = server.real_servers.len() + 1;
        let entries = text.lines().enumerate().map(|(index, line)| {
            let real = index
                .checked_sub(1)
                .and_then(|at| server.real_servers.get(at));
            let of = real.map_or_else(
                || Subject::Port(Rc::clone(&port)),
                |real| {
                    let text = socket(real.address, real.port).to_string();
                    Subject::Endpoint(Rc::clone(&port), text.into())
                },
            );
            Entry {
                line: block_lines.entry(index, count),
                chooses: real.is_some_and(|real| real.weight > 0),
                is_draining: real.is_some_and(|real| real.weight == 0),
                ..Entry::new(line, of)
            }
        });
        let block = Block {
            kind: Kind::KubeProxy,
            order: Order::Free,
            line: block_lines.declared,
            entries: entries.collect(),
            of: Subject::Port(Rc::clone(&port)),
        };
        (label.into(), block)
    });
    Listing {
        file,
        blocks_are: "virtual servers",
        blocks: blocks.collect(),
    }
}

/// The service port of a virtual server; one that nobody has is called by its address.
fn port_at(address: &VirtualAddress, known: &Known<'_>) -> Rc<str> {
    let found = known.at(address.address, address.protocol, address.port);
    found.cloned().unwrap_or_else(|| {
        let at = socket(address.address, address.port);
        format!("{} {at}", address.protocol).into()
    })
}

/// The sets that the objects call for, and kube-proxy's of the dump.
pub(super) fn sets(
    dump: &NodeDump,
    read: &Read<Sets>,
    expected: &Sets,
    known: &Known<'_>,
    family: Family,
) -> (Listing, Listing) {
    let mut endpoints = known.endpoints();
    for (address, server) in dump
        .virtual_servers()
        .into_iter()
        .flat_map(|own| &own.value)
    {
        for real in &server.real_servers {
            let text = socket(real.address, real.port).to_string();
            endpoints
                .entry(text.into())
                .or_insert_with(|| port_at(address, known));
        }
    }
    let lines = Lines::of_commands(dump.text(read.file));
    let own = read
        .value
        .iter()
        .filter(|(name, _)| is_set_of(name, family));
    let endpoints = Ports { known, endpoints };
    (
        sets_listing(expected.iter(), &endpoints, &Lines::default(), None),
        sets_listing(own, &endpoints, &lines, Some(read.file)),
    )
}

/// Whether a dump has sets of kube-proxy's for a family.
pub(super) fn has_sets(dump: &NodeDump, family: Family) -> bool {
    let sets = dump.sets().into_iter().flat_map(|read| read.value.keys());
    sets.into_iter().any(|name| is_set_of(name, family))
}

/// Whether a set of that name is kube-proxy's, for a family.
fn is_set_of(name: &str, family: Family) -> bool {
    let is_ipv6 = name.starts_with("KUBE-6-");
    name.starts_with("KUBE-") && is_ipv6 == (family == Family::Ipv6)
}

fn sets_listing<'v>(
    sets: impl Iterator<Item = (&'v Box<str>, &'v IpSet)>,
    ports: &Ports<'_>,
    lines: &Lines,
    file: Option<usize>,
) -> Listing {
    let blocks = sets.map(|(name, set)| {
        let label = format!("set {name}");
        let block_lines = lines.block(&label);
        let text = ipset::print(&Sets::from([(name.clone(), set.clone())]));
        let count = set.entries.len();
        let kind = Entry::new(format!("{} {}", set.kind, set.family), Subject::Common);
        let added = text.lines().filter(|line| line.starts_with("add "));
        let added = added.zip(&set.entries).enumerate();
        let entries = added.map(|(index, (line, (values, _)))| Entry {
            line: block_lines.entry(index, count),
            ..Entry::new(line, ports.of_entry(values))
        });
        let block = Block {
            entries: std::iter::once(kind).chain(entries).collect(),
            kind: Kind::KubeProxy,
            order: Order::Free,
            line: block_lines.declared,
            of: Subject::Common,
        };
        (label.into(), block)
    });
    Listing {
        file,
        blocks_are: "sets",
        blocks: blocks.collect(),
    }
}

/// Whom an element of a set is about.
struct Ports<'k> {
    known: &'k Known<'k>,
    /// A service port of each endpoint.
    endpoints: BTreeMap<Rc<str>, Rc<str>>,
}

impl Ports<'_> {
    fn of_entry(&self, values: &[SetEntry]) -> Subject {
        const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
        let (mut address, mut port) = (None::<IpAddr>, None);
        for value in values {
            if let SetEntry::Net(prefix) = value {
                address = address.or(Some(prefix.address()));
            } else if let SetEntry::Ports(protocol, range) = value {
                port = Some((*protocol, *range.start()));
            }
        }
        let found = match (address, port) {
            (Some(address), Some((protocol, port))) => {
                let endpoint = socket(address, port).to_string();
                if let Some((endpoint, port)) = self.endpoints.get_key_value(&*endpoint) {
                    return Subject::Endpoint(Rc::clone(port), Rc::clone(endpoint));
                }
                let protocol = protocol.unwrap_or(Protocol::TCP);
                self.known.at(address, protocol, port)
            }
            (Some(address), None) => self.known.address(address),
            (None, Some((_, port))) => {
                let mut protocols = PROTOCOLS.into_iter();
                protocols.find_map(|protocol| self.known.node_port(protocol, port))
            }
            (None, None) => None,
        };
        found.map_or(Subject::Common, |port| Subject::Port(Rc::clone(port)))
    }
}
