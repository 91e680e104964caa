//! Differences as text: what a person reads before a migration.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use podwire_analysis::{Class, Reason, Refused};
use podwire_sim::{Refusal, World};
use std::collections::BTreeSet;

use super::Report;
use super::example::{command, decided};
use crate::failure::Failure;

const SERVICE: Style = Style::new().bold();
const SIDE: Style = AnsiColor::Cyan.on_default();
const CODE: Style = AnsiColor::Yellow.on_default();
const ASIDE: Style = Style::new().dimmed();

/// How many changes of a class are told.
const TOLD_CHANGES: usize = 3;

pub(super) fn write(
    report: &Report<'_>,
    worlds: &mut [World<'_>],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let diff = report.diff;
    for refused in &diff.refused {
        write_refused(report, refused, out)?;
    }
    write_classes(report, &diff.classes, worlds, out)?;
    if report.args.unserved && !diff.unserved.is_empty() {
        writeln!(
            out,
            "{SERVICE}Ports that no Service has{SERVICE:#}: no packet arrives, but they end differently\n"
        )?;
        write_classes(report, &diff.unserved, worlds, out)?;
    }
    write_reasons(report, out)?;
    write_summary(report, out)
}

fn write_refused(
    report: &Report<'_>,
    refused: &Refused,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let side = &report.sides[refused.side].name;
    let reason = reason_of(&refused.refusal);
    writeln!(out, "{SIDE}{side}{SIDE:#}: {}", refused.refusal)?;
    for service in &refused.services {
        let place = report.place(service).map(|place| format!(" ({place})"));
        writeln!(
            out,
            "  of    Service {service}{}",
            place.unwrap_or_default()
        )?;
    }
    if refused.services.is_empty() {
        let place = report
            .configuration_place()
            .map(|place| format!(" ({place})"));
        let place = place.unwrap_or_default();
        writeln!(out, "  of    KubeProxyConfiguration{place}")?;
    }
    writeln!(out, "  on    {}", refused.nodes.join(", "))?;
    writeln!(out, "  why   {CODE}{}{CODE:#}\n", reason.code())?;
    Ok(())
}

/// The reason that a refusal is.
pub(super) const fn reason_of(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::NftTable { .. } => Reason::NftRefusesInterfacePrefix,
        Refusal::IpsetEntry { .. } => Reason::IpsetRefusesZeroPrefix,
    }
}

fn write_classes(
    report: &Report<'_>,
    classes: &[Class],
    worlds: &mut [World<'_>],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut service = None;
    for class in classes {
        if service != Some(&class.service) {
            let place = report.place(&class.service);
            let place = place.map_or_else(String::new, |place| format!(" ({place})"));
            writeln!(out, "{SERVICE}Service {}{SERVICE:#}{place}", class.service)?;
            service = Some(&class.service);
        }
        write_class(report, class, worlds, out)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_class(
    report: &Report<'_>,
    class: &Class,
    worlds: &mut [World<'_>],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (first, other) = (&report.sides[0].name, &report.sides[class.side].name);
    let ports = if class.is_served {
        report.ports(class).join(", ")
    } else {
        format!(
            "port {}/{}, which it does not have",
            class.example.port, class.example.protocol
        )
    };
    writeln!(
        out,
        "  {SIDE}{first} -> {other}{SIDE:#}: {}, {ports}",
        class.destination.name()
    )?;
    let senders: Vec<&str> = class.senders.iter().map(|sender| sender.name()).collect();
    let nodes: Vec<&str> = class.nodes.iter().map(|node| &**node).collect();
    let count = class.count();
    let plural = if count == 1 { "" } else { "s" };
    writeln!(
        out,
        "    from    {}; at {} ({count} packet{plural})",
        senders.join("; "),
        some_of(&nodes)
    )?;
    for ([before, after], _) in class.changes.iter().take(TOLD_CHANGES) {
        writeln!(out, "    becomes {before} -> {after}")?;
    }
    let more = class.changes.len().saturating_sub(TOLD_CHANGES);
    if more > 0 {
        writeln!(out, "            and {more} more like these")?;
    }
    if class.reasons.is_empty() {
        for side in [0, class.side] {
            if let Some(rule) = decided(&mut worlds[side], &class.example) {
                writeln!(
                    out,
                    "    {ASIDE}by      {}: {rule}{ASIDE:#}",
                    report.sides[side].name
                )?;
            }
        }
    } else {
        let codes: Vec<&str> = class.reasons.iter().map(|reason| reason.code()).collect();
        writeln!(out, "    why     {CODE}{}{CODE:#}", codes.join(", "))?;
    }
    for side in [0, class.side] {
        writeln!(out, "    packet  {}", command(report, class, side))?;
    }
    Ok(())
}

/// Names, but not hundreds.
fn some_of(names: &[&str]) -> String {
    /// How many are told.
    const TOLD: usize = 5;
    let told = names
        .iter()
        .take(TOLD)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// Every reason that was named, with its sentence.
fn write_reasons(report: &Report<'_>, out: &mut impl Write) -> Result<(), Failure> {
    for reason in named_reasons(report) {
        writeln!(out, "{CODE}{}{CODE:#}: {}", reason.code(), reason.text())?;
        writeln!(out, "  {ASIDE}{}{ASIDE:#}", reason.source())?;
    }
    Ok(())
}

/// Every reason that the answer names, in their own order.
pub(super) fn named_reasons(report: &Report<'_>) -> Vec<Reason> {
    let unserved = report.diff.unserved.iter().filter(|_| report.args.unserved);
    let of_classes = report.diff.classes.iter().chain(unserved);
    let of_classes = of_classes.flat_map(|class| class.reasons.iter().copied());
    let of_refused = report
        .diff
        .refused
        .iter()
        .map(|refused| reason_of(&refused.refusal));
    let named: BTreeSet<Reason> = of_classes.chain(of_refused).collect();
    let all = Reason::ALL.into_iter();
    all.filter(|reason| named.contains(reason)).collect()
}

fn write_summary(report: &Report<'_>, out: &mut impl Write) -> Result<(), Failure> {
    let diff = report.diff;
    let sides: Vec<&str> = report.sides.iter().map(|side| &*side.name).collect();
    if !diff.is_empty() {
        writeln!(out)?;
    }
    let plural = |count, one, many| if count == 1 { one } else { many };
    let classes = diff.classes.len();
    writeln!(
        out,
        "{}: {} of {} packets differ{}",
        sides.join(", "),
        diff.differing,
        diff.sent,
        match classes {
            0 => String::new(),
            _ => format!(", in {classes} {}", plural(classes, "class", "classes")),
        }
    )?;
    let unserved: usize = diff.unserved.iter().map(Class::count).sum();
    if unserved > 0 && !report.args.unserved {
        writeln!(
            out,
            "not counted: {unserved} packets to ports that no Service has arrive nowhere, but end differently (--unserved lists them)"
        )?;
    }
    Ok(())
}
