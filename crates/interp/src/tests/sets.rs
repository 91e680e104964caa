//! `-m set`: ipset(8).

use std::time::Duration;

use podwire_packet::{Protocol, SimTime};

use super::{Probe, sets};

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
