//! Real bytes: Ethernet frames and IP packets with the fields of [`Headers`], checksums right.
//!
//! [`frame`] and [`packet`] write, [`parse_frame`] and [`parse_packet`] read. What [`Headers`] does not
//! say is as Linux would send it, or zero: a SYN has the usual options if the length leaves room for
//! them, SCTP begins with an INIT chunk, payload is zeros.
//!
//! # Departures
//! - Where [`Headers::length`] is too short for the headers, the packet is as long as they are; where
//!   it is longer than 65,535, it is cut to that.
//!
//! # Sources
//! RFC 791, 8200 (IP), 9293 (TCP), 768 (UDP), 9260 (SCTP), 792 and 4443 (ICMP).

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, IpSlice, Ipv4Header, Ipv6FragmentHeader,
    Ipv6Header, TcpHeader, TcpOptionElement, err::LenError,
};

use crate::{Headers, MacAddr, Protocol, TcpFlags};

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Too short for an Ethernet header.
    #[error("no Ethernet header: {0}")]
    Ethernet(#[source] LenError),
    /// Neither IPv4 nor IPv6.
    #[error("an Ethernet frame of type {ether_type:#06x}, which is not IP")]
    NotIp {
        /// The frame's type.
        ether_type: u16,
    },
    /// A broken IP header.
    #[error("no IP packet: {0}")]
    Ip(#[source] etherparse::err::ip::SliceError),
    /// Shorter than the transport protocol's header.
    #[error("{length} bytes are too few for a header of {protocol}")]
    Transport {
        /// The protocol.
        protocol: Protocol,
        /// Bytes behind the IP header.
        length: usize,
    },
}

/// Where a later fragment begins here, in units of 8 bytes: behind 1,480 bytes, which is what the
/// first one has on Ethernet.
const LATER_FRAGMENT: u16 = 185;

/// An Ethernet frame with the packet.
#[must_use]
pub fn frame(src: MacAddr, dst: MacAddr, headers: &Headers) -> Vec<u8> {
    let ethernet = Ethernet2Header {
        source: src.0,
        destination: dst.0,
        ether_type: if headers.src.is_ipv4() {
            EtherType::IPV4
        } else {
            EtherType::IPV6
        },
    };
    let mut bytes = ethernet.to_bytes().to_vec();
    bytes.extend(packet(headers));
    bytes
}

/// The IP packet. Both addresses must be of one family, as [`Headers`] asks; if not, `src` is taken
/// as the family's unspecified address.
#[must_use]
pub fn packet(headers: &Headers) -> Vec<u8> {
    let ip_length = ip_header_length(headers);
    let room = usize::try_from(headers.length)
        .unwrap_or(usize::MAX)
        .min(usize::from(u16::MAX))
        .saturating_sub(ip_length);
    let mut payload = if headers.is_later_fragment {
        Vec::new()
    } else {
        transport(headers, room)
    };
    payload.resize(payload.len().max(room), 0);
    if !headers.is_later_fragment {
        write_checksum(headers, &mut payload);
    }
    let mut bytes = ip_header(headers, payload.len());
    bytes.extend(payload);
    bytes
}

const fn ip_header_length(headers: &Headers) -> usize {
    match (headers.dst, headers.is_later_fragment) {
        (IpAddr::V4(_), _) => Ipv4Header::MIN_LEN,
        (IpAddr::V6(_), false) => Ipv6Header::LEN,
        (IpAddr::V6(_), true) => Ipv6Header::LEN + Ipv6FragmentHeader::LEN,
    }
}

/// `payload` is at most 65,535 bytes less the header, by how [`packet`] makes it.
fn ip_header(headers: &Headers, payload: usize) -> Vec<u8> {
    let number = IpNumber(headers.protocol.0);
    let fragment_offset = if headers.is_later_fragment {
        LATER_FRAGMENT
    } else {
        0
    };
    let fragment_offset = IpFragOffset::try_new(fragment_offset).expect("below 2^13");
    match headers.dst {
        IpAddr::V4(dst) => {
            let src = if let IpAddr::V4(src) = headers.src {
                src.octets()
            } else {
                [0; 4]
            };
            let mut ip = Ipv4Header {
                dont_fragment: headers.dont_fragment,
                fragment_offset,
                time_to_live: headers.ttl,
                protocol: number,
                source: src,
                destination: dst.octets(),
                ..Ipv4Header::default()
            };
            ip.set_payload_len(payload).expect("payload was cut to fit");
            let mut bytes = ip.to_bytes().to_vec();
            // The TOS byte as it is, then the checksum over it.
            bytes[1] = headers.tos;
            bytes[10..12].fill(0);
            let sum = Sum16BitWords::new().add_slice(&bytes).ones_complement();
            bytes[10..12].copy_from_slice(&sum.to_ne_bytes());
            bytes
        }
        IpAddr::V6(dst) => {
            let src = if let IpAddr::V6(src) = headers.src {
                src.octets()
            } else {
                [0; 16]
            };
            let extension = if headers.is_later_fragment {
                Ipv6FragmentHeader::LEN
            } else {
                0
            };
            let mut ip = Ipv6Header {
                traffic_class: headers.tos,
                hop_limit: headers.ttl,
                next_header: if headers.is_later_fragment {
                    IpNumber::IPV6_FRAGMENTATION_HEADER
                } else {
                    number
                },
                source: src,
                destination: dst.octets(),
                ..Ipv6Header::default()
            };
            ip.set_payload_length(extension + payload)
                .expect("payload was cut to fit");
            let mut bytes = ip.to_bytes().to_vec();
            if headers.is_later_fragment {
                bytes.extend(Ipv6FragmentHeader::new(number, fragment_offset, false, 0).to_bytes());
            }
            bytes
        }
    }
}

/// The transport header with a checksum of zero.
fn transport(headers: &Headers, room: usize) -> Vec<u8> {
    let mut ports = headers.sport.to_be_bytes().to_vec();
    ports.extend(headers.dport.to_be_bytes());
    match headers.protocol {
        Protocol::TCP => tcp(headers, room),
        Protocol::UDP => {
            let length = u16::try_from(room.max(8)).unwrap_or(u16::MAX);
            ports.extend(length.to_be_bytes());
            ports.extend([0, 0]);
            ports
        }
        Protocol::SCTP => {
            ports.extend([0; 8]);
            if room >= ports.len() + INIT.len() {
                ports.extend(INIT);
            }
            ports
        }
        Protocol::ICMP | Protocol::ICMPV6 => {
            let [id_high, id_low] = headers.icmp_id.to_be_bytes();
            vec![
                headers.icmp_type,
                headers.icmp_code,
                0,
                0,
                id_high,
                id_low,
                0,
                1,
            ]
        }
        protocol if protocol.has_ports() => {
            ports.extend([0; 12]);
            ports
        }
        Protocol(_) => Vec::new(),
    }
}

/// An INIT chunk of 20 bytes: initiate tag, window, one stream each way, first number.
const INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];

