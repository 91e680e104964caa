//! Wrong configurations, folders and programs: what is said, and that nothing breaks.

use std::fs;

use podwire_cni::libcni::{self, Action, NetworkList, Runtime, Shim};
use podwire_cni::{CniError, Dump, Environment, PluginsVersion, plugin_names};
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

const ID: &str = "6b3b648ea4a547e46b96ca4d23841e9acc0edc0d43f0e879af8f45ebb498c74e";

fn app(shim: Shim) -> Runtime {
    Runtime {
        container_id: ID.to_owned(),
        netns: "app".to_owned(),
        ifname: "eth0".to_owned(),
        path: "/opt/cni/none".to_owned(),
        args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=app".to_owned(),
        shim,
        ..Runtime::default()
    }
}

fn network(plugins: &Value) -> (Scratch, NetworkList) {
    let scratch = Scratch::new();
    let file = scratch.0.join("10-weave.conflist");
    let list = json!({"cniVersion": "0.3.0", "name": "weave", "plugins": plugins});
    fs::write(&file, list.to_string()).unwrap();
    let list = NetworkList::read(&file).unwrap();
    (scratch, list)
}

/// The event of a pod that cannot be attached.
fn event(list: &NetworkList, runtime: &Runtime) -> String {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let reply = libcni::run(Action::Add, list, runtime, &options);
    let error: CniError = serde_json::from_str(&reply.stdout).unwrap();
    libcni::sandbox_event(list, runtime, &options, &error)
}

#[test]
fn a_list_that_names_a_missing_program_gives_kubelets_event() {
    let (_scratch, list) = network(&json!([{"name": "net", "type": "cisco"}]));
    let event_of = |shim| event(&list, &app(shim));
    let prefix =
        "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = ";
    let missing = "failed to find plugin \"cisco\" in path [/opt/cni/none]";
    assert_eq!(
        event_of(Shim::Containerd),
        format!(
            "{prefix}failed to setup network for sandbox \"{ID}\": plugin type=\"cisco\" \
             name=\"net\" failed (add): {missing}"
        )
    );
    assert_eq!(
        event_of(Shim::Dockershim),
        format!(
            "{prefix}[failed to set up sandbox container \"{ID}\" network for pod \"app\": \
             networkPlugin cni failed to set up pod \"app_default\" network: {missing}, \
             failed to clean up sandbox container \"{ID}\" network for pod \"app\": \
             networkPlugin cni failed to teardown pod \"app_default\" network: {missing}]"
        )
    );
}

#[test]
fn without_weaves_daemon_the_connection_is_refused() {
    let (_scratch, list) = network(&weave());
    let refused = format!(
        "http://127.0.0.1:6784/ip/{ID}\": dial tcp 127.0.0.1:6784: connect: connection refused"
    );
    assert_eq!(
        event(&list, &app(Shim::Dockershim)),
        format!(
            "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = \
             [failed to set up sandbox container \"{ID}\" network for pod \"app\": \
             networkPlugin cni failed to set up pod \"app_default\" network: unable to allocate IP \
             address: Post \"{refused}, failed to clean up sandbox container \"{ID}\" network \
             for pod \"app\": networkPlugin cni failed to teardown pod \"app_default\" network: \
             Delete \"{refused}]"
        )
    );
}

#[test]
fn weaves_daemon_gives_the_bridge_the_first_address_and_containers_the_next() {
    let (_folder, list) = network(&weave());
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    fs::create_dir(scratch.0.join("weave")).unwrap();
    fs::write(scratch.0.join("weave/range"), "10.32.0.0/12\n").unwrap();
    let named = |id: &str| Runtime {
        container_id: id.to_owned(),
        netns: id.to_owned(),
        ..app(Shim::Dockershim)
    };
    let add = |id: &str| json(&libcni::run(Action::Add, &list, &named(id), &options).stdout);
    let address = |id: &str| add(id)["ips"][0]["address"].clone();
    let first = add("first-pod");
    assert_eq!(
        first["ips"],
        json!([{"version": "4", "address": "10.32.0.2/12", "gateway": "10.32.0.1"}])
    );
    assert_eq!(address("second-pod"), "10.32.0.3/12");
    // Seven characters of an id are in a device's name, and this has them in common with the second.
    let error = add("second-pod-2");
    let taken = "could not create veth pair vethweplsecond--vethwepgsecond-: file exists";
    assert_eq!(error["msg"], taken, "{error}");
    let del = libcni::run(Action::Del, &list, &named("first-pod"), &options);
    assert!(!del.failed, "{}", del.stdout);
    // A second time there is nothing to give back, which is no fault.
    let del = libcni::run(Action::Del, &list, &named("first-pod"), &options);
    assert!(!del.failed, "{}", del.stdout);
    assert_eq!(address("another-pod"), "10.32.0.2/12");
    let dump = Dump::read(&options).unwrap().to_text().unwrap();
    for wanted in [
        "weave mtu 1376 state UP 22:69:b1:bf:86:3c 10.32.0.1/12\n",
        "master weave hairpin\n",
        "route 0.0.0.0/0 via 10.32.0.1 dev eth0\n",
        "-A INPUT -s 10.32.0.0/12 -d 224.0.0.0/4 -i eth0 -j ACCEPT\n",
    ] {
        assert!(dump.contains(wanted), "{wanted} in\n{dump}");
    }
}

fn weave() -> Value {
    json!([
        {"name": "weave", "type": "weave-net", "hairpinMode": true},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    ])
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
