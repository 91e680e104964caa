//! Names for numbers: what is printed where `-n` does not stand.

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Protocol};

use crate::host::Host;

/// How numbers are printed.
pub(super) struct Names<'h> {
    host: &'h Host,
    pub(super) numeric: bool,
}

/// Ports with a name: `PORT PROTOCOL NAME` a line, by number; the first of several counts.
const SERVICES: &str = include_str!("../../data/services.txt");

/// Protocols with a name in its /etc/protocols that rules name.
const PROTOCOLS: [(u8, &str); 13] = [
    (0, "all"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (6, "tcp"),
    (17, "udp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
    (136, "udplite"),
];

impl<'h> Names<'h> {
    pub(super) const fn new(host: &'h Host, numeric: bool) -> Self {
        Self { host, numeric }
    }

    pub(super) fn protocol(&self, protocol: Protocol) -> String {
        let mut known = PROTOCOLS.iter();
        let name = known.find(|(number, _)| *number == protocol.0);
        match name.filter(|_| !self.numeric) {
            Some((_, name)) => (*name).to_owned(),
            None => protocol.0.to_string(),
        }
    }

    pub(super) fn port(&self, port: u16, protocol: &str) -> String {
        let number = port.to_string();
        if self.numeric {
            return number;
        }
        let named = SERVICES.lines().find_map(|line| {
            let mut words = line.split(' ');
            let fits = words.next() == Some(&number) && words.next() == Some(protocol);
            words.next().filter(|_| fits)
        });
        named.map_or(number, str::to_owned)
    }

    pub(super) fn anywhere(&self, family: Family) -> String {
        match (self.numeric, family) {
            (false, _) => "anywhere".to_owned(),
            (true, Family::Ipv4) => "0.0.0.0/0".to_owned(),
            (true, Family::Ipv6) => "::/0".to_owned(),
        }
    }

    /// An address by the name that /etc/hosts has for it, or the DNS of the world for the multicast range.
    pub(super) fn address(&self, address: IpAddr) -> String {
        if self.numeric {
            return address.to_string();
        }
        const MULTICAST: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0));
        if address == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return "localhost".to_owned();
        }
        if address == MULTICAST {
            return "base-address.mcast.net".to_owned();
        }
        let mut names = self.host.names.iter();
        let known = names.find(|(_, ip)| **ip == address);
        known.map_or_else(|| address.to_string(), |(name, _)| name.clone())
    }
}
