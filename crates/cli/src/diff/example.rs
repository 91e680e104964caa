//! The packet that shows a difference: how to send it again, and which rule decided on each side.

use podwire_analysis::{Class, Probe};
use podwire_dataplane::{Disposition, DropReason, Event};
use podwire_packet::{Family, socket};
use podwire_sim::{Place, Step, Trace, Way, World};

use super::Report;
use crate::trace::rule::Named;

/// The command line that sends a class's packet on a side.
pub(super) fn command(report: &Report<'_>, class: &Class, side: usize) -> String {
    let source = &report.sources[side];
    let probe = &class.example;
    let mut words = vec!["podwire".to_owned(), "trace".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), quoted(&value)]);
    for file in source.file.into_iter().chain(&report.args.filename) {
        option("-f", file.display().to_string());
    }
    if let Some(mode) = source.mode {
        option("--mode", mode.name().to_owned());
    }
    for setting in &report.args.set {
        option("--set", setting.clone());
    }
    if let Some(version) = &report.args.kube_proxy_version {
        option("--kube-proxy-version", version.clone());
    }
    option("--from", place(&probe.from));
    option("--to", socket(probe.to, probe.port).to_string());
    option("--proto", probe.protocol.to_string());
    if let Some(node) = &probe.via {
        option("--via", format!("node/{node}"));
    }
    words.push("--all".to_owned());
    words.join(" ")
}

/// A place as the command line takes it.
pub(super) fn place(place: &Place) -> String {
    match place {
        Place::Pod(name) => format!("pod/{name}"),
        Place::Node(name) => format!("node/{name}"),
        Place::Service(name) => format!("svc/{name}"),
        Place::Address(address) => address.to_string(),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The rule, or what else, that decided what became of a packet; of several ways, of the first.
pub(super) fn decided(world: &mut World<'_>, probe: &Probe) -> Option<String> {
    let traces = world.trace_all(&probe.query()).ok()?;
    let Trace { forward, .. } = traces.first()?;
    decisive(world, probe.family(), forward)
}

fn decisive(world: &World<'_>, family: Family, way: &Way) -> Option<String> {
    let ending = match way.disposition {
        Disposition::Dropped(DropReason::Rule(rule)) => Some(rule),
        Disposition::Rejected { rule, .. } => rule,
        Disposition::Dropped(_)
        | Disposition::Delivered(_)
        | Disposition::Refused
        | Disposition::Unroutable(_)
        | Disposition::Mtu { .. }
        | Disposition::Ttl => None,
    };
    if let Some(rule) = ending {
        return rule_text(world, family, way.steps.iter().rev(), |of| of == rule);
    }
    for (index, step) in way.steps.iter().enumerate() {
        if let Event::Scheduled { virtual_server, .. } = step.event {
            return Some(format!("ipvs virtual server {virtual_server}"));
        }
        if let Event::Translated { before, after, .. } = step.event
            && before.dst != after.dst
        {
            return rule_text(world, family, way.steps[..index].iter().rev(), |_| true);
        }
    }
    None
}

/// The first of some steps that is a rule's, of those that are meant.
fn rule_text<'s>(
    world: &World<'_>,
    family: Family,
    mut steps: impl Iterator<Item = &'s Step>,
    is_meant: impl Fn(podwire_ruleset::RuleRef) -> bool,
) -> Option<String> {
    steps.find_map(|step| {
        let Event::Rule { rule, found, .. } = step.event else {
            return None;
        };
        let named = Named::of(world, family, step.at, (rule, found)).filter(|_| is_meant(rule))?;
        Some(format!(
            "{}/{}/{}: {}",
            named.table, named.chain, named.number, named.text
        ))
    })
}
