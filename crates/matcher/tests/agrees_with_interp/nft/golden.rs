//! kube-proxy's tables of nftables, and packets to all that their maps hold, and to what is beside it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::nft::{
    Expression, MapValue, Match, Nat, Operand, Payload, RuleSet, Span, State, Statement, Value,
    parse,
};
use podwire_ruleset::{CtState, Hook, HostAddresses};

use super::super::Compared;
use super::super::golden::{beside, family_of, files_of};
use super::{Both, packet};

/// Addresses that rules name, and receivers that elements of sets and maps name.
#[derive(Default)]
struct Named {
    addresses: BTreeSet<IpAddr>,
    receivers: BTreeSet<(IpAddr, Protocol, u16)>,
}

fn named(rules: &RuleSet, host: IpAddr) -> Named {
    let mut named = Named::default();
    named.addresses.insert(host);
    for table in rules.tables.values() {
        let elements = table.sets.values().flat_map(|set| &set.elements);
        for (key, element) in elements {
            let (mut to, mut protocol, mut port) = (host, Protocol::TCP, 80);
            for (value, _) in key.iter().filter_map(Span::ends) {
                if let Value::Address(address) = value {
                    to = address;
                } else if let Value::Protocol(own) = value {
                    protocol = own;
                } else if let Value::Port(own) = value {
                    port = own;
                }
            }
            if let Some(MapValue::Data(data)) = &element.value {
                named.addresses.extend(data.iter().filter_map(address));
            }
            named.receivers.extend([
                (to, protocol, port),
                (to, protocol, port ^ 1),
                (beside(to), protocol, port),
                (to, Protocol::SCTP, port),
            ]);
        }
        let rules = table.chains.values().flat_map(|chain| &chain.rules);
        for statement in rules.flat_map(|rule| &rule.statements) {
            if let Statement::Nat(Nat { range, .. }) = statement {
                let to = range.addresses.as_ref().map(|all| *all.start());
                named.addresses.extend(to);
            } else if let Statement::Match(Match { left, right, .. }) = statement
                && matches!(left, Expression::Payload(Payload::Saddr(_)))
                && let Operand::One(key) = right
            {
                let own = key.iter().filter_map(address);
                named.addresses.extend(own.flat_map(|ip| [ip, beside(ip)]));
            }
        }
    }
    named
}

fn address(span: &Span) -> Option<IpAddr> {
    let (_, last) = span.ends()?;
    if let Value::Address(last) = last {
        Some(last)
    } else {
        None
    }
}

fn compare(path: &Path, tries_all: bool, compared: &mut Compared) {
    let text = std::fs::read_to_string(path).unwrap();
    let family = family_of(path);
    let parsed = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let own: IpAddr = match family {
        Family::Ipv4 => "192.168.64.11",
        Family::Ipv6 => "fd64::11",
    }
    .parse()
    .unwrap();
    let named = named(&parsed.rules, own);
    let host = HostAddresses::of([own]);
    let both = Both::new(parsed.rules, family);
    let mut state = State::default();
    for (n, &(dst, protocol, dport)) in named.receivers.iter().enumerate() {
        for (m, &src) in named.addresses.iter().enumerate() {
            for hook in Hook::ALL {
                // Sources and receivers take turns, unless all are to be tried.
                let is_their_turn = (5 * n + m + hook as usize).is_multiple_of(7);
                if !is_their_turn && !tries_all {
                    continue;
                }
                let headers = Headers::first_of_flow(src, dst, protocol, 40_000, dport);
                let tracked = match (n + m) % 9 {
                    0 => CtState::Established,
                    1 => CtState::Invalid,
                    _ => CtState::New,
                };
                let mut packet = packet(headers, hook, tracked, &host);
                packet.mark = Mark(if m % 3 == 0 { 0x4000 } else { 0 });
                packet.now = SimTime((n * 1_000_000_000) as u64);
                both.compare(&packet, &mut state, m as u64, compared);
            }
        }
    }
}

#[test]
fn on_kube_proxys_tables_of_nftables() {
    let mut compared = Compared::default();
    let tries_all = std::env::var_os("PODWIRE_AGREEMENT_CASES").is_some();
    let mut files = 0;
    for path in files_of("nftables.node-a") {
        compare(&path, tries_all, &mut compared);
        files += 1;
    }
    println!("{compared:?} over {files} rule sets");
    assert!(files >= 25, "{files}");
    assert!(compared.matched * 2 > compared.packets, "{compared:?}");
    assert!(compared.outcomes > compared.packets, "{compared:?}");
}
