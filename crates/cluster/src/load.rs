//! Files in, a cluster out.
//!
//! - `yaml`, `json`: the two languages of the Kubernetes API.
//! - `object`, `raw`, `field`, `config`, `ingress`: which object a document is, and its fields.
//! - `tree`: values with their places, which errors need.
//! - `assemble`: objects to a [`Cluster`]; `oddity`: what is worth a warning about them.
//!
//! # Departures
//! The API server refuses what it does not find sensible; a dump of a cluster may be older than its
//! rules, or cut by a selector. Here an object is refused only if podwire cannot understand a field
//! that it uses. What an object names but is not there is a [`Warning`](crate::Warning). An Ingress is held to all
//! that the API server asks of its hosts, paths and backends, which has been the same since 1.19.

mod assemble;
mod config;
mod error;
mod field;
mod ingress;
mod json;
mod object;
mod oddity;
mod raw;
mod tree;
mod yaml;

use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::assemble::Assembly;
use crate::{Cluster, FileId, model};

pub use error::{Format, LoadError, LoadErrors, Place, Problem};
pub(crate) use field::{Accepted, Parsed, Port, Target, nullable};
pub(crate) use ingress::{host_fault, path_fault};
pub(crate) use oddity::selects;
pub(crate) use raw::{Check, RawCidr, Sound, policy_port, sound};
pub(crate) use tree::whole_numbers;

/// A text to read, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// All of its text.
    pub text: String,
}

/// Why a file could not be read.
#[derive(Debug, Error, miette::Diagnostic)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    #[diagnostic(code(podwire::cluster::unreadable))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A device without an end, or a text that is far too long for what it is to be.
    #[error("{}: over {most} bytes", path.display())]
    #[diagnostic(
        code(podwire::cluster::too_long),
        help("accepted: files and pipes; of a device, Corefile or zone at most {most} bytes")
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        most: u64,
    },
    /// Bytes that are no text.
    #[error("{}:{}:{}: not UTF-8", path.display(), place.line, place.column)]
    #[diagnostic(
        code(podwire::cluster::not_utf8),
        help(
            "accepted: text in UTF-8; PowerShell's `>` writes UTF-16, `Out-File -Encoding utf8` does not"
        )
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is none of a character.
        place: Place,
    },
    /// A folder holds no file of a known kind.
    #[error("{}: no input in this folder", path.display())]
    #[diagnostic(
        code(podwire::cluster::empty_folder),
        help("accepted: files that end in .yaml, .yml, .json or .ron")
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads files, folders (their .yaml, .yml, .json and .ron files by name) and `-`, standard input.
///
/// # Errors
/// When one cannot be read, or is not UTF-8.
pub fn read_inputs(paths: &[PathBuf]) -> Result<Vec<Input>, ReadError> {
    let mut inputs = Vec::new();
    for path in paths {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            |source| ReadError::Unreadable { path, source }
        };
        let mut files = Vec::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
                let file = entry.map_err(unreadable(path))?.path();
                let extension = file.extension().and_then(|e| e.to_str());
                if matches!(extension, Some("yaml" | "yml" | "json" | "ron")) && file.is_file() {
                    files.push(file);
                }
            }
            files.sort();
            if files.is_empty() {
                return Err(ReadError::EmptyFolder { path: path.clone() });
            }
        } else {
            files.push(path.clone());
        }
        for file in files {
            let text = read_text(&file)?;
            inputs.push(Input { path: file, text });
        }
    }
    Ok(inputs)
}

/// The most that is read of a device, which may have no end, and of a text that a person writes, in bytes.
pub const LONGEST_TEXT: u64 = 16 << 20;

/// Reads a file of text; `-` is standard input. Of a device no more than [`LONGEST_TEXT`] bytes are read.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let is_stdin = path.as_os_str() == "-";
    let opened = if is_stdin {
        Path::new("/dev/stdin")
    } else {
        path
    };
    // /dev/zero is one, and so is a terminal.
    let is_device = std::fs::metadata(opened).is_ok_and(|about| {
        let kind = about.file_type();
        kind.is_char_device() || kind.is_block_device()
    });
    read_text_up_to(path, if is_device { LONGEST_TEXT } else { u64::MAX })
}

