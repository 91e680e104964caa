//! Findings as text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use podwire_analysis::node_dump::{Evidence, Finding, Report, Severity};
use podwire_cluster::Cluster;

/// Evidence told of one finding; `-o json` has all.
const TOLD: usize = 8;

pub(super) fn write(cluster: &Cluster, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let (node, mode) = (&report.node, report.mode.name());
    match &report.recognised_by {
        Some(by) => writeln!(out, "node {node}: {mode} mode, recognised by {by}")?,
        None => writeln!(
            out,
            "node {node}: nothing of kube-proxy's is in the dump; expected is {mode} mode"
        )?,
    }
    for line in &report.compared {
        writeln!(out, "compared  {line}")?;
    }
    for line in &report.not_compared {
        writeln!(out, "not compared  {line}")?;
    }
    for finding in &report.findings {
        write_finding(cluster, finding, out)?;
    }
    if !report.foreign.is_empty() {
        let owners = report.foreign.iter().map(|own| {
            let (owner, chains, rules) = (own.owner, own.chains, own.rules);
            format!("{owner} (chains {chains}, rules {rules})")
        });
        let owners: Vec<String> = owners.collect();
        writeln!(out, "\nothers' rules: {}", owners.join(", "))?;
    }
    let count = |severity: Severity| {
        let of = report
            .findings
            .iter()
            .filter(|own| own.severity == severity);
        of.count()
    };
    writeln!(
        out,
        "\nerrors {}, warnings {}, notes {}",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note)
    )
}

fn write_finding(cluster: &Cluster, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let color = match finding.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::Cyan,
    };
    let style = Style::new().bold().fg_color(Some(color.into()));
    let (severity, code) = (finding.severity.name(), finding.code);
    writeln!(
        out,
        "\n{style}{severity}{style:#} {code}: {}",
        finding.subject
    )?;
    writeln!(out, "  {}", finding.effect)?;
    if let Some(object) = &finding.object {
        match object.source {
            Some(source) => writeln!(out, "  object: {object} ({})", cluster.place(source))?,
            None => writeln!(out, "  object: {object}")?,
        }
    }
    for evidence in finding.evidence.iter().take(TOLD) {
        write_evidence(evidence, out)?;
    }
    let more = finding.evidence.len().saturating_sub(TOLD);
    if more > 0 {
        writeln!(out, "  and {more} more; -o json has all")?;
    }
    Ok(())
}

/// What the dump has is led by `+`, what it lacks by `-`.
fn write_evidence(evidence: &Evidence, out: &mut impl Write) -> io::Result<()> {
    match &evidence.place {
        Some(place) => writeln!(out, "  {place}: {}", evidence.block)?,
        None => writeln!(out, "  {}", evidence.block)?,
    }
    if let Some(expected) = &evidence.expected {
        writeln!(out, "    - {expected}")?;
    }
    if let Some(dump) = &evidence.dump {
        writeln!(out, "    + {dump}")?;
    }
    Ok(())
}
