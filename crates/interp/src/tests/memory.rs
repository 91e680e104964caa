//! The matches that depend on chance, time and earlier packets.

use podwire_packet::SimTime;
use podwire_ruleset::{CERTAIN, Effect, Hook, RecentList, State, Verdict, outcomes};

use super::{Probe, table};

/// Which of so many packets fit.
fn pattern(matches: &str, packets: usize) -> String {
    let mut state = State::default();
    let answers = (0..packets).map(|_| Probe::tcp().fits_with(matches, &mut state));
    answers.map(|fits| if fits { '1' } else { '-' }).collect()
}

#[test]
fn every_nth_packet_fits_beginning_with_the_one_that_packet_names() {
    assert_eq!(pattern("-m statistic --mode nth --every 3", 9), "1--1--1--");
    assert_eq!(
        pattern("-m statistic --mode nth --every 3 --packet 0", 4),
        "1--1"
    );
    assert_eq!(
        pattern("-m statistic --mode nth --every 3 --packet 2", 7),
        "--1--1-"
    );
    assert_eq!(pattern("-m statistic --mode nth ! --every 3", 6), "-11-11");
    assert_eq!(pattern("-m statistic --mode nth --every 1", 3), "111");
}

#[test]
fn a_random_match_has_the_probability_of_its_threshold() {
    let matches = |inverted: &str| {
        let text = format!(
            "-A INPUT -m statistic --mode random {inverted} --probability 0.33333333349 -j DROP"
        );
        let rules = table("mangle", &text, &Probe::tcp().packet);
        outcomes(|mut choose| {
            Probe::tcp()
                .ask(&rules, &State::default(), &mut choose)
                .verdict
        })
    };
    // 0.33333333349 * 2^31, rounded.
    let third = 715_827_883.0 / 2_147_483_648.0;
    assert_eq!(
        matches(""),
        [(third, Verdict::Drop), (1.0 - third, Verdict::Accept)]
    );
    assert_eq!(
        matches("!"),
        [(third, Verdict::Accept), (1.0 - third, Verdict::Drop)]
    );
}

#[test]
fn a_ladder_of_random_rules_is_even() {
    let lines = "-A INPUT -m statistic --mode random --probability 0.33333333349 -j MARK --set-mark 1\n\
        -A INPUT -m mark --mark 0 -m statistic --mode random --probability 0.5 -j MARK --set-mark 2\n\
        -A INPUT -m mark --mark 0 -j MARK --set-mark 3";
    let rules = table("mangle", lines, &Probe::tcp().packet);
    let all = outcomes(|mut choose| {
        Probe::tcp()
            .ask(&rules, &State::default(), &mut choose)
            .mark
            .0
    });
    assert_eq!(
        all.iter().map(|(_, mark)| *mark).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        all.iter().all(|(p, _)| (p - 1.0 / 3.0).abs() < 1e-9),
        "{all:?}"
    );
    assert!((all.iter().map(|(p, _)| p).sum::<f64>() - CERTAIN).abs() < 1e-12);
}

#[test]
fn chance_is_not_asked_where_an_earlier_test_fails() {
    let text = "-A INPUT -p udp -m statistic --mode random --probability 0.5 -j DROP";
    let rules = table("mangle", text, &Probe::tcp().packet);
    assert_eq!(
        outcomes(|mut c| Probe::tcp().ask(&rules, &State::default(), &mut c).verdict).len(),
        1
    );
}

#[test]
fn a_bucket_holds_a_burst_and_fills_at_the_rate() {
    let mut state = State::default();
    let mut ask = |second| {
        Probe::tcp()
            .seconds_later(second)
            .fits_with("-m limit --limit 6/min --limit-burst 2", &mut state)
    };
    assert_eq!([ask(0), ask(0), ask(0)], [true, true, false]);
    assert_eq!([ask(9), ask(10), ask(11)], [false, true, false]);
    assert_eq!([ask(1000), ask(1000), ask(1000)], [true, true, false]);
}

#[test]
fn a_limit_is_three_an_hour_with_a_burst_of_five_unless_said() {
    let mut state = State::default();
    let mut ask = |second| {
        Probe::tcp()
            .seconds_later(second)
            .fits_with("-m limit", &mut state)
    };
    assert_eq!((0..6).filter(|_| ask(0)).count(), 5);
    assert!(!ask(1_199) && ask(1_200));
}

