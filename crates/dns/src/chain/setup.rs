//! A Corefile's plugins become handlers.
//!
//! # Sources
//! plugin/*/setup.go of CoreDNS: what a plugin reads at its start.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use indexmap::IndexMap;
use podwire_cluster::{Cluster, ObjectName};

use super::{Behaviour, Chain, Draws, Handler, Server, World};
use crate::corefile::plugin::{Auto, SearchFrom, ZoneFile};
use crate::corefile::{
    Corefile, Fallthrough, Kubernetes as KubernetesConfig, Place, Plugin, ServerBlock,
    Surroundings, Transport, ZoneName,
};
use crate::message::name;
pub use crate::plugin::template::text::TextError;
use crate::plugin::{
    acl::Acl, autopath, autopath::Autopath, cache::Cache, file::File, forward::Forward,
    hosts::Hosts, kubernetes::Kubernetes, loadbalance::Loadbalance, rewrite::Rewrite, small,
    template::Template,
};
use crate::records::Records;
use crate::version::Version;
use crate::zone::{Case, Zone, ZoneError, master};

/// The port whose blocks answer, unless none has it.
const PORT: u16 = 53;

/// What a server is made of, besides its Corefile.
pub struct Setup<'s> {
    /// The cluster whose names it has.
    pub cluster: &'s Cluster,
    /// The release.
    pub version: Version,
    /// What is behind `forward`.
    pub world: World,
    /// The addresses that it listens on; empty: those of the endpoints of Service
    /// `kube-system/kube-dns`, the first of each family, and 127.0.0.1 where it has none.
    pub local: Vec<IpAddr>,
    /// Of its random choices.
    pub seed: u64,
    /// The files that its Corefile names.
    pub surroundings: &'s dyn Surroundings,
}

/// Why a server cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No block answers DNS over UDP and TCP.
    #[error("no server block answers plain DNS")]
    NoServer,
    /// A file cannot be read.
    #[error("{plugin}: `{path}` cannot be read")]
    File {
        /// The plugin that names it.
        plugin: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A zone cannot be read.
    #[error("{path}:{error}")]
    Zone {
        /// Its file.
        path: String,
        /// Where and what.
        error: ZoneError,
    },
    /// A template cannot be read.
    #[error("{}template: {error}", at(place.as_ref()))]
    Template {
        /// Where it stands.
        place: Option<Place>,
        /// What is wrong.
        error: TextError,
    },
    /// `autopath` names a plugin that knows no pods.
    #[error(
        "autopath: `@{0}` is not a plugin of this block that knows search lists; `@kubernetes` is"
    )]
    Autopath(String),
}

impl SetupError {
    /// Whether it tells itself in which file and line the fault is.
    #[must_use]
    pub fn has_place(&self) -> bool {
        matches!(self, Self::Template { place: Some(_), .. })
    }
}

/// A place in front of what is wrong there.
fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!("{place}: "))
}

impl Server {
    /// The server that a Corefile describes. If its blocks have several ports, those of port 53
    /// answer, and if none has it, those of the first block's.
    ///
    /// # Errors
    /// [`SetupError`] for what a plugin cannot start with.
    pub fn new(corefile: &Corefile, setup: Setup<'_>) -> Result<Self, SetupError> {
        let plain = |block: &&ServerBlock| block.transport == Transport::Dns;
        let blocks = || corefile.servers.iter().filter(plain);
        let port = match blocks().find(|block| block.port == PORT) {
            Some(_) => PORT,
            None => blocks().next().ok_or(SetupError::NoServer)?.port,
        };
        let local = if setup.local.is_empty() {
            own_addresses(setup.cluster)
        } else {
            setup.local.clone()
        };
        let maker = Maker {
            setup: &setup,
            behaviour: Behaviour::of(setup.version),
            local,
        };
        let mut zones = IndexMap::new();
        let mut chains = Vec::new();
        for block in blocks().filter(|block| block.port == port) {
            for zone in &block.zones {
                let zone = zone.as_str().to_owned();
                zones.entry(zone).or_insert(chains.len());
            }
            chains.push(maker.chain(block)?);
        }
        Ok(Self {
            zones,
            chains,
            draws: Draws::new(setup.seed),
            world: setup.world,
        })
    }
}

