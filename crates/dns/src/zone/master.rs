//! The text of a master file.
//!
//! # Departures
//! `$INCLUDE` and `$GENERATE` are refused: a zone is one file.
//!
//! # Sources
//! RFC 1035 section 5.1, RFC 2308 section 4 (`$TTL`); scan.go of miekg/dns.

use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

use super::data::{self, DataFault, absolute, seconds};
use super::{Case, Zone, ZoneFault};
use crate::message::presentation::parse_record_type;

/// What is wrong in a master file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {fault}")]
pub struct ZoneError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    #[source]
    pub fault: MasterFault,
}

/// What may be wrong in a master file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MasterFault {
    /// A parenthesis, or a quote, has no other half.
    #[error("`{0}` without its other half")]
    Unpaired(char),
    /// The first record has no name, or a name cannot be one.
    #[error("`{0}` is not a name, and no name stands before it")]
    BadOwner(String),
    /// A line names no type.
    #[error("no type such as A, CNAME or SOA among `{0}`")]
    NoType(String),
    /// A directive that is not read.
    #[error("`{0}` is not read; $ORIGIN and $TTL are")]
    Directive(String),
    /// A relative name, but nothing says what to.
    #[error("`{0}` is relative, but neither $ORIGIN nor the zone's name is known")]
    NoOrigin(String),
    /// The data of a record.
    #[error(transparent)]
    Data(#[from] DataFault),
    /// The zone as a whole.
    #[error(transparent)]
    Zone(#[from] ZoneFault),
}

/// The zone that a master file says. Without an `origin`, `$ORIGIN` says what names are below, and
/// the owner of the SOA record is the zone.
///
/// # Errors
/// At the first line that cannot be read.
pub fn zone(text: &str, origin: Option<&Name>) -> Result<Zone, ZoneError> {
    zone_in(text, origin, Case::Lower)
}

/// The zone that a master file says, as [`zone`] reads it, with capital letters as `case` says.
///
/// # Errors
/// At the first line that cannot be read.
pub fn zone_in(text: &str, origin: Option<&Name>, case: Case) -> Result<Zone, ZoneError> {
    let records = records(text, origin)?;
    let last = text.lines().count().max(1);
    Zone::new(origin, records, case).map_err(|fault| ZoneError {
        line: last,
        fault: fault.into(),
    })
}

/// The record that one line says, as `template` makes them.
///
/// # Errors
/// If it says none.
pub fn record(text: &str) -> Result<Option<Record>, ZoneError> {
    let mut records = records(text, Some(&Name::root()))?;
    records.truncate(1);
    Ok(records.pop())
}

fn records(text: &str, origin: Option<&Name>) -> Result<Vec<Record>, ZoneError> {
    let mut reader = Reader {
        origin: origin.cloned(),
        owner: None,
        default_ttl: None,
        last_ttl: None,
    };
    let mut records = Vec::new();
    for entry in entries(text)? {
        let line = entry.line;
        let read = reader.entry(entry);
        records.extend(read.map_err(|fault| ZoneError { line, fault })?);
    }
    Ok(records)
}

/// A line, or several that parentheses join.
struct Entry {
    line: usize,
    /// Whether it begins with a blank, and so is about the owner before it.
    continued: bool,
    words: Vec<String>,
}

fn entries(text: &str) -> Result<Vec<Entry>, ZoneError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut open: Option<Entry> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let unpaired = |which| ZoneError {
            line: number,
            fault: MasterFault::Unpaired(which),
        };
        let inside = open.is_some();
        let mut entry = open.take().unwrap_or_else(|| Entry {
            line: number,
            continued: line.starts_with([' ', '\t']),
            words: Vec::new(),
        });
        let mut inside = inside;
        let mut letters = line.chars().peekable();
        while let Some(&letter) = letters.peek() {
            match letter {
                ';' => break,
                '(' if inside => return Err(unpaired('(')),
                ')' if !inside => return Err(unpaired(')')),
                '(' | ')' => {
                    inside = letter == '(';
                    letters.next();
                }
                '"' => {
                    letters.next();
                    let text = quoted(&mut letters).ok_or_else(|| unpaired('"'))?;
                    entry.words.push(text);
                }
                _ if letter.is_whitespace() => {
                    letters.next();
                }
                _ => entry.words.push(bare(&mut letters)),
            }
        }
        if inside {
            open = Some(entry);
        } else if !entry.words.is_empty() {
            entries.push(entry);
        }
    }
    match open {
        Some(entry) => Err(ZoneError {
            line: entry.line,
            fault: MasterFault::Unpaired('('),
        }),
        None => Ok(entries),
    }
}

