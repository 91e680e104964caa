//! `podwire ipam`: address spaces alone, without a cluster.

mod case;
mod flannel;
mod host_local;
mod weave;

use std::io::Write;

use podwire_packet::Prefix;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use self::case::Case;
use crate::args::{IpamArgs, IpamCommand, IpamKind, ReplayArgs, ReplayOutput};
use crate::failure::{Answer, Failure};
use crate::jsonl;

pub(crate) fn run(args: &IpamArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let IpamCommand::Replay(args) = &args.command;
    match args.ipam {
        IpamKind::Weave => replay(args, weave::replay, out)?,
        IpamKind::HostLocal => replay(args, host_local::replay, out)?,
        IpamKind::Flannel => replay(args, flannel::replay, out)?,
    }
    Ok(Answer::Yes)
}

/// What is answered to a case.
#[derive(Debug, Serialize)]
struct Answered<S> {
    id: Value,
    steps: Vec<S>,
}

/// Answers every case of a file; nothing is printed before all of them have been read.
fn replay<H, S, A>(
    args: &ReplayArgs,
    one: impl Fn(H, Vec<S>) -> Result<Vec<A>, String>,
    out: &mut impl Write,
) -> Result<(), Failure>
where
    H: DeserializeOwned,
    S: DeserializeOwned,
    A: Serialize + Told,
{
    let cases: Vec<jsonl::Line<Case<H, S>>> = jsonl::read(&args.script, "a case")?;
    for jsonl::Line { number, value } in cases {
        let Case { id, space, steps } = value;
        let steps = one(space, steps).map_err(|why| jsonl::fault(&args.script, number, 1, &why))?;
        match args.output {
            ReplayOutput::Json => {
                serde_json::to_writer(&mut *out, &Answered { id, steps })
                    .map_err(std::io::Error::from)?;
                writeln!(out)?;
            }
            ReplayOutput::Text => {
                writeln!(out, "{}", id.as_str().unwrap_or("case"))?;
                for step in &steps {
                    writeln!(out, "  {}", step.told())?;
                }
            }
        }
    }
    Ok(())
}

/// An answer as a line for people.
trait Told {
    fn told(&self) -> String;
}

/// A value that is written as text.
fn text<'de, D: Deserializer<'de>, T>(d: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(d)?;
    text.parse().map_err(|error: T::Err| {
        let why = error.to_string();
        // Errors of this project name the text; those of the standard library do not.
        if why.contains(&text) {
            serde::de::Error::custom(why)
        } else {
            serde::de::Error::custom(format_args!("`{text}`: {why}"))
        }
    })
}

fn optional_text<'de, D: Deserializer<'de>, T>(d: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text(d).map(Some)
}

/// A prefix without bits behind its length.
fn prefix<'de, D: Deserializer<'de>>(d: D) -> Result<Prefix, D::Error> {
    let written = String::deserialize(d)?;
    let prefix: Prefix = written.parse().map_err(serde::de::Error::custom)?;
    if prefix.to_string() == written {
        Ok(prefix)
    } else {
        Err(serde::de::Error::custom(format_args!(
            "`{written}` has bits behind its length: {prefix} is the prefix"
        )))
    }
}

/// A place where an `ok` of an answer is told.
const fn yes_no(ok: bool) -> &'static str {
    if ok { "ok" } else { "refused" }
}
