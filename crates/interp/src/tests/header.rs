//! The IP header, and the modules of protocols.

use podwire_packet::{Protocol, TcpFlags};
use podwire_ruleset::Hook;

use super::Probe;

fn icmp(icmp_type: u8, icmp_code: u8) -> Probe {
    Probe::new(Protocol::ICMP, "198.51.100.7", 1, "192.0.2.1", 0).with(|p| {
        (p.headers.icmp_type, p.headers.icmp_code) = (icmp_type, icmp_code);
    })
}

#[test]
fn addresses_are_compared_under_their_mask() {
    let probe = Probe::tcp();
    assert!(probe.fits("-s 198.51.100.0/24"));
    assert!(!probe.fits("-s 198.51.101.0/24"));
    assert!(probe.fits("! -s 198.51.101.0/24"));
    assert!(!probe.fits("! -d 192.0.2.1/32"));
    assert!(probe.fits("-d 0.0.0.0/0"));
}

#[test]
fn a_mask_may_have_gaps() {
    assert!(Probe::tcp().fits("-s 198.0.0.7/255.0.0.255"));
    assert!(!Probe::tcp().fits("-s 198.0.0.8/255.0.0.255"));
    assert!(Probe::udp6().fits("-s 2001::7/ffff::ff"));
}

#[test]
fn protocols_are_numbers_and_all_is_every_one() {
    assert!(Probe::tcp().fits("-p 6") && Probe::tcp().fits("-p all"));
    assert!(!Probe::tcp().fits("-p udp") && Probe::tcp().fits("! -p udp"));
}

#[test]
fn a_plus_stands_for_the_rest_of_a_devices_name() {
    let probe = Probe::tcp().at(Hook::Forward, "veth1a2b", "eth0");
    assert!(probe.fits("-i veth+") && probe.fits("-o eth0") && probe.fits("-o +"));
    assert!(!probe.fits("-i veth") && !probe.fits("-i veth1a2b3+") && !probe.fits("! -o eth+"));
}

#[test]
fn a_packet_without_that_device_fits_what_was_asked_with_an_exclamation_mark() {
    // `ip_packet_match` compares with an empty name, which only `+` alone begins with.
    let probe = Probe::tcp()
        .at(Hook::Output, "-", "eth0")
        .with(|p| p.hook = Hook::Forward);
    assert!(!probe.fits("-i eth0") && !probe.fits("-i eth+"));
    assert!(probe.fits("! -i eth0") && probe.fits("-i +"));
}

#[test]
fn ports_are_ranges_with_both_ends() {
    let probe = Probe::tcp();
    for matches in [
        "--dport 80",
        "--dport 79:80",
        "--dport 80:",
        "--sport 40000",
        "! --dport 81",
    ] {
        assert!(probe.fits(&format!("-p tcp {matches}")), "{matches}");
    }
    for matches in [
        "--dport 81:",
        "--dport :79",
        "! --dport 80",
        "! --sport 1:65535",
    ] {
        assert!(!probe.fits(&format!("-p tcp {matches}")), "{matches}");
    }
}

#[test]
fn udp_and_sctp_have_the_same_ports() {
    assert!(Probe::udp().fits("-p udp --dport 53 --sport 1024:"));
    assert!(!Probe::udp().fits("-p udp ! --dport 53"));
    let sctp = Probe::new(Protocol::SCTP, "198.51.100.7", 5, "192.0.2.1", 9);
    assert!(sctp.fits("-p sctp --dport 9 --sport 5") && !sctp.fits("-p sctp --dport 10"));
}

#[test]
fn tcp_flags_are_looked_at_under_a_mask() {
    // "Match when the TCP flags are as specified": the first list is looked at, the second is set.
    let syn = Probe::tcp();
    assert!(syn.fits("-p tcp --tcp-flags SYN,ACK,FIN,RST SYN"));
    assert!(!syn.fits("-p tcp --tcp-flags SYN,ACK SYN,ACK"));
    assert!(syn.fits("-p tcp ! --tcp-flags SYN,ACK SYN,ACK"));
    let psh = syn.flags(TcpFlags::SYN.union(TcpFlags::PSH));
    assert!(psh.fits("-p tcp --tcp-flags SYN,ACK SYN") && !psh.fits("-p tcp --tcp-flags ALL SYN"));
    assert!(psh.flags(TcpFlags(0)).fits("-p tcp --tcp-flags ALL NONE"));
}

#[test]
fn syn_is_a_packet_that_begins_a_connection() {
    // "It is equivalent to --tcp-flags SYN,RST,ACK,FIN SYN."
    assert!(Probe::tcp().fits("-p tcp --syn"));
    let answer = Probe::tcp().flags(TcpFlags::SYN.union(TcpFlags::ACK));
    assert!(!answer.fits("-p tcp --syn") && answer.fits("-p tcp ! --syn"));
}

#[test]
fn an_icmp_type_may_name_a_code() {
    assert!(icmp(8, 0).fits("-p icmp --icmp-type echo-request"));
    assert!(!icmp(0, 0).fits("-p icmp --icmp-type 8"));
    assert!(icmp(0, 0).fits("-p icmp ! --icmp-type 8"));
    assert!(icmp(3, 4).fits("-p icmp --icmp-type 3") && icmp(3, 4).fits("-p icmp --icmp-type 3/4"));
    assert!(!icmp(3, 3).fits("-p icmp --icmp-type fragmentation-needed"));
}

#[test]
fn icmp_type_255_is_any() {
    assert!(
        icmp(11, 1).fits("-p icmp --icmp-type any") && icmp(11, 1).fits("-p icmp --icmp-type 255")
    );
    assert!(!icmp(11, 1).fits("-p icmp ! --icmp-type any"));
}

#[test]
fn icmpv6_types_have_numbers_of_their_own() {
    let probe = Probe::new(Protocol::ICMPV6, "2001:db8:1::7", 1, "2001:db8::1", 0);
    assert!(probe.fits("-p ipv6-icmp --icmpv6-type echo-request"));
    assert!(!probe.fits("-p ipv6-icmp --icmpv6-type 129"));
}

#[test]
fn a_later_fragment_has_no_ports() {
    // "Since there is no way to tell the source or destination ports of such a packet (or ICMP
    // type), such a packet will not match any rules which specify them", `!` or not.
    let fragment = Probe::tcp().with(|p| p.headers.is_later_fragment = true);
    assert!(fragment.fits("-f") && !fragment.fits("! -f"));
    assert!(!Probe::tcp().fits("-f") && Probe::tcp().fits("! -f"));
    for matches in [
        "-m tcp",
        "--dport 80",
        "! --dport 81",
        "--syn",
        "-m multiport --dports 80",
    ] {
        assert!(!fragment.fits(&format!("-p tcp {matches}")), "{matches}");
    }
    assert!(
        !icmp(8, 0)
            .with(|p| p.headers.is_later_fragment = true)
            .fits("-p icmp --icmp-type any")
    );
    assert!(fragment.fits("-p tcp"));
}
