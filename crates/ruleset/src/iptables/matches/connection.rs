//! What connection tracking says: conntrack, state; and marks: mark, connmark.

use podwire_packet::Protocol;

use crate::iptables::ParseError;
use crate::iptables::options::{Arg, Opt, Words};
use crate::{ConntrackMatch, CtDirection, CtStates, CtStatuses, Inv, MarkMatch};

/// `-m conntrack`.
pub(super) fn conntrack<'w>(
    own: &mut ConntrackMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let family = words.family;
    match option.long() {
        "ctstate" => {
            option.once(seen, 1)?;
            own.state = inv(option, words, |list, option| {
                states(list, option, &CtStates::NAMES)
            })?;
        }
        "ctstatus" => {
            option.once(seen, 1 << 1)?;
            own.status = inv(option, words, statuses)?;
        }
        "ctproto" => {
            option.once(seen, 1 << 2)?;
            own.protocol = inv(option, words, |word, _| {
                Ok(word.protocol()?.unwrap_or(Protocol(0)))
            })?;
        }
        "ctorigsrc" => {
            option.once(seen, 1 << 3)?;
            own.orig_src = inv(option, words, |word, _| word.network(family))?;
        }
        "ctorigdst" => {
            option.once(seen, 1 << 4)?;
            own.orig_dst = inv(option, words, |word, _| word.network(family))?;
        }
        "ctreplsrc" => {
            option.once(seen, 1 << 5)?;
            own.reply_src = inv(option, words, |word, _| word.network(family))?;
        }
        "ctrepldst" => {
            option.once(seen, 1 << 6)?;
            own.reply_dst = inv(option, words, |word, _| word.network(family))?;
        }
        "ctorigsrcport" => {
            option.once(seen, 1 << 7)?;
            own.orig_sport = inv(option, words, |word, _| word.ports(b':', true))?;
        }
        "ctorigdstport" => {
            option.once(seen, 1 << 8)?;
            own.orig_dport = inv(option, words, |word, _| word.ports(b':', true))?;
        }
        "ctreplsrcport" => {
            option.once(seen, 1 << 9)?;
            own.reply_sport = inv(option, words, |word, _| word.ports(b':', true))?;
        }
        "ctrepldstport" => {
            option.once(seen, 1 << 10)?;
            own.reply_dport = inv(option, words, |word, _| word.ports(b':', true))?;
        }
        "ctexpire" => {
            option.once(seen, 1 << 11)?;
            own.expire = inv(option, words, |word, _| seconds(word))?;
        }
        "ctdir" => {
            option.once(seen, 1 << 12)?;
            let word = words.plain(option)?;
            own.direction = Some(if word.text.eq_ignore_ascii_case("ORIGINAL") {
                CtDirection::Original
            } else if word.text.eq_ignore_ascii_case("REPLY") {
                CtDirection::Reply
            } else {
                return Err(option.bad_word(word, "ORIGINAL and REPLY"));
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The option's value with its inversion.
fn inv<'w, T>(
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
    read: impl FnOnce(Arg<'w>, &Opt<'w>) -> Result<T, ParseError>,
) -> Result<Option<Inv<T>>, ParseError> {
    let word = words.value(option)?;
    Ok(Some(Inv {
        value: read(word, option)?,
        inverted: option.inverted,
    }))
}

fn states(
    list: Arg<'_>,
    option: &Opt<'_>,
    names: &[(&str, CtStates)],
) -> Result<CtStates, ParseError> {
    let mut all = CtStates::default();
    for word in list.list() {
        let (_, state) = names
            .iter()
            .find(|(name, _)| word.text.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let accepted = if names.len() == CtStates::NAMES.len() {
                    "INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT and DNAT"
                } else {
                    "INVALID, NEW, RELATED, ESTABLISHED and UNTRACKED"
                };
                option.bad_word(word, accepted)
            })?;
        all = all.union(*state);
    }
    Ok(all)
}

fn statuses(list: Arg<'_>, option: &Opt<'_>) -> Result<CtStatuses, ParseError> {
    let mut all = CtStatuses::default();
    for word in list.list() {
        if word.text.eq_ignore_ascii_case("NONE") {
            continue;
        }
        let (_, status) = CtStatuses::NAMES
            .iter()
            .find(|(name, _)| word.text.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                option.bad_word(word, "NONE, EXPECTED, SEEN_REPLY, ASSURED and CONFIRMED")
            })?;
        all.0 |= status.0;
    }
    Ok(all)
}

fn seconds(word: Arg<'_>) -> Result<std::ops::RangeInclusive<u32>, ParseError> {
    let (first, last) = match word.text.find(':') {
        None => {
            let one = word.u32()?;
            (one, one)
        }
        Some(colon) => {
            let first = word.slice(0..colon);
            let last = word.slice(colon + 1..word.text.len());
            let first = if first.text.is_empty() {
                0
            } else {
                first.u32()?
            };
            let last = if last.text.is_empty() {
                u32::MAX
            } else {
                last.number(u64::from(first)..=u64::from(u32::MAX))?;
                last.u32()?
            };
            (first, last)
        }
    };
    Ok(first..=last)
}

/// `-m state`: the states that it knows are conntrack's without the two of translation.
pub(super) fn state<'w>(
    own: &mut Inv<CtStates>,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    if option.long() != "state" {
        return Ok(false);
    }
    option.once(seen, 1)?;
    let list = words.value(option)?;
    own.value = states(list, option, &CtStates::NAMES[..5])?;
    own.inverted = option.inverted;
    Ok(true)
}

/// `-m mark` and `-m connmark`.
pub(super) fn mark<'w>(
    own: &mut Inv<MarkMatch>,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    if option.long() != "mark" {
        return Ok(false);
    }
    option.once(seen, 1)?;
    let (value, mask) = words.value(option)?.mark_and_mask()?;
    own.value = MarkMatch { value, mask };
    own.inverted = option.inverted;
    Ok(true)
}
