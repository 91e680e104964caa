//! `multiport`, `addrtype`, `physdev`, `ipvs`, `iprange`, `comment`.

use podwire_packet::Protocol;
use podwire_ruleset::{Hook, IpvsInfo};

use super::Probe;

#[test]
fn multiport_takes_ports_and_ranges() {
    let probe = Probe::tcp();
    for matches in [
        "--dports 22,80",
        "--dports 22,70:90",
        "--sports 40000",
        "--ports 80",
        "--ports 40000",
    ] {
        assert!(
            probe.fits(&format!("-p tcp -m multiport {matches}")),
            "{matches}"
        );
    }
    for matches in [
        "--dports 22,443",
        "! --dports 80,443",
        "--sports 80",
        "! --ports 1:100",
    ] {
        assert!(
            !probe.fits(&format!("-p tcp -m multiport {matches}")),
            "{matches}"
        );
    }
    assert!(probe.fits("-p tcp -m multiport ! --ports 22,443"));
}

#[test]
fn comments_always_hold() {
    assert!(Probe::tcp().fits("-m comment --comment \"default/web:http has no endpoints\""));
}

#[test]
fn an_address_of_this_host_is_local_and_nobody_elses() {
    let probe = Probe::tcp();
    assert!(
        probe.fits("-m addrtype --dst-type LOCAL") && !probe.fits("-m addrtype --src-type LOCAL")
    );
    assert!(
        probe.fits("-m addrtype ! --src-type LOCAL")
            && probe.fits("-m addrtype --src-type UNICAST")
    );
    assert!(!probe.fits("-m addrtype --dst-type UNICAST"));
    assert!(probe.fits("-m addrtype --dst-type UNICAST,LOCAL"));
    assert!(
        Probe::tcp()
            .to("127.9.9.9")
            .fits("-m addrtype --dst-type LOCAL")
    );
}

#[test]
fn both_types_must_fit() {
    assert!(Probe::tcp().fits("-m addrtype --src-type UNICAST --dst-type LOCAL"));
    assert!(!Probe::tcp().fits("-m addrtype --src-type LOCAL --dst-type LOCAL"));
}

#[test]
fn groups_and_broadcasts_have_their_types() {
    assert!(
        Probe::tcp()
            .to("224.0.0.1")
            .fits("-m addrtype --dst-type MULTICAST")
    );
    for everybody in ["255.255.255.255", "10.0.0.255", "0.0.0.0"] {
        assert!(
            Probe::tcp()
                .to(everybody)
                .fits("-m addrtype --dst-type BROADCAST"),
            "{everybody}"
        );
    }
}

#[test]
fn an_address_may_have_to_be_of_the_packets_device() {
    // "The address type checking can be limited to the interface the packet is coming in."
    let at_cni0 = Probe::tcp().at(Hook::Prerouting, "cni0", "-");
    assert!(!at_cni0.fits("-m addrtype --dst-type LOCAL --limit-iface-in"));
    assert!(at_cni0.fits("-m addrtype --dst-type UNICAST --limit-iface-in"));
    assert!(
        at_cni0
            .to("10.0.0.1")
            .fits("-m addrtype --dst-type LOCAL --limit-iface-in")
    );
    let out = Probe::tcp().at(Hook::Postrouting, "-", "eth0");
    assert!(out.fits("-m addrtype --dst-type LOCAL --limit-iface-out"));
    assert!(
        !out.to("10.0.0.1")
            .fits("-m addrtype --dst-type LOCAL --limit-iface-out")
    );
}

#[test]
fn of_ipv6_an_own_address_is_unicast_too() {
    // `match_type6` asks each type that is named; Linux matched all three of these.
    for types in ["UNICAST", "LOCAL", "UNICAST,LOCAL"] {
        assert!(
            Probe::udp6().fits(&format!("-m addrtype --dst-type {types}")),
            "{types}"
        );
    }
    assert!(!Probe::udp6().fits("-m addrtype --src-type LOCAL"));
    assert!(!Probe::udp6().fits("-m addrtype --src-type UNICAST,LOCAL"));
    assert!(
        Probe::udp6()
            .to("ff02::1")
            .fits("-m addrtype --dst-type MULTICAST")
    );
    assert!(
        !Probe::udp6()
            .to("ff02::1")
            .fits("-m addrtype --dst-type UNICAST")
    );
    assert!(
        Probe::udp6()
            .from("::")
            .fits("-m addrtype --src-type UNSPEC")
    );
}

