//! Network configuration lists, and which file of a folder is the one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use crate::json::member;
use crate::version::{SPEC_VERSIONS, at_least, numbers};

/// Why there is no list.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListError {
    /// A file or folder cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not JSON.
    #[error("{path}:{line}:{column}: {why}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in bytes.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// It is no configuration; the words are libcni's.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A folder without configuration, as kubelet tells it of its node.
    #[error(
        "no networks found in {path}; kubelet: container runtime network not ready: \
         NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: \
         cni plugin not initialized",
        path = path.display()
    )]
    NoNetworks {
        /// The folder.
        path: PathBuf,
    },
}

/// A network configuration list.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    /// The network.
    pub name: String,
    /// The version that its plugins speak.
    pub version: String,
    /// Whether CHECK does nothing.
    pub disable_check: bool,
    /// Whether GC does nothing.
    pub disable_gc: bool,
    /// The plugins' configurations, in order.
    pub plugins: Vec<Value>,
    /// The text that it was read from.
    pub text: String,
}

/// A member of a plugin's configuration; empty if there is none.
fn text_of<'v>(plugin: &'v Value, name: &str) -> &'v str {
    let value = member(plugin, name).and_then(Value::as_str);
    value.unwrap_or_default()
}

/// A plugin's type.
pub(crate) fn type_of(plugin: &Value) -> &str {
    text_of(plugin, "type")
}

/// A value's type as Go prints it.
const fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

const IN_LIST: &str = "error parsing configuration list";

impl NetworkList {
    /// Reads a list, or a single configuration as a list of one. Of a folder, the first file in
    /// lexical order that is a configuration is read, as kubelet and containerd do.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn read(path: &Path) -> Result<Self, ListError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            |source| ListError::Read { path, source }
        };
        if !path.is_dir() {
            let text = fs::read_to_string(path).map_err(io(path))?;
            return Self::of_file(path, &text);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(io(path))? {
            let file = entry.map_err(io(path))?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if file.is_file() && matches!(extension, Some("conf" | "conflist" | "json")) {
                files.push(file);
            }
        }
        files.sort();
        let mut first_error = None;
        for file in &files {
            let text = fs::read_to_string(file).map_err(io(file))?;
            match Self::of_file(file, &text) {
                Ok(list) => return Ok(list),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| ListError::NoNetworks {
            path: path.to_owned(),
        }))
    }

    fn of_file(path: &Path, text: &str) -> Result<Self, ListError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or_default().to_owned();
            ListError::Syntax {
                path: path.to_owned(),
                line: error.line(),
                // A text that ends before anything came has none.
                column: error.column().max(1),
                why,
            }
        })?;
        let content = |why: String| ListError::Content {
            path: path.to_owned(),
            why,
        };
        let mut list = Self::parse(&value, text).map_err(content)?;
        if value["loadOnlyInlinedPlugins"] != Value::Bool(true) {
            list.plugins.extend(beside(path, &list.name)?);
        }
        if list.plugins.is_empty() {
            return Err(content("no plugin configs found".to_owned()));
        }
        Ok(list)
    }

    /// What a list means.
    fn parse(value: &Value, text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{IN_LIST}: {why}");
        if member(value, "type").is_some() && value.get("plugins").is_none() {
            check_plugin(value)?;
            let wrapped = json!({
                "name": text_of(value, "name"),
                "cniVersion": text_of(value, "cniVersion"),
                "plugins": [value],
            });
            return Self::parse(&wrapped, text);
        }
        let text_of = |key: &str| {
            let text = value[key].as_str().map(str::to_owned);
            let kind = go_type(&value[key]);
            text.ok_or_else(|| wrong(format!("invalid {key} type {kind}")))
        };
        if value.get("name").is_none() {
            return Err(wrong("no name".to_owned()));
        }
        let name = text_of("name")?;
        let mut version = String::new();
        if value.get("cniVersion").is_some() {
            version = text_of("cniVersion")?;
        }
        if let Some(versions) = value.get("cniVersions") {
            version = highest(versions, version).map_err(wrong)?;
        }
        let flag = |key: &str| match value.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(wrong(format!("invalid value {other:?} for {key}"))),
            },
            Some(other) => Err(wrong(format!("invalid type {} for {key}", go_type(other)))),
        };
        let plugins = match value.get("plugins") {
            None => Vec::new(),
            Some(Value::Array(plugins)) if plugins.is_empty() => {
                return Err(wrong("no plugins in list".to_owned()));
            }
            Some(Value::Array(plugins)) => plugins.clone(),
            Some(other) => {
                return Err(wrong(format!("invalid 'plugins' type {}", go_type(other))));
            }
        };
        for (index, plugin) in plugins.iter().enumerate() {
            check_plugin(plugin)
                .map_err(|why| format!("failed to parse plugin config {index}: {why}"))?;
        }
        Ok(Self {
            name,
            version,
            disable_check: flag("disableCheck")?,
            disable_gc: flag("disableGC")?,
            plugins,
            text: text.to_owned(),
        })
    }
}

/// The highest of several versions that the library speaks.
fn highest(versions: &Value, version: String) -> Result<String, String> {
    let Value::Array(versions) = versions else {
        return Err("invalid type for cniVersions: []interface {}".to_owned());
    };
    let newest = SPEC_VERSIONS.last().copied().unwrap_or_default();
    let mut known = Vec::new();
    for (index, one) in versions.iter().enumerate() {
        let Value::String(one) = one else {
            let kind = go_type(one);
            return Err(format!(
                "invalid type for cniVersions index {index}: {kind}"
            ));
        };
        let wrong = |why| format!("invalid cniVersions entry {one} at index {index}: {why}");
        if at_least(newest, one).map_err(wrong)? {
            known.push(one.clone());
        }
    }
    if !version.is_empty() {
        let wrong = |why| format!("invalid cniVersion {version}: {why}");
        if at_least(newest, &version).map_err(wrong)? {
            known.push(version.clone());
        }
    }
    let highest = known
        .into_iter()
        .max_by_key(|one| numbers(one).unwrap_or_default());
    Ok(highest.unwrap_or(version))
}

fn check_plugin(plugin: &Value) -> Result<(), String> {
    if !plugin.is_object() {
        return Err(format!(
            "error parsing configuration: json: cannot unmarshal {} into Go value of type \
             types.PluginConf",
            go_type(plugin)
        ));
    }
    if type_of(plugin).is_empty() {
        return Err("error parsing configuration: missing 'type'".to_owned());
    }
    Ok(())
}

/// The plugins in files of their own: `NAME/*.conf` beside the list.
fn beside(path: &Path, name: &str) -> Result<Vec<Value>, ListError> {
    let dir = path.with_file_name(name);
    if name.is_empty() || name.contains('/') || !dir.is_dir() {
        return Ok(Vec::new());
    }
    let io = |source| ListError::Read {
        path: dir.clone(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if file.is_file()
            && file
                .extension()
                .is_some_and(|extension| extension == "conf")
        {
            files.push(file);
        }
    }
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|source| ListError::Read {
            path: file.clone(),
            source,
        })?;
        let content = |why: String| ListError::Content {
            path: file.clone(),
            why,
        };
        let value: Value =
            serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
        check_plugin(&value).map_err(content)?;
        Ok(value)
    };
    files.iter().map(read).collect()
}
