//! What the real plugins (containernetworking/plugins 1.1.1 and 1.9.1) and the real library (libcni 1.3.0)
//! answered and left behind, step by step: `tests/data`, and of host-local also `podwire-ipam`'s.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod lists;
mod plugins;
mod reading;
mod walks;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use podwire_cni::{Dump, Environment, Options, PluginsVersion, Reply, call};
use serde_json::{Map, Value};

/// The releases that cases were run with.
const RELEASES: [PluginsVersion; 2] = [PluginsVersion::V1_1_1, PluginsVersion::V1_9_1];

/// A folder of a test's own, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podwire-cni-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn options(&self, plugins: PluginsVersion) -> Options {
        Options {
            state: self.0.clone(),
            plugins,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The value with random names and Ethernet addresses as the tables have them.
fn blank(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let is_mac = text.len() == 17 && text.matches(':').count() == 5;
            // One that a case asks for stays.
            if is_mac && !text.starts_with("de:ad") {
                return "MAC".into();
            }
            named(text).into()
        }
        Value::Array(items) => items.iter().map(blank).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| (key.clone(), blank(value)));
            members.collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The text with the names of veth devices, `veth` and eight hexadecimal digits, as `VETH`.
fn named(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("veth") {
        let digits = rest.get(at + 4..at + 12).unwrap_or_default();
        let is_name = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let end = at + if is_name { 12 } else { 4 };
        out.push_str(&rest[..at]);
        out.push_str(if is_name { "VETH" } else { "veth" });
        rest = &rest[end..];
    }
    out + rest
}

/// The emulated namespaces as the tables tell them: without containers that hold nothing, under their
/// short names.
fn state(options: &Options) -> Value {
    let dump = Dump::read(options).unwrap().to_json().unwrap();
    used(&dump)
}

fn used(state: &Value) -> Value {
    let mut state = blank(state);
    let containers = state["containers"].as_object().unwrap();
    let held = containers.iter().filter(|(_, own)| {
        let has = |key: &str| {
            let members = own[key]
                .as_object()
                .is_some_and(|members| !members.is_empty());
            members || own[key].as_array().is_some_and(|items| !items.is_empty())
        };
        has("links") || has("routes")
    });
    let held = held.map(|(name, own)| (name.replace("NETNS-", ""), own.clone()));
    state["containers"] = held.collect::<Map<_, _>>().into();
    state
}

/// Whether a text of the real plugin is Go's own: what its JSON reader or its printing of structures says.
fn is_of_go(text: &str) -> bool {
    let words = ["json:", "unmarshal", "unexpected end of JSON", "{0.0.0.0 "];
    words.iter().any(|word| text.contains(word))
}

/// Calls a plugin with a configuration.
fn ask(plugin: &str, options: &Options, env: &Environment, conf: &str) -> Reply {
    let reply = call(plugin, options, env, || Ok(conf.as_bytes().to_vec()));
    reply.expect("a plugin of that name")
}

fn json(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The lines of a table.
fn cases(table: &str) -> impl Iterator<Item = Value> {
    table.lines().map(json)
}

/// The files below a folder by their paths in it, without locks and what begins with a dot.
fn files(dir: &Path) -> Value {
    let mut found = Map::new();
    for folder in fs::read_dir(dir).unwrap().flatten() {
        let name = folder.file_name().into_string().unwrap();
        if name == "netns" || !folder.path().is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path()).unwrap().flatten() {
            let file_name = file.file_name().into_string().unwrap();
            if file_name != "lock" && !file_name.starts_with('.') {
                let text = fs::read_to_string(file.path()).unwrap();
                found.insert(format!("{name}/{file_name}"), text.into());
            }
        }
    }
    found.into()
}
