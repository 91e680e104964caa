//! The matches that remember earlier packets.
//!
//! What they remember is read from the [`State`] that the caller gives, and from the effects of this
//! same walk; what they want remembered goes into the effects.

use std::net::IpAddr;

use podwire_packet::{Prefix, SimTime};
use podwire_ruleset::{
    Effect, LimitMatch, LimitState, Packet, RecentEntry, RecentList, RecentMatch, RecentOperation,
    RuleId, SetDirection, Sets, State,
};

/// What rules remember, with what this walk has added so far.
pub(crate) struct Memory<'a> {
    state: &'a State,
    pub(crate) effects: Vec<Effect>,
}

impl<'a> Memory<'a> {
    pub(crate) const fn new(state: &'a State) -> Self {
        Self {
            state,
            effects: Vec::new(),
        }
    }

    pub(crate) fn sets(&self) -> &'a Sets {
        &self.state.sets
    }

    /// `statistic_mt`, net/netfilter/xt_statistic.c: holds for one packet of `every`.
    pub(crate) fn nth(&mut self, rule: RuleId, every: u32, packet: u32) -> bool {
        let seen = self.effects.iter().rev().find_map(|effect| {
            if let Effect::Nth { rule: of, count } = effect {
                (*of == rule).then_some(*count)
            } else {
                None
            }
        });
        let count = seen
            .or_else(|| self.state.nth.get(&rule).copied())
            .unwrap_or(0);
        let every = every.max(1);
        self.effects.push(Effect::Nth {
            rule,
            count: (count + 1) % every,
        });
        count % every == packet
    }

    /// `limit_mt`, net/netfilter/xt_limit.c: a bucket that fills at the rate, holds `burst` tokens,
    /// and gives one to each packet that it lets match.
    pub(crate) fn limit(&mut self, rule: RuleId, test: &LimitMatch, now: SimTime) -> bool {
        // The kernel gets the time between two packets in units of 1/10,000 s (`XT_LIMIT_SCALE`).
        let units = u64::from(test.period_seconds) * 10_000 / u64::from(test.amount.max(1));
        let cost = units * 100_000;
        let full = cost.saturating_mul(u64::from(test.burst));
        let seen = self.effects.iter().rev().find_map(|effect| {
            if let Effect::Limit { rule: of, state } = effect {
                (*of == rule).then_some(*state)
            } else {
                None
            }
        });
        let before = seen
            .or_else(|| self.state.limits.get(&rule).copied())
            .unwrap_or(LimitState {
                credit_ns: full,
                at: now,
            });
        let earned = u64::try_from((now - before.at).as_nanos()).unwrap_or(u64::MAX);
        let credit = before.credit_ns.saturating_add(earned).min(full);
        let holds = credit >= cost;
        self.effects.push(Effect::Limit {
            rule,
            state: LimitState {
                credit_ns: if holds { credit - cost } else { credit },
                at: now,
            },
        });
        holds
    }

    /// `recent_mt`, net/netfilter/xt_recent.c.
    pub(crate) fn recent(&mut self, test: &RecentMatch, packet: &Packet<'_>) -> bool {
        let address = match test.side {
            SetDirection::Source => packet.headers.src,
            SetDirection::Destination => packet.headers.dst,
        };
        let address = masked(address, test.mask);
        // The TTL as it was before forwarding took one, which is not so for what was made here.
        let made_here = packet.input.is_none() && packet.physdev_in.is_none();
        let was_forwarded = packet.output.is_some() && !made_here;
        let ttl = packet.headers.ttl.wrapping_add(u8::from(was_forwarded));
        // `recent_entry_lookup`: where one of the two is zero, as 255 and one is, the other may be any.
        let fits = |noted: u8| !test.rttl || noted == ttl || noted == 0 || ttl == 0;
        let entry = self
            .recent_entry(&test.name, address)
            .filter(|entry| fits(entry.ttl));
        let (found, noted) = match (test.operation, &entry) {
            (RecentOperation::Set, _) => (true, true),
            (RecentOperation::Check | RecentOperation::Update | RecentOperation::Remove, None) => {
                (false, false)
            }
            (RecentOperation::Remove, Some(_)) => {
                self.effects.push(Effect::RecentRemoved {
                    list: test.name.clone(),
                    address,
                });
                (true, false)
            }
            (RecentOperation::Check | RecentOperation::Update, Some(entry)) => {
                let oldest = oldest_that_counts(test, packet.now);
                let hits = entry.seen.iter().filter(|&&seen| seen >= oldest).count();
                let wanted = test.hitcount.unwrap_or(1).max(1);
                let found = hits >= usize::try_from(wanted).unwrap_or(usize::MAX);
                // The kernel notes the address again if the match, `!` included, holds.
                let again = test.operation == RecentOperation::Update && found != test.inverted;
                // The address that is about to be noted is not reaped (`recent_entry_reap`).
                if test.reap && !(again && self.is_oldest(&test.name, address)) {
                    self.effects.push(Effect::RecentReaped {
                        list: test.name.clone(),
                        before: oldest,
                    });
                }
                (found, again)
            }
        };
        if noted {
            self.effects.push(Effect::RecentSeen {
                list: test.name.clone(),
                address,
                ttl,
                at: packet.now,
            });
        }
        found != test.inverted
    }

    /// What the list says of an address, after what this walk has done to it.
    fn recent_entry(&self, list: &str, address: IpAddr) -> Option<RecentEntry> {
        self.with_list(list, |list| list.0.get(&address).cloned())
    }

    /// Whether no address of the list was not seen for longer.
    fn is_oldest(&self, list: &str, address: IpAddr) -> bool {
        let first = self.with_list(list, |list| list.0.keys().next().copied());
        first == Some(address)
    }

    fn with_list<T>(&self, list: &str, ask: impl FnOnce(&RecentList) -> Option<T>) -> Option<T> {
        let touched = self.effects.iter().any(|effect| match effect {
            Effect::RecentSeen { list: of, .. }
            | Effect::RecentReaped { list: of, .. }
            | Effect::RecentRemoved { list: of, .. } => **of == *list,
            Effect::Limit { .. } | Effect::Nth { .. } | Effect::Logged { .. } => false,
        });
        if !touched {
            return ask(self.state.recent.get(list)?);
        }
        let mut after = State::default();
        if let Some(before) = self.state.recent.get(list) {
            after.recent.insert(list.into(), before.clone());
        }
        after.apply(&self.effects);
        ask(after.recent.get(list)?)
    }
}

/// The moment before which a sighting is too old for `--seconds`.
fn oldest_that_counts(test: &RecentMatch, now: SimTime) -> SimTime {
    let window = test.seconds.filter(|&seconds| seconds != 0);
    window.map_or(SimTime::START, |seconds| {
        SimTime(now.0.saturating_sub(u64::from(seconds) * 1_000_000_000))
    })
}

fn masked(address: IpAddr, mask: IpAddr) -> IpAddr {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => (address & mask).into(),
        (IpAddr::V6(address), IpAddr::V6(mask)) => (address & mask).into(),
        // A list of one family's rules never sees the other's addresses.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            Prefix::host(address).address()
        }
    }
}
