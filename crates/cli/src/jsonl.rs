//! Files of JSON, an object a line.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::files::read_text;

/// A line that was read.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// What it says.
    pub(crate) value: T,
}

/// Reads a file of which every line that is not blank is `what`, as an object.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<Line<T>>, Failure> {
    read_with(path, what, "")
}

/// The same, with words before what is wrong with an object.
pub(crate) fn read_with<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    lead: &str,
) -> Result<Vec<Line<T>>, Failure> {
    let text = read_text(path)?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(number, line)| {
        if !line.trim_start().starts_with('{') {
            return Err(fault(
                path,
                number,
                1,
                &format!("not {what}, which is an object"),
            ));
        }
        let value = serde_json::from_str(line).map_err(|error| {
            let why = format!("{lead}{}", without_place(&error));
            fault(path, number, error.column().max(1), &why)
        })?;
        Ok(Line { number, value })
    });
    read.collect()
}

/// A fault at a place of such a file.
pub(crate) fn fault(path: &Path, line: usize, column: usize, why: &str) -> Failure {
    Failure::input(format_args!("{}:{line}:{column}: {why}", path.display()))
}

/// What is wrong with a line; `serde_json` counts lines within the one that it was given.
fn without_place(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the line ends before the object does".to_owned();
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map(|(what, _)| what);
    what.unwrap_or(&text).to_owned()
}
