//! The text of `ipset save`.
//!
//! [`parse`] reads `create` and `add`, [`print()`] writes them. Options that podwire does not
//! evaluate are kept as they were written.
//!
//! Source: ipset(8).

mod check;
mod element;

use std::fmt;

pub use check::Refusal;
use check::{Held, TYPES};
use indexmap::IndexMap;
use indexmap::map::Entry;
use miette::{Diagnostic, SourceSpan};
use podwire_packet::Family;
use thiserror::Error;

use crate::iptables::lex::{Word, push_quoted, push_word, split};
use crate::{Elements, IpSet, SetKind, SetPart, Sets};

/// Why a text does not describe sets.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum ParseError {
    /// A line that is neither `create` nor `add`.
    #[error("`{text}` is not a command")]
    #[diagnostic(
        code(podwire::ipset::unknown_command),
        help("lines are `create NAME TYPE OPTIONS` and `add NAME ELEMENT OPTIONS`")
    )]
    UnknownCommand {
        /// First word of the line.
        text: Box<str>,
        /// Its place.
        #[label("not a command")]
        at: SourceSpan,
    },
    /// A line that ends too early.
    #[error("`{command}` lacks {needs}")]
    #[diagnostic(
        code(podwire::ipset::missing_word),
        help("lines are `create NAME TYPE OPTIONS` and `add NAME ELEMENT OPTIONS`")
    )]
    MissingWord {
        /// The command.
        command: Box<str>,
        /// What is missing.
        needs: &'static str,
        /// Place of the last word.
        #[label("something is missing behind this")]
        at: SourceSpan,
    },
    /// `create` of a set that is there.
    #[error("there already is a set `{name}`")]
    #[diagnostic(
        code(podwire::ipset::set_exists),
        help("`add {name} ELEMENT` adds to it")
    )]
    SetExists {
        /// The name.
        name: Box<str>,
        /// Its place.
        #[label("already there")]
        at: SourceSpan,
    },
    /// `add` to a set that nobody made.
    #[error("there is no set `{name}`")]
    #[diagnostic(
        code(podwire::ipset::unknown_set),
        help("`create {name} TYPE` makes it, and stands before")
    )]
    UnknownSet {
        /// The name.
        name: Box<str>,
        /// Its place.
        #[label("no such set")]
        at: SourceSpan,
    },
    /// A name that no set may have.
    #[error("`{text}` cannot be the name of a set")]
    #[diagnostic(
        code(podwire::ipset::bad_name),
        help("a name has 1 to 31 bytes, none of them blank")
    )]
    BadName {
        /// The name.
        text: Box<str>,
        /// Its place.
        #[label("not a set name")]
        at: SourceSpan,
    },
    /// Not a type.
    #[error("`{text}` is not a type of set")]
    #[diagnostic(
        code(podwire::ipset::bad_type),
        help(
            "types are bitmap:ip, bitmap:ip,mac, bitmap:port, list:set, hash:mac, hash:ip (,mark ,mac ,port ,port,ip ,port,net) and hash:net (,iface ,net ,port ,port,net)"
        )
    )]
    BadType {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a type")]
        at: SourceSpan,
    },
    /// Not a family.
    #[error("`{text}` is not a family")]
    #[diagnostic(code(podwire::ipset::bad_family), help("families are inet and inet6"))]
    BadFamily {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a family")]
        at: SourceSpan,
    },
    /// A part of an element that does not fit the type.
    #[error("`{text}` is not {expected}")]
    #[diagnostic(
        code(podwire::ipset::bad_element),
        help("the parts of an element follow the type of its set, with commas between")
    )]
    BadElement {
        /// The part.
        text: Box<str>,
        /// What the type asks for.
        expected: &'static str,
        /// Its place.
        #[label("does not fit the set")]
        at: SourceSpan,
    },
    /// An address of the other family.
    #[error("`{text}` is in an {family} set, but of the other family")]
    #[diagnostic(
        code(podwire::ipset::wrong_family),
        help("`family inet` is IPv4, `family inet6` is IPv6")
    )]
    WrongFamily {
        /// The address.
        text: Box<str>,
        /// Family of the set.
        family: Family,
        /// Its place.
        #[label("address of the other family")]
        at: SourceSpan,
    },
    /// Something that ipset itself refuses.
    #[error("ipset refuses `{text}`: {why}")]
    #[diagnostic(
        code(podwire::ipset::refused),
        help("what `ipset save` prints, `ipset restore` takes")
    )]
    Refused {
        /// The word.
        text: Box<str>,
        /// Why.
        why: Refusal,
        /// Its place.
        #[label("refused")]
        at: SourceSpan,
    },
    /// A double quote without its pair.
    #[error("the quote does not close")]
    #[diagnostic(
        code(podwire::ipset::unclosed_quote),
        help("a double quote closes on its line")
    )]
    UnclosedQuote {
        /// From the quote to the end of the line.
        #[label("opened here")]
        at: SourceSpan,
    },
}

