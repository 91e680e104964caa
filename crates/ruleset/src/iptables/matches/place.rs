//! Where a packet comes from and goes to: addrtype, iprange, physdev, set; and comment.

use crate::iptables::ParseError;
use crate::iptables::lex::push_word;
use crate::iptables::options::{Arg, Opt, Words};
use crate::{
    AddressTypeMatch, AddressTypes, CtDirection, Inv, IprangeMatch, IpvsMatch, PhysdevMatch,
    SetDirection, SetMatch,
};

/// `-m comment`.
pub(super) fn comment<'w>(
    own: &mut Box<str>,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    if option.long() != "comment" {
        return Ok(false);
    }
    option.once(seen, 1)?;
    let text = words.plain(option)?.text;
    if !words.without_comments {
        *own = text.into();
    }
    Ok(true)
}

const SRC_TYPE: u32 = 1;
const DST_TYPE: u32 = 1 << 1;
const LIMIT_IFACE: u32 = 1 << 2;

/// Whether addrtype lacks what it needs.
pub(super) const fn lacks_type(seen: u32) -> bool {
    seen & (SRC_TYPE | DST_TYPE) == 0
}

impl AddressTypes {
    /// Every type with its name; a type's bit is its place here (`rtn_names`,
    /// extensions/libxt_addrtype.c).
    pub const NAMES: [&'static str; 12] = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ];
}

fn address_types(list: Arg<'_>, option: &Opt<'_>) -> Result<AddressTypes, ParseError> {
    let mut all = AddressTypes::default();
    for word in list.list() {
        let place = AddressTypes::NAMES
            .iter()
            .position(|name| word.text.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                option.bad_word(
                    word,
                    "UNSPEC, UNICAST, LOCAL, BROADCAST, ANYCAST, MULTICAST, BLACKHOLE, UNREACHABLE, PROHIBIT, THROW, NAT and XRESOLVE",
                )
            })?;
        all.0 |= 1 << place;
    }
    Ok(all)
}

/// `-m addrtype`.
pub(super) fn address_type<'w>(
    own: &mut AddressTypeMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let (side, bit) = match option.long() {
        "src-type" => (&mut own.src, SRC_TYPE),
        "dst-type" => (&mut own.dst, DST_TYPE),
        name @ ("limit-iface-in" | "limit-iface-out") => {
            option.once(seen, LIMIT_IFACE)?;
            option.not_inverted()?;
            words.none(option)?;
            own.limit_iface_in = name == "limit-iface-in";
            own.limit_iface_out = !own.limit_iface_in;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    option.once(seen, bit)?;
    let list = words.value(option)?;
    *side = Some(Inv {
        value: address_types(list, option)?,
        inverted: option.inverted,
    });
    Ok(true)
}

/// `-m iprange`.
pub(super) fn iprange<'w>(
    own: &mut IprangeMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let (side, bit) = match option.long() {
        "src-range" => (&mut own.src, 1),
        "dst-range" => (&mut own.dst, 1 << 1),
        _ => return Ok(false),
    };
    option.once(seen, bit)?;
    let value = words.value(option)?.address_range(words.family)?;
    *side = Some(Inv {
        value,
        inverted: option.inverted,
    });
    Ok(true)
}

/// `-m physdev`.
pub(super) fn physdev<'w>(
    own: &mut PhysdevMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let (flag, bit) = match option.long() {
        name @ ("physdev-in" | "physdev-out") => {
            let (side, bit) = if name == "physdev-in" {
                (&mut own.input, 1)
            } else {
                (&mut own.output, 1 << 1)
            };
            option.once(seen, bit)?;
            let value = words.value(option)?.interface()?;
            *side = Some(Inv {
                value,
                inverted: option.inverted,
            });
            return Ok(true);
        }
        "physdev-is-in" => (&mut own.is_in, 1 << 2),
        "physdev-is-out" => (&mut own.is_out, 1 << 3),
        "physdev-is-bridged" => (&mut own.is_bridged, 1 << 4),
        _ => return Ok(false),
    };
    option.once(seen, bit)?;
    words.none(option)?;
    *flag = Some(!option.inverted);
    Ok(true)
}

/// `-m ipvs`. `--vmethod` and `--vportctl` are not known: a rule with one is kept as it was written.
pub(super) fn ipvs<'w>(
    own: &mut IpvsMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "ipvs" => {
            option.once(seen, 1)?;
            words.none(option)?;
            own.is_ipvs = Some(!option.inverted);
        }
        "vproto" => {
            option.once(seen, 1 << 1)?;
            let word = words.value(option)?;
            let Some(value) = word.protocol()? else {
                return Err(option.bad_word(word, "a protocol"));
            };
            own.protocol = Some(Inv {
                value,
                inverted: option.inverted,
            });
        }
        "vaddr" => {
            option.once(seen, 1 << 2)?;
            let value = words.value(option)?.network(words.family)?;
            own.address = Some(Inv {
                value,
                inverted: option.inverted,
            });
        }
        "vport" => {
            option.once(seen, 1 << 3)?;
            let value = words.value(option)?.port()?;
            own.port = Some(Inv {
                value,
                inverted: option.inverted,
            });
        }
        "vdir" => {
            option.once(seen, 1 << 4)?;
            let word = words.value(option)?;
            let value = match word.text {
                "ORIGINAL" => CtDirection::Original,
                "REPLY" => CtDirection::Reply,
                _ => return Err(option.bad_word(word, "ORIGINAL or REPLY")),
            };
            own.direction = Some(Inv {
                value,
                inverted: option.inverted,
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

const MATCH_SET: u32 = 1;

/// Options of `set` that are kept as words, in the order of `iptables-save`: first those without a
/// value.
pub(in crate::iptables) const SET_OPTIONS: [&str; 9] = [
    "return-nomatch",
    "update-counters",
    "update-subcounters",
    "packets-eq",
    "packets-lt",
    "packets-gt",
    "bytes-eq",
    "bytes-lt",
    "bytes-gt",
];
const SET_FLAGS: usize = 3;

/// `-m set`.
pub(super) fn set<'w>(
    own: &mut Inv<SetMatch>,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        // `--set` is the word that --match-set replaced.
        "match-set" | "set" => {
            option.once(seen, MATCH_SET)?;
            own.value.name = words.value(option)?.text.into();
            own.inverted = option.inverted;
            let list = words.text(option)?;
            for word in list.list() {
                own.value.directions.push(match word.text {
                    "src" => SetDirection::Source,
                    "dst" => SetDirection::Destination,
                    _ => return Err(option.bad_word(word, "src and dst, with commas between")),
                });
            }
        }
        name => {
            let Some(place) = SET_OPTIONS.iter().position(|option| *option == name) else {
                return Ok(false);
            };
            option.once(seen, MATCH_SET << (place + 1))?;
            let value = if place < SET_FLAGS {
                words.none(option)?;
                None
            } else {
                let value = words.value(option)?;
                value.number(0..=u64::MAX)?;
                Some(value)
            };
            append(own, option, value);
        }
    }
    Ok(true)
}

fn append(own: &mut Inv<SetMatch>, option: &Opt<'_>, value: Option<Arg<'_>>) {
    let mut options = String::from(std::mem::take(&mut own.value.options));
    for word in option
        .inverted
        .then_some("!")
        .into_iter()
        .chain([option.written])
        .chain(value.map(|value| value.text))
    {
        if !options.is_empty() {
            options.push(' ');
        }
        push_word(&mut options, word);
    }
    own.value.options = options.into();
}
