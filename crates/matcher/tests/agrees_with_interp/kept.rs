//! Rule sets that were hard once or are hard by their form, `tests/kept/*.txt`: text of `iptables-save`, for
//! IPv6 where the name says so. A line `# ask TABLE HOOK PROTOCOL SOURCE PORT DESTINATION PORT MARK` is a
//! packet; more are made for the rules.

use std::path::Path;

use podwire_packet::{Family, Headers, Mark, SimTime};
use podwire_ruleset::{
    ConntrackInfo, CtState, Draw, HostAddresses, Packet, State, TableName, iptables,
};

use super::generated::Lots;
use super::probes::Probes;
use super::{Both, Compared};

fn asked<'a>(line: &str, host: &'a HostAddresses) -> Option<(TableName, Packet<'a>)> {
    let words: Vec<&str> = line.strip_prefix("# ask ")?.split(' ').collect();
    let [table, hook, protocol, src, sport, dst, dport, mark] = words[..] else {
        panic!("eight words: {line}");
    };
    let packet = Packet {
        headers: Headers::first_of_flow(
            src.parse().unwrap(),
            dst.parse().unwrap(),
            protocol.parse().unwrap(),
            sport.parse().unwrap(),
            dport.parse().unwrap(),
        ),
        mark: Mark(mark.parse().unwrap()),
        hook: hook.parse().unwrap(),
        input: Some("eth0".parse().unwrap()),
        output: None,
        physdev_in: None,
        physdev_out: None,
        conntrack: ConntrackInfo::of_state(CtState::New),
        host,
        now: SimTime::START,
    };
    Some((table.parse().unwrap(), packet))
}

#[test]
fn on_kept_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let host = HostAddresses::of(["10.0.1.1", "fd00::1:1"].map(|ip| ip.parse().unwrap()));
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let is_v6 = path.to_string_lossy().contains("ipv6");
        let family = if is_v6 { Family::Ipv6 } else { Family::Ipv4 };
        let rules = iptables::parse(&text, family).unwrap().rules;
        let both = Both::new(rules.clone());
        let (mut state, mut compared) = (State::default(), Compared::default());
        let mut asked_for = 0;
        for (table, packet) in text.lines().filter_map(|line| asked(line, &host)) {
            both.compare(table, &packet, &mut state, 1, &mut compared);
            asked_for += 1;
        }
        assert_eq!(compared.matched, asked_for, "a packet meets no rule");
        let mut lots = Lots(Draw(files));
        let probes = Probes::of(&rules, &host);
        for n in 0..200 {
            let (table, packet) = probes.aimed(&mut lots);
            both.compare_one(table, &packet, &state, n, &mut compared);
        }
        assert!(compared.matched > 100, "{compared:?}");
        files += 1;
    }
    assert!(files >= 6, "{files}");
}
