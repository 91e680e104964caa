//! Files of a JSON object a line.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::files::read_text;

/// The objects of a file, empty lines left out. `what` names one for the person who wrote it.
pub(super) fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<T>, Failure> {
    let text = read_text(path)?;
    let mut objects = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let object = serde_json::from_str(line).map_err(|error| {
            let place = format!("{}:{number}:{}", path.display(), error.column().max(1));
            let text = error.to_string();
            // The place in it is one within the line.
            let why = text.rsplit_once(" at line ").map_or(&*text, |(why, _)| why);
            Failure::input(format_args!("{place}: {what}: {why}"))
        })?;
        objects.push(object);
    }
    Ok(objects)
}
