//! What `podwire exec` prints of a node, and what the real tools print of the same node made of the
//! kernel's devices.

use std::collections::BTreeSet;
use std::path::PathBuf;

use podwire_cluster::{LinkFacts, load, read_inputs};
use podwire_controlplane::cni::PodNetwork;
use podwire_dataplane::Netns;
use podwire_interp::Interp;
use podwire_packet::Family;
use podwire_ruleset::iptables::{self, Wording, print};
use podwire_sim::{Options, World};
use podwire_testkit::kernel::{self, Lane, LaneError, Namespace};
use podwire_tools::{Fault, Host, Neighbor};
use serde_json::Value;

use crate::nodes::cluster;
use crate::wiring::{Around, configure};

/// Models without VXLAN, whose far end would be a host that this kernel does not have.
const MODELS: [&str; 2] = ["routes.ron", "host-gw.ron"];

/// What is asked of every node.
const COMMANDS: [&str; 42] = [
    "ip link",
    "ip link show dev cni0",
    "ip l show type bridge",
    "ip link show master cni0",
    "ip addr",
    "ip -4 addr",
    "ip -6 a show dev cni0",
    "ip -br link",
    "ip -br addr show eth0",
    "ip route",
    "ip r show dev cni0",
    "ip route show default",
    "ip route show table local",
    "ip route get 10.255.255.1",
    "ip route list proto kernel",
    "ip route show proto boot",
    "ip route show scope link",
    "ip route show dev cni0 scope link",
    "ip route show scope global",
    "ip route show via 172.17.0.1",
    "ip route show match 10.244.0.9",
    "ip route show to match 10.244.0.0/16",
    "ip route show root 10.0.0.0/8",
    "ip route show type unicast",
    "ip route show default proto kernel",
    "ip -6 route show proto kernel",
    "ip -6 route show dev cni0",
    "hostname -I",
    "ip route get 127.0.0.1",
    "ip -6 route",
    "ip rule",
    "bridge link",
    "ip neigh show dev eth0",
    "arp -n",
    "arp -an",
    "ip -o link",
    "ip -o addr",
    "ip -o -4 addr show cni0",
    "ip -o link show eth0",
    "ip -o route",
    "route -n",
    "ifconfig -a",
];

/// What is no matter of devices: queues that whoever made a device here left as they are, packets that went
/// by, and addresses that the kernel still tries.
fn plain(text: &str) -> String {
    let mut words = text.replace(" tentative", "");
    for word in [" qlen 1000", "  txqueuelen 1000", "  txqueuelen 0"] {
        words = words.replace(word, "");
    }
    let counted = |line: &&str| !line.contains("X packets") && !line.contains("X errors");
    let lines = words.lines().filter(counted).map(|line| line.trim_end());
    let mut lines: Vec<&str> = lines.collect();
    // Neighbours come out of a hash table.
    if lines
        .iter()
        .all(|line| line.contains("ether") || line.contains("PERMANENT") || line.contains("HWtype"))
    {
        lines.sort_unstable();
    }
    lines.join("\n")
}

fn facts(listing: &str) -> indexmap::IndexMap<podwire_packet::DeviceName, LinkFacts> {
    let links: Vec<Value> = serde_json::from_str(listing).expect("ip -j link prints JSON");
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    let fact = |link: &Value| {
        let name = link["ifname"].as_str()?.parse().ok()?;
        let facts = LinkFacts {
            index: number(&link["ifindex"]),
            peer_index: number(&link["link_index"]),
            netnsid: number(&link["link_netnsid"]),
            qdisc: link["qdisc"].as_str().map(Into::into),
            ..LinkFacts::default()
        };
        Some((name, facts))
    };
    links.iter().filter_map(fact).collect()
}

fn compare(lane: Lane, model: &str) -> usize {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(model);
    let cluster = load(read_inputs(&[path]).expect("a model")).expect("a model");
    let network = PodNetwork::new(&cluster);
    let node = &network.nodes()[0];
    let on_node = cluster
        .pods
        .values()
        .filter(|pod| pod.node.as_deref() == Some(&*node.name));
    let pods: BTreeSet<_> = on_node
        .filter(|pod| !pod.host_network)
        .map(|pod| pod.ips[0])
        .collect();
    let podwire: Netns<Interp> = network.host(node, pods.iter().copied());
    let around = Around::of(&network, node, &pods);
    let [kernel, outside, inside] = [(); 3].map(|()| Namespace::new(lane).expect("a namespace"));
    configure(&kernel, [&outside, &inside], &podwire, &around).expect("devices");

    // Namespaces of tests begin without IPv6.
    for of in ["all", "default"] {
        let name = format!("net.ipv6.conf.{of}.disable_ipv6");
        kernel.sysctl(&name, "0").expect("a namespace of its own");
    }

    let listing = kernel.run(&["ip", "-j", "link"], "").expect("ip answers");
    let mut host = Host::of_node(&node.name, &podwire, &facts(&listing));
    host.neighbors = around
        .neighbors
        .iter()
        .map(|(&(device, address), &mac)| Neighbor {
            address,
            device,
            mac,
            permanent: true,
        })
        .collect();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        let real = kernel.run(&words, "").expect("the tool answers");
        let ours = host.run(&words).expect("podwire answers");
        assert_eq!(plain(&ours), plain(&real), "{model}: {command}");
    }
    COMMANDS.len()
}

