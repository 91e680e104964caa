//! `-m set`: ipset(8).

use std::time::Duration;

use podwire_packet::{Protocol, SimTime};
use podwire_ruleset::{SetDirection, SetMatch, ipset};
use proptest::prelude::*;

use super::{Probe, sets};
use crate::ipset::{holds_among, is_in_set};

fn is_in(probe: &Probe, lines: &str, flags: &str) -> bool {
    let found = probe.fits_with(&format!("-m set --match-set s {flags}"), &mut sets(lines));
    let not_found = probe.fits_with(&format!("-m set ! --match-set s {flags}"), &mut sets(lines));
    assert_ne!(found, not_found, "`!` is the opposite");
    found
}

#[test]
fn hash_ip_holds_addresses() {
    let lines = "create s hash:ip\nadd s 198.51.100.7\nadd s 203.0.113.1";
    assert!(is_in(&Probe::tcp(), lines, "src") && !is_in(&Probe::tcp(), lines, "dst"));
}

#[test]
fn a_set_with_a_netmask_holds_networks() {
    let lines = "create s hash:ip netmask 24\nadd s 198.51.100.0";
    assert!(
        is_in(&Probe::tcp(), lines, "src")
            && !is_in(&Probe::tcp().from("198.51.101.7"), lines, "src")
    );
}

#[test]
fn a_range_of_a_bitmap_holds_every_address_in_it() {
    let lines =
        "create s bitmap:ip range 198.51.100.0-198.51.100.255\nadd s 198.51.100.5-198.51.100.9";
    assert!(
        is_in(&Probe::tcp(), lines, "src")
            && !is_in(&Probe::tcp().from("198.51.100.4"), lines, "src")
    );
}

#[test]
fn an_element_is_there_until_its_time_is_over() {
    let after =
        |seconds: u64| Probe::tcp().with(|p| p.now = SimTime::START + Duration::from_secs(seconds));
    for lines in [
        "create s hash:ip timeout 0\nadd s 198.51.100.7 timeout 60",
        "create s hash:ip timeout 60\nadd s 198.51.100.7",
        "create m hash:ip\nadd m 198.51.100.7\ncreate s list:set timeout 60\nadd s m",
    ] {
        assert!(is_in(&after(60), lines, "src") && !is_in(&after(61), lines, "src"));
    }
    let forever = "create s hash:ip timeout 60\nadd s 198.51.100.7 timeout 0";
    assert!(is_in(&after(100_000), forever, "src"));
    let exception =
        "create s hash:net timeout 0\nadd s 198.51.0.0/16\nadd s 198.51.100.7 nomatch timeout 60";
    assert!(!is_in(&after(60), exception, "src") && is_in(&after(61), exception, "src"));
}

#[test]
fn of_several_prefixes_the_longest_decides() {
    // "the more specific match ... nomatch" makes an exception of it.
    let lines =
        "create s hash:net\nadd s 198.51.0.0/16\nadd s 198.51.100.0/24 nomatch\nadd s 198.51.100.7";
    assert!(is_in(&Probe::tcp(), lines, "src"));
    assert!(!is_in(&Probe::tcp().from("198.51.100.8"), lines, "src"));
    assert!(is_in(&Probe::tcp().from("198.51.101.8"), lines, "src"));
}

#[test]
fn return_nomatch_asks_for_the_exceptions() {
    let lines = "create s hash:net\nadd s 198.51.0.0/16\nadd s 198.51.100.0/24 nomatch";
    let exceptions = "src --return-nomatch";
    assert!(is_in(&Probe::tcp(), lines, exceptions));
    assert!(!is_in(
        &Probe::tcp().from("198.51.101.8"),
        lines,
        exceptions
    ));
    assert!(!is_in(&Probe::tcp().from("203.0.113.1"), lines, exceptions));
}

#[test]
fn of_two_prefixes_the_first_decides_before_the_second() {
    let lines = "create s hash:net,net\nadd s 198.51.100.0/24,192.0.0.0/8\n\
                 add s 198.0.0.0/8,192.0.2.1/32 nomatch";
    assert!(is_in(&Probe::tcp(), lines, "src,dst"));
    let other = lines
        .replace(" nomatch", "")
        .replace("192.0.0.0/8", "192.0.0.0/8 nomatch");
    assert!(!is_in(&Probe::tcp(), &other, "src,dst"));
}

#[test]
fn a_port_has_a_protocol() {
    let lines = "create s hash:ip,port\nadd s 192.0.2.1,tcp:80";
    assert!(is_in(&Probe::tcp(), lines, "dst,dst") && !is_in(&Probe::tcp(), lines, "dst,src"));
    let udp = Probe::new(Protocol::UDP, "198.51.100.7", 1, "192.0.2.1", 80);
    assert!(!is_in(&udp, lines, "dst,dst"));
}

