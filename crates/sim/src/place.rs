//! Places in the cluster, as a person names them.

use std::net::{IpAddr, SocketAddr};

use podwire_cluster::{Cluster, ObjectName, Service, ServiceType};
use podwire_packet::{Family, Protocol};

use crate::topology::NetnsId;
use crate::world::World;

/// Where a packet comes from or goes to: `pod/NS/NAME`, `node/NAME`, `svc/NS/NAME` or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A pod.
    Pod(ObjectName),
    /// A node.
    Node(String),
    /// A Service, by its ClusterIP.
    Service(ObjectName),
    /// An address.
    Address(IpAddr),
}

/// A place with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The place.
    pub place: Place,
    /// A number, or the name of a Service's or pod's port.
    pub port: Option<String>,
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Not of any form that is known.
    #[error(
        "`{text}` is no place: accepted are pod/NAMESPACE/NAME, node/NAME, svc/NAMESPACE/NAME[:PORT] and ADDRESS[:PORT] (an IPv6 address with a port in brackets)"
    )]
    Form {
        /// The text.
        text: String,
    },
    /// Nothing has that name.
    #[error("there is no {kind} `{name}`{}", suggestion(.similar))]
    Unknown {
        /// `pod`, `node` or `service`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Names that there are, nearest first.
        similar: Vec<String>,
    },
    /// It has no address of the family.
    #[error("{place} has no {family} address")]
    NoAddress {
        /// The place.
        place: String,
        /// The family.
        family: Family,
    },
    /// A packet needs a port to go to.
    #[error("`{place}` needs a port, as in `{place}:80`")]
    NoPort {
        /// The place.
        place: String,
    },
    /// No such port.
    #[error("{place} has no port `{port}`; it has {known}")]
    UnknownPort {
        /// The place.
        place: String,
        /// The port.
        port: String,
        /// The ports that it has.
        known: String,
    },
    /// An address that is no host's own, or that every host has.
    #[error("`{address}` is the address of no one host; name the pod, the node or the host")]
    NoOnesAddress {
        /// The address.
        address: IpAddr,
    },
    /// A pod that has ended.
    #[error("pod {name} has finished: it has no network any more")]
    Finished {
        /// The pod.
        name: ObjectName,
    },
    /// A pod on a node that nothing is known of.
    #[error("pod {name} is on {}, which is not in the input", node_name(.node.as_deref()))]
    NodeMissing {
        /// The pod.
        name: ObjectName,
        /// The node, if the pod names one.
        node: Option<String>,
    },
    /// Packets do not come from a Service.
    #[error(
        "no packet comes from a Service: `{place}`; accepted are pods, nodes and other addresses"
    )]
    FromService {
        /// The place.
        place: String,
    },
    /// A Service without an address.
    #[error("service {name} has no ClusterIP: {why}")]
    NoClusterIp {
        /// The Service.
        name: ObjectName,
        /// Why.
        why: &'static str,
    },
}

fn node_name(node: Option<&str>) -> String {
    node.map_or_else(|| "no node".to_owned(), |node| format!("node `{node}`"))
}

fn suggestion(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; there is {}", similar.join(", "))
    }
}

impl Place {
    /// Reads a place without a port. A pod or Service without a namespace is of `namespace`.
    ///
    /// # Errors
    /// [`PlaceError::Form`].
    pub fn parse(text: &str, namespace: &str) -> Result<Self, PlaceError> {
        let wrong = || PlaceError::Form {
            text: text.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["pod" | "po" | "pods", name] => Ok(Self::Pod(ObjectName::new(namespace, name))),
            ["pod" | "po" | "pods", namespace, name] => {
                Ok(Self::Pod(ObjectName::new(namespace, name)))
            }
            ["svc" | "service" | "services", name] => {
                Ok(Self::Service(ObjectName::new(namespace, name)))
            }
            ["svc" | "service" | "services", namespace, name] => {
                Ok(Self::Service(ObjectName::new(namespace, name)))
            }
            ["node" | "no" | "nodes", name] => Ok(Self::Node((*name).to_owned())),
            [address] => {
                let bare = address
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'))
                    .unwrap_or(address);
                bare.parse().map(Self::Address).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

impl Target {
    /// Reads a place with an optional port behind the last colon.
    ///
    /// # Errors
    /// [`PlaceError::Form`].
    pub fn parse(text: &str, namespace: &str) -> Result<Self, PlaceError> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self {
                place: Place::Address(socket.ip()),
                port: Some(socket.port().to_string()),
            });
        }
        if let Ok(place @ Place::Address(_)) = Place::parse(text, namespace) {
            return Ok(Self { place, port: None });
        }
        let (place, port) = match text.rsplit_once(':') {
            Some((place, port)) if !port.is_empty() => (place, Some(port.to_owned())),
            Some(_) | None => (text, None),
        };
        Ok(Self {
            place: Place::parse(place, namespace)?,
            port,
        })
    }
}

/// The names nearest to one, three at the most.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> =
        known.map(|other| (distance(name, other), other)).collect();
    // What shares less than half with the name was not meant.
    ranked.retain(|(distance, _)| *distance <= name.chars().count() / 2);
    ranked.sort_unstable();
    ranked.dedup();
    ranked
        .into_iter()
        .take(3)
        .map(|(_, other)| format!("`{other}`"))
        .collect()
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn known_names<'a>(name: &ObjectName, all: impl Iterator<Item = &'a ObjectName>) -> Vec<String> {
    let names: Vec<String> = all.map(ObjectName::to_string).collect();
    similar(&name.to_string(), names.iter().map(String::as_str))
}

