//! One call of one plugin: of podwire's own, or of a program.
//!
//! Source: pkg/invoke/{find,raw_exec,exec}.go of containernetworking/cni 1.3.0; messages as there.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::plugins::{self, Plugin};
use crate::protocol::{self, Environment, Options};
use crate::result::CniResult;
use crate::{CniError, json};

/// How often a program that is being written is tried again.
const BUSY_TRIES: u32 = 5;
/// The time between.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// A plugin that can be called.
pub(super) enum Found {
    Own(&'static Plugin),
    Program(PathBuf),
}

/// Looks for a plugin: among podwire's own, then in the folders of CNI_PATH.
pub(super) fn find(name: &str, path: &str) -> Result<Found, String> {
    match plugins::find(name) {
        Some(plugin) => Ok(Found::Own(plugin)),
        None => find_in_path(name, path).map(Found::Program),
    }
}

/// Looks for a program in the folders of CNI_PATH.
pub(crate) fn find_in_path(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("no plugin name provided".to_owned());
    }
    if name.contains('/') {
        return Err(format!("invalid plugin name: {name}"));
    }
    let folders: Vec<&str> = path
        .split(':')
        .filter(|folder| !folder.is_empty())
        .collect();
    if folders.is_empty() {
        return Err("no paths provided".to_owned());
    }
    let candidates = folders.iter().map(|folder| Path::new(folder).join(name));
    let mut found = candidates.filter(|candidate| candidate.is_file());
    found.next().ok_or_else(|| {
        let folders = folders.join(" ");
        format!("failed to find plugin {name:?} in path [{folders}]")
    })
}

/// Calls a plugin and returns what it printed.
pub(super) fn call(
    found: &Found,
    conf: &Value,
    env: &Environment,
    options: &Options,
) -> Result<String, CniError> {
    match found {
        Found::Own(plugin) => {
            let stdin = || Ok(conf.to_string().into_bytes());
            let reply = protocol::answer(plugin, options, env, stdin);
            if reply.failed {
                return Err(error_of(&reply.stdout));
            }
            Ok(reply.stdout)
        }
        Found::Program(path) => program(path, conf, env),
    }
}

/// Calls a program that must give a result.
pub(crate) fn with_result(
    path: &Path,
    conf: &Value,
    env: &Environment,
) -> Result<(String, CniResult), CniError> {
    result_of(&program(path, conf, env)?, conf)
}

/// Calls a program for what it does.
pub(crate) fn without_result(path: &Path, conf: &Value, env: &Environment) -> Result<(), CniError> {
    program(path, conf, env).map(|_| ())
}

fn program(path: &Path, conf: &Value, env: &Environment) -> Result<String, CniError> {
    let mut run = run(path, conf, env);
    for _ in 0..BUSY_TRIES {
        // Somebody is just installing it.
        let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
        if !run.as_ref().is_err_and(is_busy) {
            break;
        }
        thread::sleep(BUSY_PAUSE);
        run = self::run(path, conf, env);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = run.map_err(|error| {
        let why = format!("netplugin failed with no error message: {error}");
        CniError::new(0, why, "")
    })?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr).into_owned(),
    );
    if status.success() {
        return Ok(stdout);
    }
    Err(match (stdout.is_empty(), stderr.is_empty()) {
        (true, true) => {
            let why = format!("netplugin failed with no error message: {status}");
            CniError::new(0, why, "")
        }
        (true, false) => CniError::new(0, format!("netplugin failed: {stderr:?}: {status}"), ""),
        (false, _) => error_of(&stdout),
    })
}

fn run(path: &Path, conf: &Value, env: &Environment) -> io::Result<Output> {
    let mut command = Command::new(path);
    let variables = [
        ("CNI_COMMAND", &env.command),
        ("CNI_CONTAINERID", &env.container_id),
        ("CNI_NETNS", &env.netns),
        ("CNI_ARGS", &env.args),
        ("CNI_IFNAME", &env.ifname),
        ("CNI_PATH", &env.path),
    ];
    command
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // A plugin may end without reading; what it says then counts, not the broken pipe.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(conf.to_string().as_bytes());
    }
    child.wait_with_output()
}

/// The error that a plugin printed.
fn error_of(stdout: &str) -> CniError {
    let read = serde_json::from_str(stdout).map_err(|error| error.to_string());
    read.and_then(|error| json::decode(&error))
        .unwrap_or_else(|error| {
            let why = format!(
                "netplugin failed but error parsing its diagnostic message {stdout:?}: {error}"
            );
            CniError::new(0, why, "")
        })
}

/// The result that a plugin printed, and its version: that of the configuration if it names none.
pub(super) fn result_of(stdout: &str, conf: &Value) -> Result<(String, CniResult), CniError> {
    let raw = |why: &dyn std::fmt::Display| {
        CniError::other(format!("failed to unmarshal raw result: {why}"))
    };
    if stdout.trim().is_empty() {
        return Err(raw(&"unexpected end of JSON input"));
    }
    let mut result: Value = serde_json::from_str(stdout).map_err(|error| raw(&error))?;
    let named = result["cniVersion"].as_str().unwrap_or_default().to_owned();
    let version = if named.is_empty() {
        let version = crate::conf::version_of(conf).map_err(CniError::other)?;
        if let Some(members) = result.as_object_mut() {
            members.insert("cniVersion".to_owned(), version.clone().into());
        }
        version
    } else {
        named
    };
    let read = CniResult::read(&version, &result).map_err(CniError::other)?;
    Ok((version, read))
}
