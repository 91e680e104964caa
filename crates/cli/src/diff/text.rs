//! Differences as text: what a person reads before a migration.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use std::collections::BTreeSet;
use podwire_analysis::{Class, Reason, Refused};
use podwire_sim::{Refusal, World};

use super::Report;
use super::example::{command, decided};
use crate::failure::Failure;

const SERVICE: Style = Style::new().bold();
const SIDE: Style = AnsiColor::Cyan.on_default();
const CODE: Style = AnsiColor::Yellow.on_default();
const ASIDE: Style = Style::new().dimmed();

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
        writeln!(out, "  of    Service {service}{}", place.unwrap_or_default())?;
    }
    if refused.services.is_empty() {
        let place = report.configuration_place().map(|place| format!(" ({place})"));
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
    let senders: Vec<&str> = class.senders.iter().map(|sender| sender.name()).collect();
    let ports = if class.is_served {
        report.ports(class).join(", ")
    } else {
        format!("a port that it does not have, {}", class.example.port)
    };
    writeln!(out, "  {}: {ports}", class.destination.name())?;
    let width = report.sides.iter().map(|side| side.name.chars().count()).max();
    let width = width.unwrap_or(0).max(7);
    let nodes: Vec<&str> = class.nodes.iter().map(|node| &**node).collect();
    writeln!(
        out,
        "    {:width$}  {}; first at {} ({} packet{})",
        "from",
        senders.join("; "),
        nodes.join(", "),
        class.count,
        if class.count == 1 { "" } else { "s" }
    )?;
    for (number, (side, fate)) in report.sides.iter().zip(&class.fates).enumerate() {
        writeln!(out, "    {SIDE}{:width$}{SIDE:#}  {fate}", side.name)?;
        if class.reasons.is_empty()
            && let Some(rule) = decided(&mut worlds[number], &class.example)
        {
            writeln!(out, "    {:width$}  {ASIDE}by {rule}{ASIDE:#}", "")?;
        }
    }
    if !class.reasons.is_empty() {
        let codes: Vec<&str> = class.reasons.iter().map(|reason| reason.code()).collect();
        writeln!(out, "    {:width$}  {CODE}{}{CODE:#}", "why", codes.join(", "))?;
    }
    for side in differing(class) {
        writeln!(out, "    {:width$}  {}", "packet", command(report, class, side))?;
    }
    Ok(())
}

/// The first side, and the first one that differs from it.
fn differing(class: &Class) -> impl Iterator<Item = usize> {
    let first = class.outcomes.first();
    let other = class
        .outcomes
        .iter()
        .position(|outcome| first.is_some_and(|first| !first.is_same(outcome)));
    [Some(0), other].into_iter().flatten()
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
    let of_refused = report.diff.refused.iter().map(|refused| reason_of(&refused.refusal));
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
    let packets: usize = diff.classes.iter().map(|class| class.count).sum();
    let plural = |count, one, many| if count == 1 { one } else { many };
    let classes = diff.classes.len();
    writeln!(
        out,
        "{}: {} of {} packets differ{}",
        sides.join(", "),
        packets,
        diff.sent,
        match classes {
            0 => String::new(),
            _ => format!(", in {classes} {}", plural(classes, "class", "classes")),
        }
    )?;
    let affinity: Vec<String> = diff.with_affinity().iter().map(ToString::to_string).collect();
    if !affinity.is_empty() {
        writeln!(
            out,
            "not compared: later packets of clients that keep their endpoint (sessionAffinity), of {}",
            affinity.join(", ")
        )?;
    }
    let unserved: usize = diff.unserved.iter().map(|class| class.count).sum();
    if unserved > 0 && !report.args.unserved {
        writeln!(
            out,
            "not counted: {unserved} packets to ports that no Service has arrive nowhere, but end differently (--unserved lists them)"
        )?;
    }
    Ok(())
}