fn find_service<'c>(cluster: &'c Cluster, name: &ObjectName) -> Result<&'c Service, PlaceError> {
    cluster
        .services
        .get(name)
        .ok_or_else(|| PlaceError::Unknown {
            kind: "service",
            name: name.to_string(),
            similar: known_names(name, cluster.services.keys()),
        })
}

impl World<'_> {
    /// The namespace of a sender, and its address of the family if it is fixed.
    pub(crate) fn sender(
        &self,
        place: &Place,
        family: Family,
    ) -> Result<(NetnsId, Option<IpAddr>), PlaceError> {
        match place {
            Place::Pod(name) => {
                let address = self.pod_address(name, family)?;
                let at = self.owner(address).filter(|_| !self.is_host_pod(name));
                // A pod of the host network sends from the node's own namespace.
                let of_node = || {
                    let node = self.cluster.pods.get(name)?.node.as_ref()?;
                    Some(NetnsId::Node(self.node_index(node)?))
                };
                let fixed = at
                    .map(|at| (at, Some(address)))
                    .or_else(|| Some((of_node()?, None)));
                fixed.ok_or_else(|| PlaceError::NodeMissing {
                    name: name.clone(),
                    node: self
                        .cluster
                        .pods
                        .get(name)
                        .and_then(|pod| pod.node.as_deref().map(str::to_owned)),
                })
            }
            Place::Node(name) => Ok((NetnsId::Node(self.find_node(name)?), None)),
            Place::Address(address) => match self.owner(*address) {
                Some(at) => Ok((at, Some(*address))),
                None if self.is_service_address(*address) => Err(PlaceError::FromService {
                    place: address.to_string(),
                }),
                None => Err(PlaceError::NoOnesAddress { address: *address }),
            },
            Place::Service(name) => Err(PlaceError::FromService {
                place: format!("svc/{name}"),
            }),
        }
    }

    fn is_host_pod(&self, name: &ObjectName) -> bool {
        self.cluster
            .pods
            .get(name)
            .is_some_and(|pod| pod.host_network)
    }

    /// A node's place in the cluster.
    pub(crate) fn find_node(&self, name: &str) -> Result<usize, PlaceError> {
        self.node_index(name).ok_or_else(|| PlaceError::Unknown {
            kind: "node",
            name: name.to_owned(),
            similar: similar(name, self.cluster.nodes.keys().map(|name| &**name)),
        })
    }

    fn pod_address(&self, name: &ObjectName, family: Family) -> Result<IpAddr, PlaceError> {
        if self.cluster.pods.get(name).is_some_and(|pod| pod.finished) {
            return Err(PlaceError::Finished { name: name.clone() });
        }
        let of_object = self.cluster.pods.get(name).map(|pod| &pod.ips);
        let of_endpoint = || {
            self.pods
                .iter()
                .find(|pod| pod.name.as_ref() == Some(name))
                .map(|pod| &pod.addresses)
        };
        let addresses = of_object
            .or_else(of_endpoint)
            .ok_or_else(|| PlaceError::Unknown {
                kind: "pod",
                name: name.to_string(),
                similar: known_names(
                    name,
                    self.cluster
                        .pods
                        .keys()
                        .chain(self.pods.iter().filter_map(|pod| pod.name.as_ref())),
                ),
            })?;
        addresses
            .iter()
            .copied()
            .find(|&ip| Family::of(ip) == family)
            .ok_or_else(|| PlaceError::NoAddress {
                place: format!("pod {name}"),
                family,
            })
    }

    /// The address, protocol and port that a target means.
    pub(crate) fn receiver(
        &self,
        target: &Target,
        family: Option<Family>,
        protocol: Option<Protocol>,
    ) -> Result<(IpAddr, Protocol, u16), PlaceError> {
        let or_first = |find: &dyn Fn(Family) -> Result<IpAddr, PlaceError>| match family {
            Some(family) => find(family),
            None => find(Family::Ipv4).or_else(|error| find(Family::Ipv6).map_err(|_| error)),
        };
        let place = || match &target.place {
            Place::Pod(name) => format!("pod/{name}"),
            Place::Node(name) => format!("node/{name}"),
            Place::Service(name) => format!("svc/{name}"),
            Place::Address(ip) => ip.to_string(),
        };
        if let Place::Service(name) = &target.place {
            let service = find_service(self.cluster, name)?;
            let port = match protocol {
                // An echo to a ClusterIP has no port, and so is of none of the Service's.
                Some(protocol) if !protocol.has_ports() => (protocol, 0),
                Some(_) | None => service_port(service, target.port.as_deref(), protocol)?,
            };
            let address = or_first(&|family| cluster_ip(service, family))?;
            return Ok((address, port.0, port.1));
        }
        let address = match &target.place {
            Place::Pod(name) => or_first(&|family| self.pod_address(name, family))?,
            Place::Node(name) => {
                let node = &self.network.nodes()[self.find_node(name)?];
                or_first(&|family| {
                    node.internal_ip(family)
                        .ok_or_else(|| PlaceError::NoAddress {
                            place: format!("node {name}"),
                            family,
                        })
                })?
            }
            Place::Address(address) => *address,
            Place::Service(_) => unreachable!("answered above"),
        };
        let protocol = protocol.unwrap_or(Protocol::TCP);
        if !protocol.has_ports() {
            return Ok((address, protocol, 0));
        }
        let of_pod = match &target.place {
            Place::Pod(name) => self
                .cluster
                .pods
                .get(name)
                .map_or(&[][..], |pod| &pod.ports),
            Place::Node(_) | Place::Address(_) | Place::Service(_) => &[],
        };
        let port = match target.port.as_deref() {
            None => of_pod
                .iter()
                .find(|port| port.protocol == protocol)
                .map(|port| port.port),
            Some(text) => text.parse().ok().or_else(|| {
                let named = of_pod
                    .iter()
                    .find(|port| port.name.as_deref() == Some(text));
                named.map(|port| port.port)
            }),
        };
        match (port, &target.port) {
            (Some(port), _) => Ok((address, protocol, port)),
            (None, None) => Err(PlaceError::NoPort { place: place() }),
            (None, Some(port)) => Err(PlaceError::UnknownPort {
                place: place(),
                port: port.clone(),
                known: "numbers from 0 to 65535".to_owned(),
            }),
        }
    }
}

