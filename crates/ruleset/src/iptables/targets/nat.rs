//! DNAT, SNAT, MASQUERADE and REDIRECT.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::Family;

use super::{TargetKind, flag};
use crate::iptables::ParseError;
use crate::iptables::options::{Arg, Opt, Words};
use crate::{NatRange, Target};

impl Target {
    /// Whether it is a translation that names ports.
    pub(super) const fn has_ports(&self) -> bool {
        if let Self::Dnat(range)
        | Self::Snat(range)
        | Self::Masquerade(range)
        | Self::Redirect(range) = self
        {
            range.ports.is_some()
        } else {
            false
        }
    }
}

pub(super) const TO: u32 = 1;
const RANDOM: u32 = 1 << 1;
const RANDOM_FULLY: u32 = 1 << 2;
const PERSISTENT: u32 = 1 << 3;

pub(super) fn nat<'w>(
    kind: TargetKind,
    own: &mut NatRange,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let has_address = matches!(kind, TargetKind::Dnat | TargetKind::Snat);
    match (kind, option.long()) {
        (TargetKind::Dnat, "to-destination" | "to") | (TargetKind::Snat, "to-source" | "to") => {
            option.once(seen, TO)?;
            let word = words.plain(option)?;
            nat_range(own, word, words.family, kind == TargetKind::Dnat)?;
        }
        (TargetKind::Masquerade | TargetKind::Redirect, "to-ports" | "to-port" | "to") => {
            option.once(seen, TO)?;
            own.ports = Some(words.plain(option)?.ports(b'-', false)?);
        }
        (_, "random") => own.random = flag(seen, RANDOM, option, words)?,
        (TargetKind::Snat | TargetKind::Masquerade, "random-fully") => {
            own.random_fully = flag(seen, RANDOM_FULLY, option, words)?;
        }
        (_, "persistent") if has_address => {
            own.persistent = flag(seen, PERSISTENT, option, words)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads `ADDRESS[-ADDRESS][:PORT[-PORT[/BASE]]]`; with a port, IPv6 addresses stand in
/// brackets, both in one pair.
fn nat_range(
    own: &mut NatRange,
    word: Arg<'_>,
    family: Family,
    has_base: bool,
) -> Result<(), ParseError> {
    let whole = 0..word.text.len();
    let (addresses, ports) = match family {
        Family::Ipv4 => match word.find(b':') {
            Some(colon) => (0..colon, Some(colon + 1..whole.end)),
            None => (whole, None),
        },
        Family::Ipv6 => match word.text.rfind("]:") {
            Some(bracket) => (0..bracket + 1, Some(bracket + 2..whole.end)),
            // `:80` is a port alone; no address begins with one colon.
            None if word.text.starts_with(':') && !word.text.starts_with("::") => {
                (0..0, Some(1..whole.end))
            }
            None => (whole, None),
        },
    };
    if !addresses.is_empty() {
        own.addresses = Some(nat_addresses(word.slice(addresses), family)?);
    } else if ports.is_none() {
        return Err(ParseError::BadAddress {
            text: word.text.into(),
            family,
            at: word.at,
        });
    }
    if let Some(ports) = ports {
        let ports = word.slice(ports);
        let slash = if has_base { ports.find(b'/') } else { None };
        if let Some(slash) = slash {
            own.base_port = Some(ports.slice(slash + 1..ports.text.len()).port()?);
        }
        own.ports = Some(
            ports
                .slice(0..slash.unwrap_or(ports.text.len()))
                .ports(b'-', false)?,
        );
    }
    Ok(())
}

fn nat_addresses(word: Arg<'_>, family: Family) -> Result<RangeInclusive<IpAddr>, ParseError> {
    let bare = word
        .text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|_| family == Family::Ipv6);
    let word = bare.map_or(word, |bare| word.slice(1..1 + bare.len()));
    let Some(dash) = word.find(b'-') else {
        let address = word.address(family)?;
        return Ok(address..=address);
    };
    let first = word.slice(0..dash).address(family)?;
    let last = word.slice(dash + 1..word.text.len()).address(family)?;
    if first > last {
        return Err(ParseError::BadAddress {
            text: word.text.into(),
            family,
            at: word.at,
        });
    }
    Ok(first..=last)
}
