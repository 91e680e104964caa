//! Rules about the mark that asks for masquerading, which iptables and ipvs mode share.

use podwire_packet::Mark;
use podwire_ruleset::{ChainName, CtStates, Inv, MarkMatch, Match, NatRange, Origin, Target};

use super::settings::Settings;
use super::tables::Placed;
use super::words::{comment, ctstate, rule};

/// Rules of nat: masquerading of what is marked, in `postrouting`, and the chain that marks.
pub(super) fn masquerading(
    settings: &Settings,
    postrouting: &ChainName,
    mark_masq: &ChainName,
    origin: Origin,
) -> [Placed; 4] {
    let value = settings.masquerade_mark;
    let flip = Target::Mark {
        value,
        mask: Mark(0),
    };
    let set = Target::Mark { value, mask: value };
    let masquerade = Target::Masquerade(NatRange {
        random_fully: true,
        ..NatRange::default()
    });
    let unmarked = vec![Match::Mark(Inv::not(mark(settings)))];
    let snat = vec![comment("kubernetes service traffic requiring SNAT")];
    [
        placed(postrouting, unmarked, Target::Return, origin),
        // The mark is cleared so that a packet that passes twice is not masqueraded twice.
        placed(postrouting, Vec::new(), flip, origin),
        placed(postrouting, snat, masquerade, origin),
        placed(mark_masq, Vec::new(), set, origin),
    ]
}

/// Rules of filter: what is marked, and what belongs to a known connection, may be forwarded whatever
/// the chain's policy.
pub(super) fn forwarding(settings: &Settings, chain: &ChainName, origin: Origin) -> [Placed; 2] {
    let marked = vec![
        comment("kubernetes forwarding rules"),
        Match::Mark(Inv::is(mark(settings))),
    ];
    let known = vec![
        comment("kubernetes forwarding conntrack rule"),
        ctstate(Inv::is(CtStates::RELATED.union(CtStates::ESTABLISHED))),
    ];
    [
        placed(chain, marked, Target::Accept, origin),
        placed(chain, known, Target::Accept, origin),
    ]
}

const fn mark(settings: &Settings) -> MarkMatch {
    let mark = settings.masquerade_mark;
    MarkMatch {
        value: mark,
        mask: mark,
    }
}

fn placed(chain: &ChainName, matches: Vec<Match>, target: Target, origin: Origin) -> Placed {
    Placed {
        chain: chain.clone(),
        rule: rule(matches, target, origin),
    }
}