#[test]
fn tools_print_what_the_real_ones_print() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let compared: usize = MODELS.iter().map(|model| compare(lane, model)).sum();
    println!("{compared} listings are equal");
}

/// Golden clusters whose rules are listed.
const CASES: [&str; 6] = [
    "012-nodeport-local",
    "018-lb-source-ranges",
    "028-session-affinity",
    "098-localhost-nodeports",
    "112-lb-everything",
    "204-random",
];

/// How rules are listed.
const LISTINGS: [&str; 24] = [
    "iptables -n -L",
    "iptables -t nat -nvL --line-numbers",
    "iptables --table mangle --list --numeric",
    "iptables -t raw -L -n",
    "iptables -L FORWARD -v",
    "iptables -S",
    "iptables -t nat -S",
    "iptables -S FORWARD",
    "iptables-save",
    "iptables -tnat -nL",
    "iptables -t nat -nLPOSTROUTING",
    "iptables --table=nat --num -L",
    "iptables --line -w 5 -nL",
    "iptables -w5 -S",
    "iptables --wait=5 --list-r FORWARD",
    "iptables -L FORWARD 2",
    "iptables -L FORWARD 1 --line-numbers -nvx",
    "iptables -S FORWARD 2",
    "iptables -vS FORWARD 1",
    "iptables -S FORWARD 99",
    "iptables -t nat -vS",
    "iptables -xnvL --line-numbers",
    "iptables -nxL",
    "iptables-save -tnat",
];

/// What the tool refuses, or answers without rules.
const REFUSALS: [&str; 23] = [
    "iptables -V",
    "iptables-save --vers",
    "iptables -L -S",
    "iptables -S -S",
    "iptables -A INPUT -L",
    "iptables -L nowhere",
    "iptables -S nowhere 1",
    "iptables -Ln",
    "iptables -L INPUT 0",
    "iptables -L INPUT FORWARD",
    "iptables INPUT -L",
    "iptables -w x -L",
    "iptables -nS",
    "iptables -S --line-numbers -x",
    "iptables -n -n -L",
    "iptables --li",
    "iptables --numeric=3 -L",
    "iptables -n",
    "iptables -L -t",
    "iptables -t nothing -L",
    "ip6tables -t nothing -L",
    "iptables-save -v",
    "iptables-save -t nothing",
];

fn compare_listings(lane: Lane, what: &str, text: &str, listings: &[&str]) -> usize {
    let kernel = Namespace::new(lane).expect("a namespace");
    kernel
        .run(&["iptables-restore"], text)
        .expect("rules that the kernel takes");
    let parsed = iptables::parse(text, Family::Ipv4).expect("rules that podwire reads");
    let empty: Netns<Interp> = Netns::new([]);
    let mut host = Host::of_node("node", &empty, &indexmap::IndexMap::new());
    host.rules.push(parsed.rules);
    for listing in listings {
        let words: Vec<&str> = listing.split(' ').collect();
        let real = kernel.run(&words, "").expect("the tool answers");
        let ours = host.run(&words).expect("podwire answers");
        let plain = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            // The kernel makes no table that nobody asked for, and counts none of these.
            lines
                .map(|line| format!("{}\n", line.trim_end()))
                .collect::<String>()
        };
        assert_eq!(plain(&ours), plain(&real), "{what}: {listing}");
    }
    listings.len()
}

#[test]
fn what_iptables_refuses_is_refused_in_its_words() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let kernel = Namespace::new(lane).expect("a namespace");
    // Without a table the tool has other words for a chain that is not there.
    kernel.run(&["iptables", "-L"], "").expect("it lists");
    let empty: Netns<Interp> = Netns::new([]);
    let host = Host::of_node("node", &empty, &indexmap::IndexMap::new());
    for command in REFUSALS {
        let words: Vec<&str> = command.split(' ').collect();
        let real = match kernel.run(&words, "") {
            Ok(text) => (text, Some(0)),
            Err(LaneError::Command { status, stderr, .. }) => (stderr, status.code()),
            Err(other) => panic!("{command}: {other}"),
        };
        let ours = match host.run(&words) {
            Ok(text) => (text, Some(0)),
            Err(Fault::Tool { text, code }) => (text + "\n", Some(code.into())),
            Err(other) => panic!("{command}: {other}"),
        };
        assert_eq!(ours, real, "{command}");
    }
}

#[test]
fn rules_are_listed_as_iptables_lists_them() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/extensions.rules");
    let text = std::fs::read_to_string(path).expect("the rules are there");
    let mut compared = compare_listings(lane, "extensions", &text, &LISTINGS);
    compared += compare_listings(
        lane,
        "extensions",
        &text,
        &["iptables -L", "iptables -t nat -L -v"],
    );
    for case in CASES {
        let cluster = cluster(case);
        let world = World::new(&cluster, &Options::default()).expect("a cluster");
        for node in 0..cluster.nodes.len() {
            let rules = world.rules(node).expect("rules");
            let text = print(rules.ipv4.rules(), Wording::Save);
            compared += compare_listings(lane, case, &text, &LISTINGS);
        }
    }
    println!("{compared} listings of rules are equal");
}
