//! Wrong configurations, folders and programs: what is said, and that nothing breaks.

use std::fs;

use podwire_cni::libcni::{self, Action, NetworkList, Runtime};
use podwire_cni::{Environment, PluginsVersion, plugin_names};
use serde_json::{Value, json};

use super::{Scratch, ask, json};

const SEED: &str = r#"{"cniVersion":"0.2.0","name":"mynet","type":“net-script","bridge":"cni0"}"#;

#[test]
fn a_typographic_quote_is_found_by_line_and_column() {
    let scratch = Scratch::new();
    let file = scratch.0.join("net-script.conf");
    fs::write(&file, format!("\n{SEED}")).unwrap();
    let error = NetworkList::read(&file).unwrap_err().to_string();
    assert!(
        error.contains("net-script.conf:2:45: expected value"),
        "{error}"
    );
}

#[test]
fn the_first_file_in_lexical_order_is_the_network() {
    let scratch = Scratch::new();
    let write = |name: &str, network: &str| {
        let list =
            json!({"cniVersion": "0.3.1", "name": network, "plugins": [{"type": "flannel"}]});
        fs::write(scratch.0.join(name), list.to_string()).unwrap();
    };
    write("10-weave.conflist.bak", "backup");
    write("20-b.conflist", "b");
    assert_eq!(NetworkList::read(&scratch.0).unwrap().name, "b");
    write("10-flannel.conflist", "cbr0");
    assert_eq!(NetworkList::read(&scratch.0).unwrap().name, "cbr0");
    // What is no configuration is passed over, as containerd does.
    fs::write(scratch.0.join("05-broken.conf"), SEED).unwrap();
    assert_eq!(NetworkList::read(&scratch.0).unwrap().name, "cbr0");
}

#[test]
fn a_folder_without_configuration_is_told_as_kubelet_tells_it() {
    let scratch = Scratch::new();
    let error = NetworkList::read(&scratch.0).unwrap_err().to_string();
    assert!(error.starts_with("no networks found in "), "{error}");
    assert!(error.contains("reason:NetworkPluginNotReady"), "{error}");
}

#[test]
fn a_list_that_names_a_missing_program_gives_kubelets_event() {
    let (scratch, plugins) = (Scratch::new(), Scratch::new());
    let file = plugins.0.join("10-weave.conflist");
    let list = json!({"cniVersion": "0.3.0", "name": "weave", "plugins": [
        {"name": "weave", "type": "weave-net", "hairpinMode": true},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    ]});
    fs::write(&file, list.to_string()).unwrap();
    let list = NetworkList::read(&file).unwrap();
    let runtime = Runtime {
        container_id: "6b3b648ea4a5".to_owned(),
        netns: "app".to_owned(),
        ifname: "eth0".to_owned(),
        path: "/opt/cni/none".to_owned(),
        ..Runtime::default()
    };
    let options = scratch.options(PluginsVersion::default());
    let reply = libcni::run(Action::Add, &list, &runtime, &options);
    let error = json(&reply.stdout);
    let error = error["msg"].as_str().unwrap();
    assert_eq!(
        libcni::sandbox_event(&runtime.container_id, error),
        "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = \
         failed to setup network for sandbox \"6b3b648ea4a5\": plugin type=\"weave-net\" \
         name=\"weave\" failed (add): failed to find plugin \"weave-net\" in path [/opt/cni/none]"
    );
}

#[test]
fn no_configuration_makes_a_plugin_panic() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!("x"),
        json!("::/0"),
        json!("10.0.0.0/8"),
        json!([]),
        json!([[]]),
        json!({}),
        json!([{"subnet": "10.0.0.0/8", "dst": "::/0", "hostPort": 1, "address": "10.0.0.1/8"}]),
    ];
    let keys = [
        "cniVersion",
        "name",
        "ipam",
        "dns",
        "prevResult",
        "runtimeConfig",
        "args",
        "mtu",
        "vlan",
        "vlanTrunk",
        "master",
        "mode",
        "delegate",
        "sysctl",
        "mac",
        "device",
        "capabilities",
    ];
    let inner = [
        "type",
        "subnet",
        "ranges",
        "routes",
        "addresses",
        "dataDir",
        "gateway",
        "rangeStart",
        "portMappings",
        "bandwidth",
        "ips",
        "mac",
        "cni",
        "ipRanges",
    ];
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let whole = |plugin: &str| {
        json!({
            "cniVersion": "1.0.0", "name": "n", "type": plugin, "master": "eth0", "device": "none",
            "subnetFile": "/nonexistent", "dataDir": scratch.0,
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"},
            "runtimeConfig": {}, "args": {"cni": {}},
        })
    };
    for plugin in plugin_names() {
        for command in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let env = Environment {
                command: command.to_owned(),
                container_id: "c".to_owned(),
                netns: "c".to_owned(),
                ifname: "eth0".to_owned(),
                path: "/none".to_owned(),
                ..Environment::default()
            };
            let try_conf = |conf: &Value| {
                let reply = ask(plugin, &options, &env, &conf.to_string());
                json(&reply.stdout);
            };
            for value in &values {
                try_conf(value);
                let keys = keys.iter().filter(|_| matches!(command, "ADD" | "DEL"));
                for key in keys {
                    let mut conf = whole(plugin);
                    conf[key] = value.clone();
                    try_conf(&conf);
                }
            }
            if command == "ADD" {
                for (key, value) in inner
                    .iter()
                    .flat_map(|k| values.iter().map(move |v| (k, v)))
                {
                    for place in ["ipam", "runtimeConfig", "args"] {
                        let mut conf = whole(plugin);
                        conf[place][key] = value.clone();
                        try_conf(&conf);
                    }
                }
            }
        }
    }
}

#[test]
fn half_a_file_of_a_killed_process_is_made_whole() {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let env = Environment {
        command: "ADD".to_owned(),
        container_id: "c1".to_owned(),
        netns: "c1".to_owned(),
        ifname: "eth0".to_owned(),
        path: "/none".to_owned(),
        ..Environment::default()
    };
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge"}).to_string();
    assert!(!ask("bridge", &options, &env, &conf).failed);
    let netns = scratch.0.join("netns");
    let read = |name: &str| fs::read_to_string(netns.join(name)).unwrap();
    let (host, pod) = (read(".host"), read("c1"));
    // The process ended when its journal was there, and the first file of two.
    let texts = json!({".host": host, "c1": pod});
    fs::write(netns.join(".journal"), texts.to_string()).unwrap();
    fs::remove_file(netns.join("c1")).unwrap();
    let del = Environment {
        command: "DEL".to_owned(),
        ..env
    };
    assert!(!ask("bridge", &options, &del, &conf).failed);
    assert!(!read(".host").contains("\"veth"), "{}", read(".host"));
    assert!(!netns.join(".journal").exists());
}
