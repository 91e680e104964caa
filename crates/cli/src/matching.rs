//! `podwire match`: one node's rules asked about packets, without a cluster.

mod hook;
mod packet;

use std::io::Write;
use std::path::Path;

use podwire_interp::Interp;
use podwire_packet::Family;
use podwire_ruleset::iptables::{self, ParseError, line_column};
use podwire_ruleset::{State, ipset};

use self::hook::{answer, outcomes_of};
use self::packet::PacketLine;
use crate::args::{Global, MatchArgs};
use crate::failure::{Answer, Failure};
use crate::files::read_text;

pub(crate) fn run(
    global: &Global,
    args: &MatchArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let packets = read_packets(&args.packets)?;
    let family = args
        .family
        .map(Family::from)
        .or_else(|| packets.first().map(PacketLine::family));
    let family = family.unwrap_or(Family::Ipv4);
    let interp = read_rules(global, &args.rules, family)?;
    let mut state = State::default();
    if let Some(path) = &args.sets {
        let text = read_text(path)?;
        state.sets = ipset::parse(&text).map_err(|error| {
            let (line, column) = line_column(&text, error.span().offset());
            Failure::input(with_help(&args_place(path, line, column), &error))
        })?;
    }
    for packet in &packets {
        let outcomes = outcomes_of(&interp, &state, packet);
        serde_json::to_writer(&mut *out, &answer(&interp, packet, outcomes))
            .map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(Answer::Yes)
}

fn args_place(path: &Path, line: usize, column: usize) -> String {
    format!("{}:{line}:{column}", path.display())
}

/// A fault with its place, and what is accepted.
fn with_help(place: &str, error: &dyn miette::Diagnostic) -> String {
    let help = error
        .help()
        .map(|help| format!("\n  help: {help}"))
        .unwrap_or_default();
    format!("{place}: {error}{help}")
}

fn read_rules(global: &Global, path: &Path, family: Family) -> Result<Interp, Failure> {
    let text = read_text(path)?;
    let parsed = iptables::parse(&text, family).map_err(|error: ParseError| {
        let (line, column) = line_column(&text, error.span().offset());
        Failure::input(with_help(&args_place(path, line, column), &error))
    })?;
    if !global.quiet {
        let mut err = anstream::stderr().lock();
        for unknown in &parsed.unknown {
            let place = args_place(path, unknown.line, unknown.column);
            writeln!(
                err,
                "warning: {place}: `{}` of rule {} is not evaluated; answers that depend on it say so",
                unknown.text, unknown.rule
            )?;
        }
    }
    // A jump to nowhere and a loop were found with their places when the text was read.
    Interp::new(parsed.rules).map_err(Failure::input)
}

fn read_packets(path: &Path) -> Result<Vec<PacketLine>, Failure> {
    let text = read_text(path)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                let place = args_place(path, number + 1, error.column().max(1));
                let text = error.to_string();
                // serde_json counts lines within the one line that it was given.
                let what = text
                    .rsplit_once(" at line ")
                    .map_or(text.as_str(), |(what, _)| what);
                Failure::input(format_args!("{place}: {what}"))
            })
        })
        .collect()
}
