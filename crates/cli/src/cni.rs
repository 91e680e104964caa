//! `podwire cni`: a CNI plugin to any runtime, and the runtime's side of a list of plugins.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use podwire_cni::libcni::{self, Action, NetworkList, Runtime, Shim};
use podwire_cni::{
    CniError, Dump, Environment, Options, PluginsVersion, Reply, call, plugin_names,
};
use serde_json::{Map, Value};

use crate::args::{Global, TextOrJson};
use crate::failure::{Answer, Failure};

/// Where state is kept unless something else is said.
const DEFAULT_STATE: &str = "/var/lib/podwire";

/// The longest network configuration that is read, in bytes.
const LONGEST_CONF: u64 = 64 << 20;

/// `podwire cni`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --plugin it is that plugin: CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS and CNI_PATH
say what is wanted, the network configuration comes on standard input. A link to podwire that has a
plugin's name is that plugin too. With --list the plugins of a list are called in order, as runtimes do by
libcni; CNI_PATH, CNI_IFNAME (eth0), CNI_ARGS and CAP_ARGS (JSON) are heard. Of a folder, the first file in
lexical order counts. weave-net finds Weave running if the state folder's weave/range holds the range that
it shares out, as 10.32.0.0/12. A CNI_NETNS that is no absolute path is made in the state folder.
Exit code 1: a CNI error, which is on standard output.

Examples:
  podwire cni --state target/cni --list models/cni/10-bridge.conflist ADD web-1 web-1
  podwire cni --state target/cni --list models/cni CHECK web-1 web-1
  podwire cni --state target/cni --list models/cni/weave.conflist --runtime dockershim ADD app app
  podwire cni --state target/cni --dump
  podwire cni --state target/cni --list models/cni/10-bridge.conflist DEL web-1 web-1
  CNI_COMMAND=VERSION podwire cni --plugin bridge")]
pub(crate) struct CniArgs {
    /// Be this plugin
    #[arg(long, value_name = "TYPE", value_parser = plugin, required_unless_present_any = ["list", "dump"])]
    plugin: Option<&'static str>,
    /// Call the plugins of this list, or of the first file in this folder
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "plugin",
        requires = "action"
    )]
    list: Option<PathBuf>,
    /// What to do with the list
    #[arg(value_name = "ACTION", requires = "list")]
    action: Option<ActionArg>,
    /// The container
    #[arg(value_name = "ID", required_if_eq_any = [("action", "ADD"), ("action", "CHECK"), ("action", "DEL")])]
    container_id: Option<String>,
    /// Its network namespace
    #[arg(value_name = "NETNS", required_if_eq_any = [("action", "ADD"), ("action", "CHECK")])]
    netns: Option<String>,
    /// Print the emulated namespaces: devices, addresses, routes, rules
    #[arg(long, conflicts_with_all = ["plugin", "list"])]
    dump: bool,
    /// Folder of addresses, emulated namespaces and cached results; PODWIRE_STATE, else /var/lib/podwire
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The release of containernetworking/plugins whose answers are given: 1.1.1 or 1.9.1
    #[arg(long, value_name = "VERSION", default_value_t)]
    plugins_version: PluginsVersion,
    /// Which runtime calls the list: in whose words a failed ADD is told as the pod's event
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = "containerd",
        requires = "list"
    )]
    runtime: RuntimeArg,
    /// Form of the dump
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    output: TextOrJson,
}

/// Which runtime kubelet talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RuntimeArg {
    /// containerd
    Containerd,
    /// Docker by kubelet's own shim, up to Kubernetes 1.23
    Dockershim,
}

impl From<RuntimeArg> for Shim {
    fn from(runtime: RuntimeArg) -> Self {
        match runtime {
            RuntimeArg::Containerd => Self::Containerd,
            RuntimeArg::Dockershim => Self::Dockershim,
        }
    }
}

/// What a runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum ActionArg {
    /// Attach the container.
    Add,
    /// Is it attached as it was?
    Check,
    /// Detach it.
    Del,
    /// Could a container be attached?
    Status,
    /// Detach all containers but this one.
    Gc,
}

impl From<ActionArg> for Action {
    fn from(action: ActionArg) -> Self {
        match action {
            ActionArg::Add => Self::Add,
            ActionArg::Check => Self::Check,
            ActionArg::Del => Self::Del,
            ActionArg::Status => Self::Status,
            ActionArg::Gc => Self::Gc,
        }
    }
}