#[test]
fn a_range_of_addresses_has_both_ends() {
    let probe = Probe::tcp();
    assert!(probe.fits("-m iprange --src-range 198.51.100.1-198.51.100.7"));
    assert!(!probe.fits("-m iprange --src-range 198.51.100.8-198.51.100.9"));
    assert!(probe.fits(
        "-m iprange ! --src-range 198.51.100.8-198.51.100.9 --dst-range 192.0.2.1-192.0.2.1"
    ));
    assert!(!probe.fits("-m iprange ! --dst-range 192.0.2.0-192.0.2.9"));
    assert!(Probe::udp6().fits("-m iprange --dst-range 2001:db8::-2001:db8::f"));
}

#[test]
fn a_bridged_packet_has_both_ports() {
    let probe = Probe::tcp()
        .at(Hook::Forward, "cni0", "cni0")
        .ports("veth1", "veth2");
    for matches in [
        "--physdev-in veth1",
        "--physdev-out veth+",
        "--physdev-is-in",
        "--physdev-is-out",
    ] {
        assert!(probe.fits(&format!("-m physdev {matches}")), "{matches}");
        assert!(
            !probe.fits(&format!("-m physdev ! {matches}")),
            "! {matches}"
        );
    }
    assert!(probe.fits("-m physdev --physdev-is-bridged --physdev-in veth1 --physdev-out veth2"));
    assert!(
        !probe.fits("-m physdev --physdev-in veth2")
            && probe.fits("-m physdev ! --physdev-in veth2")
    );
}

#[test]
fn a_packet_that_crossed_no_bridge_fits_what_was_asked_with_an_exclamation_mark() {
    let probe = Probe::tcp().at(Hook::Forward, "eth0", "eth1");
    for matches in [
        "--physdev-in veth1",
        "--physdev-out veth1",
        "--physdev-is-in",
        "--physdev-is-out",
        "--physdev-is-bridged",
    ] {
        assert!(!probe.fits(&format!("-m physdev {matches}")), "{matches}");
        assert!(
            probe.fits(&format!("-m physdev ! {matches}")),
            "! {matches}"
        );
    }
}

#[test]
fn a_packet_routed_off_a_bridge_leaves_by_no_port() {
    // `physdev_mt`: "if (!outdev) return false", before `!` is looked at.
    let probe = Probe::tcp()
        .at(Hook::Forward, "cni0", "eth0")
        .ports("veth1", "-");
    assert!(
        probe.fits("-m physdev --physdev-in veth1")
            && probe.fits("-m physdev ! --physdev-is-bridged")
    );
    assert!(!probe.fits("-m physdev --physdev-out veth1"));
    assert!(!probe.fits("-m physdev ! --physdev-out veth1"));
    assert!(
        probe.fits("-m physdev ! --physdev-is-out") && !probe.fits("-m physdev --physdev-is-out")
    );
}

#[test]
fn protocols_without_ports_fit_no_multiport() {
    let esp = Probe::tcp().with(|p| p.headers.protocol = Protocol(50));
    assert!(!esp.fits("-p tcp -m multiport --dports 80"));
}

#[test]
fn ipvs_finds_the_virtual_server_of_a_packet_on_its_way_to_a_real_one() {
    let of = |ipvs| {
        Probe::tcp().with(|p| {
            let mut asked = p.headers.five_tuple();
            (asked.dst, asked.dport) = ("203.0.113.24".parse().unwrap(), 443);
            p.conntrack.original = Some(asked);
            p.conntrack.ipvs = ipvs;
        })
    };
    let request = of(IpvsInfo::Request);
    for matches in [
        "--ipvs",
        "--vaddr 203.0.113.24 --vproto tcp --vport 443",
        "--vaddr 203.0.113.0/24 ! --vport 80",
        "--vdir ORIGINAL",
    ] {
        assert!(request.fits(&format!("-m ipvs {matches}")), "{matches}");
    }
    for matches in [
        "! --ipvs",
        "--vaddr 203.0.113.25",
        "! --vproto tcp",
        "--vport 80",
        "--vdir REPLY",
    ] {
        assert!(!request.fits(&format!("-m ipvs {matches}")), "{matches}");
    }
    // `conn_out_get` with the packet turned around finds no answer's connection.
    let answer = of(IpvsInfo::Answer);
    assert!(answer.fits("-m ipvs --ipvs") && !answer.fits("-m ipvs --vaddr 203.0.113.24"));
    let other = of(IpvsInfo::Untouched);
    assert!(other.fits("-m ipvs ! --ipvs") && !other.fits("-m ipvs ! --vport 80"));
}
