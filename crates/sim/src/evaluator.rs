//! Who evaluates a node's rules.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::Family;
use podwire_ruleset::{
    Choose, Classify, Decision, Hook, Observe, Packet, RuleSet, State, TableName, nft,
};

/// The rules of a family on a node.
///
/// A few packets are evaluated by the reference: it asks rules one by one, and is what they mean. Where more
/// come, as when every way that chance allows is walked, the tables of iptables are compiled, and later ones
/// cost no more where there are many Services. The answers are the same: the two are compared by
/// `podwire-matcher`'s tests. nftables' maps need no compiling.
#[derive(Debug)]
pub struct Evaluator {
    interp: Interp,
    /// How often tables were asked.
    asked: AtomicU32,
    /// Made when they were asked often.
    matcher: OnceLock<Box<Matcher>>,
}

/// As often a node's tables are asked before they are compiled. A packet asks each at every hook.
const OFTEN: u32 = 256;

impl Clone for Evaluator {
    /// The same rules, which nobody asked yet.
    fn clone(&self) -> Self {
        Self::new(self.interp.clone())
    }
}

impl Evaluator {
    /// The evaluator of the rules that the reference has.
    #[must_use]
    pub const fn new(interp: Interp) -> Self {
        Self {
            interp,
            asked: AtomicU32::new(0),
            matcher: OnceLock::new(),
        }
    }

    /// The rules of iptables.
    #[must_use]
    pub const fn rules(&self) -> &RuleSet {
        self.interp.rules()
    }

    /// The rules of nftables, if there are any.
    #[must_use]
    pub fn nft_rules(&self) -> Option<&nft::RuleSet> {
        self.interp.nft().map(|nft| nft.rules())
    }

    /// The family of the rules.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.rules().family
    }

    /// The compiled tables, if they are asked often.
    fn matcher(&self) -> Option<&Matcher> {
        let made = self.matcher.get();
        let made = made.or_else(|| {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            (asked >= OFTEN).then(|| self.matcher.get_or_init(|| self.compile()))
        });
        made.map(|matcher| &**matcher)
    }

    fn compile(&self) -> Box<Matcher> {
        let matcher = Matcher::new(self.rules());
        Box::new(matcher.expect("the reference took the same rules"))
    }
}

impl Classify for Evaluator {
    fn has_rules(&self, table: TableName, hook: Hook) -> bool {
        self.interp.has_rules(table, hook)
    }

    fn classify(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        match self.matcher() {
            Some(matcher) => matcher.classify(table, packet, state, choose, observe),
            None => self.interp.classify(table, packet, state, choose, observe),
        }
    }

    fn base_chains(&self, hook: Hook) -> &[nft::HookedChain] {
        self.interp.base_chains(hook)
    }

    fn classify_chain(
        &self,
        chain: nft::BaseChainId,
        packet: &Packet<'_>,
        state: &nft::State,
        choose: &mut impl Choose,
        observe: &mut impl nft::Observe,
    ) -> nft::Decision {
        self.interp
            .classify_chain(chain, packet, state, choose, observe)
    }
}

#[cfg(test)]
mod tests {
    use podwire_packet::{Headers, Mark, Protocol, SimTime};
    use podwire_ruleset::{ConntrackInfo, CtState, HostAddresses, RuleId, iptables, outcomes};

    use super::*;

    #[test]
    fn compiled_tables_answer_as_the_reference_does() {
        let rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:S - [0:0]\n:A - [0:0]\n:B - [0:0]\n\
            -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j S\n\
            -A S -m statistic --mode random --probability 0.50000000000 -j A\n-A S -j B\n\
            -A A -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80\n\
            -A B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80\nCOMMIT\n";
        let rules = iptables::parse(rules, Family::Ipv4).unwrap().rules;
        let evaluator = Evaluator::new(Interp::new(rules).unwrap());
        let host = HostAddresses::of(["192.168.0.1".parse().unwrap()]);
        let (src, dst) = ("10.0.0.9".parse().unwrap(), "10.96.0.1".parse().unwrap());
        let packet = Packet {
            headers: Headers::first_of_flow(src, dst, Protocol::TCP, 1, 80),
            mark: Mark(0),
            hook: Hook::Prerouting,
            input: None,
            output: None,
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host: &host,
            now: SimTime::START,
        };
        let ask = || {
            outcomes(|mut choose| {
                let mut met: Vec<RuleId> = Vec::new();
                let state = State::default();
                let decision =
                    evaluator.classify(TableName::Nat, &packet, &state, &mut choose, &mut met);
                (decision, met)
            })
        };
        let first = ask();
        assert_eq!(first.len(), 2);
        assert!(evaluator.matcher.get().is_none(), "the reference answers");
        for _ in 0..OFTEN {
            assert_eq!(ask(), first);
        }
        assert!(evaluator.matcher.get().is_some(), "it was asked often");
    }
}
