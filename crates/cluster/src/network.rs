//! What Kubernetes objects do not say: wires and plugins.

use std::net::IpAddr;

use podwire_packet::{DeviceName, MacAddr, Prefix};

/// A network device of a node, as a model gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: DeviceName,
    /// Its Ethernet address; made from the IPv4 address by Docker's rule if not said.
    pub mac: Option<MacAddr>,
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Its addresses with the length of their network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The default gateway behind it.
    pub gateway: Option<IpAddr>,
}

impl Nic {
    /// The networks it is on.
    pub fn networks(&self) -> impl Iterator<Item = Prefix> {
        self.addresses.iter().map(|&(ip, len)| Prefix::new(ip, len))
    }
}

/// What a model knows of a device of a real node: how it looks there, where that cannot be derived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its number: `4890` of `4890: eth0@if4891`.
    pub index: Option<u32>,
    /// The number of its other end in another namespace: `4891` of the same.
    pub peer_index: Option<u32>,
    /// That namespace's number: `link-netnsid`.
    pub netnsid: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<MacAddr>,
    /// Its largest packet in bytes.
    pub mtu: Option<u32>,
    /// Its queueing discipline.
    pub qdisc: Option<Box<str>>,
    /// The pod, by its first address, whose port it is; with it the device has another name than one
    /// that podwire makes up.
    pub pod: Option<IpAddr>,
    /// Whether it is a bridge that nobody else makes, such as `docker0`.
    pub bridge: bool,
    /// The addresses of such a bridge.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// How flannel carries pod packets between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlannelBackend {
    /// In VXLAN: 50 bytes of every packet.
    Vxlan {
        /// Network identifier; 1 unless said.
        vni: u32,
        /// UDP port; 8472, the kernel's own, unless said.
        port: u16,
        /// `DirectRouting`: plain routes between nodes of one network.
        direct_routing: bool,
    },
    /// By plain routes to the other node's address.
    HostGw,
}

/// The pod network's plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cni {
    /// bridge and host-local on each node, plain routes between them: what podwire assumes where
    /// nothing says otherwise.
    Routes,
    /// bridge and host-local on each node; nothing between nodes.
    Bridge,
    /// flannel.
    Flannel(FlannelBackend),
    /// Weave Net, with its policy controller weave-npc.
    Weave,
}

impl Cni {
    /// Whether the pod network makes NetworkPolicies hold. The others take them and do nothing.
    #[must_use]
    pub const fn enforces_policies(self) -> bool {
        matches!(self, Self::Weave)
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routes => "the bridge plugin with plain routes",
            Self::Bridge => "the bridge plugin",
            Self::Flannel(_) => "flannel",
            Self::Weave => "Weave Net",
        }
    }
}

/// The cluster's network, apart from its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The plugin.
    pub cni: Cni,
    /// Range of ClusterIPs, a prefix per family: `--service-cluster-ip-range`.
    pub service_cidrs: Vec<Prefix>,
    /// Range of pod addresses, a prefix per family: `--cluster-cidr`; empty if not known.
    pub pod_cidrs: Vec<Prefix>,
    /// Whether the pod network rewrites pod addresses when packets leave the cluster.
    pub ip_masq: bool,
    /// `hairpinMode` of the bridge ports.
    pub hairpin_mode: bool,
    /// sysctl `net.bridge.bridge-nf-call-iptables`.
    pub bridge_nf_call_iptables: bool,
    /// sysctl `net.ipv4.ip_forward` and its IPv6 twin.
    pub ip_forward: bool,
    /// sysctl `net.ipv4.conf.all.rp_filter`: 0 off, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// Largest packet of the node network in bytes, where the nodes' devices do not say.
    pub mtu: u32,
}

impl Default for Network {
    /// What holds where only Kubernetes objects are known: kubeadm's service range, plain routes,
    /// and the sysctls that kubeadm's preflight checks ask for.
    fn default() -> Self {
        Self {
            cni: Cni::Routes,
            service_cidrs: vec![Prefix::new(IpAddr::from([10, 96, 0, 0]), 12)],
            pod_cidrs: Vec::new(),
            ip_masq: false,
            hairpin_mode: true,
            bridge_nf_call_iptables: true,
            ip_forward: true,
            rp_filter: 0,
            mtu: 1500,
        }
    }
}
