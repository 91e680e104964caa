//! The rules of many Services as text of `iptables-save`, made as it is read.
//!
//! A million Services have some eleven million rules: neither the objects nor the rules fit into memory
//! in their long form. The lines here are those that kube-proxy's rules for
//! [`synthetic::services`] print to, byte for byte; a test holds both together.

use std::io::{self, BufRead, Read, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use data_encoding::BASE32;
use podwire_cluster::synthetic;
use podwire_controlplane::kube_proxy::{IptablesProxier, KubeProxyVersion, ServicePorts};
use podwire_packet::Family;
use sha2::{Digest as _, Sha256};

use crate::bench::pairs::thread_time;
use crate::failure::Failure;

/// Endpoints of every Service.
pub(crate) const ENDPOINTS: u32 = 3;

/// Port of every endpoint.
pub(crate) const ENDPOINT_PORT: u16 = 8080;

/// Rules that a Service adds: the one that finds it, one for each endpoint to choose it, and two of
/// the endpoint.
const RULES_A_SERVICE: u64 = 1 + 3 * ENDPOINTS as u64;

/// Bytes that are made at once.
const BLOCK: usize = 1 << 18;

/// Address of the endpoint with that number, as `synthetic` gives them out: those of Service n are
/// numbered from n times [`ENDPOINTS`] on.
pub(crate) fn endpoint(number: u32) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 128, 1, 0));
    (first + number).into()
}

/// Names of chains behind their prefix, by number.
struct Names {
    names: Vec<[u8; 16]>,
    /// Numbers in the order of their names.
    sorted: Vec<u32>,
}

impl Names {
    /// kube-proxy's: the first ten bytes of SHA-256 in base32.
    fn of(hashed: impl Iterator<Item = Sha256>) -> Self {
        let names: Vec<[u8; 16]> = hashed
            .map(|sha| {
                let mut name = [0; 16];
                BASE32.encode_mut(&sha.finalize()[..10], &mut name);
                name
            })
            .collect();
        let mut sorted: Vec<u32> = (0..).zip(&names).map(|(number, _)| number).collect();
        sorted.sort_unstable_by_key(|&number| names[number as usize]);
        Self { names, sorted }
    }

    fn get(&self, number: u32) -> &str {
        std::str::from_utf8(&self.names[number as usize]).unwrap_or_default()
    }
}

/// What comes next.
#[derive(Clone, Copy)]
enum Part {
    /// Text that does not depend on Services, by number.
    Fixed(usize),
    EndpointChains,
    ServiceChains,
    EndpointRules,
    FindingRules,
    ServiceRules,
}

/// The order in which `iptables-save` has them: chains by name, then rules by chain.
const PARTS: [Part; 10] = [
    Part::Fixed(0),
    Part::EndpointChains,
    Part::Fixed(1),
    Part::ServiceChains,
    Part::Fixed(2),
    Part::EndpointRules,
    Part::FindingRules,
    Part::Fixed(3),
    Part::ServiceRules,
    Part::Fixed(4),
];

/// The text, as far as it has been read.
pub(crate) struct Text {
    services: u32,
    endpoints: Names,
    chains: Names,
    fixed: [String; 5],
    /// Place in [`PARTS`], and how much of it has been made.
    at: (usize, u32),
    block: Vec<u8>,
    read: usize,
    /// Bytes made.
    pub(crate) bytes: u64,
    /// Time that it took to make them: not time of the reader.
    pub(crate) making: Duration,
}

impl Text {
    /// Of so many Services.
    pub(crate) fn new(services: u32) -> Result<Self, Failure> {
        let service = |number| Sha256::new_with_prefix(format!("{}tcp", name(number)));
        let endpoint = |number: u32| {
            let sha = service(number / ENDPOINTS);
            sha.chain_update(format!("{}:{ENDPOINT_PORT}", endpoint(number)))
        };
        Ok(Self {
            services,
            endpoints: Names::of((0..services * ENDPOINTS).map(endpoint)),
            chains: Names::of((0..services).map(service)),
            fixed: fixed()?,
            at: (0, 0),
            block: Vec::with_capacity(BLOCK + 1024),
            read: 0,
            bytes: 0,
            making: Duration::ZERO,
        })
    }

    /// How many rules it has.
    pub(crate) fn rules(&self) -> u64 {
        let fixed = self.fixed.iter().flat_map(|text| text.lines());
        let fixed = fixed.filter(|line| line.starts_with("-A")).count() as u64;
        fixed + u64::from(self.services) * RULES_A_SERVICE
    }

    fn make(&mut self) -> io::Result<()> {
        self.block.clear();
        self.read = 0;
        while self.block.len() < BLOCK
            && let Some(part) = PARTS.get(self.at.0)
        {
            let count = match part {
                Part::Fixed(_) => 1,
                Part::EndpointChains | Part::EndpointRules => self.services * ENDPOINTS,
                Part::ServiceChains | Part::FindingRules | Part::ServiceRules => self.services,
            };
            if self.at.1 == count {
                self.at = (self.at.0 + 1, 0);
                continue;
            }
            self.lines(*part, self.at.1)?;
            self.at.1 += 1;
        }
        self.bytes += self.block.len() as u64;
        Ok(())
    }

