//! Which service port a name, an address or a comment stands for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use podwire_controlplane::kube_proxy::{EndpointConditions, KnownPort, ServicePorts};
use podwire_packet::{Protocol, socket};
use podwire_ruleset::NatRange;

use super::listing::Subject;

/// The service ports of one family and all that they can be recognised by.
#[derive(Debug)]
pub(super) struct Known<'s> {
    ports: BTreeMap<Rc<str>, KnownPort<'s>>,
    chains: BTreeMap<Box<str>, Subject>,
    addresses: BTreeMap<(IpAddr, Protocol, u16), Rc<str>>,
    node_ports: BTreeMap<(u16, Protocol), Rc<str>>,
}

impl<'s> Known<'s> {
    pub(super) fn new(services: &'s ServicePorts<'_>, chains: ChainsOf) -> Self {
        let mut known = Self {
            ports: BTreeMap::new(),
            chains: BTreeMap::new(),
            addresses: BTreeMap::new(),
            node_ports: BTreeMap::new(),
        };
        for port in services.known_ports() {
            let name: Rc<str> = port.name().into();
            let protocol = port.protocol();
            for address in port.addresses() {
                let at = (address, protocol, port.port());
                known
                    .addresses
                    .entry(at)
                    .or_insert_with(|| Rc::clone(&name));
            }
            let health_check = (port.health_check_node_port(), Protocol::TCP);
            for at in [(port.node_port(), protocol), health_check] {
                if at.0 != 0 {
                    known
                        .node_ports
                        .entry(at)
                        .or_insert_with(|| Rc::clone(&name));
                }
            }
            let mut add = |(chain, endpoint): (Box<str>, Option<std::sync::Arc<str>>)| {
                let subject = match endpoint {
                    None => Subject::Port(Rc::clone(&name)),
                    Some(endpoint) => Subject::Endpoint(Rc::clone(&name), (&*endpoint).into()),
                };
                known.chains.insert(chain, subject);
            };
            match chains {
                ChainsOf::Iptables => port.iptables_chains().for_each(&mut add),
                ChainsOf::Nftables => port.nftables_chains().into_iter().for_each(&mut add),
                ChainsOf::NoMode => {}
            }
            known.ports.insert(name, port);
        }
        known
    }

    /// The service port of that name, if the objects have it.
    pub(super) fn port(&self, name: &str) -> Option<&KnownPort<'s>> {
        self.ports.get(name)
    }

    /// What a node thinks of an endpoint, if the objects have it.
    pub(super) fn conditions(
        &self,
        port: &str,
        endpoint: &str,
        node: &str,
    ) -> Option<EndpointConditions> {
        self.port(port)?.conditions(endpoint, node)
    }

    /// Whose chain has that name.
    pub(super) fn chain(&self, name: &str) -> Option<&Subject> {
        self.chains.get(name)
    }

    /// Who is at an address, or else at a port of nodes.
    pub(super) fn at(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<&Rc<str>> {
        let at = (address, protocol, port);
        let found = self.addresses.get(&at);
        found.or_else(|| self.node_port(protocol, port))
    }

    /// Who is at an address, on whatever port: the first of them.
    pub(super) fn address(&self, address: IpAddr) -> Option<&Rc<str>> {
        let mut found = self.addresses.range((address, Protocol(0), 0)..);
        let ((of, ..), port) = found.next()?;
        (*of == address).then_some(port)
    }

    /// A service port of each endpoint.
    pub(super) fn endpoints(&self) -> BTreeMap<Rc<str>, Rc<str>> {
        let mut endpoints = BTreeMap::new();
        for (name, port) in &self.ports {
            for endpoint in port.endpoints() {
                let text: Rc<str> = endpoint.into();
                endpoints.entry(text).or_insert_with(|| Rc::clone(name));
            }
        }
        endpoints
    }

    /// Who has a port on every node.
    pub(super) fn node_port(&self, protocol: Protocol, port: u16) -> Option<&Rc<str>> {
        self.node_ports.get(&(port, protocol))
    }
}