#[test]
fn the_time_between_two_packets_is_cut_to_a_ten_thousandth_of_a_second() {
    // 7 a second: 10,000 / 7 = 1,428 units, not a seventh of a second.
    let mut state = State::default();
    let mut ask = |nanos| {
        let probe = Probe::tcp().with(|p| p.now = SimTime(nanos));
        probe.fits_with("-m limit --limit 7/s --limit-burst 1", &mut state)
    };
    assert_eq!(
        [ask(0), ask(142_799_999), ask(142_800_000)],
        [true, false, true]
    );
}

#[test]
fn a_bucket_gives_no_token_where_an_earlier_test_fails() {
    let mut state = State::default();
    assert!(!Probe::udp().fits_with("-p tcp -m limit --limit 1/h --limit-burst 1", &mut state));
    assert!(Probe::tcp().fits_with("-p tcp -m limit --limit 1/h --limit-burst 1", &mut state));
}

#[test]
fn an_evaluation_changes_nothing_and_returns_what_is_to_be_remembered() {
    let rules = table(
        "mangle",
        "-A INPUT -m recent --set -j LOG",
        &Probe::tcp().packet,
    );
    let state = State::default();
    let decision = Probe::tcp().ask(&rules, &state, &mut podwire_ruleset::Draw(1));
    assert!(state.recent.is_empty());
    assert!(matches!(
        &*decision.effects,
        [Effect::RecentSeen { .. }, Effect::Logged { .. }]
    ));
}

/// Asks `recent` of packets from an address, seconds after the start.
struct Recent(State);

impl Recent {
    fn ask(&mut self, second: u64, from: &str, options: &str) -> bool {
        let probe = Probe::tcp().from(from).seconds_later(second);
        probe.fits_with(&format!("-m recent {options}"), &mut self.0)
    }
}

#[test]
fn recent_finds_the_addresses_that_were_noted() {
    let mut list = Recent(State::default());
    assert!(!list.ask(0, "198.51.100.7", "--rcheck"));
    assert!(list.ask(0, "198.51.100.7", "--set"));
    assert!(list.ask(1, "198.51.100.7", "--rcheck") && !list.ask(1, "198.51.100.8", "--rcheck"));
    assert!(
        !list.ask(1, "198.51.100.7", "! --rcheck") && list.ask(1, "198.51.100.8", "! --rcheck")
    );
    assert!(!list.ask(1, "198.51.100.7", "--rcheck --name other"));
    assert!(!list.ask(1, "198.51.100.9", "! --set") && list.ask(1, "198.51.100.9", "--rcheck"));
}

#[test]
fn recent_forgets_what_is_removed() {
    let mut list = Recent(State::default());
    assert!(!list.ask(0, "198.51.100.7", "--remove"));
    list.ask(0, "198.51.100.7", "--set");
    assert!(list.ask(1, "198.51.100.7", "--remove") && !list.ask(1, "198.51.100.7", "--rcheck"));
}

#[test]
fn only_update_notes_again_what_it_finds() {
    let mut list = Recent(State::default());
    list.ask(0, "198.51.100.7", "--set");
    assert!(list.ask(8, "198.51.100.7", "--rcheck --seconds 10"));
    assert!(!list.ask(11, "198.51.100.7", "--rcheck --seconds 10"));
    list.ask(20, "198.51.100.7", "--set");
    assert!(list.ask(28, "198.51.100.7", "--update --seconds 10"));
    assert!(list.ask(38, "198.51.100.7", "--update --seconds 10"));
    assert!(!list.ask(49, "198.51.100.7", "--update --seconds 10"));
    assert!(!list.ask(49, "198.51.100.8", "--update") && !list.ask(49, "198.51.100.8", "--rcheck"));
}

#[test]
fn hitcount_counts_the_sightings_within_the_seconds() {
    let mut list = Recent(State::default());
    for second in [0, 10, 20] {
        list.ask(second, "198.51.100.7", "--set");
    }
    assert!(list.ask(20, "198.51.100.7", "--rcheck --hitcount 3"));
    assert!(!list.ask(20, "198.51.100.7", "--rcheck --hitcount 4"));
    assert!(list.ask(20, "198.51.100.7", "--rcheck --seconds 10 --hitcount 2"));
    assert!(!list.ask(20, "198.51.100.7", "--rcheck --seconds 9 --hitcount 2"));
}

