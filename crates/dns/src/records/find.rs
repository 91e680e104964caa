//! The services, endpoints and pods that a name means.
//!
//! # Sources
//! `findServices`, `findPods`, `endpointHostname` and `matchPortAndProtocol`,
//! plugin/kubernetes/kubernetes.go.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use podwire_packet::Protocol;

use super::query::{Part, Query};
use super::{Address, Kind, Port, Records, Service};
use crate::corefile::PodMode;

/// One thing that a name stands for.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'r> {
    /// The address or name.
    pub target: Target<'r>,
    /// Whose it is; `None` for a pod.
    pub owner: Option<HitOwner<'r>>,
    /// The port, for SRV records; `None` if there is none to name.
    pub port: Option<u16>,
}

/// Whose address it is.
#[derive(Clone, Copy, Debug)]
pub enum HitOwner<'r> {
    /// The service's own.
    Service(&'r Service),
    /// An endpoint's.
    Endpoint(Endpoint<'r>),
}

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'r> {
    /// An address.
    Ip(IpAddr),
    /// Another name.
    Name(&'r Name),
}

/// An endpoint of a service.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'r> {
    /// The service.
    pub service: &'r Service,
    pub(super) address: &'r Address,
}

impl<'r> Endpoint<'r> {
    /// Its label below the service's name: its hostname, else its pod's name where the
    /// configuration says so, else its address with dashes.
    #[must_use]
    pub fn label(self) -> Cow<'r, str> {
        let address = self.address;
        let named = address.hostname.as_deref().or(address.pod.as_deref());
        named.map_or_else(|| dashed(address.ip).into(), Cow::Borrowed)
    }

    /// Its address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.address.ip
    }
}

/// An address as a label: `10-244-1-40`, `fd00-10--40`.
#[must_use]
pub fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// The name does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchName;

/// How names are matched.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which names of pods exist.
    pub pods: PodMode,
    /// Whether a service without ready endpoints does not exist.
    pub ignore_empty: bool,
    /// Whether `*` and `any` stand for any namespace, service, port, protocol or endpoint, as
    /// before CoreDNS 1.9.0.
    pub wildcards: bool,
    /// Whether all cluster IPs of a service count, or the first only, as before CoreDNS 1.8.0.
    pub dual_stack: bool,
    /// Whether an ExternalName has the names of any port too.
    pub external_ports: bool,
}

impl Records {
    /// Tells `visit` everything that a name stands for.
    ///
    /// # Errors
    /// [`NoSuchName`] if it does not exist. A name that exists may stand for nothing.
    ///
    /// # Cost
    /// One probe, and a step for each port of the service and endpoint asked for. No allocation
    /// but for wildcards.
    pub fn find<'r>(
        &'r self,
        query: Query<'_>,
        rules: Rules,
        visit: &mut impl FnMut(Hit<'r>),
    ) -> Result<(), NoSuchName> {
        match query {
            Query::Apex => Ok(()),
            Query::Namespace { namespace, pod } => {
                let exists = self.exposes(namespace) || (rules.wildcards && wild(namespace));
                let exists = exists && !(pod && rules.pods == PodMode::Disabled);
                exists.then_some(()).ok_or(NoSuchName)
            }
            Query::Pod { namespace, address } => self.find_pod(namespace, address, rules, visit),
            Query::Service {
                namespace,
                service,
                part,
            } => {
                let any = rules.wildcards && (wild(namespace) || wild(service));
                if !any {
                    let found = self.service(namespace, service);
                    let found = found
                        .filter(|_| self.exposes(namespace))
                        .ok_or(NoSuchName)?;
                    return found.visit(part, rules, visit);
                }
                // Any service of a namespace that exists is a name, if there is none.
                let exists = !wild(namespace) && wild(service) && self.exposes(namespace);
                let mut result = if exists { Ok(()) } else { Err(NoSuchName) };
                for found in &self.services {
                    let name = &found.name;
                    let fits = (wild(namespace) || namespace == &*name.namespace)
                        && (wild(service) || service == &*name.name)
                        && self.exposes(&name.namespace);
                    if fits && found.visit(part, rules, visit).is_ok() {
                        result = Ok(());
                    }
                }
                result
            }
        }
    }

    fn find_pod<'r>(
        &'r self,
        namespace: &str,
        address: &str,
        rules: Rules,
        visit: &mut impl FnMut(Hit<'r>),
    ) -> Result<(), NoSuchName> {
        let any = rules.wildcards && wild(namespace);
        if rules.pods == PodMode::Disabled || !(any || self.exposes(namespace)) {
            return Err(NoSuchName);
        }
        let ip = undashed(address).ok_or(NoSuchName)?;
        if rules.pods == PodMode::Verified {
            let namespaces = self.pods.get(&ip).ok_or(NoSuchName)?;
            let known = namespaces.iter().any(|of| any || &**of == namespace);
            known.then_some(()).ok_or(NoSuchName)?;
        }
        visit(Hit {
            target: Target::Ip(ip),
            owner: None,
            port: None,
        });
        Ok(())
    }
}

