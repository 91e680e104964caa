//! One rule: the words behind `-A CHAIN`.
//!
//! An option belongs to the rule itself (`-s`, `-p`, `-m`, `-j` …), else to the module that was
//! named last and knows it, as in iptables, where a later module's options hide an earlier one's.
//! `-p tcp` loads its module when the first option of it comes.
//!
//! What nobody knows belongs to the module or target named last, and makes the whole of it opaque:
//! its words are kept and what it tests is unknown. An opaque module takes every word up to the
//! next option of the rule itself.

use std::ops::Range;

use miette::SourceSpan;
use podwire_packet::{Family, Protocol};

use super::lex::{Word, push_word};
use super::matches::{Kind, Module};
use super::options::{Arg, Opt, Words};
use super::targets::Named;
use super::{ParseError, UnknownOption, line_column};
use crate::{AddressMatch, ChainName, Counters, Inv, L4, Match, Rule, Target};

/// How many rules one line may make by lists of addresses.
pub const MAX_RULES_OF_A_LINE: usize = 1_024;

/// How many modules one rule may name. nf_tables stops at as many expressions
/// (`NFT_RULE_MAXEXPRS`, include/net/netfilter/nf_tables.h).
const MAX_MODULES: usize = 128;

const SOURCE: u32 = 1;
const DESTINATION: u32 = 1 << 1;
const IN: u32 = 1 << 2;
const OUT: u32 = 1 << 3;
const PROTOCOL: u32 = 1 << 4;
const FRAGMENT: u32 = 1 << 5;
const TARGET: u32 = 1 << 6;
const COUNTERS: u32 = 1 << 7;

/// A rule as it is read; used again for the next one.
#[derive(Debug, Default)]
pub(super) struct RuleReader {
    /// What was read; a list of addresses shows its first one here.
    pub(super) rule: Rule,
    /// The rule is for the other family (`-4` and `-6`).
    pub(super) other_family: bool,
    /// Comments are left empty.
    without_comments: bool,
    /// Words that made a module opaque, in order.
    pub(super) unknown: Vec<(SourceSpan, Box<str>)>,
    /// The chain's name behind `-j` or `-g`.
    pub(super) jump: Option<SourceSpan>,
    sources: Vec<AddressMatch>,
    destinations: Vec<AddressMatch>,
    seen: u32,
    modules: Vec<Module>,
    /// Which module took which words.
    taken: Vec<(usize, Range<usize>)>,
    /// Protocol of `-p` without `!`.
    protocol: Option<Protocol>,
}

impl RuleReader {
    pub(super) fn new(with_comments: bool) -> Self {
        Self {
            without_comments: !with_comments,
            ..Self::default()
        }
    }

    /// Reads a rule.
    pub(super) fn read<'t>(
        &mut self,
        line: &[Word<'t>],
        family: Family,
        chains: impl Fn(&str) -> ChainName,
    ) -> Result<(), ParseError> {
        self.clear();
        let mut words = Words::new(line, family);
        words.without_comments = self.without_comments;
        while let Some(first) = words.next() {
            let from = words.position() - 1;
            let mut word = first;
            let inverted = first.text == "!";
            if inverted {
                let Some(next) = words.next() else {
                    return Err(not_an_option(first));
                };
                word = next;
            }
            let Some(mut option) = Opt::of(word, inverted) else {
                return Err(not_an_option(word));
            };
            if self.header(&mut option, &mut words, &chains)?
                || self.by_module(&mut option, &mut words, from)?
            {
                continue;
            }
            self.unknown_option(&option, &mut words, from)?;
        }
        self.complete()
    }

    fn clear(&mut self) {
        self.rule.matches.clear();
        self.rule.target = None;
        self.rule.counters = None;
        self.rule.host_lengths = false;
        self.other_family = false;
        self.unknown.clear();
        self.jump = None;
        self.sources.clear();
        self.destinations.clear();
        self.seen = 0;
        self.modules.clear();
        self.taken.clear();
        self.protocol = None;
    }