#[test]
fn a_hitcount_above_twenty_can_be_reached() {
    // Linux keeps as many timestamps as the largest hitcount needs, since 3.19.
    let mut list = Recent(State::default());
    for _ in 0..50 {
        list.ask(0, "198.51.100.7", "--set");
    }
    assert!(list.ask(0, "198.51.100.7", "--rcheck --hitcount 50"));
    assert!(!list.ask(0, "198.51.100.7", "--rcheck --hitcount 51"));
}

#[test]
fn reap_forgets_the_oldest_address_once_it_is_too_old() {
    let mut list = Recent(State::default());
    list.ask(0, "198.51.100.1", "--set");
    list.ask(50, "198.51.100.2", "--set");
    assert!(list.ask(61, "198.51.100.2", "--rcheck --seconds 60 --reap"));
    assert!(!list.ask(61, "198.51.100.1", "--rcheck") && list.ask(61, "198.51.100.2", "--rcheck"));
}

#[test]
fn an_address_that_is_noted_again_is_not_reaped_before() {
    let mut list = Recent(State::default());
    list.ask(0, "198.51.100.1", "--set");
    assert!(list.ask(100, "198.51.100.1", "! --update --seconds 60 --reap"));
    assert!(list.ask(100, "198.51.100.1", "--rcheck --hitcount 2"));
}

#[test]
fn a_list_takes_its_mask_and_side_from_the_rule() {
    let mut list = Recent(State::default());
    list.ask(0, "198.51.100.7", "--set --mask 255.255.255.0 --rsource");
    assert!(list.ask(0, "198.51.100.8", "--rcheck --mask 255.255.255.0 --rsource"));
    list.ask(0, "198.51.100.7", "--set --name to --rdest");
    assert!(list.ask(0, "203.0.113.1", "--rcheck --name to --rdest"));
}

#[test]
fn rttl_wants_the_ttl_of_the_noted_packet() {
    let mut state = State::default();
    let ttl = |ttl: u8| Probe::tcp().with(|p| p.headers.ttl = ttl);
    ttl(60).fits_with("-m recent --set", &mut state);
    assert!(ttl(60).fits_with("-m recent --rcheck --rttl", &mut state));
    assert!(!ttl(59).fits_with("-m recent --rcheck --rttl", &mut state));
    // Forwarding took one of it.
    assert!(
        ttl(59)
            .at(Hook::Forward, "eth0", "cni0")
            .fits_with("-m recent --rcheck --rttl", &mut state)
    );
    // What was made here was not forwarded.
    assert!(
        ttl(60)
            .at(Hook::Output, "-", "eth0")
            .fits_with("-m recent --rcheck --rttl", &mut state)
    );
}

#[test]
fn a_ttl_that_became_zero_is_that_of_every_packet() {
    // Bridged packets keep their TTL, and get one more all the same: 255 becomes 0.
    let mut state = State::default();
    let ttl = |ttl: u8| Probe::tcp().with(|p| p.headers.ttl = ttl);
    ttl(60).fits_with("-m recent --set", &mut state);
    let bridged = ttl(255).at(Hook::Forward, "cni0", "cni0");
    assert!(bridged.fits_with("-m recent --rcheck --rttl", &mut state));
    bridged.fits_with("-m recent --set", &mut state);
    assert!(ttl(7).fits_with("-m recent --rcheck --rttl", &mut state));
}

#[test]
fn a_walk_sees_what_it_noted_itself() {
    let lines = "-A INPUT -m recent --set\n-A INPUT -m recent --rcheck --hitcount 1 -j DROP";
    assert_eq!(Probe::tcp().walk(lines).1, Verdict::Drop);
}

#[test]
fn a_full_list_makes_room_by_the_address_not_seen_for_longest() {
    let mut list = RecentList::default();
    for n in 0..=RecentList::ADDRESSES {
        let ip = std::net::Ipv4Addr::from(u32::try_from(n).unwrap());
        list.note(ip.into(), 64, SimTime(n as u64));
    }
    assert_eq!(list.0.len(), RecentList::ADDRESSES);
    assert!(!list.0.contains_key(&std::net::IpAddr::from([0, 0, 0, 0])));
}
