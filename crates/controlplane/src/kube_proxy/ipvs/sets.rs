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

use KubeSet as S;

impl KubeSet {
    pub(super) const ALL: [Self; 17] = [
        S::ClusterIp,
        S::ExternalIp,
        S::ExternalIpLocal,
        S::HealthCheckNodePort,
        S::IpvsIps,
        S::LoadBalancer,
        S::LoadBalancerFw,
        S::LoadBalancerLocal,
        S::LoadBalancerSourceCidr,
        S::LoadBalancerSourceIp,
        S::LoopBack,
        S::NodePortLocalSctp,
        S::NodePortLocalTcp,
        S::NodePortLocalUdp,
        S::NodePortSctp,
        S::NodePortTcp,
        S::NodePortUdp,
    ];

    /// Its name behind `KUBE-`, or `KUBE-6-` for IPv6.
    const fn suffix(self) -> &'static str {
        match self {
            S::ClusterIp => "CLUSTER-IP",
            S::ExternalIp => "EXTERNAL-IP",
            S::ExternalIpLocal => "EXTERNAL-IP-LOCAL",
            S::HealthCheckNodePort => "HEALTH-CHECK-NODE-PORT",
            S::IpvsIps => "IPVS-IPS",
            S::LoadBalancer => "LOAD-BALANCER",
            S::LoadBalancerFw => "LOAD-BALANCER-FW",
            S::LoadBalancerLocal => "LOAD-BALANCER-LOCAL",
            S::LoadBalancerSourceCidr => "LOAD-BALANCER-SOURCE-CIDR",
            S::LoadBalancerSourceIp => "LOAD-BALANCER-SOURCE-IP",
            S::LoopBack => "LOOP-BACK",
            S::NodePortLocalSctp => "NODE-PORT-LOCAL-SCTP-HASH",
            S::NodePortLocalTcp => "NODE-PORT-LOCAL-TCP",
            S::NodePortLocalUdp => "NODE-PORT-LOCAL-UDP",
            S::NodePortSctp => "NODE-PORT-SCTP-HASH",
            S::NodePortTcp => "NODE-PORT-TCP",
            S::NodePortUdp => "NODE-PORT-UDP",
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
            S::ClusterIp => "Kubernetes service cluster ip + port for masquerade purpose",
            S::ExternalIp => {
                "Kubernetes service external ip + port for masquerade and filter purpose"
            }
            S::ExternalIpLocal => {
                "Kubernetes service external ip + port with externalTrafficPolicy=local"
            }
            S::HealthCheckNodePort => "Kubernetes health check node port",
            // No rule that asks it has a comment.
            S::IpvsIps => "",
            S::LoadBalancer => "Kubernetes service lb portal",
            S::LoadBalancerFw => {
                "Kubernetes service load balancer ip + port for load balancer with sourceRange"
            }
            S::LoadBalancerLocal => {
                "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
            }
            S::LoadBalancerSourceCidr => {
                "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
            }
            S::LoadBalancerSourceIp => {
                "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
            }
            S::LoopBack => {
                "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"
            }
            S::NodePortLocalSctp => {
                "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
            }
            S::NodePortLocalTcp => "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
            S::NodePortLocalUdp => "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
            S::NodePortSctp => {
                "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"
            }
            S::NodePortTcp => "Kubernetes nodeport TCP port for masquerade purpose",
            S::NodePortUdp => "Kubernetes nodeport UDP port for masquerade purpose",
        }
    }

    const fn parts(self) -> &'static [SetPart] {
        match self {
            S::ClusterIp
            | S::ExternalIp
            | S::ExternalIpLocal
            | S::LoadBalancer
            | S::LoadBalancerFw
            | S::LoadBalancerLocal
            | S::NodePortLocalSctp
            | S::NodePortSctp => &[SetPart::Ip, SetPart::Port],
            S::LoopBack | S::LoadBalancerSourceIp => &[SetPart::Ip, SetPart::Port, SetPart::Ip],
            S::LoadBalancerSourceCidr => &[SetPart::Ip, SetPart::Port, SetPart::Net],
            S::IpvsIps => &[SetPart::Ip],
            S::HealthCheckNodePort
            | S::NodePortLocalTcp
            | S::NodePortLocalUdp
            | S::NodePortTcp
            | S::NodePortUdp => &[SetPart::Port],
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
                family: self.family,
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
