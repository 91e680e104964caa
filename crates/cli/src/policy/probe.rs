//! A question, and the traffic that it is about.

use std::net::IpAddr;

use podwire_cluster::{Cluster, ObjectName};
use podwire_controlplane::network_policy::{Party, Policies, Traffic};
use podwire_packet::{Family, Protocol};
use podwire_sim::{Place, Target};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::service;
use crate::args::{ProbeArgs, parse_policy_protocol};
use crate::failure::Failure;

/// A question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    /// Given back with the answer.
    #[serde(default)]
    pub(super) id: Value,
    pub(super) from: String,
    #[serde(default)]
    pub(super) from_ip: Option<IpAddr>,
    pub(super) to: String,
    #[serde(default)]
    pub(super) to_ip: Option<IpAddr>,
    #[serde(deserialize_with = "port")]
    pub(super) port: String,
    #[serde(default = "tcp", deserialize_with = "protocol")]
    pub(super) protocol: Protocol,
}

const fn tcp() -> Protocol {
    Protocol::TCP
}

fn protocol<'de, D: Deserializer<'de>>(d: D) -> Result<Protocol, D::Error> {
    let text = String::deserialize(d)?;
    parse_policy_protocol(&text).map_err(serde::de::Error::custom)
}

/// A number or a name.
fn port<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    match Value::deserialize(d)? {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(name) => Ok(name),
        other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            let why = format!("`port` is {other}; accepted is a number or a name");
            Err(serde::de::Error::custom(why))
        }
    }
}

impl Probe {
    /// The question of `--from` and `--to`.
    pub(super) fn of_arguments(args: &ProbeArgs) -> Result<Self, Failure> {
        let (Some(from), Some(to)) = (&args.from, &args.to) else {
            unreachable!("clap asks for both or for --probes")
        };
        let target = Target::parse(to, &args.cluster.namespace);
        let target = target.map_err(|error| Failure::input(format_args!("--to: {error}")))?;
        let port = target.port.ok_or_else(|| {
            Failure::input(format_args!(
                "--to: `{to}` needs a port, as in `{to}:80`: policies let single ports through"
            ))
        })?;
        let place = match target.place {
            Place::Address(address) => address.to_string(),
            Place::Pod(_) | Place::Node(_) | Place::Service(_) => to
                .rsplit_once(':')
                .map_or(&**to, |(place, _)| place)
                .to_owned(),
        };
        Ok(Self {
            id: Value::Null,
            from: from.clone(),
            from_ip: None,
            to: place,
            to_ip: None,
            port,
            protocol: args.proto,
        })
    }
}

/// Names to parties.
pub(super) struct Resolver<'a, 'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) policies: &'a Policies<'c>,
    pub(super) namespace: &'a str,
}

impl<'c> Resolver<'_, 'c> {
    /// What a question is about: itself, or one for each endpoint of a Service; or why it is about nothing.
    pub(super) fn all(&self, probe: &Probe) -> Result<Vec<(Probe, Traffic<'c>)>, String> {
        let name = match Place::parse(&probe.to, self.namespace) {
            Ok(Place::Service(name)) => Some(name),
            Ok(Place::Address(ip)) if probe.to_ip.is_none_or(|said| said == ip) => {
                service::at(self.cluster, ip, probe)
            }
            _ => None,
        };
        let Some(name) = name else {
            return Ok(vec![(probe.clone(), self.traffic(probe)?)]);
        };
        let probes = service::behind(self.cluster, &name, probe)?;
        let traffics = probes.into_iter().map(|probe| {
            let traffic = self.traffic(&probe)?;
            Ok((probe, traffic))
        });
        // A sender of one family has nothing to do with endpoints of the other.
        let (good, faults): (Vec<_>, Vec<Result<_, String>>) = traffics.partition(Result::is_ok);
        let good: Result<Vec<_>, String> = good.into_iter().collect();
        match (good?, faults.into_iter().next()) {
            (good, Some(Err(fault))) if good.is_empty() => Err(fault),
            (good, _) => Ok(good),
        }
    }

    fn traffic(&self, probe: &Probe) -> Result<Traffic<'c>, String> {
        let from = self.addresses(&probe.from, probe.from_ip)?;
        let to = self.addresses(&probe.to, probe.to_ip)?;
        let family = from
            .ips
            .iter()
            .map(|&ip| Family::of(ip))
            .find(|&family| to.ips.iter().any(|&ip| Family::of(ip) == family));
        let family = family.ok_or_else(|| {
            format!(
                "`{}` and `{}` have no addresses of one family",
                probe.from, probe.to
            )
        })?;
        let to = self.party(&to, family);
        Ok(Traffic {
            from: self.party(&from, family),
            to,
            protocol: probe.protocol,
            port: self.port(probe, to)?,
        })
    }

    fn addresses(&self, text: &str, said: Option<IpAddr>) -> Result<Named, String> {
        let place = Place::parse(text, self.namespace).map_err(|error| error.to_string())?;
        let (pod, ips) = match place {
            Place::Address(ip) => (None, vec![ip]),
            Place::Pod(name) => {
                let pod = self.cluster.pods.get(&name);
                let pod = pod.ok_or_else(|| format!("there is no pod `{name}`"))?;
                if pod.finished || pod.ips.is_empty() {
                    let why = if pod.finished {
                        "has finished"
                    } else {
                        "has no address"
                    };
                    return Err(format!(
                        "pod `{name}` {why}: nothing comes to it or from it"
                    ));
                }
                (Some(name), pod.ips.clone())
            }
            Place::Node(name) => {
                let node = self.cluster.nodes.get(&*name);
                let node = node.ok_or_else(|| format!("there is no node `{name}`"))?;
                let families = [Family::Ipv4, Family::Ipv6].into_iter();
                let ips: Vec<_> = families
                    .flat_map(|family| node.internal_ips(family))
                    .collect();
                if ips.is_empty() {
                    return Err(format!("node `{name}` has no InternalIP"));
                }
                (None, ips)
            }
            Place::Service(name) => {
                return Err(format!("no packet comes from a Service: `svc/{name}`"));
            }
        };
        match said {
            None => Ok(Named { pod, ips }),
            Some(ip) if ips.contains(&ip) => Ok(Named { pod, ips: vec![ip] }),
            Some(ip) => Err(format!("`{text}` has no address {ip}")),
        }
    }

    fn party(&self, named: &Named, family: Family) -> Party<'c> {
        let mut ips = named.ips.iter().copied();
        let ip = ips.find(|&ip| Family::of(ip) == family);
        let ip = ip.unwrap_or_else(|| family.unspecified());
        let of_pod = named
            .pod
            .as_ref()
            .and_then(|name| self.policies.pod(name, ip));
        of_pod.unwrap_or_else(|| self.policies.address(ip))
    }

    /// The number of the port; a name is looked up in the receiving pod.
    fn port(&self, probe: &Probe, to: Party<'_>) -> Result<u16, String> {
        if let Ok(number) = probe.port.parse() {
            return Ok(number);
        }
        let ports = self.policies.object(to).map(|pod| &*pod.ports);
        let mut named = ports.into_iter().flatten().filter(|port| {
            port.name.as_deref() == Some(&*probe.port) && port.protocol == probe.protocol
        });
        let port = named.next().ok_or_else(|| {
            format!(
                "`{}` has no {} port `{}`; accepted are a number from 0 to 65535 and the names of its containers' ports",
                probe.to, probe.protocol, probe.port
            )
        })?;
        Ok(port.port)
    }
}

/// A place with the addresses that it may be met by.
struct Named {
    pod: Option<ObjectName>,
    ips: Vec<IpAddr>,
}
