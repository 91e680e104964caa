use etherparse::SlicedPacket;
use proptest::prelude::*;

use super::*;

const SRC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const DST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn first(src: &str, dst: &str, protocol: Protocol) -> Headers {
    Headers::first_of_flow(
        src.parse().unwrap(),
        dst.parse().unwrap(),
        protocol,
        40_000,
        53,
    )
}

/// Headers that a packet can have: what its protocol does not know is zero.
fn headers() -> impl Strategy<Value = Headers> {
    let addresses = prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| (IpAddr::V4(a.into()), IpAddr::V4(b.into()))),
        any::<(u128, u128)>().prop_map(|(a, b)| (IpAddr::V6(a.into()), IpAddr::V6(b.into()))),
    ];
    let protocols = prop_oneof![
        Just(Protocol::TCP),
        Just(Protocol::UDP),
        Just(Protocol::SCTP),
        Just(Protocol::ICMP),
        Just(Protocol::ICMPV6),
        Just(Protocol(47)),
    ];
    let fields = (
        any::<(u16, u16, u8, u8, u8, u16)>(),
        any::<(u8, u8, bool, bool)>(),
        100..9_000_u32,
    );
    (addresses, protocols, fields).prop_map(|((src, dst), protocol, (transport, ip, length))| {
        let (sport, dport, flags, icmp_type, icmp_code, icmp_id) = transport;
        let (ttl, tos, is_later_fragment, dont_fragment) = ip;
        let whole = !is_later_fragment;
        let ports = whole && protocol.has_ports();
        let icmp = whole && matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
        let echo = icmp
            && matches!(
                (protocol, icmp_type),
                (Protocol::ICMP, 0 | 8) | (Protocol::ICMPV6, 128 | 129)
            );
        Headers {
            src,
            dst,
            protocol,
            sport: if ports { sport } else { 0 },
            dport: if ports { dport } else { 0 },
            tcp_flags: TcpFlags(if whole && protocol == Protocol::TCP {
                flags
            } else {
                0
            }),
            icmp_type: if icmp { icmp_type } else { 0 },
            icmp_code: if icmp { icmp_code } else { 0 },
            icmp_id: if echo { icmp_id } else { 0 },
            ttl,
            tos,
            length,
            is_later_fragment,
            dont_fragment: dont_fragment || src.is_ipv6(),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(headers in headers()) {
        let bytes = frame(SRC, DST, &headers);
        prop_assert_eq!(bytes.len(), 14 + headers.length as usize);
        prop_assert_eq!(parse_frame(&bytes), Ok((SRC, DST, headers)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse_frame(&bytes);
        let _ = parse_packet(&bytes);
    }

    #[test]
    fn bytes_cut_off_or_changed_make_no_panic(headers in headers(), at in 0..60_usize, byte: u8, keep in 0..100_usize) {
        let mut bytes = packet(&headers);
        bytes[at] = byte;
        let _ = parse_packet(&bytes);
        let _ = parse_packet(&bytes[..keep]);
    }

    #[test]
    fn checksums_are_those_that_etherparse_computes(headers in headers()) {
        prop_assume!(!headers.is_later_fragment);
        let bytes = packet(&headers);
        let sliced = SlicedPacket::from_ip(&bytes).unwrap();
        if let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net {
            let header = ip.header().to_header();
            prop_assert_eq!(header.calc_header_checksum(), header.header_checksum);
        }
        match (&sliced.transport, headers.src, headers.dst) {
            (Some(etherparse::TransportSlice::Tcp(tcp)), IpAddr::V4(src), IpAddr::V4(dst)) => {
                prop_assert_eq!(tcp.calc_checksum_ipv4(src.octets(), dst.octets()), Ok(tcp.checksum()));
            }
            (Some(etherparse::TransportSlice::Tcp(tcp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
                prop_assert_eq!(tcp.calc_checksum_ipv6(src.octets(), dst.octets()), Ok(tcp.checksum()));
            }
            (Some(etherparse::TransportSlice::Udp(udp)), IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = udp.to_header();
                let sum = header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), udp.payload());
                prop_assert_eq!(sum, Ok(header.checksum));
            }
            (Some(etherparse::TransportSlice::Udp(udp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = udp.to_header();
                let sum = header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), udp.payload());
                prop_assert_eq!(sum, Ok(header.checksum));
            }
            (Some(etherparse::TransportSlice::Icmpv4(icmp)), ..) => {
                let header = etherparse::Icmpv4Header::with_checksum(icmp.icmp_type(), icmp.payload());
                prop_assert_eq!(header.checksum, icmp.checksum());
            }
            (Some(etherparse::TransportSlice::Icmpv6(icmp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
                prop_assert!(icmp.is_checksum_valid(src.octets(), dst.octets()));
            }
            _ => {}
        }
    }
}

#[test]
fn first_packets_are_as_long_as_they_say() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP] {
        let headers = first("10.0.0.1", "10.0.0.2", protocol);
        assert_eq!(
            packet(&headers).len(),
            headers.length as usize,
            "{protocol}"
        );
    }
}

#[test]
fn a_syn_has_options_and_no_data() {
    let bytes = packet(&first("10.0.0.1", "10.0.0.2", Protocol::TCP));
    let (tcp, data) = TcpHeader::from_slice(&bytes[20..]).unwrap();
    assert_eq!((tcp.options.len(), data.len()), (20, 0));
}

#[test]
fn a_length_too_short_for_the_headers_grows() {
    let mut headers = first("10.0.0.1", "10.0.0.2", Protocol::TCP);
    headers.length = 0;
    let read = parse_packet(&packet(&headers)).unwrap();
    assert_eq!(read.length, 40);
    headers.length = u32::MAX;
    assert_eq!(packet(&headers).len(), 65_535);
}

#[test]
fn crc32c_is_that_of_rfc_3720() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
}

#[test]
fn other_frames_are_refused_with_their_type() {
    let mut bytes = frame(SRC, DST, &first("10.0.0.1", "10.0.0.2", Protocol::UDP));
    bytes[12..14].copy_from_slice(&[0x08, 0x06]);
    let error = parse_frame(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an Ethernet frame of type 0x0806, which is not IP"
    );
    assert!(parse_frame(&bytes[..5]).is_err());
}