    /// Takes an option of the rule itself.
    fn header<'w>(
        &mut self,
        option: &mut Opt<'w>,
        words: &mut Words<'w, '_>,
        chains: &impl Fn(&str) -> ChainName,
    ) -> Result<bool, ParseError> {
        let Some(header) = Header::of(option.written) else {
            return Ok(false);
        };
        match header {
            Header::Source => {
                option.once(&mut self.seen, SOURCE)?;
                let first = addresses(
                    option,
                    words,
                    &mut self.sources,
                    &mut self.rule.host_lengths,
                )?;
                self.rule.matches.push(Match::Source(first));
            }
            Header::Destination => {
                option.once(&mut self.seen, DESTINATION)?;
                let first = addresses(
                    option,
                    words,
                    &mut self.destinations,
                    &mut self.rule.host_lengths,
                )?;
                self.rule.matches.push(Match::Destination(first));
            }
            Header::In => {
                option.once(&mut self.seen, IN)?;
                let value = words.value(option)?.interface()?;
                self.rule
                    .matches
                    .push(Match::InInterface(inv(option, value)));
            }
            Header::Out => {
                option.once(&mut self.seen, OUT)?;
                let value = words.value(option)?.interface()?;
                self.rule
                    .matches
                    .push(Match::OutInterface(inv(option, value)));
            }
            Header::Protocol => {
                option.once(&mut self.seen, PROTOCOL)?;
                let word = words.value(option)?;
                match word.protocol()? {
                    Some(protocol) => {
                        self.rule
                            .matches
                            .push(Match::Protocol(inv(option, protocol)));
                        self.protocol = (!option.inverted).then_some(protocol);
                    }
                    None => option.not_inverted()?,
                }
            }
            Header::Fragment => {
                option.once(&mut self.seen, FRAGMENT)?;
                words.none(option)?;
                self.rule.matches.push(Match::Fragment(!option.inverted));
            }
            Header::Match => {
                let name = words.plain(option)?;
                let module = self.modules.len();
                if module >= MAX_MODULES {
                    return Err(ParseError::TooManyModules { at: name.at });
                }
                let kind = Kind::of_module(name.text, words.family);
                let slot = self.rule.matches.len();
                self.rule.matches.push(kind.start(words.family));
                self.modules.push(Module::new(kind, name.at, slot));
                if kind == Kind::Opaque {
                    self.unknown.push((name.at, name.text.into()));
                    let opaque = &mut self.modules[module].opaque;
                    opaque.push_str("-m ");
                    push_word(opaque, name.text);
                    swallow(opaque, words);
                }
            }
            Header::Jump => self.jump(option, words, chains)?,
            Header::Goto => {
                option.once(&mut self.seen, TARGET)?;
                let name = words.plain(option)?;
                self.jump = Some(name.at);
                self.rule.target = Some(Target::Goto(chains(name.text)));
            }
            Header::Counters => {
                option.once(&mut self.seen, COUNTERS)?;
                self.rule.counters = Some(counters(option, words)?);
            }
            Header::Family(family) => self.other_family |= family != words.family,
        }
        Ok(true)
    }

    fn jump<'w>(
        &mut self,
        option: &mut Opt<'w>,
        words: &mut Words<'w, '_>,
        chains: &impl Fn(&str) -> ChainName,
    ) -> Result<(), ParseError> {
        option.once(&mut self.seen, TARGET)?;
        let name = words.plain(option)?;
        let slot = self.rule.matches.len();
        self.rule.target = Some(match Named::of(name.text) {
            Named::Verdict => match name.text {
                "ACCEPT" => Target::Accept,
                "DROP" => Target::Drop,
                _ => Target::Return,
            },
            Named::Kind(kind) => {
                self.modules
                    .push(Module::new(Kind::Target(kind), name.at, slot));
                kind.start()
            }
            Named::NotEvaluated => {
                let mut module = Module::new(Kind::OpaqueTarget, name.at, slot);
                self.unknown.push((name.at, name.text.into()));
                module.opaque.push_str(name.text);
                swallow(&mut module.opaque, words);
                self.modules.push(module);
                Target::Unknown("".into())
            }
            Named::Chain => {
                self.jump = Some(name.at);
                Target::Jump(chains(name.text))
            }
        });
        Ok(())
    }

    /// Offers an option to the modules, the one named last first, then to the protocol's own.
    fn by_module<'w>(
        &mut self,
        option: &mut Opt<'w>,
        words: &mut Words<'w, '_>,
        from: usize,
    ) -> Result<bool, ParseError> {
        for (place, module) in self.modules.iter_mut().enumerate().rev() {
            let taken = match (module.kind, &mut self.rule.target) {
                (Kind::Opaque | Kind::OpaqueTarget, _) => false,
                (Kind::Target(kind), Some(target)) => {
                    kind.take(target, &mut module.seen, option, words)?
                }
                _ => module.take(option, words, &mut self.rule.matches)?,
            };
            if taken {
                self.taken.push((place, from..words.position()));
                return Ok(true);
            }
        }
        let implied = self
            .protocol
            .and_then(|protocol| L4::implied_by(protocol, words.family))
            .filter(|&l4| !self.has_module(l4));
        let Some(l4) = implied else {
            return Ok(false);
        };
        let slot = self.rule.matches.len();
        let mut module = Module::new(Kind::L4(l4), option.at, slot);
        self.rule.matches.push(Match::Module(l4));
        let taken = module.take(option, words, &mut self.rule.matches)?;
        if taken || l4.does_not_evaluate(option.long()) {
            self.modules.push(module);
        } else {
            self.rule.matches.pop();
        }
        if taken {
            self.taken
                .push((self.modules.len() - 1, from..words.position()));
        }
        Ok(taken)
    }

    fn has_module(&self, l4: L4) -> bool {
        let named = |text: &str| text.split(' ').nth(1) == Some(l4.name());
        self.modules.iter().any(|module| {
            module.kind == Kind::L4(l4) || (module.kind == Kind::Opaque && named(&module.opaque))
        })
    }

    /// Gives an option that nobody knows to the module named last, which becomes opaque.
    fn unknown_option(
        &mut self,
        option: &Opt<'_>,
        words: &mut Words<'_, '_>,
        from: usize,
    ) -> Result<(), ParseError> {
        let Some(place) = self.modules.len().checked_sub(1) else {
            return Err(option.unknown());
        };
        let module = &mut self.modules[place];
        let name = if let Kind::Target(kind) = module.kind {
            self.rule.target = Some(Target::Unknown("".into()));
            Some(("", kind.name(), Kind::OpaqueTarget))
        } else if let Some(name) = module.kind.module_name() {
            if let Kind::L4(l4) = module.kind {
                // Its tests stand for themselves; an empty unknown match is dropped at the end.
                let tests = self.rule.matches[module.slot + 1..].iter_mut();
                for test in tests.filter(|m| m.l4() == Some(l4)) {
                    *test = Match::Unknown("".into());
                }
            }
            self.rule.matches[module.slot] = Match::Unknown("".into());
            Some(("-m ", name, Kind::Opaque))
        } else {
            None
        };
        if let Some((flag, name, kind)) = name {
            module.opaque.push_str(flag);
            module.opaque.push_str(name);
            module.kind = kind;
            self.unknown.push((option.at, option.written.into()));
            for (_, range) in self.taken.iter().filter(|(taker, _)| *taker == place) {
                push_words(&mut module.opaque, words.range(range.clone()));
            }
        }
        push_words(&mut module.opaque, words.range(from..words.position()));
        swallow(&mut module.opaque, words);
        Ok(())
    }

    /// Checks every module and puts the words of opaque ones into their places.
    fn complete(&mut self) -> Result<(), ParseError> {
        let mut any_opaque = false;
        for module in &mut self.modules {
            match (module.kind, &mut self.rule.target) {
                (Kind::Opaque, _) => {
                    any_opaque = true;
                    let text = std::mem::take(&mut module.opaque);
                    self.rule.matches[module.slot] = Match::Unknown(text.into());
                }
                (Kind::OpaqueTarget, target) => {
                    let text = std::mem::take(&mut module.opaque);
                    *target = Some(Target::Unknown(text.into()));
                }
                (Kind::Target(kind), Some(target)) => {
                    kind.complete(module, target, self.protocol)?;
                }
                _ => module.complete(self.protocol)?,
            }
        }
        if any_opaque {
            self.rule
                .matches
                .retain(|m| !matches!(m, Match::Unknown(text) if text.is_empty()));
        }
        Ok(())
    }

    /// Moves the words that made modules opaque to `all`. `line` is the text from the rule's line
    /// on, which has that number and stands at byte `offset`; `rule` is the rule's name.
    pub(super) fn report(
        &mut self,
        (number, line, offset): (usize, &str, usize),
        rule: &str,
        all: &mut Vec<UnknownOption>,
    ) {
        for (at, text) in self.unknown.drain(..) {
            let (_, column) = line_column(line, at.offset() - offset);
            all.push(UnknownOption {
                line: number,
                column,
                text,
                rule: rule.to_owned(),
            });
        }
    }

    /// How many rules the lists of addresses make; `at` is the line's place.
    pub(super) fn count(&self, at: SourceSpan) -> Result<usize, ParseError> {
        let rules = (self.sources.len() + 1).saturating_mul(self.destinations.len() + 1);
        if rules > MAX_RULES_OF_A_LINE {
            return Err(ParseError::TooManyRules { rules, at });
        }
        Ok(rules)
    }

    /// Each rule: every source with every destination.
    pub(super) fn each(&self) -> impl Iterator<Item = Rule> {
        let sources = std::iter::once(None).chain(self.sources.iter().map(Some));
        sources.flat_map(move |source| {
            let destinations = std::iter::once(None).chain(self.destinations.iter().map(Some));
            destinations.map(move |destination| {
                let mut rule = self.rule.clone();
                for own in &mut rule.matches {
                    match (own, source, destination) {
                        (Match::Source(own), Some(&source), _) => own.value = source,
                        (Match::Destination(own), _, Some(&destination)) => own.value = destination,
                        _ => {}
                    }
                }
                rule
            })
        })
    }
}

