//! Plugins together: what one leaves, another finds.

use std::fs;

use podwire_cni::{Dump, Environment, PluginsVersion};
use serde_json::{Value, json};

use super::{Scratch, ask, json};

/// Calls of one container's plugins.
struct Pod {
    scratch: Scratch,
    previous: Value,
}

impl Pod {
    fn new() -> Self {
        Self {
            scratch: Scratch::new(),
            previous: Value::Null,
        }
    }

    fn call(&mut self, command: &str, plugin: &str, conf: Value) -> Result<Value, String> {
        let options = self.scratch.options(PluginsVersion::default());
        let env = Environment {
            command: command.to_owned(),
            container_id: "c1".to_owned(),
            netns: "c1".to_owned(),
            ifname: "eth0".to_owned(),
            path: "/none".to_owned(),
            ..Environment::default()
        };
        let mut conf = conf;
        conf["cniVersion"] = "1.0.0".into();
        conf["name"] = "net".into();
        conf["type"] = plugin.into();
        if !self.previous.is_null() {
            conf["prevResult"] = self.previous.clone();
        }
        let reply = ask(plugin, &options, &env, &conf.to_string());
        let told = json(&reply.stdout);
        if reply.failed {
            return Err(told["msg"].as_str().unwrap().to_owned());
        }
        if command == "ADD" {
            self.previous.clone_from(&told);
        }
        Ok(told)
    }

    fn text(&self) -> String {
        let options = self.scratch.options(PluginsVersion::default());
        Dump::read(&options).unwrap().to_text().unwrap()
    }
}

fn host_local() -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/24"}]]})
}

#[test]
fn every_plugin_on_a_device_of_the_hosts_can_be_added_checked_and_deleted() {
    for (plugin, conf, device) in [
        (
            "vlan",
            json!({"master": "eth0", "vlanId": 5, "mtu": 1400}),
            "mtu 1400",
        ),
        ("macvlan", json!({"mode": "private"}), "mtu 1500"),
        (
            "ipvlan",
            json!({"master": "eth0", "mode": "l3"}),
            "mtu 1500",
        ),
        ("host-device", json!({"device": "eth0"}), "mtu 1500"),
    ] {
        let mut pod = Pod::new();
        let mut conf = conf;
        conf["ipam"] = host_local();
        let told = pod.call("ADD", plugin, conf.clone()).unwrap();
        assert_eq!(told["ips"][0]["address"], "10.22.0.2/24", "{plugin}");
        let text = pod.text();
        let inside = text.split("c1\n").nth(1).unwrap();
        assert!(
            inside.contains(device) && inside.contains("10.22.0.2/24"),
            "{text}"
        );
        pod.call("CHECK", plugin, conf.clone()).unwrap();
        pod.call("DEL", plugin, conf).unwrap();
        assert!(!pod.text().contains("10.22.0.2/24"), "{}", pod.text());
        // A device that was moved is the host's again, down as the kernel leaves it.
        assert!(pod.text().contains(": eth0 mtu 1500"), "{}", pod.text());
    }
}

