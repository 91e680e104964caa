//! The ipsets of IPVS mode (`ipsetInfo` and pkg/proxy/ipvs/ipset.go).

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_packet::{Family, Prefix, Protocol};
use podwire_ruleset::{IpSet, SetEntry, SetKind, SetPart, Sets};

/// One of the sets, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KubeSet {
    ClusterIp,
    ExternalIp,
    ExternalIpLocal,
    HealthCheckNodePort,
    IpvsIps,
    LoadBalancer,
    LoadBalancerFw,
    LoadBalancerLocal,
    LoadBalancerSourceCidr,
    LoadBalancerSourceIp,
    LoopBack,
    NodePortLocalSctp,
    NodePortLocalTcp,
    NodePortLocalUdp,
    NodePortSctp,
    NodePortTcp,
    NodePortUdp,
}

impl KubeSet {
    pub(super) const ALL: [Self; 17] = [
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::HealthCheckNodePort,
        Self::IpvsIps,
        Self::LoadBalancer,
        Self::LoadBalancerFw,
        Self::LoadBalancerLocal,
        Self::LoadBalancerSourceCidr,
        Self::LoadBalancerSourceIp,
        Self::LoopBack,
        Self::NodePortLocalSctp,
        Self::NodePortLocalTcp,
        Self::NodePortLocalUdp,
        Self::NodePortSctp,
        Self::NodePortTcp,
        Self::NodePortUdp,
    ];

    /// Its name behind `KUBE-`, or `KUBE-6-` for IPv6.
    const fn suffix(self) -> &'static str {
        match self {
            Self::ClusterIp => "CLUSTER-IP",
            Self::ExternalIp => "EXTERNAL-IP",
            Self::ExternalIpLocal => "EXTERNAL-IP-LOCAL",
            Self::HealthCheckNodePort => "HEALTH-CHECK-NODE-PORT",
            Self::IpvsIps => "IPVS-IPS",
            Self::LoadBalancer => "LOAD-BALANCER",
            Self::LoadBalancerFw => "LOAD-BALANCER-FW",
            Self::LoadBalancerLocal => "LOAD-BALANCER-LOCAL",
            Self::LoadBalancerSourceCidr => "LOAD-BALANCER-SOURCE-CIDR",
            Self::LoadBalancerSourceIp => "LOAD-BALANCER-SOURCE-IP",
            Self::LoopBack => "LOOP-BACK",
            Self::NodePortLocalSctp => "NODE-PORT-LOCAL-SCTP-HASH",
            Self::NodePortLocalTcp => "NODE-PORT-LOCAL-TCP",
            Self::NodePortLocalUdp => "NODE-PORT-LOCAL-UDP",
            Self::NodePortSctp => "NODE-PORT-SCTP-HASH",
            Self::NodePortTcp => "NODE-PORT-TCP",
            Self::NodePortUdp => "NODE-PORT-UDP",
        }
    }

    /// Its name, cut to what the kernel takes (`NewIPSet`).
    pub(super) fn name(self, family: Family) -> String {
        const MAX_NAME: usize = 31;
        let prefix = match family {
            Family::Ipv4 => "KUBE-",
            Family::Ipv6 => "KUBE-6-",
        };
        let mut name = format!("{prefix}{}", self.suffix());
        name.truncate(MAX_NAME);
        name
    }

    /// What rules that ask it have in their comment.
    pub(super) const fn comment(self) -> &'static str {
        match self {
            Self::ClusterIp => "Kubernetes service cluster ip + port for masquerade purpose",
            Self::ExternalIp => {
                "Kubernetes service external ip + port for masquerade and filter purpose"
            }
            Self::ExternalIpLocal => {
                "Kubernetes service external ip + port with externalTrafficPolicy=local"
            }
            Self::HealthCheckNodePort => "Kubernetes health check node port",
            // No rule that asks it has a comment.
            Self::IpvsIps => "",
            Self::LoadBalancer => "Kubernetes service lb portal",
            Self::LoadBalancerFw => {
                "Kubernetes service load balancer ip + port for load balancer with sourceRange"
            }
            Self::LoadBalancerLocal => {
                "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
            }
            Self::LoadBalancerSourceCidr => {
                "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
            }
            Self::LoadBalancerSourceIp => {
                "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
            }
            Self::LoopBack => {
                "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"
            }
            Self::NodePortLocalSctp => {
                "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
            }
            Self::NodePortLocalTcp => {
                "Kubernetes nodeport TCP port with externalTrafficPolicy=local"
            }
            Self::NodePortLocalUdp => {
                "Kubernetes nodeport UDP port with externalTrafficPolicy=local"
            }
            Self::NodePortSctp => {
                "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"
            }
            Self::NodePortTcp => "Kubernetes nodeport TCP port for masquerade purpose",
            Self::NodePortUdp => "Kubernetes nodeport UDP port for masquerade purpose",
        }
    }

    const fn parts(self) -> &'static [SetPart] {
        match self {
            Self::ClusterIp
            | Self::ExternalIp
            | Self::ExternalIpLocal
            | Self::LoadBalancer
            | Self::LoadBalancerFw
            | Self::LoadBalancerLocal
            | Self::NodePortLocalSctp
            | Self::NodePortSctp => &[SetPart::Ip, SetPart::Port],
            Self::LoopBack | Self::LoadBalancerSourceIp => {
                &[SetPart::Ip, SetPart::Port, SetPart::Ip]
            }
            Self::LoadBalancerSourceCidr => &[SetPart::Ip, SetPart::Port, SetPart::Net],
            Self::IpvsIps => &[SetPart::Ip],
            Self::HealthCheckNodePort
            | Self::NodePortLocalTcp
            | Self::NodePortLocalUdp
            | Self::NodePortTcp
            | Self::NodePortUdp => &[SetPart::Port],
        }
    }

    const fn is_bitmap(self) -> bool {
        matches!(self.parts(), [SetPart::Port])
    }

    /// What stands behind the type in `create`.
    const fn options(self, family: Family) -> &'static str {
        match (self.is_bitmap(), family) {
            (true, _) => "range 0-65535",
            (false, Family::Ipv4) => "family inet hashsize 1024 maxelem 65536",
            (false, Family::Ipv6) => "family inet6 hashsize 1024 maxelem 65536",
        }
    }
}

