//! What rules remember: elements of sets, buckets, counts.
//!
//! What this walk did comes before what earlier packets left, and that before what was declared.

use podwire_ruleset::LimitState;
use podwire_ruleset::nft::{Effect, Presence, RuleId, SetId, SetOperation, StatementId, Value};
use smallvec::SmallVec;

use super::program::{Change, Element, Limit, Reads, Set};
use super::walk::{Numbers, Walk};

/// The last thing that this walk did of what `of` knows.
fn latest<T>(effects: &[Effect], of: impl Fn(&Effect) -> Option<T>) -> Option<T> {
    effects.iter().rev().find_map(of)
}

impl<'m> Walk<'m, '_> {
    /// Whether a named set has an element for numbers.
    #[inline]
    pub(super) fn has(&self, set: u32, index: u32, reads: &Reads, numbers: &[u128]) -> bool {
        let of = &self.program.sets[set as usize];
        match self.changed(of.id, reads, numbers) {
            Some(presence) => presence.is_there(self.view.packet.now),
            None => self.declared(of, index, numbers).is_some(),
        }
    }

    /// What a set was declared with for numbers, unless its time is over, and its place.
    #[inline]
    pub(super) fn declared(
        &self,
        set: &'m Set,
        index: u32,
        numbers: &[u128],
    ) -> Option<(u32, &'m Element)> {
        let place = self.program.indices[index as usize].find(numbers)?;
        let element = set.elements.get(place as usize)?;
        let is_there = match element.expires {
            None => true,
            Some(expires) => self.view.packet.now < expires,
        };
        is_there.then_some((place, element))
    }

    /// What rules last did to an element of a set.
    #[inline]
    pub(super) fn changed(
        &self,
        set: Option<SetId>,
        reads: &Reads,
        numbers: &[u128],
    ) -> Option<Presence> {
        if self.decision.effects.is_empty() && self.state.elements.is_empty() {
            return None;
        }
        self.changed_before(set?, reads, numbers)
    }

    #[cold]
    fn changed_before(&self, set: SetId, reads: &Reads, numbers: &[u128]) -> Option<Presence> {
        let earlier = self.state.elements.get(&set);
        let values = values(reads, numbers);
        let now = latest(&self.decision.effects, |effect| match effect {
            Effect::Element {
                set: of,
                key,
                presence,
            } => (*of == set && **key == values[..]).then_some(*presence),
            Effect::Limit { .. } | Effect::Counted { .. } | Effect::Logged { .. } => None,
        });
        now.or_else(|| earlier?.get(&values[..]).copied())
    }

    /// Carries out `add`, `update` or `delete`; false where there is no room (`nft_dynset_eval`,
    /// net/netfilter/nft_dynset.c).
    pub(super) fn change(&mut self, change: &Change, numbers: &Numbers) -> bool {
        let now = self.view.packet.now;
        let of = &self.program.sets[change.set as usize];
        let Some(set) = of.id else { return true };
        let changed = self.changed(Some(set), &change.reads, numbers);
        let is_there = match changed {
            Some(presence) => presence.is_there(now),
            None => self.declared(of, change.index, numbers).is_some(),
        };
        let stays = changed == Some(Presence::Until { expires: None });
        let presence = match change.operation {
            SetOperation::Delete => Presence::Gone,
            SetOperation::Add if is_there => return true,
            // What stays for ever gets no timeout.
            SetOperation::Update if stays => return true,
            SetOperation::Add | SetOperation::Update => {
                if !is_there && self.is_full(set, of) {
                    return false;
                }
                let expires = change.timeout.map(|timeout| now + timeout);
                Presence::Until { expires }
            }
        };
        self.decision.effects.push(Effect::Element {
            set,
            key: values(&change.reads, numbers).into_vec().into(),
            presence,
        });
        true
    }

    fn is_full(&self, set: SetId, of: &Set) -> bool {
        let Some(room) = of.room else { return false };
        let earlier = self.state.elements.get(&set);
        let effects = &self.decision.effects;
        let earlier_count = earlier.map_or(0, |earlier| earlier.len());
        if of.elements.len() + earlier_count + effects.len() < room {
            return false;
        }
        let now = self.view.packet.now;
        let before = earlier.map_or(0, |earlier| {
            let there = earlier.values().filter(|presence| presence.is_there(now));
            there.count()
        });
        // What this walk did, each element once: what it did last.
        let mut seen: Vec<&[Value]> = Vec::new();
        let (mut more, mut fewer) = (0, 0);
        for effect in effects.iter().rev() {
            if let Effect::Element {
                set: own,
                key,
                presence,
            } = effect
                && *own == set
                && !seen.contains(&&**key)
            {
                seen.push(key);
                let was = earlier.and_then(|earlier| earlier.get(key));
                more += usize::from(presence.is_there(now));
                fewer += usize::from(was.is_some_and(|was| was.is_there(now)));
            }
        }
        of.elements.len() + before + more - fewer >= room
    }

    /// The next number of `numgen inc`, counted from 0 (`nft_ng_inc_gen`, net/netfilter/nft_numgen.c).
    pub(super) fn count(&mut self, rule: RuleId, statement: u32, modulus: u32) -> u32 {
        let statement = StatementId { rule, statement };
        let modulus = modulus.max(1);
        let now = latest(&self.decision.effects, |effect| match effect {
            Effect::Counted {
                statement: of,
                count,
            } => (*of == statement).then_some(*count),
            Effect::Element { .. } | Effect::Limit { .. } | Effect::Logged { .. } => None,
        });
        let next = now.or_else(|| self.state.counts.get(&statement).copied());
        let number = next.unwrap_or(0) % modulus;
        self.decision.effects.push(Effect::Counted {
            statement,
            count: (number + 1) % modulus,
        });
        number
    }

    /// Takes a token if there is one, and says whether the rule goes on (`nft_limit_eval`,
    /// net/netfilter/nft_limit.c).
    pub(super) fn take_token(&mut self, rule: RuleId, limit: &Limit) -> bool {
        let statement = StatementId {
            rule,
            statement: limit.statement,
        };
        let now = latest(&self.decision.effects, |effect| match effect {
            Effect::Limit {
                statement: of,
                state,
            } => (*of == statement).then_some(*state),
            Effect::Element { .. } | Effect::Counted { .. } | Effect::Logged { .. } => None,
        });
        let at = self.view.packet.now;
        let credit = match now.or_else(|| self.state.limits.get(&statement).copied()) {
            None => limit.size_ns,
            Some(bucket) => {
                let passed = at.0.saturating_sub(bucket.at.0);
                limit.size_ns.min(bucket.credit_ns.saturating_add(passed))
            }
        };
        let left = credit.checked_sub(limit.token_ns);
        self.decision.effects.push(Effect::Limit {
            statement,
            state: LimitState {
                credit_ns: left.unwrap_or(credit),
                at,
            },
        });
        left.is_some() != limit.over
    }
}

/// The values that numbers stand for.
fn values(reads: &Reads, numbers: &[u128]) -> SmallVec<[Value; 4]> {
    let parts = reads.parts.iter().zip(numbers);
    parts
        .map(|(part, number)| part.kind.value(*number))
        .collect()
}
