//! Reads the JSON of `nft -j list ruleset`.
//!
//! Each object is put into the words of a command, and that is read as any other text is: what rules
//! mean is said in one place only.

mod words;

use miette::SourceSpan;
use serde_json::Value;
use serde_json::value::RawValue;

use super::parse::{self, ParseError, Parsed};
use words::Fault;

/// Reads what `nft -j list ruleset` prints, or commands in JSON that only add.
///
/// # Errors
/// [`ParseError::Json`] if it is no JSON, [`ParseError::Object`] with the place of an object that cannot
/// be read, [`ParseError::Link`]. Statements that podwire does not know are kept as JSON
/// ([`Parsed::unknown`]).
///
/// # Sources
/// libnftables-json(5).
pub fn parse_json(text: &str) -> Result<Parsed, ParseError> {
    let mut reader = parse::Reader::new();
    for raw in objects(text)? {
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        let at = SourceSpan::from((start, raw.get().len()));
        let refuse = |why: String| ParseError::Object {
            why: why.into(),
            at,
        };
        let value: Value = serde_json::from_str(raw.get()).map_err(|e| refuse(e.to_string()))?;
        let commands = words::commands(&value).map_err(|fault| refuse(fault.to_string()))?;
        reader
            .read_part(&commands, at)
            .map_err(|error| refuse(error.to_string()))?;
    }
    reader.finish()
}

/// The objects of the list that is called `nftables`.
fn objects(text: &str) -> Result<Vec<&RawValue>, ParseError> {
    let syntax = |error: &serde_json::Error| ParseError::Json {
        why: error.to_string().into(),
        at: place(text, error.line(), error.column()),
    };
    let whole: std::collections::BTreeMap<&str, &RawValue> =
        serde_json::from_str(text).map_err(|error| syntax(&error))?;
    let list = whole.get("nftables").ok_or_else(|| ParseError::Json {
        why: Fault::Missing("nftables").to_string().into(),
        at: (0, 0).into(),
    })?;
    let start = list.get().as_ptr() as usize - text.as_ptr() as usize;
    serde_json::from_str(list.get()).map_err(|error| ParseError::Json {
        why: error.to_string().into(),
        at: (start, list.get().len().min(1)).into(),
    })
}

/// A line and a column in bytes, as serde_json counts them, as a place.
fn place(text: &str, line: usize, column: usize) -> SourceSpan {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = before.map(str::len).sum();
    let at = (start + column.saturating_sub(1)).min(text.len());
    (at, 0).into()
}
