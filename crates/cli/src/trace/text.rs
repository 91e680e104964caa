//! A trace as text: what a person pastes into an incident.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use podwire_sim::{Trace, Way, World};

use super::record::{Record, policy_note, reason, records};
use crate::args::TraceArgs;
use crate::failure::Failure;

/// The rule that matched.
const RULE: Style = AnsiColor::Cyan.on_default();
/// A translation of addresses.
const CHANGE: Style = AnsiColor::Yellow.on_default();
/// The object that a rule comes from, and what else is said in passing.
const ASIDE: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Every trace, one step a line.
pub(super) fn write(
    world: &World<'_>,
    args: &TraceArgs,
    traces: &[Trace],
    out: &mut impl Write,
) -> Result<(), Failure> {
    for (number, trace) in traces.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        if args.all {
            writeln!(
                out,
                "way {} of {}, probability {:.6}",
                number + 1,
                traces.len(),
                trace.probability
            )?;
        }
        writeln!(out, "{} => {}: {}", args.from, args.to, trace.forward.sent)?;
        write_way(world, &trace.forward, out)?;
        if let Some(note) = policy_note(world, &trace.forward) {
            writeln!(out, "  {ASIDE}note: {note}{ASIDE:#}")?;
        }
        if let Some(reply) = &trace.reply {
            writeln!(out, "the answer: {}", reply.sent)?;
            write_way(world, reply, out)?;
        }
    }
    Ok(())
}

pub(super) fn write_way(world: &World<'_>, way: &Way, out: &mut impl Write) -> Result<(), Failure> {
    let records: Vec<Record> = records(world, way).collect();
    let width = |column: fn(&Record) -> &str| {
        records
            .iter()
            .map(|record| column(record).chars().count())
            .max()
    };
    let node = width(|record| &record.node).unwrap_or(0);
    let netns = width(|record| &record.netns).unwrap_or(0);
    for record in &records {
        write!(
            out,
            "  {:node$}  {:netns$}  {:11}  ",
            record.node,
            record.netns,
            record.hook.unwrap_or("")
        )?;
        write_what(record, out)?;
    }
    let end = way.disposition.name();
    let style = if way.answered { GOOD } else { BAD };
    let place = world.place_name(way.at);
    match reason(world, way) {
        Some(reason) => writeln!(out, "  {style}{end}{style:#} at {place}: {reason}")?,
        None => writeln!(out, "  {style}{end}{style:#} to {place} as {}", way.arrived)?,
    }
    Ok(())
}

/// The last columns: the chain and number of a rule with its text and object, or what happened.
fn write_what(record: &Record, out: &mut impl Write) -> Result<(), Failure> {
    match (&record.table, &record.chain, record.rule) {
        (Some(table), Some(chain), Some(rule)) => {
            write!(out, "{RULE}{table}/{chain}/{rule}{RULE:#}  {}", record.text)?;
        }
        (Some(table), Some(chain), None) => write!(out, "{table}/{chain}  {}", record.verdict)?,
        _ => {
            let device = record
                .device
                .as_deref()
                .map(|device| format!(" {device}"))
                .unwrap_or_default();
            let text = if record.text.is_empty() {
                String::new()
            } else {
                format!(" {}", record.text)
            };
            let style = if record.verdict == "translate" {
                CHANGE
            } else {
                ASIDE
            };
            write!(out, "{style}{}{device}{text}{style:#}", record.verdict)?;
        }
    }
    if let Some(object) = &record.object {
        write!(out, "  {ASIDE}[{object}]{ASIDE:#}")?;
    }
    writeln!(out)?;
    Ok(())
}
