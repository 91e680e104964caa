//! What ipset refuses though its parts can be read.
//!
//! Measured with ipset 7.17 on Linux 6.18; net/netfilter/ipset/ip_set_{core,bitmap_gen,hash_gen,list_set}.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use indexmap::IndexSet;
use podwire_packet::Prefix;

use crate::iptables::lex::Word;
use crate::{IpSet, SetEntry, SetPart, Sets};

/// Why ipset refuses something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A bitmap that does not say what it is of.
    NoRange,
    /// More than 65,536 elements in a bitmap.
    RangeTooLarge,
    /// An element that the bitmap has no bit for.
    OutOfRange,
    /// The element is there.
    AlreadyThere,
    /// A hash has no room (`maxelem`).
    Full {
        /// How many elements it takes.
        most: u64,
    },
    /// A list within a list, or itself.
    ListInList,
    /// A member of a list that is no set yet.
    NoSuchSet,
    /// An element has fewer parts than its set.
    TooFewParts,
    /// An option of an element that its set was not made for.
    NotMadeFor {
        /// The option of `create` that is missing.
        option: &'static str,
    },
    /// A number that is none, or too large.
    Number {
        /// The largest that is accepted.
        most: u64,
    },
    /// The name of a device is longer than 15 bytes.
    LongDevice,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRange => f.write_str("a bitmap needs `range FIRST-LAST`"),
            Self::RangeTooLarge => f.write_str("a bitmap has 65536 elements at most"),
            Self::OutOfRange => f.write_str("it is outside of the set's range"),
            Self::AlreadyThere => f.write_str("the set has it already"),
            Self::Full { most } => write!(f, "the set is full with {most} (maxelem)"),
            Self::ListInList => f.write_str("a list holds sets that are no lists"),
            Self::NoSuchSet => f.write_str("there is no set of that name before it"),
            Self::TooFewParts => f.write_str("the type of the set has more parts"),
            Self::NotMadeFor { option } => write!(f, "the set was made without `{option}`"),
            Self::Number { most } => write!(f, "accepted is a number from 0 to {most}"),
            Self::LongDevice => f.write_str("the name of a device has 15 bytes at most"),
        }
    }
}

/// Seconds that an element can be there (`IPSET_MAX_TIMEOUT`).
const MOST_SECONDS: u64 = 2_147_483;
/// Elements of a hash, unless said (`IPSET_DEFAULT_MAXELEM`).
const MOST_ELEMENTS: u64 = 65_536;
/// Elements of a bitmap at most (`IPSET_BITMAP_MAX_RANGE`).
const MOST_BITS: u128 = 65_536;
const MOST_DEVICE_BYTES: usize = 15;

/// Every type that there is.
pub(super) const TYPES: [(&str, &[SetPart]); 16] = {
    use SetPart::{Interface, Ip, Mac, Mark, Net, Port, Set};
    [
        ("bitmap", &[Ip]),
        ("bitmap", &[Ip, Mac]),
        ("bitmap", &[Port]),
        ("hash", &[Ip]),
        ("hash", &[Ip, Mark]),
        ("hash", &[Ip, Port]),
        ("hash", &[Ip, Port, Ip]),
        ("hash", &[Ip, Port, Net]),
        ("hash", &[Ip, Mac]),
        ("hash", &[Mac]),
        ("hash", &[Net]),
        ("hash", &[Net, Interface]),
        ("hash", &[Net, Net]),
        ("hash", &[Net, Port]),
        ("hash", &[Net, Port, Net]),
        ("list", &[Set]),
    ]
};

/// What a set holds so far, for those checks that look at more than one element.
#[derive(Debug, Default)]
pub(super) struct Held {
    range: Option<RangeInclusive<u128>>,
    bits_off: u32,
    most: u64,
    count: u64,
    elements: IndexSet<Box<[SetEntry]>>,
}