type Letters<'l> = std::iter::Peekable<std::str::Chars<'l>>;

fn quoted(letters: &mut Letters<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
}

fn bare(letters: &mut Letters<'_>) -> String {
    let mut word = String::new();
    while let Some(&letter) = letters.peek() {
        if letter.is_whitespace() || matches!(letter, ';' | '(' | ')' | '"') {
            break;
        }
        letters.next();
        word.push(letter);
        if letter == '\\' {
            word.extend(letters.next());
        }
    }
    word
}

/// What lines before say about those after.
struct Reader {
    origin: Option<Name>,
    owner: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
}

impl Reader {
    fn entry(&mut self, entry: Entry) -> Result<Option<Record>, MasterFault> {
        let mut words = entry.words.as_slice();
        let first = words.first().map(String::as_str).unwrap_or_default();
        if first.starts_with('$') && !entry.continued {
            return self.directive(words).map(|()| None);
        }
        if !entry.continued {
            let owner = self.name(first)?;
            self.owner = Some(owner.ok_or_else(|| MasterFault::BadOwner(first.to_owned()))?);
            words = &words[1..];
        }
        let owner = self.owner.clone();
        let owner = owner.ok_or_else(|| MasterFault::BadOwner(first.to_owned()))?;
        let mut ttl = None;
        let record_type = loop {
            let Some((word, rest)) = words.split_first() else {
                return Err(MasterFault::NoType(entry.words.join(" ")));
            };
            words = rest;
            if is_class(word) {
                continue;
            }
            match (parse_record_type(word), seconds(word)) {
                (Some(record_type), _) => break record_type,
                (None, Some(seconds)) if ttl.is_none() => ttl = Some(seconds),
                (None, _) => return Err(MasterFault::NoType(entry.words.join(" "))),
            }
        };
        let data = self.data(record_type, words)?;
        // Without a TTL of its own: $TTL, else that of the record before, else the SOA's minimum.
        let minimum = match &data {
            hickory_proto::rr::RData::SOA(soa) => Some(soa.minimum),
            _ => None,
        };
        let ttl = ttl.or(self.default_ttl).or(self.last_ttl).or(minimum);
        let ttl = ttl.unwrap_or(3_600);
        self.last_ttl = Some(ttl);
        let mut record = Record::from_rdata(owner, ttl, data);
        record.dns_class = DNSClass::IN;
        Ok(Some(record))
    }

    fn data(
        &self,
        record_type: RecordType,
        words: &[String],
    ) -> Result<hickory_proto::rr::RData, MasterFault> {
        // Where the origin is not known a relative name is below the root, as in a record of a
        // template.
        let root = Name::root();
        let origin = self.origin.as_ref().unwrap_or(&root);
        Ok(data::parse(record_type, words, origin)?)
    }

    fn directive(&mut self, words: &[String]) -> Result<(), MasterFault> {
        match words {
            [word, to] if word.eq_ignore_ascii_case("$ORIGIN") => {
                let name = self.name(to)?;
                self.origin = Some(name.ok_or_else(|| MasterFault::BadOwner(to.clone()))?);
                Ok(())
            }
            [word, to] if word.eq_ignore_ascii_case("$TTL") => {
                let ttl = seconds(to).ok_or_else(|| DataFault::Wrong {
                    word: to.clone(),
                    wanted: "a time in seconds, or such as 1h30m",
                })?;
                self.default_ttl = Some(ttl);
                Ok(())
            }
            _ => Err(MasterFault::Directive(words.join(" "))),
        }
    }

    fn name(&self, word: &str) -> Result<Option<Name>, MasterFault> {
        match &self.origin {
            Some(origin) => Ok(absolute(word, origin)),
            None if word.ends_with('.') => Ok(absolute(word, &Name::root())),
            None => Err(MasterFault::NoOrigin(word.to_owned())),
        }
    }
}

fn is_class(word: &str) -> bool {
    ["IN", "CH", "HS", "CS"]
        .iter()
        .any(|class| word.eq_ignore_ascii_case(class))
}
