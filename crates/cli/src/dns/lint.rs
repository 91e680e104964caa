//! `podwire dns lint`: would CoreDNS start with this Corefile?

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use podwire_dns::corefile::{Corefile, Machine};
use podwire_dns::lint::{Lint, lint};
use podwire_dns::version::Version;
use serde_json::json;

use super::version;
use crate::failure::{Answer, Failure};
use crate::files::read_short_text;

/// `podwire dns lint`.
#[derive(Debug, Args)]
#[command(after_help = "\
Plugins and options that came or went with a release are named with it, and what a Corefile becomes is
printed, as corefile-migration brings it along. /etc/resolv.conf in a Corefile is that of CoreDNS's pod,
not this machine's. Exit code 1: CoreDNS would not start.

Examples:
  podwire dns lint --corefile models/dns/classic.Corefile
  podwire dns lint --corefile models/dns/classic.Corefile --coredns-version 1.3.1
  kubectl -n kube-system get cm coredns -o jsonpath={.data.Corefile} | podwire dns lint --corefile -")]
pub(crate) struct LintArgs {
    /// The Corefile, or - for standard input
    #[arg(long, value_name = "FILE")]
    corefile: PathBuf,
    /// The release of CoreDNS; 1.13.2 if not said
    #[arg(long, value_name = "VERSION")]
    coredns_version: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    output: LintOutput,
}

/// How `lint` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LintOutput {
    /// Sentences, and the migrated text.
    Text,
    /// An object.
    Json,
}

pub(crate) fn run(args: &LintArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let version = version(args.coredns_version.as_deref())?;
    let text = read_short_text(&args.corefile)?;
    // CoreDNS names a file as it was named to it; a text without a name is `Corefile` there.
    let name = match args.corefile.to_str() {
        Some("-") | None => "Corefile",
        Some(name) => name,
    };
    let found = lint(name, &text, version, &Machine::default());
    match args.output {
        LintOutput::Text => write_text(&found, version, out)?,
        LintOutput::Json => write_json(&found, version, out)?,
    }
    Ok(found.loaded.is_ok().into())
}

fn write_text(lint: &Lint, version: Version, out: &mut impl Write) -> Result<(), Failure> {
    match &lint.loaded {
        Ok(corefile) => {
            let servers = servers(corefile).join(", ");
            let servers = if servers.is_empty() {
                "no servers"
            } else {
                &servers
            };
            writeln!(out, "CoreDNS {version} loads this Corefile: {servers}")?;
        }
        Err(refusal) => {
            let why = refusal.without_line();
            writeln!(out, "CoreDNS {version} refuses this Corefile: {why}")?;
            if let Some(place) = &refusal.place {
                writeln!(out, "  at {place}")?;
            }
            writeln!(out, "  it logs: {refusal}")?;
        }
    }
    if !lint.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &lint.notes {
        writeln!(out, "{note}")?;
    }
    let Some(migrated) = &lint.migrated else {
        return Ok(());
    };
    writeln!(
        out,
        "\nfrom {} to {version} it becomes:\n\n{}",
        migrated.from, migrated.text
    )?;
    for left in &migrated.left {
        writeln!(out, "left to you: {left}")?;
    }
    if let Some(refusal) = &migrated.refusal {
        writeln!(out, "which CoreDNS {version} refuses still: {refusal}")?;
    }
    Ok(())
}

fn write_json(lint: &Lint, version: Version, out: &mut impl Write) -> Result<(), Failure> {
    let refusal = lint.loaded.as_ref().err();
    let place = |place: &podwire_dns::corefile::Place| json!({"file": &*place.file, "line": place.line, "column": place.column});
    let notes = lint.notes.iter().map(|note| {
        let release = |version: Option<Version>| version.map(|version| version.to_string());
        let life = &note.life;
        json!({
            "place": place(&note.place),
            "plugin": life.plugin,
            "option": (life.plugin != life.name).then_some(life.name),
            "since": release(life.since),
            "ignored": release(life.ignored),
            "gone": release(life.gone.filter(|gone| *gone <= Version::NEWEST)),
            "instead": (!life.instead.is_empty()).then_some(life.instead),
            "refused": note.refused,
        })
    });
    let answer = json!({
        "coredns": version.to_string(),
        "loads": lint.loaded.is_ok(),
        "servers": lint.loaded.as_ref().ok().map(servers),
        "error": refusal.map(ToString::to_string),
        "place": refusal.and_then(|refusal| refusal.place.as_ref()).map(place),
        "notes": notes.collect::<Vec<_>>(),
        "migrated": lint.migrated.as_ref().map(|migrated| json!({
            "from": migrated.from.to_string(),
            "text": migrated.text,
            "left": migrated.left,
            "error": migrated.refusal.as_ref().map(ToString::to_string),
        })),
    });
    serde_json::to_writer_pretty(&mut *out, &answer).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// The servers of a Corefile, as CoreDNS lists them when it starts.
fn servers(corefile: &Corefile) -> Vec<String> {
    let told = corefile.servers.iter().flat_map(|server| {
        let scheme = server.transport.scheme();
        server
            .zones
            .iter()
            .map(move |zone| format!("{scheme}://{zone}:{}", server.port))
    });
    told.collect()
}
