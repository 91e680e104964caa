//! Command lines, read as `getopt_long` reads them.
//!
//! # Sources
//! `do_parse` of iptables/xshared.c and `xtables_save_main` of iptables/xtables-save.c, iptables 1.8.9.

use podwire_ruleset::TableName;

use super::Tool;
use crate::host::Fault;

/// What a command asks for.
pub(super) enum Asked<'w> {
    /// A listing.
    Listing(Wanted<'w>),
    /// The tables as `iptables-save` prints them.
    Saved {
        table: Option<TableName>,
        counters: bool,
    },
    /// The version.
    Version,
}

/// What is to be listed, and how.
pub(super) struct Wanted<'w> {
    pub(super) table: TableName,
    pub(super) chain: Option<&'w str>,
    /// The number of the only rule.
    pub(super) rule: Option<usize>,
    pub(super) commands: bool,
    pub(super) numeric: bool,
    pub(super) verbose: bool,
    pub(super) exact: bool,
    pub(super) numbers: bool,
}

/// Whether something stands behind an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    None,
    Required,
    /// In the same word only.
    Optional,
}
use Argument::{None as Alone, Optional, Required};

type Known = (&'static str, char, Argument);

/// Options of `iptables`; `0` is a long one's alone.
const LISTING: [Known; 35] = [
    ("append", 'A', Required),
    ("delete", 'D', Required),
    ("check", 'C', Required),
    ("insert", 'I', Required),
    ("replace", 'R', Required),
    ("list", 'L', Optional),
    ("list-rules", 'S', Optional),
    ("flush", 'F', Optional),
    ("zero", 'Z', Optional),
    ("new-chain", 'N', Required),
    ("delete-chain", 'X', Optional),
    ("rename-chain", 'E', Required),
    ("policy", 'P', Required),
    ("source", 's', Required),
    ("destination", 'd', Required),
    ("src", 's', Required),
    ("dst", 'd', Required),
    ("protocol", 'p', Required),
    ("in-interface", 'i', Required),
    ("jump", 'j', Required),
    ("table", 't', Required),
    ("match", 'm', Required),
    ("numeric", 'n', Alone),
    ("out-interface", 'o', Required),
    ("verbose", 'v', Alone),
    ("wait", 'w', Optional),
    ("wait-interval", 'W', Optional),
    ("exact", 'x', Alone),
    ("fragments", 'f', Alone),
    ("version", 'V', Alone),
    ("help", 'h', Optional),
    ("line-numbers", '0', Alone),
    ("goto", 'g', Required),
    ("ipv4", '4', Alone),
    ("ipv6", '6', Alone),
];

/// Options of `iptables-save`.
const SAVING: [Known; 8] = [
    ("counters", 'c', Alone),
    ("version", 'V', Alone),
    ("dump", 'd', Alone),
    ("table", 't', Required),
    ("modprobe", 'M', Required),
    ("file", 'f', Required),
    ("ipv4", '4', Alone),
    ("ipv6", '6', Alone),
];

/// A piece of a command line.
enum Piece<'w> {
    Option(char, Option<&'w str>),
    Word(&'w str),
    /// No option of the tool: its name without dashes.
    Unknown(&'w str),
    /// An option without what must stand behind it.
    Lacking(char),
}

/// A command line from left to right.
struct Line<'w> {
    known: &'static [Known],
    words: std::slice::Iter<'w, &'w str>,
    /// The word that was read last.
    word: &'w str,
    /// Letters of it that are left.
    letters: &'w str,
}

impl<'w> Line<'w> {
    fn new(known: &'static [Known], words: &'w [&'w str]) -> Self {
        Self {
            known,
            words: words.iter(),
            word: "",
            letters: "",
        }
    }

    /// The next word, unless it is an option or a negation.
    fn argument(&mut self) -> Option<&'w str> {
        let next = self.words.as_slice().first()?;
        let is_argument = self.letters.is_empty() && !next.starts_with(['-', '!']);
        if is_argument {
            self.words.next();
        }
        is_argument.then_some(next)
    }

    fn next(&mut self) -> Option<Piece<'w>> {
        if self.letters.is_empty() {
            self.word = self.words.next()?;
            if let Some(long) = self.word.strip_prefix("--") {
                return Some(self.long(long));
            }
            match self.word.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => self.letters = letters,
                _ => return Some(Piece::Word(self.word)),
            }
        }
        let mut chars = self.letters.chars();
        let letter = chars.next()?;
        let name = &self.letters[..letter.len_utf8()];
        self.letters = chars.as_str();
        let mut known = self.known.iter().filter(|_| letter != '0');
        let Some((_, _, argument)) = known.find(|(_, one, _)| *one == letter) else {
            return Some(Piece::Unknown(name));
        };
        let attached = std::mem::take(&mut self.letters);
        Some(match argument {
            Alone => {
                self.letters = attached;
                Piece::Option(letter, None)
            }
            Required | Optional if !attached.is_empty() => Piece::Option(letter, Some(attached)),
            Optional => Piece::Option(letter, None),
            Required => self.required(letter),
        })
    }

    fn required(&mut self, letter: char) -> Piece<'w> {
        match self.words.next() {
            Some(value) => Piece::Option(letter, Some(value)),
            None => Piece::Lacking(letter),
        }
    }

    /// An option by its name, or as much of it as no other has.
    fn long(&mut self, long: &'w str) -> Piece<'w> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let exact = self.known.iter().find(|(known, ..)| *known == name);
        let mut begun = self
            .known
            .iter()
            .filter(|(known, ..)| known.starts_with(name) && !name.is_empty());
        let found = exact.or_else(|| begun.next().filter(|_| begun.next().is_none()));
        match (found, value) {
            (None, _) | (Some((_, _, Alone)), Some(_)) => Piece::Unknown(long),
            (Some(&(_, letter, Required)), None) => self.required(letter),
            (Some(&(_, letter, _)), value) => Piece::Option(letter, value),
        }
    }
}