fn word_after<'w, 't>(options: &'w [Word<'t>], name: &str) -> Option<&'w Word<'t>> {
    let place = options.iter().position(|word| word.text == name)?;
    options.get(place + 1)
}

fn number(options: &[Word<'_>], name: &str, most: u64) -> Result<Option<u64>, (usize, Refusal)> {
    let Some(word) = word_after(options, name) else {
        return Ok(None);
    };
    let read = word
        .text
        .parse::<u64>()
        .ok()
        .filter(|number| *number <= most);
    let at = options.iter().position(|other| std::ptr::eq(other, word));
    read.map(Some)
        .ok_or_else(|| (at.unwrap_or(0), Refusal::Number { most }))
}

impl Held {
    /// Begins a set. A fault names the option's place, or the place behind the last one.
    pub(super) fn of(set: &IpSet, options: &[Word<'_>]) -> Result<Self, (usize, Refusal)> {
        number(options, "timeout", MOST_SECONDS)?;
        let most = number(options, "maxelem", u32::MAX.into())?.unwrap_or(MOST_ELEMENTS);
        let mut held = Self {
            most,
            ..Self::default()
        };
        if &*set.kind.method != "bitmap" {
            return Ok(held);
        }
        let place = options.iter().position(|word| word.text == "range");
        let Some(range) = place.and_then(|place| options.get(place + 1)) else {
            return Err((options.len(), Refusal::NoRange));
        };
        let place = place.map_or(0, |place| place + 1);
        let limits = if set.kind.parts == [SetPart::Port] {
            let (first, last) = range
                .text
                .split_once('-')
                .unwrap_or((&range.text, &range.text));
            let read = |text: &str| text.parse::<u16>().map(u128::from).ok();
            read(first).zip(read(last))
        } else {
            addresses(&range.text)
        };
        let (first, last) = limits.ok_or((place, Refusal::OutOfRange))?;
        if let Some(length) = number(options, "netmask", 32)? {
            held.bits_off = 32 - u32::try_from(length).unwrap_or(32);
        }
        let range = first.min(last)..=first.max(last);
        if (range.end() - range.start()) >> held.bits_off >= MOST_BITS {
            return Err((place, Refusal::RangeTooLarge));
        }
        held.range = Some(range);
        Ok(held)
    }

    /// Takes an element, with its options. A fault names the option's place; none is the element.
    pub(super) fn add(
        &mut self,
        name: &str,
        sets: &Sets,
        set: &IpSet,
        values: &[SetEntry],
        options: &[Word<'_>],
    ) -> Result<(), (Option<usize>, Refusal)> {
        let of_element = |refusal| (None, refusal);
        let parts = &set.kind.parts;
        let is_optional = &*set.kind.method == "bitmap" && parts.len() == 2;
        if values.len() < parts.len() && !is_optional {
            return Err(of_element(Refusal::TooFewParts));
        }
        for (option, needs) in [
            ("timeout", "timeout"),
            ("comment", "comment"),
            ("packets", "counters"),
            ("bytes", "counters"),
            ("skbmark", "skbinfo"),
            ("skbprio", "skbinfo"),
            ("skbqueue", "skbinfo"),
        ] {
            let place = options.iter().position(|word| word.text == option);
            let is_value = |place: usize| place > 0 && options[place - 1].text == "comment";
            if let Some(place) = place.filter(|&place| !is_value(place))
                && !set.options.split(' ').any(|word| word == needs)
            {
                return Err((Some(place), Refusal::NotMadeFor { option: needs }));
            }
        }
        number(options, "timeout", MOST_SECONDS).map_err(|(at, refusal)| (Some(at), refusal))?;
        for value in values {
            if let SetEntry::Word(word) = value {
                if parts.contains(&SetPart::Set) {
                    match sets.get(word) {
                        _ if **word == *name => return Err(of_element(Refusal::ListInList)),
                        None => return Err(of_element(Refusal::NoSuchSet)),
                        Some(other) if &*other.kind.method == "list" => {
                            return Err(of_element(Refusal::ListInList));
                        }
                        Some(_) => {}
                    }
                }
                let device = word.strip_prefix("physdev:").unwrap_or(word);
                if parts.contains(&SetPart::Interface) && device.len() > MOST_DEVICE_BYTES {
                    return Err(of_element(Refusal::LongDevice));
                }
            }
        }
        if let (Some(range), Some(first)) = (&self.range, values.first()) {
            let (least, most) = limits(first).unwrap_or((*range.start(), *range.end()));
            let off = self.bits_off;
            if least >> off < range.start() >> off || most >> off > range.end() >> off {
                return Err(of_element(Refusal::OutOfRange));
            }
        }
        if !self.elements.insert(values.into()) {
            return Err(of_element(Refusal::AlreadyThere));
        }
        if &*set.kind.method == "hash" {
            let netmask = set
                .options
                .split(' ')
                .skip_while(|word| *word != "netmask")
                .nth(1);
            let netmask = netmask.and_then(|text| text.parse().ok());
            let many = parts
                .iter()
                .zip(values)
                .map(|(part, value)| elements(*part, value, netmask));
            self.count = self.count.saturating_add(many.fold(1, u64::saturating_mul));
            if self.count > self.most {
                return Err(of_element(Refusal::Full { most: self.most }));
            }
        }
        Ok(())
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The ends of a range of addresses, or of a prefix.
fn addresses(text: &str) -> Option<(u128, u128)> {
    if let Some((first, last)) = text.split_once('-') {
        let read = |text: &str| text.parse::<IpAddr>().map(bits).ok();
        return read(first).zip(read(last));
    }
    let prefix: Prefix = text.parse().ok()?;
    Some((bits(prefix.address()), bits(prefix.last())))
}

/// The first and the last number of an element of a bitmap.
fn limits(value: &SetEntry) -> Option<(u128, u128)> {
    match value {
        SetEntry::Net(prefix) => Some((bits(prefix.address()), bits(prefix.last()))),
        SetEntry::Range(range) => Some((bits(*range.start()), bits(*range.end()))),
        SetEntry::Ports(_, ports) => Some(((*ports.start()).into(), (*ports.end()).into())),
        SetEntry::Mac(_) | SetEntry::Word(_) => None,
    }
}

/// How many elements the kernel makes of a value: a range is one for each address or port, or for each
/// prefix that it takes.
fn elements(part: SetPart, value: &SetEntry, netmask: Option<u8>) -> u64 {
    let count = match (part, value) {
        (SetPart::Ip, SetEntry::Net(prefix)) => {
            let longest = netmask.unwrap_or_else(|| prefix.family().bits());
            1u128.checked_shl(longest.saturating_sub(prefix.len()).into())
        }
        (SetPart::Ip, SetEntry::Range(_)) => {
            limits(value).map(|(first, last)| (last - first).saturating_add(1))
        }
        (SetPart::Net, SetEntry::Range(_)) => limits(value).map(prefixes),
        (_, SetEntry::Ports(_, ports)) => Some(ports.len() as u128),
        (
            SetPart::Net
            | SetPart::Port
            | SetPart::Mac
            | SetPart::Interface
            | SetPart::Mark
            | SetPart::Set
            | SetPart::Ip,
            _,
        ) => Some(1),
    };
    count
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(u64::MAX)
}

/// How many prefixes a range is (`ip_set_range_to_cidr`).
fn prefixes((mut first, last): (u128, u128)) -> u128 {
    let mut count = 0;
    loop {
        count += 1;
        let left = last - first;
        // The largest that begins here and does not go too far.
        let by_end = left.checked_add(1).map_or(128, u128::ilog2);
        let size = 1u128.checked_shl(first.trailing_zeros().min(by_end));
        match size.map(|size| size - 1).filter(|step| *step < left) {
            Some(step) => first += step + 1,
            None => return count,
        }
    }
}
