//! CNI: what a container runtime says to a plugin, what the plugin does, and the runtime's own side,
//! in emulated namespaces. Environment and configuration go in; a result, and files that hold
//! namespaces, come out.
//!
//! Called by `podwire cni`, which is a plugin to any runtime. Addresses are chosen by `podwire-ipam`,
//! rules are `podwire-ruleset`'s.
//!
//! # Map
//! - [`call`]: one call of a plugin. **Begin here**: `protocol` checks it, `plugins` does it.
//! - `result`: results, in the form of each version of the specification.
//! - `plugins/`: a module for each plugin.
//! - `kernel`: the namespaces that plugins change; `rules`: iptables; `state`: files and locks.
//! - [`libcni`]: a list of plugins, called in order.
//! - [`Dump`]: what is in the namespaces.
//!
//! ```
//! use podwire_cni::{Environment, Options, PluginsVersion, call};
//!
//! let options = Options {
//!     state: std::env::temp_dir().join("podwire-cni-example"),
//!     plugins: PluginsVersion::V1_9_1,
//! };
//! let env = Environment {
//!     command: "VERSION".to_owned(),
//!     ..Environment::default()
//! };
//! let reply = call("bridge", &options, &env, || Ok(Vec::new())).unwrap();
//! assert!(reply.stdout.contains(r#""cniVersion":"1.1.0""#));
//! ```
//!
//! # Departures
//! - Where the real text of an error is that of Go's JSON reader, or prints a Go structure, the code is
//!   the same and the words are podwire's.
//! - Several containers may be worked on at once in a real kernel; here one call waits for another.
//! - Modules list their own.
//!
//! # Sources
//! SPEC.md, libcni and pkg/ of containernetworking/cni 1.3.0; containernetworking/plugins 1.1.1 and
//! 1.9.1; flannel-io/cni-plugin.

mod args;
mod conf;
mod dump;
mod error;
mod host;
mod ipam;
mod json;
mod kernel;
pub mod libcni;
mod plugins;
mod protocol;
mod result;
mod rules;
mod state;
mod version;

use std::io;

pub use dump::Dump;
pub use error::{CniError, StateError, code};
pub use protocol::{Environment, Options, Reply};
pub use result::{Cidr, CniResult, Dns, Interface, IpConfig, RouteConf};
pub use version::{ParsePluginsVersionError, PluginsVersion, SPEC_VERSIONS};

/// The names of all plugins, sorted.
pub fn plugin_names() -> impl Iterator<Item = &'static str> {
    plugins::ALL.iter().map(|plugin| plugin.name)
}

/// One call of a plugin; `None` if there is none of that name.
///
/// `stdin` gives the network configuration; it is not asked for VERSION.
pub fn call(
    plugin: &str,
    options: &Options,
    env: &Environment,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Option<Reply> {
    let plugin = plugins::find(plugin)?;
    Some(protocol::answer(plugin, options, env, stdin))
}
