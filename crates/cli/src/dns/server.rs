//! The server that `dns query` and `dns serve` ask.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::Args;
use podwire_cluster::Cluster;
use podwire_dns::corefile::{Corefile, Machine};
use podwire_dns::zone::master;
use podwire_dns::{Server, Setup, World};

use super::version;
use crate::args::Global;
use crate::failure::Failure;
use crate::files::read_short_text;

/// What kubeadm 1.30 writes into ConfigMap `coredns`, but for the comments.
///
/// Source: `CoreDNSConfigMap`, cmd/kubeadm/app/phases/addons/dns/manifests.go.
const KUBEADM: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
";

/// The server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// A file, a folder (its .yaml, .yml, .json and .ron files) or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(super) filename: Vec<PathBuf>,
    #[command(flatten)]
    coredns: CorednsArgs,
}

/// How CoreDNS runs, and what stands behind it.
#[derive(Debug, Args)]
pub(crate) struct CorednsArgs {
    /// The Corefile; if not said, that of ConfigMap coredns, else what kubeadm writes
    #[arg(long, value_name = "FILE")]
    corefile: Option<PathBuf>,
    /// The release of CoreDNS; 1.13.2 if not said
    #[arg(long, value_name = "VERSION")]
    coredns_version: Option<String>,
    /// A real name server that stands behind every forward and proxy
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "upstream_zone")]
    upstream: Option<String>,
    /// A zone, as a master file, of the name server that stands behind every forward and proxy;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    upstream_zone: Vec<PathBuf>,
}

impl ServerArgs {
    /// The server, over these objects.
    pub(super) fn server(
        &self,
        global: &Global,
        cluster: &Cluster,
        local: Vec<IpAddr>,
    ) -> Result<Server, Failure> {
        self.coredns.server(global, cluster, local)
    }
}

impl CorednsArgs {
    /// The server, over these objects.
    pub(crate) fn server(
        &self,
        global: &Global,
        cluster: &Cluster,
        local: Vec<IpAddr>,
    ) -> Result<Server, Failure> {
        let version = version(self.coredns_version.as_deref())?;
        let machine = Machine::default();
        let (file, text) = self.text(cluster)?;
        let corefile = Corefile::load(&file, &text, version, &machine);
        let corefile = corefile.map_err(|refusal| match &refusal.place {
            Some(place) => Failure::input(format_args!("{place}: {}", refusal.without_line())),
            None => Failure::input(format_args!("{file}: {refusal}")),
        })?;
        if !global.quiet {
            for (plugin, place) in corefile.unheeded() {
                // The answer is the same if nobody hears this.
                let _ = writeln!(
                    anstream::stderr(),
                    "warning: {place}: plugin {plugin} is not modelled: answers may differ"
                );
            }
        }
        let setup = Setup {
            cluster,
            version,
            world: self.world()?,
            local,
            seed: global.seed,
            surroundings: &machine,
        };
        Server::new(&corefile, setup).map_err(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            if error.has_place() {
                return Failure::input(error);
            }
            Failure::input(format_args!("{file}: {error}{cause}"))
        })
    }

    /// The Corefile's text, and where it is from.
    fn text(&self, cluster: &Cluster) -> Result<(String, String), Failure> {
        if let Some(path) = &self.corefile {
            return Ok((path.display().to_string(), read_short_text(path)?));
        }
        Ok(match &cluster.corefile {
            Some(found) => {
                let file = format!("{}: Corefile", cluster.place(found.source));
                (file, found.text.to_string())
            }
            None => ("Corefile".to_owned(), KUBEADM.to_owned()),
        })
    }

    fn world(&self) -> Result<World, Failure> {
        if let Some(server) = &self.upstream {
            return resolve(server).map(World::Real).map_err(|error| {
                Failure::input(format_args!(
                    "--upstream {server}: {error}; accepted is HOST:PORT, as in 192.0.2.53:53"
                ))
            });
        }
        if self.upstream_zone.is_empty() {
            return Ok(World::Nothing);
        }
        let zones = self.upstream_zone.iter().map(|path| {
            let text = read_short_text(path)?;
            master::zone(&text, None)
                .map_err(|error| Failure::input(format_args!("{}:{error}", path.display())))
        });
        zones.collect::<Result<_, _>>().map(World::Zones)
    }
}

fn resolve(server: &str) -> io::Result<SocketAddr> {
    let mut found = server.to_socket_addrs()?;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}