/// The plugin that a text names.
fn plugin(text: &str) -> Result<&'static str, String> {
    let mut names = plugin_names();
    names.find(|name| *name == text).ok_or_else(|| {
        let names: Vec<&str> = plugin_names().collect();
        format!("accepted are {}", names.join(", "))
    })
}

/// The plugin whose name this program was called by.
pub(crate) fn called_as() -> Option<&'static str> {
    let program = env::args_os().next()?;
    let name = Path::new(&program).file_name().and_then(OsStr::to_str)?;
    plugin_names().find(|plugin| *plugin == name)
}

/// Is the plugin that it was called as, with the state and the release that nothing says otherwise.
pub(crate) fn run_as(plugin: &str) -> ExitCode {
    let options = Options {
        state: state(None),
        plugins: PluginsVersion::default(),
    };
    match run_plugin(plugin, &options, &mut io::stdout().lock()) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) | Err(_) => ExitCode::FAILURE,
    }
}

pub(crate) fn run(
    global: &Global,
    args: &CniArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let options = Options {
        state: state(args.state.clone()),
        plugins: args.plugins_version,
    };
    if let Some(plugin) = args.plugin {
        return run_plugin(plugin, &options, out);
    }
    let (Some(list), Some(action)) = (&args.list, args.action) else {
        return dump(&options, args.output, out);
    };
    let list = NetworkList::read(list).map_err(Failure::input)?;
    let runtime = Runtime {
        container_id: args.container_id.clone().unwrap_or_default(),
        netns: args.netns.clone().unwrap_or_default(),
        ifname: env::var("CNI_IFNAME").unwrap_or_else(|_| "eth0".to_owned()),
        args: env::var("CNI_ARGS").unwrap_or_default(),
        path: env::var("CNI_PATH").unwrap_or_else(|_| "/opt/cni/bin".to_owned()),
        capabilities: capabilities()?,
        shim: args.runtime.into(),
    };
    let reply = libcni::run(action.into(), &list, &runtime, &options);
    if reply.failed && action == ActionArg::Add && !global.quiet {
        let error: CniError = serde_json::from_str(&reply.stdout).unwrap_or_default();
        let event = libcni::sandbox_event(&list, &runtime, &options, &error);
        // Nothing is left to tell if standard error is closed.
        let _ = writeln!(anstream::stderr(), "{event}");
    }
    write_reply(&reply, out)
}

/// The values of CAP_ARGS.
fn capabilities() -> Result<Map<String, Value>, Failure> {
    let Ok(text) = env::var("CAP_ARGS") else {
        return Ok(Map::new());
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::input(format_args!("CAP_ARGS is no JSON object: {error}")))
}

fn state(named: Option<PathBuf>) -> PathBuf {
    let from_env = || env::var_os("PODWIRE_STATE").filter(|dir| !dir.is_empty());
    named
        .or_else(|| from_env().map(PathBuf::from))
        .unwrap_or_else(|| DEFAULT_STATE.into())
}

fn run_plugin(plugin: &str, options: &Options, out: &mut impl Write) -> Result<Answer, Failure> {
    let stdin = || {
        let mut conf = Vec::new();
        let mut stdin = io::stdin().lock().take(LONGEST_CONF);
        stdin.read_to_end(&mut conf).map(|_| conf)
    };
    let env = Environment::of(|name| env::var(name).ok());
    let reply = call(plugin, options, &env, stdin).unwrap_or_default();
    write_reply(&reply, out)
}

fn write_reply(reply: &Reply, out: &mut impl Write) -> Result<Answer, Failure> {
    write!(anstream::stderr(), "{}", reply.stderr)?;
    out.write_all(reply.stdout.as_bytes())?;
    if !reply.stdout.is_empty() && !reply.stdout.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok((!reply.failed).into())
}

fn dump(options: &Options, form: TextOrJson, out: &mut impl Write) -> Result<Answer, Failure> {
    let dump = Dump::read(options).map_err(Failure::input)?;
    match form {
        TextOrJson::Text => out.write_all(dump.to_text().map_err(Failure::input)?.as_bytes())?,
        TextOrJson::Json => {
            let all = dump.to_json().map_err(Failure::input)?;
            writeln!(out, "{all:#}")?;
        }
    }
    Ok(Answer::Yes)
}
