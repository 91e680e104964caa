//! The kernel that plugins talk to: namespaces with devices, addresses, routes, sysctls and rules, kept
//! in files.
//!
//! # Map
//! - `device`: devices.
//! - `namespace`: one namespace, and what netlink would answer about it.
//! - [`Kernel`]: the host's namespace and the containers', and what joins them: pairs of veth devices.
//!
//! # Departures
//! - Names and Ethernet addresses that are random in a real kernel are made from the container, the
//!   network and the device, so that the same calls give the same state.
//! - The host has one network card, `eth0`, with 192.0.2.10/24 and a default route by 192.0.2.1, for the
//!   plugins that need a device of the host's.
//! - Link-local IPv6 addresses and their routes are not kept.

pub(crate) mod device;
pub(crate) mod namespace;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use podwire_packet::{MacAddr, made_up_bits};

use crate::StateError;
use crate::kernel::device::{Device, Kind, Peer, Port};
use crate::kernel::namespace::{Errno, Namespace, Route};
use crate::state::{Locked, io_error};

/// Where emulated namespaces are kept in the state directory.
pub(crate) const FOLDER: &str = "netns";

const LOCK: &str = ".lock";

/// The host's namespace; no CNI_NETNS has that name.
pub(crate) const HOST: &str = ".host";

/// Why a namespace cannot be entered, in the words of `ns.GetNS`.
#[derive(Debug)]
pub(crate) struct NoNamespace(pub(crate) String);

/// All namespaces; other processes wait while one has this.
#[derive(Debug)]
pub(crate) struct Kernel {
    files: Locked,
    namespaces: BTreeMap<String, Loaded>,
}

#[derive(Debug)]
struct Loaded {
    now: Namespace,
    saved: Namespace,
}

/// The file of a namespace: its path with `/`, `%` and a dot in front written as `%` and two digits.
fn file_name(netns: &str) -> String {
    let mut name = String::new();
    for (place, c) in netns.char_indices() {
        match c {
            '%' => name.push_str("%25"),
            '/' => name.push_str("%2F"),
            '.' if place == 0 => name.push_str("%2E"),
            _ => name.push(c),
        }
    }
    name
}

/// What [`file_name`] was given.
fn netns_of(file: &str) -> String {
    file.replace("%2E", ".")
        .replace("%2F", "/")
        .replace("%25", "%")
}

impl Kernel {
    /// The namespaces of a state directory.
    pub(crate) fn open(state: &Path) -> Result<Self, StateError> {
        let folder = state.join(FOLDER);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        // Whatever path a caller hands over, files in the folder are known by it.
        let folder = folder.canonicalize().map_err(io_error(&folder))?;
        let files = Locked::open(&folder, LOCK)?;
        files.recover()?;
        let mut kernel = Self {
            files,
            namespaces: BTreeMap::new(),
        };
        kernel.load(HOST, HOST, Namespace::host)?;
        Ok(kernel)
    }

    fn load(
        &mut self,
        key: &str,
        file: &str,
        new: impl FnOnce() -> Namespace,
    ) -> Result<(), StateError> {
        if self.namespaces.contains_key(key) {
            return Ok(());
        }
        let content = |why: String| StateError::Content {
            path: self.files.dir().join(file).display().to_string(),
            why,
        };
        // A runtime may make an empty file first, and hand over its path.
        let text = self.files.read(file)?;
        let saved = match text.filter(|text| !text.trim().is_empty()) {
            Some(text) => {
                serde_json::from_str(&text).map_err(|error| content(error.to_string()))?
            }
            None => new(),
        };
        let loaded = Loaded {
            now: Clone::clone(&saved),
            saved,
        };
        self.namespaces.insert(key.to_owned(), loaded);
        Ok(())
    }

    /// Looks for a CNI_NETNS: a path that is not absolute is made on first use, an absolute one must
    /// be there.
    pub(crate) fn enter(&mut self, netns: &str) -> Result<Result<(), NoNamespace>, StateError> {
        let path = Path::new(netns);
        if path.is_absolute() && fs::metadata(path).is_err() {
            let why = format!("failed to Statfs {netns:?}: no such file or directory");
            return Ok(Err(NoNamespace(why)));
        }
        let key = self.key(netns);
        if key.is_empty() || key == HOST {
            let why = format!("unknown FS magic on {netns:?}");
            return Ok(Err(NoNamespace(why)));
        }
        self.load(&key, &file_name(&key), Namespace::new)?;
        Ok(Ok(()))
    }

    /// The name by which a namespace is known here: its path, or what stands for it in our folder.
    fn key(&self, netns: &str) -> String {
        let path = Path::new(netns);
        match path.strip_prefix(self.files.dir()) {
            Ok(file) if path.is_absolute() => netns_of(file.to_str().unwrap_or_default()),
            _ => netns.to_owned(),
        }
    }

    /// A namespace that was entered.
    ///
    /// # Panics
    /// If it was not.
    pub(crate) fn get(&self, netns: &str) -> &Namespace {
        &self.namespaces[&self.key(netns)].now
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, netns: &str) -> &mut Namespace {
        let key = self.key(netns);
        let loaded = self.namespaces.get_mut(&key);
        &mut loaded.expect("it was entered").now
    }

