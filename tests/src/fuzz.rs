//! What holds of any bytes. The targets of `fuzz/` call these, and `tests/corpus.rs` runs them on the
//! texts of `fuzz/corpus`.

mod corefiles;
mod names;

use std::net::IpAddr;

use podwire_cluster::{Input, load};
use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::iptables::{self, ParseError, ReadError, Sink, Wording, line_column};
use podwire_ruleset::{
    AddressMatch, ChainId, Choose, Classify as _, ConntrackInfo, CtState, Draw, Hook,
    HostAddresses, LinkError, Match, Observe, Packet, Policy, Rule, RuleId, RuleSet, State, Table,
    TableName, ipset, nft,
};

pub use corefiles::corefile;
pub use names::{dns_message, zone};

/// `iptables-save` text: what can be read is printed as text that reads the same, and can be asked
/// about packets; what cannot be read has a place.
///
/// # Panics
/// If that does not hold.
pub fn iptables(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for family in [Family::Ipv4, Family::Ipv6] {
        match iptables::parse(&text, family) {
            Err(error) => {
                let span = error.span();
                assert!(span.offset() + span.len() <= text.len(), "{error:?}");
                let (line, column) = line_column(&text, span.offset());
                assert!(line >= 1 && column >= 1, "{error:?}");
            }
            Ok(parsed) => {
                let printed = iptables::print(&parsed.rules, Wording::Save);
                let again = iptables::parse(&printed, family)
                    .unwrap_or_else(|error| panic!("{error}\n{printed}"));
                assert_eq!(iptables::print(&again.rules, Wording::Save), printed);
                ask(
                    &Interp::new(parsed.rules).expect("jumps were checked"),
                    family,
                );
            }
        }
    }
}

/// Asks every table at every hook about one packet.
fn ask(interp: &Interp, family: Family) {
    let (src, dst) = match family {
        Family::Ipv4 => ([10, 244, 0, 5].into(), [10, 96, 0, 20].into()),
        Family::Ipv6 => (family.unspecified(), family.unspecified()),
    };
    let host = HostAddresses::of([src]);
    for hook in Hook::ALL {
        let packet = Packet {
            headers: Headers::first_of_flow(src, dst, Protocol::TCP, 40_000, 80),
            mark: Mark(0),
            hook,
            input: None,
            output: None,
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host: &host,
            now: SimTime::START,
        };
        for table in TableName::ALL {
            let state = State::default();
            interp.classify(table, &packet, &state, &mut Draw(1), &mut ());
        }
    }
}

/// nftables text: what can be read is printed, in both wordings, as text that reads the same; what cannot
/// be read has a place.
///
/// # Panics
/// If that does not hold.
pub fn nft(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match nft::parse(&text) {
        Err(error) => {
            let span = error.span();
            assert!(span.offset() + span.len() <= text.len(), "{error:?}");
            let (line, column) = line_column(&text, span.offset());
            assert!(line >= 1 && column >= 1, "{error:?}");
        }
        Ok(parsed) => {
            for wording in [nft::Wording::List, nft::Wording::KubeProxy] {
                let printed = nft::print(&parsed.rules, wording);
                let again =
                    nft::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
                assert_eq!(nft::print(&again.rules, wording), printed);
            }
        }
    }
}

/// `ipset save` text: what can be read is printed as text that reads the same.
///
/// # Panics
/// If that does not hold.
pub fn ipset(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(sets) = ipset::parse(&text) {
        let printed = ipset::print(&sets);
        assert_eq!(ipset::parse(&printed), Ok(sets), "{printed}");
    }
}

/// A cluster's file, YAML, JSON or RON: what cannot be read has places in the text.
///
/// # Panics
/// If that does not hold.
pub fn cluster(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    // YAML ends a line at a carriage return, too.
    let lines = text.split(['\n', '\r']).count();
    let path = "input".into();
    if let Err(errors) = load(vec![Input { path, text }]) {
        assert!(!errors.errors.is_empty());
        for error in errors.errors {
            let line = usize::try_from(error.place.line).expect("few lines");
            assert!((1..=lines).contains(&line), "{error}");
            assert!(error.place.column >= 1, "{error}");
        }
    }
}