#[test]
fn ptp_sends_all_by_the_gateway_and_the_host_knows_the_way_back() {
    let mut pod = Pod::new();
    let mut conf = json!({"ipMasq": true, "mtu": 1400});
    conf["ipam"] = json!({"type": "host-local", "subnet": "10.22.0.0/24",
        "routes": [{"dst": "0.0.0.0/0"}]});
    pod.call("ADD", "ptp", conf.clone()).unwrap();
    let text = pod.text();
    for line in [
        "  route 10.22.0.2/32 dev veth",
        "  route 0.0.0.0/0 via 10.22.0.1 dev eth0",
        "  route 10.22.0.0/24 via 10.22.0.1 dev eth0 src 10.22.0.2",
        "  route 10.22.0.1/32 dev eth0 src 10.22.0.2",
        "-j MASQUERADE",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    pod.call("CHECK", "ptp", conf.clone()).unwrap();
    pod.call("DEL", "ptp", conf).unwrap();
    assert!(!pod.text().contains("veth") && !pod.text().contains("CNI-"));
}

#[test]
fn chained_plugins_change_what_bridge_made_and_take_it_back() {
    let mut pod = Pod::new();
    let mut bridge = json!({"isDefaultGateway": true});
    bridge["ipam"] = host_local();
    let chain = [
        ("bridge", bridge),
        (
            "tuning",
            json!({"mtu": 1400, "promisc": true, "sysctl": {"net.core.somaxconn": "500"}}),
        ),
        ("firewall", json!({})),
        (
            "bandwidth",
            json!({"ingressRate": 8000, "ingressBurst": 8000, "egressRate": 16000,
            "egressBurst": 8000}),
        ),
        (
            "portmap",
            json!({"runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
        ),
        ("sbr", json!({})),
    ];
    for (plugin, conf) in &chain {
        pod.call("ADD", plugin, conf.clone())
            .unwrap_or_else(|why| panic!("{plugin}: {why}"));
    }
    let text = pod.text();
    for line in [
        "eth0@veth",
        "mtu 1400",
        "net/core/somaxconn = 500",
        "-A CNI-FORWARD -s 10.22.0.2/32 -j ACCEPT",
        "qdisc root htb default 30 class 1:30 rate 8000bit burst 1000b",
        ": bwp",
        "--to-destination 10.22.0.2:80",
        "rule from 10.22.0.2/32 lookup 100",
        "route 0.0.0.0/0 via 10.22.0.1 dev eth0 table 100",
        "net/ipv4/conf/cni0/route_localnet = 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for (plugin, conf) in chain.iter().filter(|(plugin, _)| *plugin != "bridge") {
        pod.call("CHECK", plugin, conf.clone())
            .unwrap_or_else(|why| panic!("{plugin}: {why}"));
    }
    for (plugin, conf) in chain.iter().rev() {
        pod.call("DEL", plugin, conf.clone())
            .unwrap_or_else(|why| panic!("{plugin}: {why}"));
    }
    let text = pod.text();
    for gone in ["veth", "bwp", "10.22.0.2", "--to-destination", "rule from"] {
        assert!(!text.contains(gone), "{gone}\n{text}");
    }
}

#[test]
fn flannel_gives_bridge_what_its_daemon_wrote_down() {
    let mut pod = Pod::new();
    let subnet_env = pod.scratch.0.join("subnet.env");
    let conf = json!({"subnetFile": subnet_env,
        "delegate": {"hairpinMode": true, "isDefaultGateway": true}});
    let error = pod.call("ADD", "flannel", conf.clone()).unwrap_err();
    assert!(
        error.contains("subnet.env: no such file or directory"),
        "{error}"
    );
    let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
                FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    fs::write(&subnet_env, text).unwrap();
    let told = pod.call("ADD", "flannel", conf.clone()).unwrap();
    assert_eq!(told["ips"][0]["address"], "10.244.1.2/24");
    let wanted = json!([{"dst": "10.244.0.0/16"}, {"dst": "0.0.0.0/0", "gw": "10.244.1.1"}]);
    assert_eq!(told["routes"], wanted);
    let text = pod.text();
    assert!(
        text.contains("cni0 mtu 1450") && text.contains("10.244.1.1/24"),
        "{text}"
    );
    pod.call("DEL", "flannel", conf).unwrap();
    assert!(!pod.text().contains("10.244.1.2"), "{}", pod.text());
}

#[test]
fn dhcp_leases_an_address_of_the_hosts_network() {
    let mut pod = Pod::new();
    let conf = json!({"mode": "bridge", "ipam": {"type": "dhcp"}});
    let told = pod.call("ADD", "macvlan", conf.clone()).unwrap();
    assert_eq!(told["ips"][0]["address"], "192.0.2.100/24");
    assert_eq!(
        told["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}])
    );
    pod.call("CHECK", "macvlan", conf.clone()).unwrap();
    pod.call("DEL", "macvlan", conf.clone()).unwrap();
    pod.previous = Value::Null;
    let told = pod.call("ADD", "macvlan", conf).unwrap();
    assert_eq!(told["ips"][0]["address"], "192.0.2.101/24");
}

#[test]
fn a_spoof_check_is_written_down_and_taken_back() {
    let mut pod = Pod::new();
    let mut conf = json!({"macspoofchk": true});
    conf["ipam"] = host_local();
    pod.call("ADD", "bridge", conf.clone()).unwrap();
    assert!(
        pod.text().contains("cni-br-iface-c1-eth0-mac drop"),
        "{}",
        pod.text()
    );
    pod.call("DEL", "bridge", conf).unwrap();
    assert!(!pod.text().contains("cni-br-iface"), "{}", pod.text());
}

#[test]
fn a_vlan_of_a_bridge_has_its_gateway_on_a_device_of_its_own() {
    let mut pod = Pod::new();
    let mut conf = json!({"vlan": 100, "isGateway": true, "portIsolation": true});
    conf["ipam"] = host_local();
    let told = pod.call("ADD", "bridge", conf.clone()).unwrap();
    assert_eq!(told["interfaces"][3]["name"], "cni0.100");
    let options = pod.scratch.options(PluginsVersion::default());
    let dump = Dump::read(&options).unwrap().to_json().unwrap();
    let bridge = &dump["bridges"]["cni0"];
    assert_eq!(bridge["vlan_filtering"], 1);
    let isolated: Vec<bool> = (0..2)
        .map(|i| bridge["ports"][i]["isolated"] == true)
        .collect();
    assert_eq!(isolated, [true, false]);
    assert!(pod.text().contains("cni0.100@veth"), "{}", pod.text());
    pod.call("CHECK", "bridge", conf).unwrap();
}
