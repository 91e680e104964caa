//! Files that several processes share: locks, and writes that happen whole or not at all.
//!
//! A text is written beside its file and put in its place by `rename`. Several files change together
//! through a journal: what is to be written is put into `.journal` first; whoever opens the folder next
//! finishes it. So a process that is killed at any moment leaves the old state or the new one.
//!
//! # Departures
//! Nothing is flushed to the disk: this guards against killed processes, not against power cuts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::StateError;

const JOURNAL: &str = ".journal";
const NEW: &str = ".new";

/// A folder that this process alone uses while it holds this.
#[derive(Debug)]
pub(crate) struct Locked {
    dir: PathBuf,
    _lock: File,
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StateError + use<'_> {
    |source| StateError::Io {
        path: path.display().to_string(),
        source,
    }
}

/// What Go says of a file that cannot be opened.
pub(crate) fn open_error(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    if error.kind() == ErrorKind::NotFound {
        format!("open {path}: no such file or directory")
    } else {
        format!("open {path}: {error}")
    }
}

/// Whether a name is that of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

impl Locked {
    /// Waits for the folder, made if there is none, by `flock` on its file `lock_name`.
    pub(crate) fn open(dir: &Path, lock_name: &str) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        let path = dir.join(lock_name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.open(&path).map_err(io_error(&path))?;
        lock.lock().map_err(io_error(&path))?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The text of a file; `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    /// The names of all its files, sorted; not those that begin with a dot.
    pub(crate) fn names(&self) -> Result<Vec<String>, StateError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error(&self.dir))? {
            let entry = entry.map_err(io_error(&self.dir))?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if let Ok(name) = entry.file_name().into_string()
                && is_file
                && !name.starts_with('.')
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Puts a text in the place of a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), StateError> {
        let (path, new) = (self.dir.join(name), self.dir.join(NEW));
        fs::write(&new, text).map_err(io_error(&new))?;
        fs::rename(&new, &path).map_err(io_error(&path))
    }

    /// Removes a file; that there is none is no fault.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Writes several files, all of them or none.
    pub(crate) fn write_all(&self, texts: &BTreeMap<String, String>) -> Result<(), StateError> {
        if texts.len() > 1 {
            let journal = serde_json::to_string(texts).expect("a map of texts");
            self.write(JOURNAL, &journal)?;
        }
        for (name, text) in texts {
            self.write(name, text)?;
        }
        if texts.len() > 1 {
            self.remove(JOURNAL)?;
        }
        Ok(())
    }

    /// Finishes what a killed process had begun to write.
    pub(crate) fn recover(&self) -> Result<(), StateError> {
        let Some(journal) = self.read(JOURNAL)? else {
            return Ok(());
        };
        let texts: BTreeMap<String, String> =
            serde_json::from_str(&journal).map_err(|error| StateError::Content {
                path: self.dir.join(JOURNAL).display().to_string(),
                why: error.to_string(),
            })?;
        if let Some(name) = texts.keys().find(|name| !is_plain(name)) {
            return Err(StateError::Content {
                path: self.dir.join(JOURNAL).display().to_string(),
                why: format!("{name:?} is no name of a file in this folder"),
            });
        }
        for (name, text) in &texts {
            self.write(name, text)?;
        }
        self.remove(JOURNAL)
    }
}