/// The sets with their entries, for one family.
#[derive(Clone, Debug)]
pub(super) struct KubeSets {
    family: Family,
    /// By set; entries as `ipset add` gets them, and what they mean.
    entries: [Vec<(Box<str>, Vec<SetEntry>)>; KubeSet::ALL.len()],
}

impl KubeSets {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            entries: Default::default(),
        }
    }

    pub(super) const fn family(&self) -> Family {
        self.family
    }

    pub(super) const fn is_empty(&self, set: KubeSet) -> bool {
        self.entries[set as usize].is_empty()
    }

    fn add(&mut self, set: KubeSet, text: String, values: Vec<SetEntry>) {
        self.entries[set as usize].push((text.into(), values));
    }

    pub(super) fn add_ip(&mut self, set: KubeSet, ip: IpAddr) {
        self.add(set, ip.to_string(), vec![address(ip)]);
    }

    pub(super) fn add_port(&mut self, set: KubeSet, port: u16) {
        let values = vec![SetEntry::Ports(None, port..=port)];
        self.add(set, port.to_string(), values);
    }

    pub(super) fn add_ip_port(&mut self, set: KubeSet, ip: IpAddr, port: PortOf) {
        let text = format!("{ip},{port}");
        self.add(set, text, vec![address(ip), port.entry()]);
    }

    /// An address that is written as `spelled`, its port, and the same address again.
    pub(super) fn add_ip_port_ip(&mut self, set: KubeSet, spelled: &str, ip: IpAddr, port: PortOf) {
        let text = format!("{spelled},{port},{spelled}");
        self.add(set, text, vec![address(ip), port.entry(), address(ip)]);
    }

    pub(super) fn add_ip_port_net(&mut self, set: KubeSet, ip: IpAddr, port: PortOf, net: Prefix) {
        let text = format!("{ip},{port},{net}");
        let values = vec![address(ip), port.entry(), SetEntry::Net(net)];
        self.add(set, text, values);
    }

    /// Sorts every set's entries: ports by number, all else as bytes. Each is there once.
    pub(super) fn sort(&mut self) {
        for (set, entries) in KubeSet::ALL.into_iter().zip(&mut self.entries) {
            if set.is_bitmap() {
                entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            } else {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            entries.dedup_by(|(a, _), (b, _)| a == b);
        }
    }

    /// Appends the text of `ipset save`, but that entries stand as `ipset add` got them.
    pub(super) fn print(&self, text: &mut String) {
        for (set, entries) in KubeSet::ALL.into_iter().zip(&self.entries) {
            let name = set.name(self.family);
            let kind = set.kind();
            let options = set.options(self.family);
            writeln!(text, "create {name} {kind} {options}").expect("a String takes any text");
            for (entry, _) in entries {
                text.push_str("add ");
                text.push_str(&name);
                text.push(' ');
                text.push_str(entry);
                text.push('\n');
            }
        }
    }

    /// The sets as rules ask them.
    ///
    /// `ipset` refuses a prefix of no length in these types (`hash_ipportnet4_uadt`,
    /// net/netfilter/ipset/ip_set_hash_ipportnet.c), so such an entry is missing.
    pub(super) fn to_sets(&self) -> Sets {
        let sets = KubeSet::ALL.into_iter().zip(&self.entries);
        sets.map(|(set, entries)| {
            let accepted = entries.iter().filter(|(_, values)| {
                !values
                    .iter()
                    .any(|value| matches!(value, SetEntry::Net(prefix) if prefix.is_empty()))
            });
            let ipset = IpSet {
                kind: set.kind(),
                // A set of ports alone has none, and gets this one as when it is read.
                family: if set.is_bitmap() {
                    Family::Ipv4
                } else {
                    self.family
                },
                options: set.options(self.family).into(),
                entries: accepted
                    .map(|(_, values)| (values.clone(), Box::default()))
                    .collect(),
            };
            (set.name(self.family).into(), ipset)
        })
        .collect()
    }
}

impl KubeSet {
    fn kind(self) -> SetKind {
        SetKind {
            method: if self.is_bitmap() { "bitmap" } else { "hash" }.into(),
            parts: self.parts().to_vec(),
        }
    }
}

/// A port of a protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortOf {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl PortOf {
    fn entry(self) -> SetEntry {
        SetEntry::Ports(Some(self.protocol), self.port..=self.port)
    }
}

impl std::fmt::Display for PortOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}",
            self.protocol.name().unwrap_or_default(),
            self.port
        )
    }
}

fn address(ip: IpAddr) -> SetEntry {
    SetEntry::Net(Prefix::host(ip))
}