impl ParseError {
    /// Where the fault is.
    #[must_use]
    pub const fn span(&self) -> SourceSpan {
        match self {
            Self::UnknownCommand { at, .. }
            | Self::MissingWord { at, .. }
            | Self::SetExists { at, .. }
            | Self::UnknownSet { at, .. }
            | Self::BadName { at, .. }
            | Self::BadType { at, .. }
            | Self::BadFamily { at, .. }
            | Self::BadElement { at, .. }
            | Self::WrongFamily { at, .. }
            | Self::Refused { at, .. }
            | Self::UnclosedQuote { at } => *at,
        }
    }
}

/// Bytes of a set's name at most: `IPSET_MAXNAMELEN` less the closing zero
/// (include/uapi/linux/netfilter/ipset/ip_set.h).
const MAX_NAME: usize = 31;

/// Reads the text of `ipset save`.
///
/// # Errors
/// The first [`ParseError`] in the order of the text.
pub fn parse(text: &str) -> Result<Sets, ParseError> {
    let mut sets = Sets::new();
    let mut held = IndexMap::new();
    let mut words = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\n', '\r']);
        split(body, start, &mut words).map_err(|at| ParseError::UnclosedQuote { at })?;
        start += line.len();
        let Some((command, rest)) = words.split_first() else {
            continue;
        };
        match &*command.text {
            "create" => create(&mut sets, &mut held, command, rest)?,
            "add" => add(&mut sets, &mut held, command, rest)?,
            "COMMIT" => {}
            text if text.starts_with('#') => {}
            text => {
                return Err(ParseError::UnknownCommand {
                    text: text.into(),
                    at: command.span(),
                });
            }
        }
    }
    Ok(sets)
}

/// What ipset refuses at a word.
fn refused(word: &Word<'_>, why: Refusal) -> ParseError {
    ParseError::Refused {
        text: word.text.as_ref().into(),
        why,
        at: word.span(),
    }
}

type AllHeld = IndexMap<Box<str>, Held>;

fn create(
    sets: &mut Sets,
    held: &mut AllHeld,
    command: &Word<'_>,
    rest: &[Word<'_>],
) -> Result<(), ParseError> {
    let (name, rest) = next(command, command, rest, "the name of a set")?;
    let (kind, options) = next(command, name, rest, "the type of the set")?;
    let bad_name = || ParseError::BadName {
        text: name.text.as_ref().into(),
        at: name.span(),
    };
    if !(1..=MAX_NAME).contains(&name.text.len()) || name.text.contains(char::is_whitespace) {
        return Err(bad_name());
    }
    let mut family = Family::Ipv4;
    if let Some(place) = options.iter().position(|word| word.text == "family") {
        let (word, _) = next(
            command,
            &options[place],
            &options[place + 1..],
            "the family of the set",
        )?;
        family = match &*word.text {
            "inet" => Family::Ipv4,
            "inet6" => Family::Ipv6,
            text => {
                return Err(ParseError::BadFamily {
                    text: text.into(),
                    at: word.span(),
                });
            }
        };
    }
    let set = IpSet {
        kind: set_kind(kind)?,
        family,
        options: joined(options),
        entries: Elements::default(),
    };
    let begun = Held::of(&set, options).map_err(|(at, why)| {
        let word = options.get(at).or(options.last()).unwrap_or(kind);
        refused(word, why)
    })?;
    held.entry(name.text.as_ref().into()).or_insert(begun);
    match sets.entry(name.text.as_ref().into()) {
        Entry::Vacant(place) => {
            place.insert(set);
            Ok(())
        }
        Entry::Occupied(_) => Err(ParseError::SetExists {
            name: name.text.as_ref().into(),
            at: name.span(),
        }),
    }
}

fn add(
    sets: &mut Sets,
    held: &mut AllHeld,
    command: &Word<'_>,
    rest: &[Word<'_>],
) -> Result<(), ParseError> {
    let (name, rest) = next(command, command, rest, "the name of a set")?;
    let (word, options) = next(command, name, rest, "an element")?;
    let Some(set) = sets.get(&*name.text) else {
        return Err(ParseError::UnknownSet {
            name: name.text.as_ref().into(),
            at: name.span(),
        });
    };
    let entry = element::parse(word, &set.kind, set.family)?;
    if let Some(held) = held.get_mut(&*name.text) {
        held.add(&name.text, sets, set, &entry, options)
            .map_err(|(at, why)| refused(at.map_or(word, |at| &options[at]), why))?;
    }
    if let Some(set) = sets.get_mut(&*name.text) {
        set.entries.push((entry, joined(options)));
    }
    Ok(())
}

fn next<'w, 't>(
    command: &Word<'_>,
    last: &Word<'_>,
    rest: &'w [Word<'t>],
    needs: &'static str,
) -> Result<(&'w Word<'t>, &'w [Word<'t>]), ParseError> {
    rest.split_first().ok_or_else(|| ParseError::MissingWord {
        command: command.text.as_ref().into(),
        needs,
        at: last.span(),
    })
}

