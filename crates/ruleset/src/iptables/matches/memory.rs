//! Matches with memory or chance: limit, recent, statistic.

use crate::iptables::ParseError;
use crate::iptables::options::{Arg, Opt, Words};
use crate::{
    Inv, LimitMatch, Probability, RecentMatch, RecentOperation, SetDirection, StatisticMatch,
};

/// `-m limit`.
pub(super) fn limit<'w>(
    own: &mut LimitMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "limit" => {
            option.once(seen, 1)?;
            let word = words.plain(option)?;
            (own.amount, own.period_seconds) = rate(option, word)?;
        }
        "limit-burst" => {
            option.once(seen, 1 << 1)?;
            let burst = words.plain(option)?.number(1..=10_000)?;
            own.burst = u32::try_from(burst).expect("within bounds");
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// An amount, and behind `/` any beginning of a period's name (`parse_rate`,
/// extensions/libxt_limit.c).
fn rate(option: &Opt<'_>, word: Arg<'_>) -> Result<(u32, u32), ParseError> {
    const PERIODS: [(&str, u32); 4] = [
        ("second", 1),
        ("minute", 60),
        ("hour", 3_600),
        ("day", 86_400),
    ];
    let (amount, period) = match word.text.find('/') {
        None => (word, "second"),
        Some(slash) => (word.slice(0..slash), &word.text[slash + 1..]),
    };
    let period = period.to_ascii_lowercase();
    let (_, seconds) = PERIODS
        .iter()
        .find(|(name, _)| !period.is_empty() && name.starts_with(&period))
        .ok_or_else(|| option.bad_word(word, "an amount, `/`, and second, minute, hour or day"))?;
    // The kernel counts in steps of a tenth of a millisecond (`XT_LIMIT_SCALE`).
    let most = u64::from(*seconds) * u64::from(LimitMatch::SCALE);
    let amount = amount.number(1..=most)?;
    Ok((u32::try_from(amount).expect("within bounds"), *seconds))
}

impl LimitMatch {
    /// Steps of a second in which the kernel counts (`XT_LIMIT_SCALE`,
    /// include/uapi/linux/netfilter/xt_limit.h).
    pub const SCALE: u32 = 10_000;
}

const SECONDS: u32 = 1;
const REAP: u32 = 1 << 1;
const HITCOUNT: u32 = 1 << 2;
const RTTL: u32 = 1 << 3;
const NAME: u32 = 1 << 4;
const SIDE: u32 = 1 << 5;
const MASK: u32 = 1 << 6;
const OPERATION: u32 = 1 << 7;
/// The operation looks at times or counts.
const LOOKS: u32 = 1 << 8;

/// `-m recent`.
pub(super) fn recent<'w>(
    own: &mut RecentMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let operation = match option.long() {
        "set" => RecentOperation::Set,
        "rcheck" => RecentOperation::Check,
        "update" => RecentOperation::Update,
        "remove" => RecentOperation::Remove,
        name => return recent_detail(name, own, seen, option, words),
    };
    option.once(seen, OPERATION)?;
    words.none(option)?;
    if matches!(operation, RecentOperation::Check | RecentOperation::Update) {
        *seen |= LOOKS;
    }
    own.operation = operation;
    own.inverted = option.inverted;
    Ok(true)
}