    /// The host's namespace.
    pub(crate) fn host(&self) -> &Namespace {
        self.get(HOST)
    }

    /// The host's namespace, to change it.
    pub(crate) fn host_mut(&mut self) -> &mut Namespace {
        self.get_mut(HOST)
    }

    /// The containers' namespaces by name.
    pub(crate) fn containers(&mut self) -> Result<Vec<(String, Namespace)>, StateError> {
        let mut all = Vec::new();
        for file in self.files.names()? {
            let netns = netns_of(&file);
            self.load(&netns, &file, Namespace::new)?;
            all.push((netns.clone(), self.get(&netns).clone()));
        }
        Ok(all)
    }

    /// Writes what has changed.
    pub(crate) fn commit(&mut self) -> Result<(), StateError> {
        let mut texts = BTreeMap::new();
        for (key, loaded) in &self.namespaces {
            if loaded.now != loaded.saved {
                let text = serde_json::to_string(&loaded.now).expect("a namespace has text keys");
                let file = if key == HOST {
                    HOST.to_owned()
                } else {
                    file_name(key)
                };
                texts.insert(file, text + "\n");
            }
        }
        self.files.write_all(&texts)?;
        for loaded in self.namespaces.values_mut() {
            if loaded.now != loaded.saved {
                loaded.saved = loaded.now.clone();
            }
        }
        Ok(())
    }

    /// Makes a veth pair: one end called `name` in a namespace, the other on the host, which is up.
    /// Returns the host's end.
    ///
    /// Source: `SetupVeth`, pkg/ip/link_linux.go of containernetworking/plugins.
    pub(crate) fn add_veth(
        &mut self,
        netns: &str,
        name: &str,
        mtu: u32,
        mac: Option<MacAddr>,
        seed: &[&str],
    ) -> Result<String, (Errno, String)> {
        let free = |attempt: u32| {
            let mut words = seed.to_vec();
            let attempt = attempt.to_string();
            words.push(&attempt);
            let bits = made_up_bits(&words);
            format!("veth{:08x}", bits >> 32)
        };
        let mut attempts = (0..).map(free);
        let taken = |peer: &String| self.host().link(peer).is_some();
        let peer = attempts
            .find(|peer| !taken(peer))
            .expect("names do not run out");
        if self.get(netns).link(name).is_some() {
            return Err((Errno::Exists, peer));
        }
        self.connect(netns, name, &peer, mtu, mac, seed);
        Ok(peer)
    }

    /// Makes a veth pair of two names that are free; the host's end is `peer`, and up.
    pub(crate) fn connect(
        &mut self,
        netns: &str,
        name: &str,
        peer: &str,
        mtu: u32,
        mac: Option<MacAddr>,
        seed: &[&str],
    ) {
        let mtu = if mtu == 0 { Device::ETHERNET_MTU } else { mtu };
        let address = |of: &str| MacAddr::of_bits(made_up_bits(&[&[of], seed].concat()));
        let key = self.key(netns);
        let end = |netns: &str, name: &str| {
            Kind::Veth(Peer {
                netns: netns.to_owned(),
                name: name.to_owned(),
            })
        };
        let inside = mac.unwrap_or_else(|| address(name));
        let inside = Device::new(name, end(HOST, peer), inside, mtu);
        let outside = Device::new(peer, end(&key, name), address(peer), mtu);
        self.get_mut(netns).add_link(inside);
        self.host_mut().add_link(outside);
        self.host_mut().set_up(peer);
    }

    /// Removes a device, and the other end of a veth pair with it.
    pub(crate) fn delete_link(&mut self, netns: &str, name: &str) {
        let Some(device) = self.get_mut(netns).remove_link(name) else {
            return;
        };
        if let Kind::Veth(peer) = device.kind
            && let Some(other) = self.namespaces.get_mut(&peer.netns)
        {
            other.now.remove_link(&peer.name);
        }
    }

    /// Moves a device to another namespace under another name, without its addresses and down.
    pub(crate) fn move_link(&mut self, from: &str, name: &str, to: &str, new_name: &str) {
        let Some(mut device) = self.get_mut(from).remove_link(name) else {
            return;
        };
        device.name = new_name.to_owned();
        device.is_up = false;
        device.addresses.clear();
        device.port = None;
        self.get_mut(to).add_link(device);
    }

    /// Makes a device a port of a bridge of the host.
    pub(crate) fn set_master(&mut self, name: &str, bridge: &str, port: Port) {
        let host = self.host_mut();
        if let Some(device) = host.link_mut(name) {
            device.port = Some(Port {
                bridge: bridge.to_owned(),
                ..port
            });
        }
        host.settle_bridge(bridge);
    }

    /// The host's device that packets to an address leave by.
    pub(crate) fn host_device_toward(&self, ip: std::net::IpAddr) -> Option<String> {
        let route: &Route = self.host().route_to(ip)?;
        Some(route.dev.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_can_be_turned_back_and_never_begin_with_a_dot() {
        for netns in ["c1", "/var/run/netns/a", ".host", "50%", "..", "%2F"] {
            let file = file_name(netns);
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(netns_of(&file), netns);
        }
    }
}
