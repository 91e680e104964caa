//! What a Corefile can reach: files and environment variables.

use std::io;
use std::path::Path;

/// Files and environment variables that a Corefile may name.
pub trait Surroundings {
    /// The text of a file.
    ///
    /// # Errors
    /// As the file system says.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
}

/// No files and no variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Surroundings for Nothing {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// This machine's files and environment, but for what is CoreDNS's own in a cluster.
///
/// # Departures
/// `/etc/resolv.conf` is that of CoreDNS's pod, which kubelet writes, and never this machine's. Where
/// nobody says what is in it, it names one nameserver, 192.0.2.53 (of the range for documentation).
/// `/etc/hosts` is the pod's too, and has nothing in it that another pod may ask for.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What the pod's `/etc/resolv.conf` says.
    pub resolv_conf: String,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            resolv_conf: "nameserver 192.0.2.53\n".to_owned(),
        }
    }
}

/// The largest file that is read, in bytes. A ConfigMap holds a mebibyte.
pub(super) const LARGEST: u64 = 16 << 20;

impl Surroundings for Machine {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == Path::new("/etc/resolv.conf") {
            return Ok(self.resolv_conf.clone());
        }
        if path == Path::new("/etc/hosts") {
            return Ok(String::new());
        }
        let about = std::fs::metadata(path)?;
        if about.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !about.is_file() || about.len() > LARGEST {
            return Err(io::Error::other("not a file of text"));
        }
        let bytes = std::fs::read(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
