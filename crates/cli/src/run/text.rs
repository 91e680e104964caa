//! A run as text: a line for each thing that happens, and for each packet that fares otherwise than the
//! one before it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use podwire_cluster::Events;
use podwire_packet::SimTime;
use podwire_sim::{Happening, SyncReport, What};

use super::outcome::Outcome;
use super::real_server;
use crate::failure::Failure;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const ASIDE: Style = Style::new().dimmed();

/// Packets of one probe so far.
#[derive(Default)]
struct Sent {
    sent: u64,
    arrived: u64,
    last: Option<(SimTime, Outcome)>,
    /// Packets that fared as the last one told, and the time of the last of them.
    alike: u64,
    /// When packets were lost: the first and the last of each row.
    lost: Vec<(SimTime, SimTime)>,
    is_losing: bool,
}

/// What was told so far.
pub(super) struct Report<'e> {
    width: usize,
    tells_all: bool,
    probes: BTreeMap<&'e str, Sent>,
}

impl<'e> Report<'e> {
    /// A report that tells of every packet, or of those only that fare otherwise.
    pub(super) fn new(events: &'e Events, tells_all: bool) -> Self {
        let nodes = events.changes.iter().flat_map(|of| of.cluster.nodes.keys());
        let probes = events.probes.iter().map(|probe| &*probe.name);
        let names = nodes.map(|name| &**name).chain(probes.clone());
        Self {
            width: names.map(|name| name.chars().count()).max().unwrap_or(0),
            tells_all,
            probes: probes.map(|name| (name, Sent::default())).collect(),
        }
    }

    pub(super) fn write(
        &mut self,
        happening: &Happening<'_>,
        outcome: Option<Outcome>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let at = happening.at;
        match &happening.what {
            What::Changed(objects) => {
                for text in *objects {
                    self.line(at, "", &format!("{CHANGE}{text}{CHANGE:#}"), out)?;
                }
            }
            What::SyncBegins { node } => self.line(at, node, "sync begins", out)?,
            What::SyncWaits { node, until } => {
                let text = format!("sync waits until {}", Seconds(*until));
                self.line(at, node, &text, out)?;
            }
            What::SyncDone { node, report } => self.line(at, node, &done(report), out)?,
            What::Drained { node, gone } => {
                for real in gone {
                    let text = format!("real server {} is gone: drained", real_server(real));
                    self.line(at, node, &text, out)?;
                }
            }
            What::Sent { probe, number, .. } => {
                if let Some(outcome) = outcome {
                    self.sent(at, &probe.name, *number, outcome, out)?;
                }
            }
        }
        Ok(())
    }

    fn sent(
        &mut self,
        at: SimTime,
        name: &str,
        number: u64,
        outcome: Outcome,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let tells_all = self.tells_all;
        let Some(sent) = self.probes.get_mut(name) else {
            return Ok(());
        };
        sent.sent += 1;
        if outcome.arrived {
            sent.arrived += 1;
            sent.is_losing = false;
        } else if sent.is_losing {
            if let Some((_, last)) = sent.lost.last_mut() {
                *last = at;
            }
        } else {
            sent.lost.push((at, at));
            sent.is_losing = true;
        }
        let is_alike = sent
            .last
            .as_ref()
            .is_some_and(|(_, last)| last.is_like(&outcome));
        let text = told(number, &outcome);
        let last = sent.last.replace((at, outcome));
        if is_alike && !tells_all {
            sent.alike += 1;
            return Ok(());
        }
        let alike = std::mem::take(&mut sent.alike);
        if let Some((until, _)) = last {
            self.tell_alike(until, name, alike, out)?;
        }
        self.line(at, name, &text, out)
    }

    fn tell_alike(
        &self,
        until: SimTime,
        name: &str,
        alike: u64,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        if alike == 0 {
            return Ok(());
        }
        let (width, until) = (self.width, Seconds(until));
        writeln!(
            out,
            "{:10}  {name:width$}  {ASIDE}{alike} more fared alike, until {until}{ASIDE:#}",
            ""
        )?;
        Ok(())
    }

    fn line(
        &self,
        at: SimTime,
        who: &str,
        text: &str,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let width = self.width;
        writeln!(out, "{:>10}  {who:width$}  {text}", Seconds(at).to_string())?;
        Ok(())
    }

    /// What is left to tell, and how many packets of each probe arrived.
    pub(super) fn finish(self, out: &mut impl Write) -> Result<(), Failure> {
        for (name, sent) in &self.probes {
            if let Some((at, _)) = sent.last {
                self.tell_alike(at, name, sent.alike, out)?;
            }
        }
        if !self.probes.is_empty() {
            writeln!(out)?;
        }
        for (
            name,
            Sent {
                sent,
                arrived,
                lost,
                ..
            },
        ) in &self.probes
        {
            let style = if arrived == sent { GOOD } else { BAD };
            write!(
                out,
                "{name}: {sent} sent, {style}{arrived} arrived{style:#}"
            )?;
            for (i, (first, last)) in lost.iter().enumerate() {
                let before = if i == 0 { ", lost" } else { "," };
                if first == last {
                    write!(out, "{before} at {}", Seconds(*first))?;
                } else {
                    write!(
                        out,
                        "{before} from {} to {}",
                        Seconds(*first),
                        Seconds(*last)
                    )?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn told(number: u64, outcome: &Outcome) -> String {
    let Outcome {
        arrived,
        disposition,
        flow,
        dnat,
        by_connection,
        at,
        reason,
    } = outcome;
    let style = if *arrived { GOOD } else { BAD };
    let mut text = format!("#{number}");
    if !flow.is_empty() {
        text.push(' ');
        text.push_str(flow);
    }
    if let Some(dnat) = dnat {
        text.push_str(" => ");
        text.push_str(dnat);
    }
    if *by_connection {
        text.push_str(&format!(
            " {ASIDE}(by its connection, no rule asked){ASIDE:#}"
        ));
    }
    text.push_str(&format!(": {style}{disposition}{style:#}"));
    if !at.is_empty() {
        let word = if *disposition == "delivered" {
            "to"
        } else {
            "at"
        };
        text.push_str(&format!(" {word} {at}"));
    }
    if let Some(reason) = reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

fn done(report: &SyncReport) -> String {
    let SyncReport {
        full,
        counts,
        clears,
        forgotten,
        draining,
    } = report;
    let mut text = match counts {
        Some([ipv4, ipv6]) => {
            let kind = if *full { "full" } else { "partial" };
            let chains = ipv4.nat_chains + ipv6.nat_chains;
            let rules = ipv4.nat_rules + ipv6.nat_rules;
            format!("{kind} sync done: {chains} chains and {rules} rules of nat")
        }
        None => "sync done".to_owned(),
    };
    for clear in clears {
        text.push_str(&format!("; {clear}"));
    }
    let plural = if *forgotten == 1 { "" } else { "s" };
    if *forgotten > 0 || !clears.is_empty() {
        text.push_str(&format!("; {forgotten} connection{plural} forgotten"));
    }
    for real in draining {
        text.push_str(&format!(
            "; real server {} drains (weight 0)",
            real_server(real)
        ));
    }
    text
}

/// A time in seconds, with as many decimals as it takes, three at least.
struct Seconds(SimTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.since_start();
        let digits = format!("{:09}", since.subsec_nanos());
        let (milli, rest) = digits.split_at(3);
        write!(
            f,
            "{}.{milli}{}s",
            since.as_secs(),
            rest.trim_end_matches('0')
        )
    }
}