/// Options of the rule itself.
#[derive(Clone, Copy, Debug)]
enum Header {
    Source,
    Destination,
    In,
    Out,
    Protocol,
    Fragment,
    Match,
    Jump,
    Goto,
    Counters,
    Family(Family),
}

impl Header {
    fn of(written: &str) -> Option<Self> {
        Some(match written {
            "-m" | "--match" => Self::Match,
            "-j" | "--jump" => Self::Jump,
            "-s" | "--source" | "--src" => Self::Source,
            "-d" | "--destination" | "--dst" => Self::Destination,
            "-p" | "--protocol" | "--proto" => Self::Protocol,
            "-i" | "--in-interface" => Self::In,
            "-o" | "--out-interface" => Self::Out,
            "-g" | "--goto" => Self::Goto,
            "-f" | "--fragment" => Self::Fragment,
            "-c" | "--set-counters" => Self::Counters,
            "-4" | "--ipv4" => Self::Family(Family::Ipv4),
            "-6" | "--ipv6" => Self::Family(Family::Ipv6),
            _ => return None,
        })
    }
}

fn not_an_option(word: &Word<'_>) -> ParseError {
    ParseError::UnexpectedWord {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

const fn inv<T: Copy>(option: &Opt<'_>, value: T) -> Inv<T> {
    Inv {
        inverted: option.inverted,
        value,
    }
}

/// Reads a list of addresses: the first is returned, the others go to `more`.
fn addresses<'w>(
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
    more: &mut Vec<AddressMatch>,
    host_lengths: &mut bool,
) -> Result<Inv<AddressMatch>, ParseError> {
    let list = words.value(option)?;
    let mut parts = list.list();
    let mut network = |part: Arg<'_>| {
        let network = part.network(words.family)?;
        *host_lengths |= part.find(b'/').is_some()
            && matches!(network, AddressMatch::Prefix(prefix) if prefix.is_host());
        Ok(network)
    };
    let first = network(parts.next().expect("splitting gives one part at least"))?;
    for part in parts {
        // "! not allowed with multiple source or destination IP addresses"
        option.not_inverted()?;
        more.push(network(part)?);
    }
    Ok(inv(option, first))
}