impl Service {
    fn visit<'r>(
        &'r self,
        part: Part<'_>,
        rules: Rules,
        visit: &mut impl FnMut(Hit<'r>),
    ) -> Result<(), NoSuchName> {
        let is_empty = || {
            self.endpoints
                .iter()
                .all(|group| group.addresses.is_empty())
        };
        match (&self.kind, part) {
            (Kind::External(_), Part::Port { .. }) if !rules.external_ports => Err(NoSuchName),
            (Kind::External(name), Part::Whole | Part::Port { .. }) => {
                visit(Hit {
                    target: Target::Name(name),
                    owner: Some(HitOwner::Service(self)),
                    port: None,
                });
                Ok(())
            }
            (Kind::External(_), Part::Endpoint(_)) | (Kind::Nothing, _) => Err(NoSuchName),
            (Kind::ClusterIp, _) if rules.ignore_empty && is_empty() => Err(NoSuchName),
            (Kind::ClusterIp, Part::Whole | Part::Port { .. }) => {
                self.visit_cluster_ips(part, rules, visit)
            }
            (Kind::Headless, _) | (Kind::ClusterIp, Part::Endpoint(_)) => {
                self.visit_endpoints(part, rules, visit)
            }
        }
    }

    fn visit_cluster_ips<'r>(
        &'r self,
        part: Part<'_>,
        rules: Rules,
        visit: &mut impl FnMut(Hit<'r>),
    ) -> Result<(), NoSuchName> {
        let mut result = Err(NoSuchName);
        let count = if rules.dual_stack { usize::MAX } else { 1 };
        for port in self.ports.iter().filter(|port| port.fits(part, rules)) {
            result = Ok(());
            for &ip in self.cluster_ips.iter().take(count) {
                visit(Hit {
                    target: Target::Ip(ip),
                    owner: Some(HitOwner::Service(self)),
                    port: port.number,
                });
            }
        }
        result
    }

    fn visit_endpoints<'r>(
        &'r self,
        part: Part<'_>,
        rules: Rules,
        visit: &mut impl FnMut(Hit<'r>),
    ) -> Result<(), NoSuchName> {
        let mut result = Err(NoSuchName);
        for group in &self.endpoints {
            for address in &group.addresses {
                let endpoint = Endpoint {
                    service: self,
                    address,
                };
                if let Part::Endpoint(asked) = part {
                    let any = rules.wildcards && wild(asked);
                    if !any && !endpoint.label().eq_ignore_ascii_case(asked) {
                        continue;
                    }
                }
                for port in group.ports.iter().filter(|port| port.fits(part, rules)) {
                    result = Ok(());
                    visit(Hit {
                        target: Target::Ip(address.ip),
                        owner: Some(HitOwner::Endpoint(endpoint)),
                        port: port.number,
                    });
                }
            }
        }
        result
    }

    /// The endpoints that are ready.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        let addresses = self.endpoints.iter().flat_map(|group| &group.addresses);
        addresses.map(|address| Endpoint {
            service: self,
            address,
        })
    }

    /// Whether its name stands for its endpoints.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.kind == Kind::Headless
    }
}

impl Port {
    fn fits(&self, part: Part<'_>, rules: Rules) -> bool {
        let Part::Port { port, protocol } = part else {
            return true;
        };
        let wild = |text: &str| text.is_empty() || (rules.wildcards && wild(text));
        let own = self.protocol.map_or("", name_of);
        (wild(port) || self.name.eq_ignore_ascii_case(port))
            && (wild(protocol) || own.eq_ignore_ascii_case(protocol))
    }
}

fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "tcp",
        Protocol::UDP => "udp",
        Protocol::SCTP => "sctp",
        _ => "",
    }
}

fn wild(text: &str) -> bool {
    text == "*" || text == "any"
}

/// The address that a label means: `10-244-1-40` with three dashes is IPv4, else IPv6.
fn undashed(label: &str) -> Option<IpAddr> {
    let dashes = label.bytes().filter(|&byte| byte == b'-').count();
    if dashes == 3 && !label.contains("--") {
        let ip: Ipv4Addr = label.replace('-', ".").parse().ok()?;
        return Some(ip.into());
    }
    let ip: Ipv6Addr = label.replace('-', ":").parse().ok()?;
    Some(ip.into())
}