fn tcp(headers: &Headers, room: usize) -> Vec<u8> {
    let has = |flag| headers.tcp_flags.contains(flag);
    let mut tcp = TcpHeader {
        fin: has(TcpFlags::FIN),
        syn: has(TcpFlags::SYN),
        rst: has(TcpFlags::RST),
        psh: has(TcpFlags::PSH),
        ack: has(TcpFlags::ACK),
        urg: has(TcpFlags::URG),
        ece: has(TcpFlags(0x40)),
        cwr: has(TcpFlags(0x80)),
        ..TcpHeader::new(headers.sport, headers.dport, 1, 64_240)
    };
    // What Linux puts into a SYN on Ethernet.
    let options = [
        TcpOptionElement::MaximumSegmentSize(1_460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(1, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    if tcp.syn && room >= TcpHeader::MIN_LEN + 20 {
        tcp.set_options(&options).expect("20 of at most 40 bytes");
    }
    tcp.to_bytes().to_vec()
}

/// Writes the checksum into the transport header that `payload` begins with.
fn write_checksum(headers: &Headers, payload: &mut [u8]) {
    let at = match headers.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        Protocol::SCTP => {
            let sum = crc32c(payload);
            payload[8..12].copy_from_slice(&sum.to_le_bytes());
            return;
        }
        Protocol(_) => return,
    };
    let sum = Sum16BitWords::new().add_slice(payload);
    let sum = if headers.protocol == Protocol::ICMP {
        sum
    } else {
        with_pseudo_header(sum, headers, payload.len())
    };
    let mut sum = sum.ones_complement();
    if headers.protocol == Protocol::UDP && sum == 0 {
        // Zero would say that there is none.
        sum = u16::MAX;
    }
    payload[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
}

fn with_pseudo_header(sum: Sum16BitWords, headers: &Headers, length: usize) -> Sum16BitWords {
    let address = |sum: Sum16BitWords, address: IpAddr| match address {
        IpAddr::V4(ip) => sum.add_slice(&ip.octets()),
        IpAddr::V6(ip) => sum.add_slice(&ip.octets()),
    };
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut sum = address(address(sum, headers.src), headers.dst);
    sum.add_4bytes(length.to_be_bytes())
        .add_2bytes([0, headers.protocol.0])
}

/// CRC32c of an SCTP packet whose checksum is zero (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ POLYNOMIAL
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc))
    })
}

