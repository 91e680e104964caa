//! `podwire match`: one node's rules asked about packets, without a cluster.

mod hook;
mod packet;
mod plan;
mod tables;
mod unseen;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use podwire_interp::{Interp, NftInterp};
use podwire_matcher::{Matcher, NftMatcher};
use podwire_packet::Family;
use podwire_ruleset::iptables::{self, ParseError, line_column};
use podwire_ruleset::{Match, RuleSet, Sets, State, ipset, nft};

use self::hook::{Asked, answer, outcomes_of};
use self::packet::PacketLine;
use self::plan::write_plan;
use self::tables::{Iptables, Nftables};
use crate::args::{EvaluatorArg, Global, MatchArgs};
use crate::failure::{Answer, Failure};
use crate::files::read_text;
use crate::jsonl;

pub(crate) fn run(
    global: &Global,
    args: &MatchArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let family = args.family.map(Family::from);
    let text = read_text(&args.rules)?;
    let is_nftables = is_nftables(&text);
    if is_nftables && (args.explain_plan || args.sets.is_some()) {
        let option = if args.explain_plan {
            "--explain-plan"
        } else {
            "--sets"
        };
        return Err(Failure::input(format_args!(
            "{option}: {} is text of nftables, and this is about rules of iptables",
            args.rules.display()
        )));
    }
    let Some(packets) = &args.packets else {
        // Clap takes no packets only where the plan is asked for.
        let rules = read_rules(global, &args.rules, &text, family.unwrap_or(Family::Ipv4))?;
        let matcher = Matcher::new(&rules).map_err(Failure::input)?;
        write_plan(&matcher, &rules, out)?;
        return Ok(Answer::Yes);
    };
    let (packets, family) = read_packets(packets, family)?;
    if is_nftables {
        let rules = read_nftables(global, &args.rules, &text)?;
        ask_nftables(args.evaluator, rules, family, &packets, out)?;
        return Ok(Answer::Yes);
    }
    let mut rules = read_rules(global, &args.rules, &text, family)?;
    let mut state = State::default();
    if let Some(path) = &args.sets {
        let text = read_text(path)?;
        let sets = ipset::parse(&text).map_err(|error| {
            let (line, column) = line_column(&text, error.span().offset());
            Failure::with_help(&place(path, line, column), &error)
        })?;
        state.sets = sets.into();
    }
    if !global.quiet {
        tell_missing_sets(&rules, &state.sets)?;
    }
    let unseen = unseen::set_aside(&mut rules, &state.sets);
    if !global.quiet {
        for name in unseen {
            writeln!(
                anstream::stderr(),
                "warning: set `{name}` is of Ethernet addresses, which packets here do not have; answers that depend on it say so"
            )?;
        }
    }
    ask_iptables(args.evaluator, rules, &state, &packets, out)?;
    Ok(Answer::Yes)
}

fn ask_iptables(
    evaluator: EvaluatorArg,
    rules: RuleSet,
    state: &State,
    packets: &[PacketLine],
    out: &mut impl Write,
) -> Result<(), Failure> {
    // A jump to nowhere and a loop were found with their places when the text was read.
    match evaluator {
        EvaluatorArg::Interp => {
            let evaluator = &Interp::new(rules).map_err(Failure::input)?;
            let rules = evaluator.rules();
            let asked = Iptables {
                evaluator,
                rules,
                state,
            };
            write_answers(&asked, packets, out)?;
        }
        EvaluatorArg::Matcher => {
            let asked = Iptables {
                evaluator: &Matcher::new(&rules).map_err(Failure::input)?,
                rules: &rules,
                state,
            };
            write_answers(&asked, packets, out)?;
        }
    }
    Ok(())
}

fn ask_nftables(
    evaluator: EvaluatorArg,
    rules: nft::RuleSet,
    family: Family,
    packets: &[PacketLine],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (rules, iptables) = (Arc::new(rules), RuleSet::empty(family));
    match evaluator {
        EvaluatorArg::Interp => {
            let nft = NftInterp::new(Arc::clone(&rules), family).map_err(Failure::input)?;
            let interp = Interp::new(iptables).map_err(Failure::input)?;
            let asked = Nftables {
                evaluator: &interp.with_nft(nft),
                rules: &rules,
            };
            write_answers(&asked, packets, out)?;
        }
        EvaluatorArg::Matcher => {
            let nft = NftMatcher::new(&rules, family).map_err(Failure::input)?;
            let matcher = Matcher::new(&iptables).map_err(Failure::input)?;
            let asked = Nftables {
                evaluator: &matcher.with_nft(nft),
                rules: &rules,
            };
            write_answers(&asked, packets, out)?;
        }
    }
    Ok(())
}