#[test]
fn icmp_has_its_type_and_code_for_a_port() {
    let ping = Probe::new(Protocol::ICMP, "198.51.100.7", 1, "192.0.2.1", 0);
    assert!(is_in(
        &ping,
        "create s hash:ip,port\nadd s 192.0.2.1,icmp:8/0",
        "dst,dst"
    ));
    assert!(!is_in(
        &ping,
        "create s hash:ip,port\nadd s 192.0.2.1,icmp:0/0",
        "dst,dst"
    ));
}

#[test]
fn protocols_without_ports_are_in_a_set_with_port_0() {
    let esp = Probe::tcp().with(|p| p.headers.protocol = Protocol(50));
    let lines = "create s hash:ip,port\nadd s 192.0.2.1,esp:0";
    assert!(is_in(&esp, lines, "dst,dst"));
    let fragment = esp.with(|p| p.headers.is_later_fragment = true);
    assert!(is_in(&fragment, lines, "dst,dst"));
}

#[test]
fn a_later_fragment_is_in_no_set_with_ports() {
    let fragment = Probe::tcp().with(|p| p.headers.is_later_fragment = true);
    assert!(!is_in(
        &fragment,
        "create s hash:ip,port\nadd s 192.0.2.1,tcp:80",
        "dst,dst"
    ));
}

#[test]
fn kube_proxys_own_sets_have_three_parts() {
    let hairpin = Probe::tcp().from("192.0.2.1");
    assert!(is_in(
        &hairpin,
        "create s hash:ip,port,ip\nadd s 192.0.2.1,tcp:80,192.0.2.1",
        "dst,dst,src"
    ));
    assert!(!is_in(
        &Probe::tcp(),
        "create s hash:ip,port,ip\nadd s 192.0.2.1,tcp:80,192.0.2.1",
        "dst,dst,src"
    ));
    let ranges = "create s hash:ip,port,net\nadd s 192.0.2.1,tcp:80,198.51.100.0/24";
    assert!(is_in(&Probe::tcp(), ranges, "dst,dst,src"));
    assert!(!is_in(
        &Probe::tcp().from("203.0.113.1"),
        ranges,
        "dst,dst,src"
    ));
}

#[test]
fn a_bitmap_of_ports_takes_tcp_and_udp() {
    let lines = "create s bitmap:port range 0-65535\nadd s 80\nadd s 2048";
    assert!(is_in(&Probe::tcp(), lines, "dst"));
    assert!(is_in(
        &Probe::new(Protocol::UDP, "198.51.100.7", 1, "192.0.2.1", 80),
        lines,
        "dst"
    ));
    assert!(!is_in(
        &Probe::new(Protocol::SCTP, "198.51.100.7", 1, "192.0.2.1", 80),
        lines,
        "dst"
    ));
    // An echo request would be 8 << 8.
    assert!(!is_in(
        &Probe::new(Protocol::ICMP, "198.51.100.7", 1, "192.0.2.1", 0),
        lines,
        "dst"
    ));
}

#[test]
fn a_list_is_in_order_through_its_sets() {
    let lines = "create a hash:ip\nadd a 203.0.113.1\ncreate b hash:net\nadd b 198.51.100.0/24\n\
                 create s list:set\nadd s a\nadd s b";
    assert!(is_in(&Probe::tcp(), lines, "src") && !is_in(&Probe::tcp(), lines, "dst"));
}

#[test]
fn a_member_of_a_list_with_more_parts_than_flags_holds_nothing() {
    let lines = "create a hash:ip,port\nadd a 192.0.2.1,tcp:80\ncreate s list:set\nadd s a";
    assert!(is_in(&Probe::tcp(), lines, "dst,dst") && !is_in(&Probe::tcp(), lines, "dst"));
}

#[test]
fn sets_of_the_other_family_and_missing_sets_hold_nothing() {
    let lines = "create s hash:net family inet6\nadd s 2001:db8::/32";
    assert!(is_in(&Probe::udp6(), lines, "dst") && !is_in(&Probe::tcp(), lines, "dst"));
    assert!(!is_in(&Probe::tcp(), "create t hash:ip", "src"));
}

#[test]
fn devices_and_marks_can_be_parts() {
    let lines = "create s hash:net,iface\nadd s 198.51.100.0/24,eth0";
    assert!(is_in(&Probe::tcp(), lines, "src,src"));
    assert!(!is_in(
        &Probe::tcp(),
        &lines.replace("eth0", "eth1"),
        "src,src"
    ));
    let marked = Probe::tcp().with(|p| p.mark.0 = 0x63);
    assert!(is_in(
        &marked,
        "create s hash:ip,mark\nadd s 192.0.2.1,0x63",
        "dst,dst"
    ));
}

