//! What every plugin does before and after its own work: environment, standard input, versions,
//! errors.
//!
//! Source: pkg/skel/skel.go and pkg/utils/utils.go of containernetworking/cni, 1.3.0 for plugins 1.9.1
//! and 1.1.2 for 1.1.1; messages and the order of the checks are theirs. The older library checks the
//! container and the device after the configuration, even for verbs that name none.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::conf::{NetConf, version_of};
use crate::error::code;
use crate::host::Host;
use crate::plugins::Plugin;
use crate::result::CniResult;
use crate::version::{PluginsVersion, at_least};
use crate::{CniError, json};

/// Where state is kept, and which release answers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of host-local's files, the emulated namespaces and the runtime's cache.
    pub state: PathBuf,
    /// The release of the plugins.
    pub plugins: PluginsVersion,
}

/// The environment variables of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// `CNI_PATH`.
    pub path: String,
}

impl Environment {
    /// The variables as `get` finds them.
    pub fn of(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| get(name).unwrap_or_default();
        Self {
            command: get("CNI_COMMAND"),
            container_id: get("CNI_CONTAINERID"),
            netns: get("CNI_NETNS"),
            ifname: get("CNI_IFNAME"),
            args: get("CNI_ARGS"),
            path: get("CNI_PATH"),
        }
    }
}

/// What a plugin printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Standard output: a result, an error, or nothing.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether the exit code is 1.
    pub failed: bool,
}

impl From<Result<String, CniError>> for Reply {
    fn from(result: Result<String, CniError>) -> Self {
        let failed = result.is_err();
        Self {
            stdout: result.unwrap_or_else(|error| json::indented(&error)),
            stderr: String::new(),
            failed,
        }
    }
}

/// A call whose environment and configuration were checked.
pub(crate) struct Invocation<'o> {
    pub(crate) options: &'o Options,
    pub(crate) env: Environment,
    /// The whole configuration.
    pub(crate) conf: Value,
    /// What all plugins read of it.
    pub(crate) net: NetConf,
}

impl Invocation<'_> {
    /// Whether the plugins are of 1.9.1, not of 1.1.1.
    pub(crate) fn is_newer(&self) -> bool {
        self.options.plugins == PluginsVersion::V1_9_1
    }

    /// What a plugin reads of the configuration.
    pub(crate) fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, CniError> {
        json::decode(&self.conf)
            .map_err(|why| CniError::other(format!("failed to load netconf: {why}")))
    }

    /// The same call with another configuration.
    pub(crate) fn with(&self, conf: Value) -> Result<Self, CniError> {
        let conf = json::without_nulls(conf);
        let net = json::decode(&conf)
            .map_err(|why| CniError::other(format!("failed to load netconf: {why}")))?;
        Ok(Self {
            options: self.options,
            env: self.env.clone(),
            conf,
            net,
        })
    }
}