fn cluster_ip(service: &Service, family: Family) -> Result<IpAddr, PlaceError> {
    let no_ip = |why| PlaceError::NoClusterIp {
        name: service.meta.name.clone(),
        why,
    };
    if service.kind == ServiceType::ExternalName {
        return Err(no_ip("it is of type ExternalName"));
    }
    if service.cluster_ips.iter().any(|ip| &**ip == "None") {
        return Err(no_ip("it is headless"));
    }
    let addresses = service.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
    addresses
        .into_iter()
        .find(|&ip| Family::of(ip) == family)
        .ok_or_else(|| {
            no_ip(match family {
                Family::Ipv4 => "none of IPv4",
                Family::Ipv6 => "none of IPv6",
            })
        })
}

/// A Service's port by number or name; its first one if none is named.
fn service_port(
    service: &Service,
    port: Option<&str>,
    protocol: Option<Protocol>,
) -> Result<(Protocol, u16), PlaceError> {
    let of_protocol = || {
        service
            .ports
            .iter()
            .filter(|p| protocol.is_none_or(|protocol| p.protocol == protocol))
    };
    let unknown = |port: &str| {
        let known: Vec<String> = service
            .ports
            .iter()
            .map(|p| match &*p.name {
                "" => format!("{}/{}", p.port, p.protocol),
                name => format!("{name} ({}/{})", p.port, p.protocol),
            })
            .collect();
        PlaceError::UnknownPort {
            place: format!("service {}", service.meta.name),
            port: port.to_owned(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        }
    };
    match port {
        None => of_protocol()
            .next()
            .map(|p| (p.protocol, p.port))
            .ok_or_else(|| unknown("of that protocol")),
        Some(text) => match text.parse::<u16>() {
            // A number that the Service does not have can still be sent to.
            Ok(number) => {
                let known = of_protocol().find(|p| p.port == number);
                let default = protocol.unwrap_or(Protocol::TCP);
                Ok((known.map_or(default, |p| p.protocol), number))
            }
            Err(_) => {
                let named = of_protocol().find(|p| &*p.name == text);
                named
                    .map(|p| (p.protocol, p.port))
                    .ok_or_else(|| unknown(text))
            }
        },
    }
}
