//! A Corefile as data: server blocks, and in each the plugins in the order in which CoreDNS asks
//! them.
//!
//! # Map
//! - [`zone`]: zone names as CoreDNS writes them, `fallthrough`.
//! - [`plugin`]: the plugins that podwire answers with, [`Plugin`] and what each is told.
//! - [`rewrite`], [`forward`], [`kubernetes`], [`cache`]: settings of the larger ones.
//! - [`selector`]: label selectors, as `labels` and `namespace_labels` have them.
//! - [`pattern`]: regular expressions.
//! - [`load`](Corefile::load): a text to all that: `lexer`, `parse` (blocks, snippets, imports), `address` (keys),
//!   then `setup`, which has a file for each larger plugin; `go` has numbers and durations as Go reads them.
//! - [`refusal`]: why CoreDNS would not start, in its words. [`surroundings`]: files and variables.
//!
//! # Sources
//! core/dnsserver/{config,address}.go and plugin/*/setup.go of CoreDNS.

mod address;
pub mod cache;
mod dispenser;
pub mod forward;
mod go;
pub mod kubernetes;
pub(crate) mod lexer;
mod load;
mod parse;
pub mod pattern;
pub mod plugin;
pub mod refusal;
pub mod rewrite;
pub mod selector;
mod setup;
pub mod surroundings;
pub mod zone;

pub use cache::CacheConfig;
pub use forward::Forward;
pub use kubernetes::{Kubernetes, PodMode};
pub use pattern::Pattern;
pub use plugin::Plugin;
pub use refusal::{Place, Refusal};
pub use rewrite::RewriteRule;
pub use selector::Selector;
pub use surroundings::{Machine, Nothing, Surroundings};
pub use zone::{Fallthrough, ZoneName};

/// A Corefile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corefile {
    /// The server blocks, as written.
    pub servers: Vec<ServerBlock>,
}

/// Plugins that may stand in a Corefile without a trace in its answers: they are about connections,
/// traces, metadata and files.
const HARMLESS: [&str; 14] = [
    "root",
    "metadata",
    "geoip",
    "cancel",
    "tls",
    "quic",
    "timeouts",
    "multisocket",
    "nsid",
    "trace",
    "pprof",
    "dnstap",
    "on",
    "sign",
];

impl Corefile {
    /// The plugins that answers do not heed here and that CoreDNS's may, each with its place, once.
    #[must_use]
    pub fn unheeded(&self) -> Vec<(&str, &Place)> {
        let mut found = Vec::new();
        for plugin in self.servers.iter().flat_map(|server| &server.plugins) {
            if let Plugin::Other {
                name,
                place: Some(place),
            } = plugin
                && !HARMLESS.contains(&&**name)
                && !found.contains(&(&**name, place))
            {
                found.push((&**name, place));
            }
        }
        found
    }
}

/// A server block: what is asked about its zones, on its port, is answered by its plugins.
///
/// A block whose keys name several ports or transports is one `ServerBlock` for each.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerBlock {
    /// The zones; a query goes to the block with the longest one that holds its name.
    pub zones: Vec<ZoneName>,
    /// The port that the server listens on.
    pub port: u16,
    /// How queries come.
    pub transport: Transport,
    /// The plugins, in the order in which a query meets them: that of the release's plugin.cfg,
    /// whatever the order in the file.
    pub plugins: Vec<Plugin>,
}

/// How queries come to a server or go to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// DNS over UDP and TCP.
    #[default]
    Dns,
    /// DNS over TLS.
    Tls,
    /// DNS over QUIC.
    Quic,
    /// DNS over gRPC.
    Grpc,
    /// DNS over HTTPS.
    Https,
    /// DNS over HTTP/3.
    Https3,
}

impl Transport {
    /// The port that a server of this transport listens on unless its key says one.
    ///
    /// Source: plugin/pkg/transport/transport.go.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Grpc | Self::Https | Self::Https3 => 443,
        }
    }

    /// The scheme of a server's key, without `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Grpc => "grpc",
            Self::Https => "https",
            Self::Https3 => "https3",
        }
    }
}
