//! `conntrack`, `state` and the marks.

use podwire_packet::{FiveTuple, Mark, Protocol};
use podwire_ruleset::{CtDirection, CtState, CtStatuses};

use super::Probe;

/// A packet of a connection to 192.0.2.1:80 that goes to 10.0.0.9:8080, and is masqueraded.
fn translated() -> Probe {
    let tuple = |src: &str, sport, dst: &str, dport| FiveTuple {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::TCP,
        sport,
        dport,
    };
    Probe::tcp().with(|p| {
        p.conntrack.original = Some(tuple("198.51.100.7", 40_000, "192.0.2.1", 80));
        p.conntrack.reply = Some(tuple("10.0.0.9", 8080, "10.0.0.1", 1_234));
        p.conntrack.status = CtStatuses(CtStatuses::SEEN_REPLY.0 | CtStatuses::CONFIRMED.0);
        p.conntrack.expires_seconds = 100;
        p.conntrack.mark = Mark(0x12);
    })
}

fn is(matches: &str) -> bool {
    translated().fits(&format!("-m conntrack {matches}"))
}

#[test]
fn a_state_is_one_of_a_list() {
    let probe = Probe::tcp().state(CtState::Established);
    assert!(probe.fits("-m conntrack --ctstate RELATED,ESTABLISHED"));
    assert!(!probe.fits("-m conntrack --ctstate NEW,INVALID"));
    assert!(probe.fits("-m conntrack ! --ctstate NEW"));
    assert!(
        probe.fits("-m state --state ESTABLISHED") && !probe.fits("-m state ! --state ESTABLISHED")
    );
}

#[test]
fn snat_and_dnat_are_states_of_the_connection_beside_the_packets_own() {
    let probe = Probe::tcp().with(|p| p.conntrack.dnat = true);
    assert!(probe.fits("-m conntrack --ctstate DNAT") && probe.fits("-m conntrack --ctstate NEW"));
    assert!(
        !probe.fits("-m conntrack --ctstate SNAT") && probe.fits("-m conntrack ! --ctstate SNAT")
    );
    assert!(!probe.fits("-m conntrack ! --ctstate DNAT"));
}

#[test]
fn a_packet_without_a_connection_is_invalid_or_untracked() {
    for (state, word) in [
        (CtState::Invalid, "INVALID"),
        (CtState::Untracked, "UNTRACKED"),
    ] {
        let probe = Probe::tcp().state(state);
        assert!(probe.fits(&format!("-m conntrack --ctstate {word}")));
        assert!(probe.fits(&format!("-m state --state {word}")));
        assert!(probe.fits("-m conntrack ! --ctstate NEW,RELATED,ESTABLISHED"));
    }
}

#[test]
fn without_a_connection_only_the_state_is_asked() {
    // `conntrack_mt`: "if (ct == NULL) return info->match_flags & XT_CONNTRACK_STATE".
    let probe = Probe::tcp().state(CtState::Untracked);
    assert!(probe.fits("-m conntrack --ctstate UNTRACKED --ctproto udp"));
    assert!(
        !probe.fits("-m conntrack --ctproto tcp") && !probe.fits("-m conntrack ! --ctproto udp")
    );
    assert!(!probe.fits("-m conntrack --ctdir ORIGINAL"));
}

#[test]
fn the_original_direction_is_as_the_first_packet_was() {
    assert!(is("--ctorigsrc 198.51.100.7") && is("--ctorigdst 192.0.2.0/24"));
    assert!(is("--ctorigsrcport 40000") && is("--ctorigdstport 80:90"));
    assert!(
        !is("--ctorigdst 10.0.0.9")
            && !is("! --ctorigdst 192.0.2.1")
            && !is("--ctorigdstport 8080")
    );
}

#[test]
fn the_reply_direction_is_as_the_answer_will_be() {
    assert!(is("--ctreplsrc 10.0.0.9") && is("--ctrepldst 10.0.0.1"));
    assert!(is("--ctreplsrcport 8080") && is("--ctrepldstport 1000:2000"));
    assert!(!is("! --ctreplsrc 10.0.0.9") && is("! --ctrepldstport 80"));
}

#[test]
fn of_a_connection_about_which_nothing_is_known_the_packet_tells() {
    assert!(
        Probe::tcp().fits("-m conntrack --ctorigdst 192.0.2.1 --ctorigdstport 80 --ctproto tcp")
    );
    assert!(Probe::tcp().fits("-m conntrack --ctreplsrc 192.0.2.1 --ctrepldstport 40000"));
}

#[test]
fn a_direction_protocol_and_time_may_be_asked() {
    assert!(is("--ctproto tcp") && !is("--ctproto udp") && is("! --ctproto 17"));
    assert!(is("--ctdir ORIGINAL") && !is("--ctdir REPLY"));
    assert!(
        translated()
            .with(|p| p.conntrack.direction = CtDirection::Reply)
            .fits("-m conntrack --ctdir REPLY")
    );
    assert!(
        is("--ctexpire 100")
            && is("--ctexpire 50:150")
            && !is("--ctexpire 101:")
            && is("! --ctexpire 7")
    );
}

#[test]
fn every_option_must_hold() {
    assert!(is("--ctstate NEW --ctproto tcp --ctorigdstport 80"));
    assert!(!is("--ctstate NEW --ctproto tcp --ctorigdstport 81"));
}

#[test]
fn a_status_is_one_of_a_list() {
    assert!(is("--ctstatus SEEN_REPLY") && is("--ctstatus ASSURED,CONFIRMED"));
    assert!(!is("--ctstatus EXPECTED,ASSURED") && is("! --ctstatus ASSURED"));
}

#[test]
fn no_connection_has_the_status_none() {
    // The manual says "None of the below", but the kernel looks for a bit of an empty mask.
    for probe in [translated(), Probe::tcp()] {
        assert!(!probe.fits("-m conntrack --ctstatus NONE"));
        assert!(probe.fits("-m conntrack ! --ctstatus NONE"));
    }
}

#[test]
fn marks_are_compared_under_a_mask() {
    let probe = translated().with(|p| p.mark = Mark(0x4001));
    assert!(probe.fits("-m mark --mark 0x4000/0x4000") && !probe.fits("-m mark --mark 0x4000"));
    assert!(probe.fits("-m mark ! --mark 0x4000") && !probe.fits("-m mark ! --mark 0x1/0x1"));
    assert!(probe.fits("-m connmark --mark 0x10/0xf0") && !probe.fits("-m connmark --mark 0x10"));
    assert!(probe.fits("-m connmark ! --mark 0x10"));
}

#[test]
fn without_a_connection_no_connmark_holds() {
    // `connmark_mt`: "if (ct == NULL) return false", before `!` is looked at.
    let probe = Probe::tcp().state(CtState::Untracked);
    assert!(!probe.fits("-m connmark --mark 0") && !probe.fits("-m connmark ! --mark 1"));
}
