//! A pod's resolv.conf.
//!
//! # Sources
//! pkg/kubelet/network/dns/dns.go of Kubernetes: `GetPodDNS`, `appendDNSConfig`, the limits;
//! resolv.conf(5).
//!
//! # Departures
//! kubelet logs and sends an event where it cuts a list; here it is told with the answer.

use std::fmt;
use std::net::IpAddr;

use podwire_cluster::{Cluster, DnsPolicy, ObjectName, Pod, PodDns};

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver`, in order.
    pub nameservers: Vec<IpAddr>,
    /// `search`, in order.
    pub search: Vec<String>,
    /// `options`, as written: `ndots:5`, `rotate`.
    pub options: Vec<String>,
}

/// Domains in a search list that kubelet lets through: of glibc, to 2.25, it was 6.
pub const MAX_SEARCH: usize = 32;
/// Characters in it, spaces included.
pub const MAX_SEARCH_CHARS: usize = 2048;
/// Nameservers that kubelet lets through, and glibc reads: MAXNS.
pub const MAX_NAMESERVERS: usize = 3;

/// `ndots` where nothing says it.
const DEFAULT_NDOTS: usize = 1;
/// RES_MAXNDOTS.
const MAX_NDOTS: usize = 15;

impl ResolvConf {
    /// A list that is searched for names with fewer dots than `ndots`.
    pub fn new(search: Vec<String>, ndots: usize) -> Self {
        Self {
            nameservers: Vec::new(),
            search,
            options: vec![format!("ndots:{ndots}")],
        }
    }

    /// From how many dots on a name is asked for as it is first. The last word on it counts.
    pub fn ndots(&self) -> usize {
        let said = self.options.iter().rev();
        let mut said = said.filter_map(|option| option.strip_prefix("ndots:")?.parse().ok());
        said.next()
            .map_or(DEFAULT_NDOTS, |ndots: usize| ndots.min(MAX_NDOTS))
    }

    /// Reads the text of a resolv.conf; what is unknown in it is passed over.
    pub fn read(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf
                    .nameservers
                    .extend(words.filter_map(|w| w.parse::<IpAddr>().ok())),
                Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }
}

/// A pod's resolv.conf, and what kubelet had to say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodConf {
    /// The file.
    pub conf: ResolvConf,
    /// What was cut, or is missing.
    pub warnings: Vec<String>,
}

/// What kubelet writes into a pod's `/etc/resolv.conf`; `node` is that of the pod's node.
///
/// Where the input has no KubeletConfiguration, the nameserver is Service kube-system/kube-dns, as
/// kubeadm sets it up, and the domain `cluster.local`.
pub fn of_pod(cluster: &Cluster, pod: &Pod, node: &ResolvConf) -> PodConf {
    let default = PodDns::default();
    let dns = pod.dns.as_deref().unwrap_or(&default);
    let mut warnings = Vec::new();
    let (nameservers, domain) = of_kubelet(cluster);
    let of_cluster = match dns.policy {
        DnsPolicy::ClusterFirst => !pod.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let mut conf = match dns.policy {
        DnsPolicy::None => ResolvConf::default(),
        _ if of_cluster && nameservers.is_empty() => {
            warnings.push(
                "no clusterDNS and no Service kube-system/kube-dns: the pod gets its node's resolv.conf"
                    .to_owned(),
            );
            node.clone()
        }
        _ if of_cluster => {
            let namespace = &pod.meta.name.namespace;
            let mut search = vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain,
            ];
            search.extend(node.search.iter().cloned());
            ResolvConf {
                nameservers,
                search,
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => node.clone(),
    };
    conf.nameservers.extend(&dns.nameservers);
    conf.search
        .extend(dns.searches.iter().map(|domain| domain.to_string()));
    for (name, value) in &dns.options {
        let known = |option: &String| option.split(':').next() == Some(name);
        conf.options.retain(|option| !known(option));
        conf.options.push(match value {
            Some(value) => format!("{name}:{value}"),
            None => name.to_string(),
        });
    }
    fit(&mut conf, &mut warnings);
    PodConf { conf, warnings }
}

/// Nameservers and domain of pods.
fn of_kubelet(cluster: &Cluster) -> (Vec<IpAddr>, String) {
    let kubelet = cluster.kubelet.as_ref();
    let said = kubelet.map_or(&[][..], |kubelet| &kubelet.cluster_dns);
    let mut nameservers = said.to_vec();
    if said.is_empty() {
        let name = ObjectName::new("kube-system", "kube-dns");
        let addresses = cluster
            .services
            .get(&name)
            .map_or(&[][..], |s| &s.cluster_ips);
        nameservers.extend(addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    let domain = kubelet.map_or("", |kubelet| &kubelet.cluster_domain);
    let domain = if domain.is_empty() {
        "cluster.local"
    } else {
        domain
    };
    (nameservers, domain.to_owned())
}

/// Leaves out what stands twice, and what is over the limits.
fn fit(conf: &mut ResolvConf, warnings: &mut Vec<String>) {
    let mut seen = Vec::new();
    conf.nameservers.retain(|ip| {
        let new = !seen.contains(ip);
        seen.push(*ip);
        new
    });
    let mut seen: Vec<String> = Vec::new();
    conf.search.retain(|domain| {
        let new = !seen.contains(domain);
        seen.push(domain.clone());
        new
    });
    if conf.nameservers.len() > MAX_NAMESERVERS {
        warnings.push(format!(
            "{} nameservers: the first {MAX_NAMESERVERS} count",
            conf.nameservers.len()
        ));
        conf.nameservers.truncate(MAX_NAMESERVERS);
    }
    let length = |search: &[String]| search.join(" ").len();
    let whole = conf.search.len();
    conf.search.truncate(MAX_SEARCH);
    while length(&conf.search) > MAX_SEARCH_CHARS {
        conf.search.pop();
    }
    if conf.search.len() < whole {
        let left = conf.search.len();
        warnings.push(format!("{whole} search domains: the first {left} count"));
    }
}

impl fmt::Display for ResolvConf {
    /// As kubelet writes it into a pod.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for nameserver in &self.nameservers {
            writeln!(f, "nameserver {nameserver}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}