/// Reads a file of text as [`read_text`] does, of at most so many bytes.
///
/// # Errors
/// When it cannot be read, is longer, or is not UTF-8.
pub fn read_text_up_to(path: &Path, most: u64) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    let one_more = most.saturating_add(1);
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(one_more).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(one_more).read_to_end(&mut bytes))
    };
    read.map_err(|source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLong {
            path: path.to_owned(),
            most,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(before);
        let (lines, last) = before
            .rsplit_once('\n')
            .map_or((0, &*before), |(above, last)| {
                (above.split('\n').count(), last)
            });
        let number = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        ReadError::NotUtf8 {
            path: path.to_owned(),
            place: Place {
                line: number(lines),
                column: number(last.chars().count()),
            },
        }
    })
}

/// Makes a cluster of Kubernetes YAML, JSON and models in RON, told apart by content.
///
/// Inputs that hold nothing but comments are an empty cluster. Where an object stands twice the later
/// one counts.
///
/// # Errors
/// Everything that is wrong in any input.
pub fn load(inputs: Vec<Input>) -> Result<Cluster, LoadErrors> {
    let inputs = &inputs;
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK);
        match reader.spawn_scoped(scope, || load_here(inputs)) {
            Ok(reader) => reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => load_here(inputs),
        }
    })
}

/// Stack for reading. YAML's readers go down once for each level of nesting, of which 128 are
/// accepted, and need some 30 KiB a level where the program is not optimised.
const STACK: usize = 32 << 20;

fn load_here(inputs: &[Input]) -> Result<Cluster, LoadErrors> {
    let mut assembly = Assembly::default();
    let mut errors = Vec::new();
    let mut model_file: Option<PathBuf> = None;
    for (index, Input { path, text }) in inputs.iter().enumerate() {
        let file = FileId(u32::try_from(index).unwrap_or(u32::MAX));
        assembly.files.push(path.clone());
        let error = |place, problem| LoadError {
            file: path.clone(),
            place,
            problem,
        };
        let mut take = |found: object::Found| match found.result {
            Ok(object) => assembly.add(file, found.place.line, object),
            Err(problem) => errors.push(error(found.place, problem)),
        };
        match format_of(text) {
            Format::Json => json::read(text, &mut take),
            Format::Yaml => yaml::read(text, &mut take),
            Format::Ron => match model::expand(text) {
                Ok(None) => {}
                Ok(Some(expanded)) => match &model_file {
                    None => {
                        assembly.add_model(file, expanded);
                        model_file = Some(path.clone());
                    }
                    Some(first) => {
                        let first = first.clone();
                        errors.push(error(
                            Place { line: 1, column: 1 },
                            Problem::SecondModel { first },
                        ));
                    }
                },
                Err(problems) => {
                    errors.extend(problems.into_iter().map(|(place, what)| error(place, what)));
                }
            },
        }
    }
    if errors.is_empty() {
        Ok(assembly.finish())
    } else {
        Err(LoadErrors { errors })
    }
}

/// The language of a text, by how it begins.
fn format_of(text: &str) -> Format {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let model = text.strip_prefix("Cluster").unwrap_or(text).trim_start();
    if model.starts_with('(') || ["//", "/*", "#!["].iter().any(|&s| text.starts_with(s)) {
        return Format::Ron;
    }
    // YAML may begin with a bracket too; its keys need no quotes there.
    let within = |open: char| text.strip_prefix(open).map(str::trim_start);
    let is_json = within('{').is_some_and(|rest| rest.is_empty() || rest.starts_with(['"', '}']))
        || within('[').is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', ']', '[']));
    if is_json { Format::Json } else { Format::Yaml }
}