/// Reads the words of `iptables`; `None` for what is not answered.
pub(super) fn listing<'w>(tool: Tool, words: &'w [&'w str]) -> Result<Option<Asked<'w>>, Fault> {
    let refused = |why: &str| Err(tool.refuses(why));
    let mut table = TableName::Filter;
    let (mut chain, mut rule) = (None, None);
    let mut command: Option<char> = None;
    let mut seen: Vec<char> = Vec::new();
    let mut line = Line::new(&LISTING, words);
    while let Some(piece) = line.next() {
        let (letter, value) = match piece {
            Piece::Option(letter, value) => (letter, value),
            // Extensions of a rule have options of their own.
            _ if command.is_some_and(|command| !matches!(command, 'L' | 'S')) => return Ok(None),
            Piece::Unknown(_) if !line.letters.is_empty() => return Ok(None),
            Piece::Unknown(_) => return refused(&format!("unknown option \"{}\"", line.word)),
            Piece::Lacking(_) => {
                return refused(&format!("option \"{}\" requires an argument", line.word));
            }
            Piece::Word(word) if word.starts_with('!') => return Ok(None),
            Piece::Word(word) => {
                return Err(Fault::tool(
                    tool.with_hint(&format!("Bad argument `{word}'")),
                    2,
                ));
            }
        };
        match letter {
            'L' | 'S' | 'A' | 'D' | 'C' | 'I' | 'R' | 'F' | 'Z' | 'N' | 'X' | 'E' | 'P' => {
                if let Some(other) = command.replace(letter) {
                    return refused(&format!("Cannot use -{letter} with -{other}"));
                }
                let name = value.or_else(|| line.argument());
                let number = line.argument();
                if matches!(letter, 'L' | 'S') {
                    chain = name;
                    rule = match number.map(|text| (text, text.parse())) {
                        None => None,
                        Some((_, Ok(number @ 1..))) => Some(number),
                        Some((text, _)) => {
                            return refused(&format!("Invalid rule number `{text}'"));
                        }
                    };
                }
            }
            'n' | 'x' | '0' if seen.contains(&letter) => {
                return refused(&format!("multiple -{letter} flags not allowed"));
            }
            'n' | 'x' | '0' => seen.push(letter),
            // What is said twice is told of rules as the kernel has them.
            'v' if seen.contains(&letter) => return Ok(None),
            'v' => seen.push(letter),
            // There is nobody to wait for.
            'w' => {
                let seconds = value.or_else(|| line.argument());
                if seconds.is_some_and(|text| text.parse::<u32>().is_err()) {
                    return refused("wait seconds not numeric");
                }
            }
            't' => table = tool.table(value.unwrap_or_default())?,
            'V' => return Ok(Some(Asked::Version)),
            '4' if !tool.is_ipv6() => {}
            '6' if tool.is_ipv6() => {}
            _ => return Ok(None),
        }
    }
    match command {
        None => return refused("no command specified"),
        Some('L') => {}
        Some('S') => {
            if let Some(letter) = ['n', 'x', '0'].iter().find(|one| seen.contains(one)) {
                return refused(&format!("Illegal option `-{letter}' with this command"));
            }
        }
        Some(_) => return Ok(None),
    }
    Ok(Some(Asked::Listing(Wanted {
        table,
        chain,
        rule,
        commands: command == Some('S'),
        numeric: seen.contains(&'n'),
        verbose: seen.contains(&'v'),
        exact: seen.contains(&'x'),
        numbers: seen.contains(&'0'),
    })))
}

/// Reads the words of `iptables-save`; `None` for what is not answered.
pub(super) fn saving<'w>(tool: Tool, words: &'w [&'w str]) -> Result<Option<Asked<'w>>, Fault> {
    let refused = |why: String| {
        let text = format!(
            "{tool}-save: {why}\nLook at manual page `{tool}-save.8' for more information."
        );
        Err(Fault::tool(text, 1))
    };
    let (mut table, mut counters, mut word) = (None, false, None);
    let mut line = Line::new(&SAVING, words);
    while let Some(piece) = line.next() {
        match piece {
            Piece::Option('c', _) => counters = true,
            Piece::Option('t', name) => table = name,
            Piece::Option('V', _) => return Ok(Some(Asked::Version)),
            Piece::Option(..) => return Ok(None),
            Piece::Word(one) => word = Some(one),
            Piece::Unknown(long) if line.word.starts_with("--") => {
                return refused(format!("unrecognized option '--{long}'"));
            }
            Piece::Unknown(letter) => return refused(format!("invalid option -- '{letter}'")),
            Piece::Lacking(_) if line.word.starts_with("--") => {
                return refused(format!("option '{}' requires an argument", line.word));
            }
            Piece::Lacking(letter) => {
                return refused(format!("option requires an argument -- '{letter}'"));
            }
        }
    }
    if word.is_some() {
        return Err(Fault::tool("Unknown arguments found on commandline", 1));
    }
    let table = match table {
        None => None,
        Some(name) => {
            let none = || Fault::tool(format!("Table `{name}' does not exist"), 1);
            let mut all = TableName::ALL.into_iter();
            Some(all.find(|one| one.name() == name).ok_or_else(none)?)
        }
    };
    Ok(Some(Asked::Saved { table, counters }))
}
