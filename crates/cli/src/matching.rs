//! `podwire match`: one node's rules asked about packets, without a cluster.

mod hook;
mod packet;
mod plan;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::Family;
use podwire_ruleset::iptables::{self, ParseError, line_column};
use podwire_ruleset::{Classify, Match, RuleSet, Sets, State, ipset};

use self::hook::{answer, outcomes_of};
use self::packet::PacketLine;
use self::plan::write_plan;
use crate::args::{EvaluatorArg, Global, MatchArgs};
use crate::failure::{Answer, Failure};
use crate::files::read_text;

pub(crate) fn run(
    global: &Global,
    args: &MatchArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let family = args.family.map(Family::from);
    let Some(packets) = &args.packets else {
        // Clap takes no packets only where the plan is asked for.
        let rules = read_rules(global, &args.rules, family.unwrap_or(Family::Ipv4))?;
        let matcher = Matcher::new(&rules).map_err(Failure::input)?;
        write_plan(&matcher, &rules, out)?;
        return Ok(Answer::Yes);
    };
    let (packets, family) = read_packets(packets, family)?;
    let rules = read_rules(global, &args.rules, family)?;
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
    // A jump to nowhere and a loop were found with their places when the text was read.
    match args.evaluator {
        EvaluatorArg::Interp => {
            let interp = Interp::new(rules).map_err(Failure::input)?;
            write_answers(&interp, interp.rules(), &state, &packets, out)?;
        }
        EvaluatorArg::Matcher => {
            let matcher = Matcher::new(&rules).map_err(Failure::input)?;
            write_answers(&matcher, &rules, &state, &packets, out)?;
        }
    }
    Ok(Answer::Yes)
}

fn write_answers(
    evaluator: &impl Classify,
    rules: &RuleSet,
    state: &State,
    packets: &[PacketLine],
    out: &mut impl Write,
) -> Result<(), std::io::Error> {
    for packet in packets {
        let outcomes = outcomes_of(evaluator, rules, state, packet);
        serde_json::to_writer(&mut *out, &answer(rules, packet, outcomes))?;
        writeln!(out)?;
    }
    Ok(())
}

/// What a message about a place begins with.
fn place(path: &Path, line: usize, column: usize) -> String {
    format!("{}:{line}:{column}: ", path.display())
}

fn read_rules(global: &Global, path: &Path, family: Family) -> Result<RuleSet, Failure> {
    let text = read_text(path)?;
    let parsed = iptables::parse(&text, family).map_err(|error: ParseError| {
        let (line, column) = line_column(&text, error.span().offset());
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
    let text = read_text(path)?;
    let mut packets = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let fault = |column: usize, what: &str| {
            Failure::input(format_args!("{}{what}", place(path, number, column)))
        };
        if !line.trim_start().starts_with('{') {
            return Err(fault(
                1,
                "not a packet, which is an object as `podwire match --help` shows it",
            ));
        }
        let packet: PacketLine = serde_json::from_str(line)
            .map_err(|error| fault(error.column().max(1), &without_place(&error)))?;
        let of_all = *family.get_or_insert(packet.family());
        if packet.family() != of_all {
            let what = format!(
                "an {} packet, and the rules are of {of_all}: --family says of which they are, else the first packet",
                packet.family()
            );
            return Err(fault(1, &what));
        }
        if !packet.is_of_one_family() {
            return Err(fault(1, "`src` and `dst` are of two families"));
        }
        packets.push(packet);
    }
    Ok((packets, family.unwrap_or(Family::Ipv4)))
}

/// What is wrong with a line; `serde_json` counts lines within the one that it was given.
fn without_place(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the line ends before the packet does".to_owned();
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map(|(what, _)| what);
    what.unwrap_or(&text).to_owned()
}
