//! Keys of server blocks and zones of plugins: schemes, ports, reverse zones of networks.
//!
//! # Sources
//! core/dnsserver/{register,address}.go, plugin/normalize.go, plugin/pkg/cidr/cidr.go;
//! `IsDomainName`, defaults.go of miekg/dns.
//!
//! # Departures
//! Before 1.8.4 a network that ends within an octet became the zone of the whole octet, and names of
//! other addresses were refused there; here they are answered.

use std::net::IpAddr;
use std::sync::Arc;

use podwire_packet::{Family, Prefix};

use super::lexer::Token;
use super::refusal::Refusal;
use super::{Transport, ZoneName, go};
use crate::version::Version;

/// A key: one zone at one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) transport: Transport,
    pub(super) zone: ZoneName,
    /// As Go prints the number: it is checked when the server would listen.
    pub(super) port: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            transport,
            zone,
            port,
        } = self;
        write!(f, "{}://{zone}:{port}", transport.scheme())
    }
}

/// The keys of a block, networks as their zones.
pub(super) fn keys(tokens: &[Token], version: Version) -> Result<Vec<Key>, Refusal> {
    let mut keys = Vec::new();
    for token in tokens {
        let (transport, rest) = transport(&token.text);
        let (zones, port) = split_host_port(rest, version)
            .map_err(|message| Refusal::plain(message, Some(token.place())))?;
        let port = port.unwrap_or_else(|| transport.default_port().to_string());
        keys.extend(zones.into_iter().map(|zone| Key {
            transport,
            zone: ZoneName::new(&zone),
            port: port.clone(),
        }));
    }
    Ok(keys)
}

/// The zones that a plugin is told, those of the block if none.
pub(super) fn zones(args: &[Arc<str>], keys: &[Key], version: Version) -> Vec<ZoneName> {
    if args.is_empty() {
        return keys.iter().map(|key| key.zone.clone()).collect();
    }
    args.iter().flat_map(|arg| zones_of(arg, version)).collect()
}

/// The zones that one word names; none if it cannot be a name.
pub(super) fn zones_of(word: &str, version: Version) -> Vec<ZoneName> {
    let zones = split_host_port(transport(word).1, version);
    let zones = zones.map_or_else(|_| Vec::new(), |(zones, _)| zones);
    zones.iter().map(|zone| ZoneName::new(zone)).collect()
}

/// The scheme of a word, and the rest.
pub(super) fn transport(word: &str) -> (Transport, &str) {
    use Transport::{Dns, Grpc, Https, Https3, Quic, Tls};
    for transport in [Tls, Dns, Quic, Grpc, Https, Https3] {
        let rest = word.strip_prefix(transport.scheme());
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix("://")) {
            return (transport, rest);
        }
    }
    (Dns, word)
}

/// `plugin.SplitHostPort`: the zones of a key without its scheme, and its port.
fn split_host_port(key: &str, version: Version) -> Result<(Vec<String>, Option<String>), String> {
    if key.ends_with(':') {
        return Err(format!("expecting data after last colon: {key:?}"));
    }
    let mut host = key;
    let mut port = None;
    if let Some((before, after)) = key.rsplit_once(':')
        && let Ok(number) = go::atoi(after)
    {
        host = before;
        port = Some(number.to_string());
    }
    if host.len() > 255 {
        return Err(format!("specified zone is too long: {} > 255", host.len()));
    }
    let empty = host.is_empty() && version < Version::new(1, 5, 1);
    if !empty && !is_domain_name(host) {
        return Err(format!("zone is not a valid domain name: {host}"));
    }
    let zones = match network(host) {
        None => vec![host.to_owned()],
        Some(network) if version < Version::new(1, 8, 4) => vec![enclosing_zone(network)],
        Some(network) => reverse_zones(network),
    };
    Ok((zones, port))
}

/// `net.ParseCIDR`: a prefix with its length.
fn network(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let digits = text.rsplit('/').next()?.bytes().all(|b| b.is_ascii_digit());
    let most = if address.is_ipv4() { 32 } else { 128 };
    (digits && length <= most).then(|| Prefix::new(address, length))
}

/// Bits of one label of a reverse name.
fn bits_of_label(network: Prefix) -> u8 {
    match network.family() {
        Family::Ipv4 => 8,
        Family::Ipv6 => 4,
    }
}

/// The zones that hold the names of a network's addresses and no others.
fn reverse_zones(network: Prefix) -> Vec<String> {
    let bits = bits_of_label(network);
    let labels = network.len().div_ceil(bits);
    let spare = u32::from(labels * bits - network.len());
    (0..1u128 << spare)
        .map(|n| {
            let address = match network.address() {
                IpAddr::V4(ip) => {
                    let shift = 32 - u32::from(labels) * 8;
                    let part = u32::try_from(n)
                        .unwrap_or(0)
                        .checked_shl(shift)
                        .unwrap_or(0);
                    IpAddr::from((u32::from(ip) | part).to_be_bytes())
                }
                IpAddr::V6(ip) => {
                    let shift = 128 - u32::from(labels) * 4;
                    let part = n.checked_shl(shift).unwrap_or(0);
                    IpAddr::from((u128::from(ip) | part).to_be_bytes())
                }
            };
            reverse_zone(address, labels)
        })
        .collect()
}