/// Words as they were written: quotes only where they are needed, and around every comment.
fn joined(words: &[Word<'_>]) -> Box<str> {
    let mut out = String::new();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        if place > 0 && words[place - 1].text == "comment" {
            push_quoted(&mut out, &word.text, &['"', '\\']);
        } else {
            push_word(&mut out, &word.text);
        }
    }
    out.into()
}

impl SetPart {
    /// Every part with its word.
    const NAMES: [(&'static str, Self); 7] = [
        ("ip", Self::Ip),
        ("net", Self::Net),
        ("port", Self::Port),
        ("mac", Self::Mac),
        ("iface", Self::Interface),
        ("mark", Self::Mark),
        ("set", Self::Set),
    ];

    /// Its word in a set's type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Net => "net",
            Self::Port => "port",
            Self::Mac => "mac",
            Self::Interface => "iface",
            Self::Mark => "mark",
            Self::Set => "set",
        }
    }
}

impl fmt::Display for SetKind {
    /// Writes it as `create` names it: `hash:ip,port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        for (place, part) in self.parts.iter().enumerate() {
            f.write_str(if place == 0 { ":" } else { "," })?;
            f.write_str(part.name())?;
        }
        Ok(())
    }
}

fn set_kind(word: &Word<'_>) -> Result<SetKind, ParseError> {
    let bad = || ParseError::BadType {
        text: word.text.as_ref().into(),
        at: word.span(),
    };
    let (method, parts) = word.text.split_once(':').ok_or_else(bad)?;
    if !matches!(method, "hash" | "bitmap" | "list") {
        return Err(bad());
    }
    let parts = parts
        .split(',')
        .map(|part| {
            SetPart::NAMES
                .iter()
                .find(|(name, _)| *name == part)
                .map(|&(_, part)| part)
                .ok_or_else(bad)
        })
        .collect::<Result<Vec<SetPart>, _>>()?;
    if !TYPES.contains(&(method, &parts)) {
        return Err(bad());
    }
    Ok(SetKind {
        method: method.into(),
        parts,
    })
}

/// The text of sets: each one's `create`, then its elements.
#[must_use]
pub fn print(sets: &Sets) -> String {
    let mut out = String::new();
    let mut element = String::new();
    for (name, set) in sets {
        out.push_str("create ");
        push_word(&mut out, name);
        out.push(' ');
        out.push_str(&set.kind.to_string());
        let names_family = set.options.split(' ').any(|word| word == "family");
        if set.family == Family::Ipv6 && !names_family {
            out.push_str(" family inet6");
        }
        push_options(&mut out, &set.options);
        for (entry, options) in &set.entries {
            out.push_str("add ");
            push_word(&mut out, name);
            out.push(' ');
            element.clear();
            element::write(&mut element, entry);
            push_word(&mut out, &element);
            push_options(&mut out, options);
        }
    }
    out
}

fn push_options(out: &mut String, options: &str) {
    if !options.is_empty() {
        out.push(' ');
        out.push_str(options);
    }
    out.push('\n');
}