/// Answers one call of a plugin.
pub(crate) fn answer(
    plugin: &Plugin,
    options: &Options,
    env: &Environment,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Reply {
    if env.command.is_empty() {
        let versions = plugin.versions(options.plugins).join(", ");
        return Reply {
            stderr: format!(
                "CNI {} plugin v{}\nCNI protocol versions supported: {versions}\n",
                plugin.name, options.plugins
            ),
            ..Reply::default()
        };
    }
    dispatch(plugin, options, env, stdin).into()
}

fn dispatch(
    plugin: &Plugin,
    options: &Options,
    env: &Environment,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<String, CniError> {
    check_environment(options.plugins, env)?;
    if env.command == "VERSION" {
        let supported = plugin.versions(options.plugins);
        let last = options.plugins.spec_versions().last();
        let versions = json!({"cniVersion": last, "supportedVersions": supported});
        return Ok(format!("{versions}\n"));
    }
    let stdin = stdin()
        .map_err(|why| CniError::new(code::IO, format!("error reading from stdin: {why}"), ""))?;
    let conf = read_conf(&stdin)?;
    if options.plugins == PluginsVersion::V1_1_1 {
        validate_container_id(&env.container_id)?;
        validate_interface_name(&env.ifname)?;
    }
    check_version(plugin, options.plugins, &env.command, &conf)?;
    let net = json::decode(&conf)
        .map_err(|why| CniError::other(format!("failed to load netconf: {why}")))?;
    let invocation = Invocation {
        options,
        env: env.clone(),
        conf,
        net,
    };
    let mut host = Host::new(options);
    let outcome = run(plugin, &invocation, &mut host);
    // What a plugin did before it failed stays done, as in a kernel.
    host.commit()?;
    let Some(result) = outcome? else {
        return Ok(String::new());
    };
    result.write(&invocation.net.cni_version, options.plugins)
}

fn run(
    plugin: &Plugin,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<Option<CniResult>, CniError> {
    match invocation.env.command.as_str() {
        "ADD" => (plugin.add)(invocation, host).map(Some),
        "CHECK" => (plugin.check)(invocation, host).map(|()| None),
        "DEL" => (plugin.del)(invocation, host).map(|()| None),
        "STATUS" => (plugin.status)(invocation, host).map(|()| None),
        // GC: no plugin of the reference has work to do for iptables or host-local.
        _ => Ok(None),
    }
}

/// Checks the variables that the command needs.
fn check_environment(plugins: PluginsVersion, env: &Environment) -> Result<(), CniError> {
    let newer = plugins == PluginsVersion::V1_9_1;
    let command = env.command.as_str();
    let of_container = matches!(command, "ADD" | "CHECK" | "DEL");
    let in_namespace = matches!(command, "ADD" | "CHECK");
    let anywhere = of_container || (newer && matches!(command, "GC" | "STATUS"));
    let needed = [
        (of_container, "CNI_CONTAINERID", &env.container_id),
        (in_namespace, "CNI_NETNS", &env.netns),
        (of_container, "CNI_IFNAME", &env.ifname),
        (anywhere, "CNI_PATH", &env.path),
    ];
    let mut missing = Vec::new();
    for (is_needed, name, value) in needed {
        if !is_needed {
            continue;
        }
        match name {
            _ if value.is_empty() => missing.push(name),
            "CNI_CONTAINERID" if newer => validate_container_id(value)?,
            "CNI_IFNAME" if newer => validate_interface_name(value)?,
            _ => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(",");
    let why = format!("required env variables [{missing}] missing");
    Err(CniError::new(code::ENVIRONMENT, why, ""))
}

/// Reads the configuration and checks its name.
fn read_conf(stdin: &[u8]) -> Result<Value, CniError> {
    #[derive(Deserialize)]
    struct Name {
        #[serde(default)]
        name: String,
    }
    let wrong = |why: String| {
        let why = format!("error unmarshall network config: {why}");
        CniError::new(code::DECODING, why, "")
    };
    let conf = serde_json::from_slice(stdin).map_err(|error| {
        wrong(if stdin.trim_ascii().is_empty() {
            "unexpected end of JSON input".to_owned()
        } else {
            error.to_string()
        })
    })?;
    let conf = json::without_nulls(conf);
    let named: Name = json::decode(&conf).map_err(wrong)?;
    if named.name.is_empty() {
        let why = "missing network name";
        return Err(CniError::new(code::NETWORK_CONFIG, why, ""));
    }
    validate_network_name(&named.name)?;
    Ok(conf)
}

/// Checks that the configuration's version has the command, and that the plugin speaks it.
fn check_version(
    plugin: &Plugin,
    plugins: PluginsVersion,
    command: &str,
    conf: &Value,
) -> Result<(), CniError> {
    let known: &[&str] = match plugins {
        PluginsVersion::V1_1_1 => &["ADD", "CHECK", "DEL"],
        PluginsVersion::V1_9_1 => &["ADD", "CHECK", "DEL", "GC", "STATUS"],
    };
    if !known.contains(&command) {
        let why = format!("unknown CNI_COMMAND: {command}");
        return Err(CniError::new(code::ENVIRONMENT, why, ""));
    }
    let decoding = |why: String| CniError::new(code::DECODING, why, "");
    let incompatible =
        |why: &str, details: String| CniError::new(code::INCOMPATIBLE_VERSION, why, details);
    let version = version_of(conf).map_err(decoding)?;
    let supported = plugin.versions(plugins);
    let since = match command {
        "CHECK" => Some("0.4.0"),
        "GC" | "STATUS" => Some("1.1.0"),
        _ => None,
    };
    if let Some(since) = since {
        if !at_least(&version, since).map_err(decoding)? {
            let why = format!("config version does not allow {command}");
            return Err(incompatible(&why, String::new()));
        }
        let last = supported.last().copied().unwrap_or_default();
        if !at_least(last, &version).map_err(decoding)? {
            let why = format!("plugin version does not allow {command}");
            return Err(incompatible(&why, String::new()));
        }
    }
    if supported.contains(&version.as_str()) {
        return Ok(());
    }
    let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
    let supported = supported.join(" ");
    Err(incompatible(
        "incompatible CNI versions",
        format!("config is {version:?}, plugin supports [{supported}]"),
    ))
}

/// Letters, digits, and not in the first place `_`, `.` and `-`.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(plain)
        && name
            .chars()
            .all(|c| plain(c) || matches!(c, '_' | '.' | '-'))
}

pub(crate) fn validate_container_id(id: &str) -> Result<(), CniError> {
    if id.is_empty() {
        let why = "missing containerID";
        return Err(CniError::new(code::UNKNOWN_CONTAINER, why, ""));
    }
    if is_plain(id) {
        return Ok(());
    }
    let why = "invalid characters in containerID";
    Err(CniError::new(code::ENVIRONMENT, why, id))
}

pub(crate) fn validate_network_name(name: &str) -> Result<(), CniError> {
    if name.is_empty() {
        let why = "missing network name:";
        return Err(CniError::new(code::NETWORK_CONFIG, why, ""));
    }
    if is_plain(name) {
        return Ok(());
    }
    let why = "invalid characters found in network name";
    Err(CniError::new(code::NETWORK_CONFIG, why, name))
}

pub(crate) fn validate_interface_name(name: &str) -> Result<(), CniError> {
    let wrong = |why: &str, details: &str| Err(CniError::new(code::ENVIRONMENT, why, details));
    if name.is_empty() {
        return wrong("interface name is empty", "");
    }
    if name.len() > 15 {
        let details = "interface name should be less than 16 characters";
        return wrong("interface name is too long", details);
    }
    if name == "." || name == ".." {
        return wrong("interface name is . or ..", "");
    }
    if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return wrong(
            "interface name contains / or : or whitespace characters",
            "",
        );
    }
    Ok(())
}
