//! Matches and rules in kube-proxy's words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{Family, Prefix};
use podwire_ruleset::{
    AddressMatch, AddressTypeMatch, AddressTypes, ChainName, ConntrackMatch, CtStates, Inv, L4,
    Match, Origin, Probability, RecentMatch, RecentOperation, Rule, SetDirection, StatisticMatch,
    Target,
};

/// Address type LOCAL: `RTN_LOCAL` is number 2.
const LOCAL: AddressTypes = AddressTypes(1 << 2);

pub(super) fn comment(text: impl Into<Box<str>>) -> Match {
    Match::Comment(text.into())
}

pub(super) fn source(prefix: Prefix) -> Match {
    Match::Source(Inv::is(AddressMatch::Prefix(prefix)))
}

pub(super) fn destination(prefix: Prefix) -> Match {
    Match::Destination(Inv::is(AddressMatch::Prefix(prefix)))
}

pub(super) fn not_destination(prefix: Prefix) -> Match {
    Match::Destination(Inv::not(AddressMatch::Prefix(prefix)))
}

/// `-m tcp -p tcp`.
pub(super) const fn protocol(l4: L4) -> [Match; 2] {
    let protocol = l4.protocol();
    [Match::Module(l4), Match::Protocol(Inv::is(protocol))]
}

/// `--dport`.
pub(super) const fn destination_port(l4: L4, port: u16) -> Match {
    Match::DestinationPort(l4, Inv::is(port..=port))
}

/// `-m tcp -p tcp -d IP --dport N` behind a comment.
pub(super) fn address_and_port(text: String, l4: L4, ip: IpAddr, port: u16) -> Vec<Match> {
    let [module, is_protocol] = protocol(l4);
    // Room for the one match that may follow.
    let mut matches = Vec::with_capacity(6);
    matches.push(comment(text));
    matches.push(module);
    matches.push(is_protocol);
    matches.push(destination(Prefix::host(ip)));
    matches.push(destination_port(l4, port));
    matches
}

/// `-m addrtype --src-type LOCAL`.
pub(super) fn source_is_local() -> Match {
    Match::AddressType(AddressTypeMatch {
        src: Some(Inv::is(LOCAL)),
        ..AddressTypeMatch::default()
    })
}

/// `-m addrtype ! --src-type LOCAL`.
pub(super) fn source_is_not_local() -> Match {
    Match::AddressType(AddressTypeMatch {
        src: Some(Inv::not(LOCAL)),
        ..AddressTypeMatch::default()
    })
}

/// `-m addrtype --dst-type LOCAL`.
pub(super) fn destination_is_local() -> Match {
    Match::AddressType(AddressTypeMatch {
        dst: Some(Inv::is(LOCAL)),
        ..AddressTypeMatch::default()
    })
}

/// `-m conntrack --ctstate`.
pub(super) fn ctstate(state: Inv<CtStates>) -> Match {
    Match::Conntrack(Box::new(ConntrackMatch {
        state: Some(state),
        ..ConntrackMatch::default()
    }))
}

/// `-m statistic --mode random`: one of `n`, with the ten decimals that kube-proxy writes.
pub(super) fn one_of(n: usize) -> Match {
    #[expect(
        clippy::cast_precision_loss,
        reason = "an endpoint count is far below 2^52"
    )]
    let decimal = (1e10 / n as f64).round() / 1e10;
    let probability = Probability::new(decimal).expect("1/n is between 0 and 1");
    Match::Statistic(StatisticMatch::Random(Inv::is(probability)))
}

/// `-m recent`: on the list named like the endpoint's chain.
pub(super) fn recent(
    chain: &ChainName,
    operation: RecentOperation,
    seconds: Option<u32>,
    family: Family,
) -> Match {
    Match::Recent(Box::new(RecentMatch {
        name: chain.as_str().into(),
        operation,
        inverted: false,
        seconds,
        reap: seconds.is_some(),
        hitcount: None,
        rttl: false,
        side: SetDirection::Source,
        mask: match family {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::BROADCAST),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        },
    }))
}

pub(super) const fn rule(matches: Vec<Match>, target: Target, origin: Origin) -> Rule {
    Rule {
        matches,
        target: Some(target),
        counters: None,
        origin: Some(origin),
        host_lengths: false,
    }
}