fn recent_detail<'w>(
    name: &str,
    own: &mut RecentMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match name {
        "name" => {
            option.once(seen, NAME)?;
            own.name = words.plain(option)?.text.into();
        }
        "seconds" => {
            option.once(seen, SECONDS)?;
            let seconds = words.plain(option)?.number(1..=u64::from(u32::MAX))?;
            own.seconds = Some(u32::try_from(seconds).expect("within bounds"));
        }
        "hitcount" => {
            option.once(seen, HITCOUNT)?;
            own.hitcount = Some(words.plain(option)?.u32()?);
        }
        "mask" => {
            option.once(seen, MASK)?;
            own.mask = words.plain(option)?.address_mask(words.family)?;
        }
        "reap" => {
            flag(option, words, seen, REAP)?;
            own.reap = true;
        }
        "rttl" => {
            flag(option, words, seen, RTTL)?;
            own.rttl = true;
        }
        "rsource" => {
            flag(option, words, seen, SIDE)?;
            own.side = SetDirection::Source;
        }
        "rdest" => {
            flag(option, words, seen, SIDE)?;
            own.side = SetDirection::Destination;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn flag(
    option: &Opt<'_>,
    words: &Words<'_, '_>,
    seen: &mut u32,
    bit: u32,
) -> Result<(), ParseError> {
    option.once(seen, bit)?;
    option.not_inverted()?;
    words.none(option)
}

/// What `recent` lacks (`recent_check`, extensions/libxt_recent.c).
pub(super) const fn recent_needs(seen: u32) -> Option<&'static str> {
    if seen & OPERATION == 0 {
        Some("--set, --rcheck, --update or --remove")
    } else if seen & REAP != 0 && seen & SECONDS == 0 {
        Some("--seconds where it has --reap")
    } else if seen & (SECONDS | HITCOUNT | RTTL) != 0 && seen & LOOKS == 0 {
        Some("--rcheck or --update where it has --seconds, --hitcount or --rttl")
    } else {
        None
    }
}

const MODE_RANDOM: u32 = 1;
const MODE_NTH: u32 = 1 << 1;
const PROBABILITY: u32 = 1 << 2;
const EVERY: u32 = 1 << 3;
const PACKET: u32 = 1 << 4;
const MODE: u32 = 1 << 5;

/// `-m statistic`.
pub(super) fn statistic<'w>(
    own: &mut StatisticMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "mode" => {
            option.once(seen, MODE)?;
            let word = words.plain(option)?;
            *seen |= match word.text {
                "random" => MODE_RANDOM,
                "nth" => MODE_NTH,
                _ => return Err(option.bad_word(word, "random and nth")),
            };
        }
        "probability" => {
            option.once(seen, PROBABILITY)?;
            let word = words.value(option)?;
            let value = word
                .text
                .parse()
                .ok()
                .and_then(Probability::new)
                .ok_or_else(|| option.bad_word(word, "decimals from 0 to 1"))?;
            *own = StatisticMatch::Random(Inv {
                value,
                inverted: option.inverted,
            });
        }
        "every" => {
            option.once(seen, EVERY)?;
            let value = words.value(option)?.number(1..=u64::from(u32::MAX))?;
            let (_, _, packet) = nth(*own);
            *own = StatisticMatch::Nth {
                inverted: option.inverted,
                every: u32::try_from(value).expect("within bounds"),
                packet,
            };
        }
        "packet" => {
            option.once(seen, PACKET)?;
            let packet = words.plain(option)?.u32()?;
            let (inverted, every, _) = nth(*own);
            *own = StatisticMatch::Nth {
                inverted,
                every,
                packet,
            };
        }
        _ => return Ok(false),
    }
    if *seen & EVERY != 0 && *seen & PACKET != 0 {
        let (_, every, packet) = nth(*own);
        if packet >= every {
            return Err(ParseError::BadNumber {
                text: packet.to_string().into(),
                min: 0,
                max: u64::from(every - 1),
                at: option.at,
            });
        }
    }
    Ok(true)
}

const fn nth(own: StatisticMatch) -> (bool, u32, u32) {
    match own {
        StatisticMatch::Random(_) => (false, 1, 0),
        StatisticMatch::Nth {
            inverted,
            every,
            packet,
        } => (inverted, every, packet),
    }
}

/// What `statistic` lacks.
pub(super) const fn statistic_needs(seen: u32) -> Option<&'static str> {
    const OF_NTH: u32 = EVERY | PACKET;
    if seen & MODE_RANDOM != 0 {
        if seen & PROBABILITY == 0 || seen & OF_NTH != 0 {
            return Some("--probability, and neither --every nor --packet, where it is random");
        }
    } else if seen & MODE_NTH != 0 {
        if seen & EVERY == 0 || seen & PROBABILITY != 0 {
            return Some("--every, and no --probability, where it is nth");
        }
    } else {
        return Some("--mode random or --mode nth");
    }
    None
}
