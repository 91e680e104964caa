//! The wires of a node: who is beside it, and the kernel's namespace made after podwire's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_dataplane::{LinkKind, Netns, Surroundings};
use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, MacAddr, SimTime};
use podwire_testkit::kernel::{LaneError, Namespace};

/// The node's neighbours, in both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(crate) neighbors: BTreeMap<(DeviceName, IpAddr), MacAddr>,
    pub(crate) ports: BTreeMap<MacAddr, DeviceName>,
}

impl Surroundings for Around {
    fn resolve(&self, device: DeviceName, address: IpAddr) -> Option<MacAddr> {
        self.neighbors.get(&(device, address)).copied()
    }

    fn learned_port(&self, _: DeviceName, mac: MacAddr) -> Option<DeviceName> {
        self.ports.get(&mac).copied()
    }

    fn now(&self) -> SimTime {
        SimTime::START
    }
}

impl Around {
    /// Everybody beside the node: its pods, the other nodes, the router, a client.
    pub(crate) fn of(network: &PodNetwork, node: &NodeNetwork, local: &BTreeSet<IpAddr>) -> Self {
        let mut around = Self::default();
        for &ip in local {
            let pod: Netns<Interp> = network.pod(node, &[ip]);
            let mac = pod.links[&DeviceName::ETH0].mac;
            around.neighbors.insert((network.bridge(), ip), mac);
            around.ports.insert(mac, network.port_name(node, ip));
        }
        for nic in &node.nics {
            let beside = network
                .nodes()
                .iter()
                .filter(|other| other.name != node.name);
            let addresses = beside
                .flat_map(|other| other.internal_ips.iter().copied())
                .chain(nic.gateway);
            for ip in addresses.chain(outside_client(node)) {
                if let IpAddr::V4(v4) = ip
                    && nic.networks().any(|range| range.contains(ip))
                {
                    around
                        .neighbors
                        .insert((nic.name, ip), MacAddr::of_docker(v4));
                }
            }
        }
        around
    }
}

/// A host on the node network that is neither a node nor the router.
pub(crate) fn outside_client(node: &NodeNetwork) -> Option<IpAddr> {
    let nic = node.nic_of(node.internal_ip(Family::Ipv4)?)?;
    let network = nic
        .networks()
        .find(|network| network.family() == Family::Ipv4)?;
    network.nth(199)
}

/// Makes the kernel's namespace as podwire's: `[outside, pods]` hold the other ends of the wires.
pub(crate) fn configure(
    kernel: &Namespace,
    [outside, pods]: [&Namespace; 2],
    podwire: &Netns<Interp>,
    around: &Around,
) -> Result<(), LaneError> {
    let flag = |on: bool| if on { "1" } else { "0" };
    let sysctls = podwire.sysctls;
    kernel.sysctl("net.ipv4.ip_forward", flag(sysctls.ip_forward))?;
    kernel.sysctl(
        "net.bridge.bridge-nf-call-iptables",
        flag(sysctls.bridge_nf_call_iptables),
    )?;
    // Sequence numbers are not modelled, and packets have none that fit.
    kernel.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")?;
    for of in ["all", "default"] {
        kernel.sysctl(
            &format!("net.ipv4.conf.{of}.rp_filter"),
            &sysctls.rp_filter.to_string(),
        )?;
        kernel.sysctl(
            &format!("net.ipv4.conf.{of}.route_localnet"),
            flag(sysctls.route_localnet),
        )?;
        // Nobody listens to advice about routes here.
        kernel.sysctl(&format!("net.ipv4.conf.{of}.send_redirects"), "0")?;
    }
    let (mut ip, mut far) = (
        String::from("link set lo up\n"),
        [String::new(), String::new()],
    );
    for link in podwire.links.values() {
        let (name, mac) = (link.name, link.mac);
        let peer = match link.kind {
            LinkKind::Loopback => continue,
            LinkKind::Bridge => {
                line(
                    &mut ip,
                    format_args!("link add {name} address {mac} type bridge mcast_snooping 0"),
                );
                None
            }
            LinkKind::Nic => Some((0, outside)),
            LinkKind::Veth | LinkKind::Vxlan(_) | LinkKind::Dummy => Some((1, pods)),
        };
        if let Some((at, namespace)) = peer {
            let path = namespace.path();
            line(
                &mut ip,
                format_args!(
                    "link add {name} address {mac} type veth peer name {name} netns {path}"
                ),
            );
            line(&mut far[at], format_args!("link set {name} up"));
        }
        if let Some(port) = link.port_of {
            let hairpin = if port.hairpin { "on" } else { "off" };
            line(
                &mut ip,
                format_args!("link set {name} master {}", port.bridge),
            );
            line(
                &mut ip,
                format_args!("link set {name} type bridge_slave hairpin {hairpin}"),
            );
        }
        for (address, length) in link.addresses_of(Family::Ipv4) {
            // As the plugins and every configuration of a host ask for it.
            let broadcast = if length < 31 { "broadcast +" } else { "" };
            line(
                &mut ip,
                format_args!("address add {address}/{length} {broadcast} dev {name}"),
            );
        }
        line(&mut ip, format_args!("link set {name} up"));
    }
    for route in podwire
        .fib
        .routes()
        .filter(|route| route.to.family() == Family::Ipv4)
    {
        if let Some(via) = route.via {
            line(
                &mut ip,
                format_args!("route add {} via {via} dev {}", route.to, route.device),
            );
        }
    }
    for ((device, address), mac) in &around.neighbors {
        line(
            &mut ip,
            format_args!("neighbor replace {address} lladdr {mac} dev {device} nud permanent"),
        );
    }
    kernel.ip(&ip)?;
    outside.ip(&far[0])?;
    pods.ip(&far[1])?;
    let mut fdb = String::new();
    for (mac, port) in &around.ports {
        line(
            &mut fdb,
            format_args!("fdb replace {mac} dev {port} master static"),
        );
    }
    kernel.run(&["bridge", "-batch", "-"], &fdb)?;
    // A port takes frames once the kernel has seen its carrier, which on a busy machine is not at once.
    for attempt in 1.. {
        let ports = kernel.run(&["bridge", "link", "show"], "")?;
        let closed = ports
            .lines()
            .find(|port| !port.contains("state forwarding"));
        match closed {
            None => break,
            Some(port) if attempt == ATTEMPTS => {
                return Err(LaneError::PortClosed(port.trim().to_owned()));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(())
}

/// How often it is asked whether every port of the bridge forwards.
const ATTEMPTS: usize = 6_000;

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a string takes everything");
}