fn write_answers(
    asked: &impl Asked,
    packets: &[PacketLine],
    out: &mut impl Write,
) -> Result<(), std::io::Error> {
    for packet in packets {
        let outcomes = outcomes_of(asked, packet);
        serde_json::to_writer(&mut *out, &answer(asked, packet, outcomes))?;
        writeln!(out)?;
    }
    Ok(())
}

/// Whether a text is nftables', by its first word; iptables' begins with `*`.
fn is_nftables(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let word = first.and_then(|line| line.split_whitespace().next());
    matches!(
        word,
        Some("table" | "add" | "create" | "flush" | "delete" | "destroy")
    )
}

/// What a message about a place begins with.
fn place(path: &Path, line: usize, column: usize) -> String {
    format!("{}:{line}:{column}: ", path.display())
}

fn read_rules(
    global: &Global,
    path: &Path,
    text: &str,
    family: Family,
) -> Result<RuleSet, Failure> {
    let parsed = iptables::parse(text, family).map_err(|error: ParseError| {
        let (line, column) = line_column(text, error.span().offset());
        Failure::with_help(&place(path, line, column), &error)
    })?;
    if !global.quiet {
        let mut err = anstream::stderr().lock();
        for unknown in &parsed.unknown {
            let place = place(path, unknown.line, unknown.column);
            writeln!(
                err,
                "warning: {place}`{}` of rule {} is not evaluated; answers that depend on it say so",
                unknown.text, unknown.rule
            )?;
        }
    }
    Ok(parsed.rules)
}

fn read_nftables(global: &Global, path: &Path, text: &str) -> Result<nft::RuleSet, Failure> {
    let parsed = nft::parse(text).map_err(|error| {
        let (line, column) = line_column(text, error.span().offset());
        Failure::with_help(&place(path, line, column), &error)
    })?;
    if !global.quiet {
        let mut err = anstream::stderr().lock();
        for unknown in &parsed.unknown {
            let (line, column) = line_column(text, unknown.offset());
            let words = text.get(unknown.offset()..unknown.offset() + unknown.len());
            writeln!(
                err,
                "warning: {}`{}` is not evaluated; answers that depend on it say so",
                place(path, line, column),
                words
                    .and_then(|words| words.lines().next())
                    .unwrap_or_default()
            )?;
        }
    }
    Ok(parsed.rules)
}

/// Says on standard error which sets rules ask about and nobody gave.
fn tell_missing_sets(rules: &RuleSet, sets: &Sets) -> Result<(), Failure> {
    let chains = rules.tables.values().flat_map(|table| &table.chains);
    let matches = chains.flat_map(|(_, chain)| chain.rules.iter().flat_map(|rule| &rule.matches));
    let asked: BTreeSet<&str> = matches
        .filter_map(|one| {
            if let Match::Set(set) = one {
                Some(&*set.value.name)
            } else {
                None
            }
        })
        .collect();
    let mut err = anstream::stderr().lock();
    for name in asked.into_iter().filter(|&name| !sets.contains_key(name)) {
        writeln!(
            err,
            "warning: rules ask about set `{name}`, which no --sets file makes; nothing is in it"
        )?;
    }
    Ok(())
}

/// The packets, and the family that all are of: the one given, or that of the first.
fn read_packets(
    path: &Path,
    mut family: Option<Family>,
) -> Result<(Vec<PacketLine>, Family), Failure> {
    let mut packets = Vec::new();
    for jsonl::Line { number, value } in jsonl::read::<PacketLine>(path, "a packet")? {
        let of_all = *family.get_or_insert(value.family());
        if value.family() != of_all {
            let what = format!(
                "an {} packet, and the rules are of {of_all}: --family says of which they are, else the first packet",
                value.family()
            );
            return Err(jsonl::fault(path, number, 1, &what));
        }
        if !value.is_of_one_family() {
            let what = "`src` and `dst` are of two families";
            return Err(jsonl::fault(path, number, 1, what));
        }
        packets.push(value);
    }
    Ok((packets, family.unwrap_or(Family::Ipv4)))
}