/// Reads a frame: sender, receiver and the packet's headers.
///
/// # Errors
/// [`WireError`].
pub fn parse_frame(bytes: &[u8]) -> Result<(MacAddr, MacAddr, Headers), WireError> {
    let (ethernet, rest) = Ethernet2Header::from_slice(bytes).map_err(WireError::Ethernet)?;
    if !matches!(ethernet.ether_type, EtherType::IPV4 | EtherType::IPV6) {
        return Err(WireError::NotIp {
            ether_type: ethernet.ether_type.0,
        });
    }
    Ok((
        MacAddr(ethernet.source),
        MacAddr(ethernet.destination),
        parse_packet(rest)?,
    ))
}

/// Reads an IP packet. Bytes behind its end, such as Ethernet's padding, are not looked at.
///
/// # Errors
/// [`WireError::Ip`], [`WireError::Transport`].
pub fn parse_packet(bytes: &[u8]) -> Result<Headers, WireError> {
    let ip = IpSlice::from_slice(bytes).map_err(WireError::Ip)?;
    let payload = ip.payload();
    let protocol = Protocol(payload.ip_number.0);
    let mut headers = Headers {
        src: ip.source_addr(),
        dst: ip.destination_addr(),
        protocol,
        sport: 0,
        dport: 0,
        tcp_flags: TcpFlags::default(),
        icmp_type: 0,
        icmp_code: 0,
        icmp_id: 0,
        ttl: 0,
        tos: 0,
        length: 0,
        is_later_fragment: false,
        dont_fragment: true,
    };
    match &ip {
        IpSlice::Ipv4(ip) => {
            let header = ip.header();
            headers.ttl = header.ttl();
            headers.tos = header.dcp().value() << 2 | header.ecn().value();
            headers.length = u32::from(header.total_len());
            headers.is_later_fragment = header.fragments_offset().value() != 0;
            headers.dont_fragment = header.dont_fragment();
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            headers.ttl = header.hop_limit();
            headers.tos = header.traffic_class();
            headers.length = u32::from(header.payload_length()) + 40;
            headers.is_later_fragment = ip.extensions().clone().into_iter().any(|extension| {
                matches!(extension, etherparse::Ipv6ExtensionSlice::Fragment(fragment) if fragment.fragment_offset().value() != 0)
            });
        }
    }
    if !headers.is_later_fragment {
        parse_transport(&mut headers, payload.payload)?;
    }
    Ok(headers)
}

fn parse_transport(headers: &mut Headers, payload: &[u8]) -> Result<(), WireError> {
    let too_short = WireError::Transport {
        protocol: headers.protocol,
        length: payload.len(),
    };
    let is_icmp = matches!(headers.protocol, Protocol::ICMP | Protocol::ICMPV6);
    if !is_icmp && !headers.protocol.has_ports() {
        return Ok(());
    }
    let [a, b, c, d, e, f, _, _, ..] = *payload else {
        return Err(too_short);
    };
    if is_icmp {
        (headers.icmp_type, headers.icmp_code) = (a, b);
        let is_echo = matches!(
            (headers.protocol, a),
            (Protocol::ICMP, 0 | 8) | (Protocol::ICMPV6, 128 | 129)
        );
        if is_echo {
            headers.icmp_id = u16::from_be_bytes([e, f]);
        }
    } else {
        headers.sport = u16::from_be_bytes([a, b]);
        headers.dport = u16::from_be_bytes([c, d]);
    }
    if headers.protocol == Protocol::TCP {
        headers.tcp_flags = TcpFlags(*payload.get(13).ok_or(too_short)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