/// The endpoints of the cluster's DNS service, the first of each family: where CoreDNS runs.
fn own_addresses(cluster: &Cluster) -> Vec<IpAddr> {
    let dns = ObjectName::new("kube-system", "kube-dns");
    let slices = cluster.endpoint_slices.values();
    let own = slices.filter(|slice| slice.service().as_ref() == Some(&dns));
    let endpoints = own.flat_map(|slice| &slice.endpoints);
    let ips = endpoints.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in ips {
        if found
            .iter()
            .all(|other| other.is_ipv4() != IpAddr::is_ipv4(&ip))
        {
            found.push(ip);
        }
    }
    if found.is_empty() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found
}

struct Maker<'m> {
    setup: &'m Setup<'m>,
    behaviour: Behaviour,
    local: Vec<IpAddr>,
}

impl Maker<'_> {
    fn chain(&self, block: &ServerBlock) -> Result<Chain, SetupError> {
        let kubernetes: Vec<_> = block
            .plugins
            .iter()
            .filter_map(|plugin| match plugin {
                Plugin::Kubernetes(config) => Some(self.kubernetes(config)),
                _ => None,
            })
            .collect();
        let mut made = kubernetes.iter();
        let mut handlers: Vec<Box<dyn Handler>> = Vec::new();
        for (at, plugin) in block.plugins.iter().enumerate() {
            let otherwise = self.without_zone(&block.plugins[at + 1..]);
            let handler: Box<dyn Handler> = match plugin {
                Plugin::Loadbalance(_) => Box::new(Loadbalance),
                Plugin::Cache(config) => {
                    let authoritative = self.behaviour.cached_is_authoritative;
                    Box::new(Cache::new(config.clone(), authoritative))
                }
                Plugin::Rewrite(rules) => Box::new(Rewrite(rules.clone())),
                Plugin::Template(configs) => {
                    let read = Template::new(configs.clone());
                    Box::new(read.map_err(|(place, error)| SetupError::Template { place, error })?)
                }
                Plugin::Hosts(config) => {
                    // CoreDNS warns of a file that is not there and goes on without it.
                    let file = self.setup.surroundings.read(Path::new(&config.path));
                    Box::new(Hosts::new(config, &file.unwrap_or_default()))
                }
                Plugin::File(files) => Box::new(File {
                    zones: self.files(files)?,
                    otherwise,
                }),
                Plugin::Auto(folders) => Box::new(File {
                    zones: self.folders(folders)?,
                    otherwise,
                }),
                Plugin::Autopath(config) => Box::new(Autopath {
                    zones: config.zones.clone(),
                    search: self.search(&config.search, &kubernetes)?,
                }),
                Plugin::Kubernetes(_) => {
                    let kubernetes = made.next().expect("one was made for each");
                    Box::new(Shared(kubernetes.clone()))
                }
                Plugin::Forward(configs) | Plugin::Proxy(configs) => {
                    Box::new(Forward::new(configs.clone()))
                }
                Plugin::Acl(rules) => Box::new(Acl(rules.clone())),
                Plugin::Whoami => Box::new(small::Whoami),
                Plugin::Any => Box::new(small::Any),
                Plugin::Minimal => Box::new(small::Minimal),
                Plugin::Local => Box::new(small::Local::new()),
                Plugin::Chaos { version, authors } => Box::new(small::Chaos {
                    version: version.clone(),
                    authors: authors.clone(),
                }),
                Plugin::Errors
                | Plugin::Log
                | Plugin::Debug
                | Plugin::Health { .. }
                | Plugin::Ready { .. }
                | Plugin::Prometheus { .. }
                | Plugin::Reload { .. }
                | Plugin::Loop
                | Plugin::Bind(_)
                | Plugin::Bufsize(_)
                | Plugin::Other { .. } => continue,
            };
            handlers.push(handler);
        }
        let chaos = |plugin: &Plugin| matches!(plugin, Plugin::Chaos { .. });
        Ok(Chain {
            handlers,
            other_classes: block.plugins.iter().any(chaos),
        })
    }

    /// What `file` and `auto` say themselves of names in no zone of theirs, before these plugins.
    fn without_zone(&self, behind: &[Plugin]) -> Option<ResponseCode> {
        // These two are no handlers.
        let asks = |plugin: &Plugin| !matches!(plugin, Plugin::Other { name, .. } if name == "on" || name == "sign");
        let is_last = !behind.iter().any(asks);
        (is_last && self.behaviour.last_file_refuses).then_some(ResponseCode::Refused)
    }

    fn kubernetes(&self, config: &KubernetesConfig) -> Arc<Kubernetes> {
        let records = Records::new(self.setup.cluster, config);
        let local = self.local.clone();
        Arc::new(Kubernetes::new(
            config.clone(),
            records,
            self.behaviour,
            local,
        ))
    }

    fn search(
        &self,
        from: &SearchFrom,
        kubernetes: &[Arc<Kubernetes>],
    ) -> Result<autopath::Search, SetupError> {
        match from {
            SearchFrom::Plugin(plugin) => match kubernetes.first() {
                Some(found) if plugin == "kubernetes" => {
                    Ok(autopath::Search::Kubernetes(found.clone()))
                }
                _ => Err(SetupError::Autopath(plugin.clone())),
            },
            SearchFrom::List(domains) => {
                let domains = domains.iter().map(|domain| domain.as_str().to_owned());
                Ok(autopath::Search::List(domains.collect()))
            }
        }
    }

    fn files(&self, files: &[ZoneFile]) -> Result<Vec<(Zone, Fallthrough)>, SetupError> {
        let mut zones = Vec::new();
        for file in files {
            let text = self.read("file", &file.path)?;
            for origin in &file.zones {
                let zone = self.zone(&text, origin, &file.path)?;
                zones.push((zone, file.fallthrough.clone()));
            }
        }
        Ok(zones)
    }

    fn folders(&self, folders: &[Auto]) -> Result<Vec<(Zone, Fallthrough)>, SetupError> {
        let mut zones = Vec::new();
        for auto in folders {
            let folder = Path::new(&auto.directory);
            let names = self.setup.surroundings.list(folder);
            let names = names.map_err(|source| failed("auto", &auto.directory, source))?;
            for name in names {
                let Some(groups) = auto.matching.regex().captures(&name) else {
                    continue;
                };
                let mut origin = auto.origin.clone();
                for (index, group) in groups.iter().enumerate() {
                    let group = group.map_or("", |group| group.as_str());
                    origin = origin.replace(&format!("{{{index}}}"), group);
                }
                let origin = ZoneName::new(&origin);
                if crate::corefile::zone::longest(&auto.zones, origin.as_str()).is_none() {
                    continue;
                }
                let path = folder.join(&name).display().to_string();
                let text = self.read("auto", &path)?;
                let zone = self.zone(&text, &origin, &path)?;
                zones.push((zone, auto.fallthrough.clone()));
            }
        }
        Ok(zones)
    }

    fn zone(&self, text: &str, origin: &ZoneName, path: &str) -> Result<Zone, SetupError> {
        let case = if self.behaviour.keeps_case {
            Case::Kept
        } else {
            Case::Lower
        };
        let origin = name(origin.as_str());
        master::zone_in(text, origin.as_ref(), case).map_err(|error| SetupError::Zone {
            path: path.to_owned(),
            error,
        })
    }

    fn read(&self, plugin: &'static str, path: &str) -> Result<String, SetupError> {
        let text = self.setup.surroundings.read(Path::new(path));
        text.map_err(|source| failed(plugin, path, source))
    }
}

fn failed(plugin: &'static str, path: &str, source: io::Error) -> SetupError {
    SetupError::File {
        plugin,
        path: path.to_owned(),
        source,
    }
}

/// A handler that another plugin asks too.
#[derive(Debug)]
struct Shared(Arc<Kubernetes>);

impl Handler for Shared {
    fn serve(&self, request: &crate::message::Request, next: super::Next<'_>) -> super::Outcome {
        self.0.serve(request, next)
    }
}
