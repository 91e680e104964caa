//! A text to a [`Corefile`], or why CoreDNS would not start with it.
//!
//! # Sources
//! `ValidateAndExecuteDirectives`, caddy.go of coredns/caddy; core/dnsserver/register.go.
//!
//! # Departures
//! Whether ports are free, interfaces are there and the API server answers is not asked. A Corefile that
//! would listen at more than [`LISTENERS`] ports is refused.

use std::path::PathBuf;

use indexmap::{IndexMap, IndexSet};

use super::address::{self, Key};
use super::parse;
use super::refusal::Refusal;
use super::surroundings::{LARGEST, Surroundings};
use super::{Corefile, Plugin, ServerBlock, Transport, setup};
use crate::version::Version;

/// Ports and transports that one Corefile may listen at: each has the plugins of its block.
const LISTENERS: usize = 1024;

impl Corefile {
    /// Reads a Corefile as a release of CoreDNS does. `file` is what messages call it; files that it
    /// imports are looked for beside that.
    ///
    /// # Errors
    /// What keeps CoreDNS from starting: the first thing that it would say.
    pub fn load(
        file: &str,
        text: &str,
        version: Version,
        around: &dyn Surroundings,
    ) -> Result<Self, Refusal> {
        if text.len() as u64 > LARGEST {
            let message = format!("a Corefile of over {LARGEST} bytes is not read");
            return Err(Refusal::plain(message, None));
        }
        let known = |name: &str| version.directives().any(|known| known == name);
        let blocks = parse::blocks(file, text, &known, around)?;
        let mut keys = Vec::new();
        for block in &blocks {
            keys.push(address::keys(&block.keys, version)?);
        }
        // CoreDNS goes from plugin to plugin, and for each through all blocks: so are its refusals
        // ordered.
        let mut plugins: Vec<Vec<Plugin>> = vec![Vec::new(); blocks.len()];
        let mut roots = vec![PathBuf::new(); blocks.len()];
        for name in version.directives() {
            for (at, block) in blocks.iter().enumerate() {
                let Some(tokens) = block.directives.get(name) else {
                    continue;
                };
                let (keys, root) = (&keys[at], &mut roots[at]);
                let plugin = setup::plugin(name, tokens.clone(), keys, version, around, root)?;
                plugins[at].push(plugin);
            }
        }
        let place = |at: usize| blocks[at].keys.first().map(|key| key.place());
        for (at, keys) in keys.iter().enumerate() {
            for Key { port, .. } in keys {
                if port.parse::<u16>().is_err() {
                    let message = format!("address {port}: invalid port");
                    return Err(Refusal::plain(message, place(at)));
                }
            }
        }
        let mut listeners = IndexSet::new();
        for (at, keys) in keys.iter().enumerate() {
            listeners.extend(keys.iter().map(|key| (at, &key.port, key.transport)));
        }
        if listeners.len() > LISTENERS {
            let message = format!("more than {LISTENERS} listeners");
            return Err(Refusal::plain(message, None));
        }
        overlaps(&keys, &plugins).map_err(|(at, message)| Refusal::plain(message, place(at)))?;
        let blocks = keys.into_iter().zip(plugins);
        let servers = blocks
            .flat_map(|(keys, plugins)| servers(keys, plugins))
            .collect();
        Ok(Self { servers })
    }
}

/// A block for each port and transport of its keys.
fn servers(keys: Vec<Key>, plugins: Vec<Plugin>) -> Vec<ServerBlock> {
    let mut listeners: IndexMap<(u16, Transport), ServerBlock> = IndexMap::new();
    for Key {
        transport,
        zone,
        port,
    } in keys
    {
        let port = port.parse().unwrap_or_default();
        let server = listeners
            .entry((port, transport))
            .or_insert_with(|| ServerBlock {
                zones: Vec::new(),
                port,
                transport,
                plugins: plugins.clone(),
            });
        server.zones.push(zone);
    }
    listeners.into_values().collect()
}

/// A zone that two blocks serve at one port, of which one would never be asked.
///
/// Source: `validateZonesAndListeningAddresses`, core/dnsserver/register.go.
fn overlaps(keys: &[Vec<Key>], plugins: &[Vec<Plugin>]) -> Result<(), (usize, String)> {
    let mut served: IndexMap<(Key, String), ()> = IndexMap::new();
    let mut bound: IndexMap<Key, String> = IndexMap::new();
    for (at, (keys, plugins)) in keys.iter().zip(plugins).enumerate() {
        let mut bound_to = Vec::new();
        for plugin in plugins {
            if let Plugin::Bind(addresses) = plugin {
                bound_to.extend(addresses.iter().cloned());
            }
        }
        if bound_to.is_empty() {
            bound_to.push(String::new());
        }
        let viewed =
            |plugin: &Plugin| matches!(plugin, Plugin::Other { name, .. } if name == "view");
        if plugins.iter().any(viewed) {
            continue;
        }
        for key in keys {
            for address in bound_to.clone() {
                let told = |address: &str| match address {
                    "" => key.to_string(),
                    address => format!("{key} on {address}"),
                };
                if served.contains_key(&(key.clone(), address.clone())) {
                    let message =
                        format!("cannot serve {} - it is already defined", told(&address));
                    return Err((at, message));
                }
                let everywhere = served.contains_key(&(key.clone(), String::new()));
                let other = match bound.get(key) {
                    Some(other) if address.is_empty() => Some(other.clone()),
                    Some(_) if everywhere => Some(String::new()),
                    _ => None,
                };
                if let Some(other) = other {
                    return Err((
                        at,
                        format!(
                            "cannot serve {} - zone overlap listener capacity with {}",
                            told(&address),
                            told(&other)
                        ),
                    ));
                }
                served.insert((key.clone(), address.clone()), ());
                bound.insert(key.clone(), address);
            }
        }
    }
    Ok(())
}