/// `iptables-save` text: the compiled matcher decides as `podwire-interp` does, rule by rule, on packets
/// made of the addresses and ports that rules name and of the bytes.
///
/// # Panics
/// If that does not hold.
pub fn match_rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for family in [Family::Ipv4, Family::Ipv6] {
        let Ok(parsed) = iptables::parse(&text, family) else {
            continue;
        };
        let matcher = Matcher::new(&parsed.rules).expect("jumps were checked");
        let addresses = named_addresses(&parsed.rules);
        let ports = named_ports(&parsed.rules);
        let interp = Interp::new(parsed.rules).expect("jumps were checked");
        let host = HostAddresses::of(addresses.first().copied());
        // Each packet takes its numbers from the bytes, and from how often it asks.
        let seed = bytes.iter().fold(7, |seed: u64, &byte| {
            seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        let mut draw = Draw(seed);
        let mut below = |n: usize| draw.one_of(u32::try_from(n).unwrap_or(1)) as usize;
        for number in 0..24 {
            let protocols = [Protocol::TCP, Protocol::UDP, Protocol::icmp_of(family)];
            let mut headers = Headers::first_of_flow(
                addresses[below(addresses.len())],
                addresses[below(addresses.len())],
                protocols[below(3)],
                ports[below(ports.len())],
                ports[below(ports.len())],
            );
            headers.is_later_fragment = number == 0;
            let states = [CtState::New, CtState::Established, CtState::Invalid];
            let packet = Packet {
                headers,
                mark: Mark([0, 1, 0x4000, u32::MAX][below(4)]),
                hook: Hook::ALL[below(Hook::ALL.len())],
                input: None,
                output: None,
                physdev_in: None,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(states[below(3)]),
                host: &host,
                now: SimTime::START,
            };
            for table in TableName::ALL {
                agree(&interp, &matcher, table, &packet, number);
            }
        }
    }
}

/// The rules that a packet met.
#[derive(Debug, Default, PartialEq)]
struct Met(Vec<RuleId>);

impl Observe for Met {
    fn matched(&mut self, rule: RuleId) {
        self.0.push(rule);
    }

    fn policy(&mut self, _: TableName, _: Hook) {}
}

/// Takes ladders rung by rung, as rules do.
struct Steps(Draw);

impl Choose for Steps {
    fn chance(&mut self, threshold: u32) -> bool {
        self.0.chance(threshold)
    }

    fn one_of(&mut self, n: u32) -> u32 {
        self.0.one_of(n)
    }
}

fn agree(interp: &Interp, matcher: &Matcher, table: TableName, packet: &Packet<'_>, seed: u64) {
    let (state, steps) = (State::default(), || Steps(Draw(seed)));
    let (mut expected, mut met) = (Met::default(), Met::default());
    let decision = interp.classify(table, packet, &state, &mut steps(), &mut expected);
    let found = matcher.classify(table, packet, &state, &mut steps(), &mut met);
    assert_eq!((found, met), (decision.clone(), expected), "{packet:?}");
    let brief = matcher.decide(table, packet, &state, &mut steps());
    assert!(
        brief.agrees_with(&decision),
        "{packet:?}: {brief:?}, {decision:?}"
    );
}

fn every_match(rules: &RuleSet) -> impl Iterator<Item = &Match> {
    let tables = rules.tables.values();
    let chains = tables.flat_map(|table| table.chains.values());
    let rules = chains.flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.matches)
}

fn named_addresses(rules: &RuleSet) -> Vec<IpAddr> {
    let mut named = vec![rules.family.unspecified()];
    for test in every_match(rules) {
        if let Match::Source(of) | Match::Destination(of) = test
            && let AddressMatch::Prefix(prefix) = of.value
        {
            named.extend([prefix.address(), prefix.last()]);
        }
    }
    named
}

fn named_ports(rules: &RuleSet) -> Vec<u16> {
    let mut named = vec![0, 80];
    for test in every_match(rules) {
        if let Match::SourcePort(_, of) | Match::DestinationPort(_, of) = test {
            named.extend([*of.value.start(), *of.value.end()]);
        }
    }
    named
}

/// Rules as a stream hands them on.
struct Streamed(RuleSet);

impl Sink for Streamed {
    fn chain(&mut self, table: TableName, _: ChainId, name: &str, policy: Option<Policy>) {
        let chain = self.0.table_mut(table).chain_mut(&name.into());
        if let (Some(built_in), Some(policy)) = (&mut chain.built_in, policy) {
            built_in.policy = policy;
        }
    }

    fn rule(&mut self, id: RuleId, rule: &Rule, _: Option<ChainId>) {
        let chain = self.0.table_mut(id.table).chain_at_mut(id.chain.index());
        chain.rules.push(rule.clone());
        assert_eq!(chain.rules.len(), id.number as usize);
    }
}

/// `iptables-save` text as a stream: where it is taken, the rules are those of the whole text; where the
/// whole text is taken, the stream refuses only what it says that it refuses.
///
/// # Panics
/// If that does not hold.
pub fn stream(bytes: &[u8]) {
    let size = 1 + usize::from(bytes.first().copied().unwrap_or(0) % 32);
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut sink = Streamed(RuleSet::empty(family));
        let input = std::io::BufReader::with_capacity(size, bytes);
        let read = iptables::read_into(input, family, &mut sink);
        let Ok(text) = std::str::from_utf8(bytes) else {
            assert!(read.is_err());
            continue;
        };
        match (read, iptables::parse(text, family)) {
            (Ok(unknown), Ok(parsed)) => {
                assert_eq!(unknown.len(), parsed.unknown.len());
                for (name, table) in &parsed.rules.tables {
                    let read = &sink.0.tables[name];
                    let chains = |table: &Table| -> Vec<_> {
                        let own = table.chains.values();
                        own.map(|own| (own.name.clone(), own.built_in, own.rules.clone()))
                            .collect()
                    };
                    assert_eq!(chains(read), chains(table), "{name}");
                }
                assert_eq!(sink.0.tables.len(), parsed.rules.tables.len());
            }
            (Ok(_), Err(error)) => {
                let is_circle = matches!(
                    &error,
                    ParseError::Link { cause, .. } if matches!(**cause, LinkError::Loop { .. })
                );
                assert!(is_circle, "{error}");
            }
            (Err(ReadError::LongLine { .. }) | Err(ReadError::Line { .. }), Err(_)) => {}
            (Err(ReadError::LongLine { .. }), Ok(_)) => {
                assert!(text.lines().any(|line| line.len() > iptables::MAX_LINE));
            }
            (Err(ReadError::Line { cause, .. }), Ok(_)) => {
                let is_documented = matches!(
                    *cause,
                    ParseError::EditsEarlier { .. } | ParseError::Link { .. }
                );
                assert!(is_documented, "{cause}");
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
}