/// Whose names of chains are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChainsOf {
    /// Hashed ones.
    Iptables,
    /// Readable ones.
    Nftables,
    /// None, as in IPVS mode.
    NoMode,
}

/// What a comment of kube-proxy's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment<'c> {
    /// It is about a service port.
    Port(&'c str),
    /// It is about an endpoint of one.
    Endpoint(&'c str, &'c str),
    /// It stands at rules that every node has.
    Common,
}

/// Reads a comment of iptables or IPVS mode (`syncProxyRules` of pkg/proxy/iptables and pkg/proxy/ipvs).
pub(super) fn read_comment(comment: &str) -> Option<Comment<'_>> {
    const BEHIND: [&str; 7] = [
        " cluster IP",
        " external IP",
        " loadbalancer IP",
        " has no endpoints",
        " has no local endpoints",
        " health check node port",
        " external destinations",
    ];
    const BEFORE: [&str; 5] = [
        "masquerade traffic for ",
        "pod traffic for ",
        "masquerade LOCAL traffic for ",
        "route LOCAL traffic for ",
        "other traffic to ",
    ];
    const COMMON: [&str; 4] = [
        "kubernetes ",
        "Kubernetes ",
        "kube-proxy firewall rules",
        "block incoming localnet connections",
    ];
    if COMMON.iter().any(|begin| comment.starts_with(begin)) {
        return Some(Comment::Common);
    }
    if let Some((port, endpoint)) = comment.split_once(" -> ") {
        return is_port_name(port).then_some(Comment::Endpoint(port, endpoint));
    }
    let mut name = comment;
    if let Some(rest) = BEFORE.iter().find_map(|begin| name.strip_prefix(begin)) {
        name = rest;
    }
    if let Some(rest) = BEHIND.iter().find_map(|end| name.strip_suffix(end)) {
        name = rest.strip_suffix(" for").unwrap_or(rest);
    } else if let Some(at) = name
        .find(" will be dropped by KUBE-PROXY-FIREWALL")
        .or_else(|| name.find(" traffic not accepted by KUBE-FW-"))
    {
        name = &name[..at];
    }
    is_port_name(name).then_some(Comment::Port(name))
}

/// Whether it may be `namespace/name` or `namespace/name:port`.
fn is_port_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    text.split_once('/').is_some_and(|(namespace, name)| {
        let parts = [namespace, name];
        parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(letter))
    })
}

/// The endpoint that a translation leads to, if it is one.
pub(super) fn endpoint_of(to: &NatRange) -> Option<Rc<str>> {
    let (address, port) = (to.addresses.as_ref()?, to.ports.as_ref()?);
    let is_one = address.start() == address.end() && port.start() == port.end();
    is_one.then(|| socket(*address.start(), *port.start()).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_their_service_port() {
        for comment in [
            "prod/web:http cluster IP",
            "prod/web:http has no local endpoints",
            "masquerade traffic for prod/web:http external destinations",
            "pod traffic for prod/web:http external destinations",
            "other traffic to prod/web:http will be dropped by KUBE-PROXY-FIREWALL",
            "prod/web:http traffic not accepted by KUBE-FW-X7C65LXNDE353T74",
            "prod/web:http health check node port",
            "prod/web:http",
        ] {
            assert_eq!(
                read_comment(comment),
                Some(Comment::Port("prod/web:http")),
                "{comment}"
            );
        }
        assert_eq!(
            read_comment("prod/web -> [fd00::1]:80"),
            Some(Comment::Endpoint("prod/web", "[fd00::1]:80"))
        );
        assert_eq!(
            read_comment("kubernetes service portals"),
            Some(Comment::Common)
        );
        assert_eq!(read_comment("let the backup in/out"), None);
        assert_eq!(read_comment(""), None);
    }
}
