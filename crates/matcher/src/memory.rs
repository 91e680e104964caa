//! Matches that remember: what earlier packets left, and what this walk adds.
//!
//! A list, bucket or counter that the walk changes is copied first; the copy is what later rules of
//! the walk see.

use std::net::IpAddr;

use podwire_packet::SimTime;
use podwire_ruleset::{
    Effect, LimitMatch, LimitState, Packet, RecentList, RecentMatch, RecentOperation, RuleId,
    SetDirection, Sets, State,
};

/// The state given, and copies of what the walk has changed.
pub(crate) struct Memory<'a> {
    before: &'a State,
    pub(crate) effects: Vec<Effect>,
    /// Most walks change nothing.
    changed: Option<Box<Changed>>,
}

#[derive(Default)]
struct Changed {
    lists: Vec<(Box<str>, RecentList)>,
    limits: Vec<(RuleId, LimitState)>,
    counts: Vec<(RuleId, u32)>,
}

/// The value kept for a rule, in the walk or before it.
fn kept<T: Copy>(of: &[(RuleId, T)], rule: RuleId) -> Option<T> {
    of.iter().find(|(own, _)| *own == rule).map(|(_, is)| *is)
}

fn keep<T>(of: &mut Vec<(RuleId, T)>, rule: RuleId, value: T) {
    match of.iter_mut().find(|(own, _)| *own == rule) {
        Some((_, is)) => *is = value,
        None => of.push((rule, value)),
    }
}

impl<'a> Memory<'a> {
    pub(crate) const fn new(before: &'a State) -> Self {
        Self {
            before,
            effects: Vec::new(),
            changed: None,
        }
    }

    fn changed(&mut self) -> &mut Changed {
        self.changed.get_or_insert_default()
    }

    pub(crate) fn sets(&self) -> &'a Sets {
        &self.before.sets
    }

    /// Counts a packet, and says whether it is the one of `every` that is asked for.
    pub(crate) fn nth(&mut self, rule: RuleId, every: u32, wanted: u32) -> bool {
        let every = every.max(1);
        let counts = &self.changed().counts;
        let earlier = kept(counts, rule).or_else(|| self.before.nth.get(&rule).copied());
        let earlier = earlier.unwrap_or(0);
        let count = earlier.wrapping_add(1) % every;
        keep(&mut self.changed().counts, rule, count);
        self.effects.push(Effect::Nth { rule, count });
        earlier % every == wanted
    }

    /// Takes a token out of the rule's bucket, if there is a whole one.
    pub(crate) fn limit(&mut self, rule: RuleId, test: &LimitMatch, now: SimTime) -> bool {
        // `XT_LIMIT_SCALE`: the kernel counts in units of 100 µs, so a token costs whole ones.
        const UNIT_NS: u64 = 100_000;
        const UNITS_A_SECOND: u64 = 10_000;
        let token = u64::from(test.period_seconds) * UNITS_A_SECOND / u64::from(test.amount.max(1))
            * UNIT_NS;
        let size = token.saturating_mul(test.burst.into());
        let limits = &self.changed().limits;
        let bucket = kept(limits, rule).or_else(|| self.before.limits.get(&rule).copied());
        let credit = bucket.map_or(size, |bucket| {
            let passed = now.0.saturating_sub(bucket.at.0);
            size.min(bucket.credit_ns.saturating_add(passed))
        });
        let left = credit.checked_sub(token);
        let state = LimitState {
            credit_ns: left.unwrap_or(credit),
            at: now,
        };
        keep(&mut self.changed().limits, rule, state);
        self.effects.push(Effect::Limit { rule, state });
        left.is_some()
    }

    pub(crate) fn recent(&mut self, test: &RecentMatch, packet: &Packet<'_>) -> bool {
        let headers = &packet.headers;
        let address = under_mask(
            match test.side {
                SetDirection::Source => headers.src,
                SetDirection::Destination => headers.dst,
            },
            test.mask,
        );
        let came_in = packet.input.is_some() || packet.physdev_in.is_some();
        // Forwarding has taken one already.
        let ttl = if came_in && packet.output.is_some() {
            headers.ttl.wrapping_add(1)
        } else {
            headers.ttl
        };
        let list = self.list(&test.name);
        let entry = list
            .and_then(|list| list.0.get(&address))
            .filter(|entry| !test.rttl || entry.ttl == ttl);
        let is_listed = entry.is_some();
        let since = match test.seconds {
            None | Some(0) => 0,
            Some(seconds) => packet
                .now
                .0
                .saturating_sub(u64::from(seconds) * 1_000_000_000),
        };
        let hits = entry.map_or(0, |entry| {
            entry.seen.iter().filter(|seen| seen.0 >= since).count()
        });
        let is_first =
            list.is_some_and(|list| list.0.get_index(0).is_some_and(|(ip, _)| *ip == address));
        let wanted = test.hitcount.map_or(1, |hits| hits.max(1));
        let enough = is_listed && u64::try_from(hits).unwrap_or(u64::MAX) >= u64::from(wanted);
        let seen = |list| Effect::RecentSeen {
            list,
            address,
            ttl,
            at: packet.now,
        };
        let found = match test.operation {
            RecentOperation::Set => {
                self.change(&test.name, seen);
                true
            }
            RecentOperation::Remove => {
                if is_listed {
                    self.change(&test.name, |list| Effect::RecentRemoved { list, address });
                }
                is_listed
            }
            RecentOperation::Check | RecentOperation::Update => {
                let is_noted_again = is_listed
                    && test.operation == RecentOperation::Update
                    && enough != test.inverted;
                if is_listed && test.reap && !(is_noted_again && is_first) {
                    let before = SimTime(since);
                    self.change(&test.name, |list| Effect::RecentReaped { list, before });
                }
                if is_noted_again {
                    self.change(&test.name, seen);
                }
                enough
            }
        };
        found != test.inverted
    }

    fn list(&self, name: &str) -> Option<&RecentList> {
        let copies = self.changed.as_ref().map(|changed| &changed.lists);
        let copy = copies.and_then(|lists| lists.iter().find(|(own, _)| **own == *name));
        copy.map(|(_, list)| list)
            .or_else(|| self.before.recent.get(name))
    }

    /// Changes the walk's copy of a list, and asks for the same change of the list itself.
    fn change(&mut self, name: &str, effect: impl FnOnce(Box<str>) -> Effect) {
        let effect = effect(name.into());
        let before = self.before;
        let lists = &mut self.changed().lists;
        let place = lists.iter().position(|(own, _)| **own == *name);
        let place = place.unwrap_or_else(|| {
            let copy = before.recent.get(name).cloned().unwrap_or_default();
            lists.push((name.into(), copy));
            lists.len() - 1
        });
        let list = &mut lists[place].1;
        match &effect {
            Effect::RecentSeen {
                address, ttl, at, ..
            } => list.note(*address, *ttl, *at),
            Effect::RecentReaped { before, .. } => list.reap(*before),
            Effect::RecentRemoved { address, .. } => drop(list.0.shift_remove(address)),
            Effect::Limit { .. } | Effect::Nth { .. } | Effect::Logged { .. } => {}
        }
        self.effects.push(effect);
    }
}

/// An address of the family of the rule's mask; of the other family it stays whole.
fn under_mask(address: IpAddr, mask: IpAddr) -> IpAddr {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
        (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => address,
    }
}