#[test]
fn a_range_is_the_prefixes_that_it_is_made_of() {
    // 198.51.100.4/30 and 198.51.100.8 are what the kernel keeps of the range.
    let lines = "create s hash:net\nadd s 198.51.100.4-198.51.100.8\nadd s 198.51.100.0/29 nomatch";
    assert!(is_in(&Probe::tcp(), lines, "src"));
    let shorter = lines.replace("100.4-", "100.6-");
    assert!(is_in(&Probe::tcp(), &shorter, "src"));
    let longer = lines.replace("0/29", "6/31");
    assert!(!is_in(&Probe::tcp(), &longer, "src"));
}

/// A set, and all that is in it, of few addresses and ports.
fn any_set() -> impl Strategy<Value = (String, &'static str)> {
    let address = || {
        let octets = (0..3_u8, 0..10_u8);
        octets.prop_map(|(third, fourth)| format!("198.51.{}.{fourth}", third + 99))
    };
    let net = move || {
        prop_oneof![
            4 => (address(), 1..=32_u8).prop_map(|(ip, length)| format!("{ip}/{length}")),
            1 => (0..10_u8, 0..10_u8).prop_map(|(a, b)| {
                format!("198.51.100.{}-198.51.100.{}", a.min(b), a.max(b))
            }),
        ]
    };
    let port = || {
        prop_oneof![
            3 => (1..4_u16).prop_map(|n| format!("tcp:{n}")),
            1 => (1..4_u16).prop_map(|n| format!("udp:{n}-3")),
            1 => Just("icmp:8/0".to_owned()),
        ]
    };
    let options =
        || prop::sample::select(&["", "", " nomatch", " timeout 5", " timeout 5 nomatch"][..]);
    let of = |kind: &'static str, directions: &'static str, element: BoxedStrategy<String>| {
        prop::collection::vec((element, options()), 0..12).prop_map(move |elements| {
            let mut lines = format!("create s {kind} timeout 0");
            for (element, options) in elements {
                // An element is there once, and only sets of prefixes have exceptions.
                let longer = format!("{lines}\nadd s {element}{options}");
                if ipset::parse(&longer).is_ok() {
                    lines = longer;
                }
            }
            (lines, directions)
        })
    };
    prop_oneof![
        of("hash:net", "src", net().boxed()),
        of("hash:ip", "dst", net().boxed()),
        of(
            "hash:net,port",
            "src,src",
            (net(), port())
                .prop_map(|(a, b)| format!("{a},{b}"))
                .boxed()
        ),
        of(
            "hash:ip,port,net",
            "src,src,dst",
            (address(), port(), net())
                .prop_map(|(a, b, c)| format!("{a},{b},{c}"))
                .boxed()
        ),
        of(
            "hash:net,net",
            "src,dst",
            (net(), net()).prop_map(|(a, b)| format!("{a},{b}")).boxed()
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_elements_that_are_looked_up_decide_as_all_of_them_do(
        (lines, directions) in any_set(),
        asks_for_exceptions: bool,
        seconds in prop::sample::select(&[0, 6][..]),
        protocol in prop::sample::select(&[Protocol::TCP, Protocol::UDP, Protocol::ICMP][..]),
    ) {
        let state = sets(&lines);
        let set = &state.sets["s"];
        let test = SetMatch {
            name: "s".into(),
            directions: directions
                .split(',')
                .map(|word| if word == "src" { SetDirection::Source } else { SetDirection::Destination })
                .collect(),
            options: if asks_for_exceptions { "--return-nomatch" } else { "" }.into(),
        };
        let probe = Probe::new(protocol, "198.51.100.7", 1, "198.51.100.7", 80).with(|p| {
            p.now = SimTime::START + Duration::from_secs(seconds);
            p.headers.icmp_type = 8;
        });
        let places = (98..103).flat_map(|third| (0..11).map(move |fourth| (third, fourth)));
        for ((third, fourth), port) in places.flat_map(|place| (0..5).map(move |port| (place, port))) {
            let packet = probe.clone().with(|p| {
                p.headers.src = [198, 51, third, fourth].into();
                p.headers.sport = port;
            });
            let packet = packet.packet;
            prop_assert_eq!(
                is_in_set(&test, &packet, &state.sets),
                holds_among(set.entries.iter().enumerate(), set, &test, &packet),
                "{}", lines
            );
        }
    }
}