/// Reads `-c PACKETS BYTES`, or both with a comma between.
fn counters<'w>(option: &mut Opt<'w>, words: &mut Words<'w, '_>) -> Result<Counters, ParseError> {
    let first = words.plain(option)?;
    let (packets, bytes) = match first.find(b',') {
        Some(comma) => (
            first.slice(0..comma),
            first.slice(comma + 1..first.text.len()),
        ),
        None => (first, words.text(option)?),
    };
    let number = |word: Arg<'_>| {
        word.text.parse().map_err(|_| ParseError::BadCounters {
            text: word.text.into(),
            at: word.at,
        })
    };
    Ok(Counters {
        packets: number(packets)?,
        bytes: number(bytes)?,
    })
}

/// Moves words into an opaque module up to the next option of the rule itself, or `!` before one.
fn swallow(opaque: &mut String, words: &mut Words<'_, '_>) {
    let ends = |word: &Word<'_>| {
        let name = word.text.split('=').next().unwrap_or("");
        Header::of(name).is_some()
    };
    while let Some(word) = words.peek() {
        if ends(word) || (word.text == "!" && words.peek_second().is_some_and(ends)) {
            return;
        }
        words.next();
        push_words(opaque, std::slice::from_ref(word));
    }
}

fn push_words(opaque: &mut String, words: &[Word<'_>]) {
    for word in words {
        opaque.push(' ');
        push_word(opaque, &word.text);
    }
}