/// The zone of the last whole label of a network.
fn enclosing_zone(network: Prefix) -> String {
    reverse_zone(network.address(), network.len() / bits_of_label(network))
}

/// The reverse zone of the first labels of an address.
fn reverse_zone(address: IpAddr, labels: u8) -> String {
    let labels = usize::from(labels);
    match address {
        IpAddr::V4(ip) => {
            let octets = ip.octets();
            let octets = octets[..labels]
                .iter()
                .rev()
                .map(|octet| format!("{octet}."));
            octets.collect::<String>() + "in-addr.arpa."
        }
        IpAddr::V6(ip) => {
            let nibbles = ip
                .octets()
                .into_iter()
                .flat_map(|octet| [octet >> 4, octet & 15]);
            let nibbles: Vec<u8> = nibbles.take(labels).collect();
            let nibbles = nibbles.iter().rev().map(|nibble| format!("{nibble:x}."));
            nibbles.collect::<String>() + "ip6.arpa."
        }
    }
}

/// `dns.IsDomainName`.
pub(super) fn is_domain_name(name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let mut bytes = name.bytes().collect::<Vec<_>>();
    // A dot behind an odd number of backslashes ends no label.
    let before = name.strip_suffix('.');
    let escapes = before.map(|b| b.bytes().rev().take_while(|&b| b == b'\\').count());
    if escapes.is_none_or(|escapes| escapes % 2 == 1) {
        bytes.push(b'.');
    }
    let (mut length, mut label, mut dot) = (0usize, 0usize, false);
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => {
                let digits = bytes.get(i + 1..i + 4);
                let ddd = digits.is_some_and(|d| d.iter().all(u8::is_ascii_digit));
                i += if ddd { 3 } else { 1 };
                (label, dot) = (label + 1, false);
            }
            b'.' => {
                if dot || (i == 0 && bytes.len() > 1) || label > 63 {
                    return false;
                }
                length += label + 1;
                if length > 256 {
                    return false;
                }
                (label, dot) = (0, true);
            }
            _ => (label, dot) = (label + 1, false),
        }
        i += 1;
    }
    dot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(key: &str) -> Result<Vec<String>, String> {
        split_host_port(key, Version::NEWEST).map(|(zones, _)| zones)
    }

    #[test]
    fn a_network_is_its_reverse_zones() {
        assert_eq!(
            zones("10.0.0.0/24").as_deref(),
            Ok(&["0.0.10.in-addr.arpa.".to_owned()][..])
        );
        let sixteen = zones("10.96.0.0/12").unwrap_or_default();
        assert_eq!(sixteen.len(), 16);
        assert_eq!(sixteen[0], "96.10.in-addr.arpa.");
        assert_eq!(sixteen[15], "111.10.in-addr.arpa.");
        assert_eq!(
            zones("10.9.8.7/0").as_deref(),
            Ok(&["in-addr.arpa.".to_owned()][..])
        );
        assert_eq!(zones("fd00::/6").unwrap_or_default().len(), 4);
        assert_eq!(
            zones("2001:db8::/32").as_deref(),
            Ok(&["8.b.d.0.1.0.0.2.ip6.arpa.".to_owned()][..])
        );
        let old = split_host_port("10.96.0.0/12", Version::new(1, 3, 1));
        assert_eq!(
            old.map(|(zones, _)| zones),
            Ok(vec!["10.in-addr.arpa.".to_owned()])
        );
    }

    #[test]
    fn the_number_behind_the_last_colon_is_the_port() {
        let split = |key| split_host_port(key, Version::NEWEST);
        assert_eq!(split(".:53"), Ok((vec![".".into()], Some("53".into()))));
        assert_eq!(split("a.b"), Ok((vec!["a.b".into()], None)));
        assert!(split("a:").is_err() && split(":53").is_err() && split("a..b").is_err());
        assert!(split_host_port(":53", Version::new(1, 3, 1)).is_ok());
    }

    #[test]
    fn names_are_names_as_for_the_dns_library() {
        for name in [".", "a", "a.", "a\\.b", "*.x", "\\065.b", "ünï"] {
            assert!(is_domain_name(name), "{name}");
        }
        let (label, long) = ("a".repeat(64), "abc.".repeat(65));
        for name in ["", "..", "a..b", ".a", "a\\", &label, &long] {
            assert!(!is_domain_name(name), "{name}");
        }
    }
}