    fn lines(&mut self, part: Part, place: u32) -> io::Result<()> {
        let out = &mut self.block;
        match part {
            Part::Fixed(number) => out.write_all(self.fixed[number].as_bytes()),
            Part::EndpointChains => {
                let chain = self.endpoints.get(self.endpoints.sorted[place as usize]);
                writeln!(out, ":KUBE-SEP-{chain} - [0:0]")
            }
            Part::ServiceChains => {
                let chain = self.chains.get(self.chains.sorted[place as usize]);
                writeln!(out, ":KUBE-SVC-{chain} - [0:0]")
            }
            Part::EndpointRules => {
                let number = self.endpoints.sorted[place as usize];
                let chain = self.endpoints.get(number);
                let (name, address) = (name(number / ENDPOINTS), endpoint(number));
                let rule = format!("-A KUBE-SEP-{chain} -m comment --comment {name}");
                writeln!(out, "{rule} -s {address} -j KUBE-MARK-MASQ")?;
                writeln!(
                    out,
                    "{rule} -m tcp -p tcp -j DNAT --to-destination {address}:{ENDPOINT_PORT}"
                )
            }
            Part::FindingRules => {
                let (address, port) = synthetic::cluster_ip(place);
                let (name, chain) = (name(place), self.chains.get(place));
                writeln!(
                    out,
                    "-A KUBE-SERVICES -m comment --comment \"{name} cluster IP\" -m tcp -p tcp -d {address} --dport {port} -j KUBE-SVC-{chain}"
                )
            }
            Part::ServiceRules => {
                let number = self.chains.sorted[place as usize];
                let (name, chain) = (name(number), self.chains.get(number));
                // kube-proxy takes endpoints in the order of their text.
                let mut own: [(String, u32); ENDPOINTS as usize] = std::array::from_fn(|own| {
                    let place = number * ENDPOINTS + (0..).nth(own).unwrap_or_default();
                    (format!("{}:{ENDPOINT_PORT}", endpoint(place)), place)
                });
                own.sort();
                for ((address, place), left) in own.iter().zip((1..=ENDPOINTS).rev()) {
                    write!(
                        out,
                        "-A KUBE-SVC-{chain} -m comment --comment \"{name} -> {address}\""
                    )?;
                    if left > 1 {
                        let chance = 1.0 / f64::from(left);
                        write!(
                            out,
                            " -m statistic --mode random --probability {chance:.10}"
                        )?;
                    }
                    writeln!(out, " -j KUBE-SEP-{}", self.endpoints.get(*place))?;
                }
                Ok(())
            }
        }
    }
}

impl BufRead for Text {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.block.len() {
            let start = thread_time();
            self.make()?;
            self.making += thread_time().saturating_sub(start);
        }
        Ok(&self.block[self.read..])
    }

    fn consume(&mut self, bytes: usize) {
        self.read += bytes;
    }
}

impl Read for Text {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(into)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

/// A Service's name in comments and hashes.
fn name(number: u32) -> String {
    format!("default/service-{number:07}")
}

/// What kube-proxy writes without any Service, cut where Services' chains and rules belong.
fn fixed() -> Result<[String; 5], Failure> {
    let cluster = synthetic::services(0, ENDPOINTS);
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    let node = cluster.nodes.keys().next().cloned();
    let proxier = IptablesProxier::new(&cluster, &services, &node.unwrap_or_else(|| "".into()))
        .map_err(Failure::input)?;
    let mut rest = proxier.save_text();
    let nat = rest.find("*nat").unwrap_or_default();
    let mut places = Vec::new();
    for (line, is_behind) in [
        (":KUBE-SERVICES", false),
        (":KUBE-SERVICES", true),
        ("-A KUBE-SERVICES", false),
        ("COMMIT", false),
    ] {
        let begin = rest[nat..].find(&format!("\n{line}")).unwrap_or_default() + nat + 1;
        let length = rest[begin..].find('\n').unwrap_or_default() + 1;
        places.push(if is_behind { begin + length } else { begin });
    }
    let mut parts: [String; 5] = Default::default();
    for (part, place) in parts.iter_mut().skip(1).zip(places).rev() {
        *part = rest.split_off(place);
    }
    parts[0] = rest;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_kube_proxy() {
        for count in [0, 1, 2, 40, 300] {
            let cluster = synthetic::services(count, ENDPOINTS);
            let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
            let node = cluster.nodes.keys().next().unwrap();
            let proxier = IptablesProxier::new(&cluster, &services, node).unwrap();
            let mut text = Text::new(count).unwrap();
            let mut made = String::new();
            text.read_to_string(&mut made).unwrap();
            let expected = proxier.save_text();
            if let Some((own, theirs)) = made.lines().zip(expected.lines()).find(|(a, b)| a != b) {
                assert_eq!(own, theirs, "{count} Services");
            }
            assert!(made == expected, "{count} Services");
            assert_eq!(text.bytes, expected.len() as u64);
            let rules = expected.lines().filter(|line| line.starts_with("-A"));
            assert_eq!(text.rules(), rules.count() as u64);
        }
    }
}
