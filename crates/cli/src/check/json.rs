//! Findings as JSON.

use std::io::{self, Write};

use podwire_analysis::node_dump::{Evidence, Finding, ForeignChains, Report};
use podwire_cluster::Cluster;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct ReportJson<'r> {
    node: &'r str,
    mode: &'static str,
    recognised_by: Option<&'r str>,
    compared: &'r [Box<str>],
    not_compared: &'r [Box<str>],
    findings: Vec<FindingJson<'r>>,
    foreign: Vec<ForeignJson>,
}

#[derive(Debug, Serialize)]
struct FindingJson<'r> {
    code: &'static str,
    severity: &'static str,
    subject: &'r str,
    effect: &'r str,
    object: Option<ObjectJson>,
    evidence: Vec<EvidenceJson<'r>>,
}

#[derive(Debug, Serialize)]
struct ObjectJson {
    kind: String,
    name: Option<String>,
    /// `file:line`.
    source: Option<String>,
}

#[derive(Debug, Serialize)]
struct EvidenceJson<'r> {
    file: Option<String>,
    line: Option<u32>,
    block: &'r str,
    dump: Option<&'r str>,
    expected: Option<&'r str>,
}

#[derive(Debug, Serialize)]
struct ForeignJson {
    owner: &'static str,
    chains: usize,
    rules: usize,
}

pub(super) fn write(cluster: &Cluster, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let findings = report.findings.iter();
    let json = ReportJson {
        node: &report.node,
        mode: report.mode.name(),
        recognised_by: report.recognised_by.as_deref(),
        compared: &report.compared,
        not_compared: &report.not_compared,
        findings: findings
            .map(|finding| finding_json(cluster, finding))
            .collect(),
        foreign: report.foreign.iter().map(foreign_json).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}

fn finding_json<'r>(cluster: &Cluster, finding: &'r Finding) -> FindingJson<'r> {
    let object = finding.object.as_ref().map(|object| ObjectJson {
        kind: object.kind.to_string(),
        name: object.name.as_ref().map(ToString::to_string),
        source: object
            .source
            .map(|source| cluster.place(source).to_string()),
    });
    FindingJson {
        code: finding.code.name(),
        severity: finding.severity.name(),
        subject: &finding.subject,
        effect: &finding.effect,
        object,
        evidence: finding.evidence.iter().map(evidence_json).collect(),
    }
}

fn evidence_json(evidence: &Evidence) -> EvidenceJson<'_> {
    let place = evidence.place.as_ref();
    EvidenceJson {
        file: place.map(|place| place.path.display().to_string()),
        line: place.and_then(|place| place.line),
        block: &evidence.block,
        dump: evidence.dump.as_deref(),
        expected: evidence.expected.as_deref(),
    }
}

const fn foreign_json(foreign: &ForeignChains) -> ForeignJson {
    let &ForeignChains {
        owner,
        chains,
        rules,
    } = foreign;
    ForeignJson {
        owner,
        chains,
        rules,
    }
}
