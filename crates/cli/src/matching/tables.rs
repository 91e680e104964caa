//! The tables of iptables and the base chains of nftables at one hook.

use podwire_ruleset::{Choose, Classify, Hook, RuleId, RuleSet, State, TableName, nft};

use super::hook::{Asked, AtHook};

/// iptables' tables, with the memory that each packet finds.
pub(super) struct Iptables<'a, E> {
    pub(super) evaluator: &'a E,
    pub(super) rules: &'a RuleSet,
    pub(super) state: &'a State,
}

/// The tables of a hook in the order in which the kernel asks them: source translation comes last.
const fn tables(hook: Hook) -> [TableName; 5] {
    use TableName::{Filter, Mangle, Nat, Raw, Security};
    match hook {
        Hook::Prerouting | Hook::Output | Hook::Forward => [Raw, Mangle, Nat, Filter, Security],
        Hook::Input | Hook::Postrouting => [Raw, Mangle, Filter, Security, Nat],
    }
}

impl<E: Classify> Asked for Iptables<'_, E> {
    type Rule = RuleId;

    fn label(&self, rule: RuleId) -> String {
        self.rules.label(rule)
    }

    fn ask(&self, at: &mut AtHook<'_, RuleId>, mut choose: &mut dyn Choose) {
        let mut state = self.state.clone();
        for table in tables(at.packet.hook) {
            if table == TableName::Nat && !at.is_first() {
                continue;
            }
            let rules = &mut at.outcome.rules;
            let decision = self
                .evaluator
                .classify(table, &at.packet, &state, &mut choose, rules);
            state.apply(&decision.effects);
            if !at.carry_out(decision, choose) {
                return;
            }
        }
    }
}

/// nftables' base chains.
pub(super) struct Nftables<'a, E> {
    pub(super) evaluator: &'a E,
    pub(super) rules: &'a nft::RuleSet,
}

/// Where translation hangs on a hook (`NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`,
/// include/uapi/linux/netfilter_ipv4.h).
const fn priority_of_nat(hook: Hook) -> Option<i32> {
    match hook {
        Hook::Prerouting | Hook::Output => Some(-100),
        Hook::Input | Hook::Postrouting => Some(100),
        Hook::Forward => None,
    }
}

impl<E: Classify> Asked for Nftables<'_, E> {
    type Rule = nft::RuleId;

    fn label(&self, rule: nft::RuleId) -> String {
        self.rules.label(rule)
    }

    fn ask(&self, at: &mut AtHook<'_, nft::RuleId>, mut choose: &mut dyn Choose) {
        let mut state = nft::State::default();
        let chains = self.evaluator.base_chains(at.packet.hook);
        let translation = priority_of_nat(at.packet.hook);
        let is_before = |chain: &nft::HookedChain| {
            translation.is_some_and(|priority| {
                chain.priority < priority || chain.priority == priority && !chain.is_older_than_nat
            })
        };
        let (nat, filters): (Vec<&nft::HookedChain>, Vec<_>) =
            chains.iter().partition(|chain| chain.is_nat);
        let (before, behind): (Vec<&nft::HookedChain>, Vec<_>) =
            filters.into_iter().partition(|chain| is_before(chain));
        // Chains that translate are asked together, until one does.
        let mut is_translated = false;
        for hooked in before.into_iter().chain(nat).chain(behind) {
            if hooked.is_nat && (is_translated || !at.is_first()) {
                continue;
            }
            let rules = &mut at.outcome.rules;
            let decision =
                self.evaluator
                    .classify_chain(hooked.chain, &at.packet, &state, &mut choose, rules);
            state.apply(&decision.effects);
            is_translated |= decision.nat.is_some();
            if !at.carry_out(decision, choose) {
                return;
            }
        }
    }
}
