//! What is read as Go's encoding/json and the library's decoders read it: names in any case, versions
//! that are missing or none, files of a cache.

use std::fs;

use podwire_cni::libcni::{self, Action, NetworkList, Runtime};
use podwire_cni::{Environment, PluginsVersion, Reply};
use serde_json::{Value, json};

use super::{Scratch, ask, json};

fn environment(command: &str) -> Environment {
    Environment {
        command: command.to_owned(),
        container_id: "c1".to_owned(),
        netns: "c1".to_owned(),
        ifname: "eth0".to_owned(),
        path: "/none".to_owned(),
        ..Environment::default()
    }
}

fn call(scratch: &Scratch, plugin: &str, command: &str, conf: &Value) -> Reply {
    let options = scratch.options(PluginsVersion::default());
    ask(plugin, &options, &environment(command), &conf.to_string())
}

fn list(scratch: &Scratch, conf: &Value) -> NetworkList {
    let file = scratch.0.join("n.conflist");
    fs::write(&file, conf.to_string()).unwrap();
    NetworkList::read(&file).unwrap()
}

fn runtime() -> Runtime {
    Runtime {
        container_id: "c1".to_owned(),
        netns: "c1".to_owned(),
        ifname: "eth0".to_owned(),
        path: "/none".to_owned(),
        ..Runtime::default()
    }
}

#[test]
fn members_are_found_by_their_names_in_any_case() {
    let scratch = Scratch::new();
    let conf = json!({
        "CNIVersion": "1.0.0", "Name": "n", "Type": "host-local",
        "IPAM": {"Type": "host-local", "Ranges": [[{"SUBNET": "10.1.0.0/24", "RangeStart": "10.1.0.7"}]],
            "Routes": [{"Dst": "0.0.0.0/0", "GW": "10.1.0.9"}]},
    });
    let reply = json(&call(&scratch, "host-local", "ADD", &conf).stdout);
    assert_eq!(reply["ips"][0]["address"], "10.1.0.7/24");
    assert_eq!(reply["routes"][0]["gw"], "10.1.0.9");
    // The subnet beside the ranges is embedded in them.
    let conf = json!({"cniVersion": "1.0.0", "name": "m", "ipam": {"Subnet": "10.2.0.0/24"}});
    let reply = json(&call(&scratch, "host-local", "ADD", &conf).stdout);
    assert_eq!(reply["ips"][0]["address"], "10.2.0.2/24");
    // Go folds the long s as well.
    let conf = json!({"cniVersion": "1.0.0", "name": "o", "ipam": {"\u{17f}ubnet": "10.3.0.0/24"}});
    let reply = json(&call(&scratch, "host-local", "ADD", &conf).stdout);
    assert_eq!(reply["ips"][0]["address"], "10.3.0.2/24");
}

#[test]
fn port_mappings_as_containerd_writes_them_are_mapped() {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}},
        {"Type": "portmap", "Capabilities": {"portMappings": true}},
        {"type": "bandwidth", "IngressRate": 1000, "ingressBurst": 1000},
    ]});
    let mut runtime = runtime();
    let mappings =
        json!([{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]);
    runtime
        .capabilities
        .insert("portMappings".to_owned(), mappings);
    let list = list(&scratch, &conf);
    for action in [Action::Add, Action::Check] {
        let reply = libcni::run(action, &list, &runtime, &options);
        assert!(!reply.failed, "{}", reply.stdout);
    }
    let host = || fs::read_to_string(scratch.0.join("netns/.host")).unwrap();
    assert!(host().contains("10.1.0.2:80"), "{}", host());
    assert!(host().contains("1000bit"), "{}", host());
    assert!(!libcni::run(Action::Del, &list, &runtime, &options).failed);
    assert!(!host().contains("10.1.0.2:80"), "{}", host());
}

#[test]
fn a_previous_result_without_a_version_has_the_configurations() {
    let scratch = Scratch::new();
    let with = |previous: Value| {
        let conf = json!({"cniVersion": "0.4.0", "name": "n", "prevResult": previous});
        call(&scratch, "firewall", "ADD", &conf)
    };
    let reply = with(json!({"ips": []}));
    assert!(!reply.failed, "{}", reply.stdout);
    assert!(!with(json!({"CNIVersion": ""})).failed);
    // The library puts its version under a name that sorts before this one.
    let wrong = "result type supports [0.3.0 0.3.1 0.4.0] but unmarshalled CNIVersion is ";
    for told in ["", "1.0.0"] {
        let reply = with(json!({"cniVersion": told}));
        let msg = json(&reply.stdout)["msg"].to_string();
        assert!(msg.contains(wrong), "{msg}");
    }
}

#[test]
fn an_empty_address_in_the_environment_asks_for_none() {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "ipam": {"subnet": "10.1.0.0/24"}});
    let env = Environment {
        args: "IP=".to_owned(),
        ..environment("ADD")
    };
    let reply = json(&ask("host-local", &options, &env, &conf.to_string()).stdout);
    assert_eq!(reply["ips"][0]["address"], "10.1.0.2/24");
}

#[test]
fn a_version_that_is_none_is_only_read_where_it_is_compared() {
    let scratch = Scratch::new();
    let conf = json!({"cniVersion": "one", "name": "n"});
    for (command, code) in [("ADD", 1), ("DEL", 1), ("CHECK", 6)] {
        let reply = json(&call(&scratch, "bridge", command, &conf).stdout);
        assert_eq!(reply["code"], code, "{command}: {reply}");
    }
}

#[test]
fn without_a_version_the_first_is_spoken() {
    let scratch = Scratch::new();
    let conf = json!({"name": "n", "ipam": {"subnet": "10.1.0.0/24"}});
    let reply = json(&call(&scratch, "host-local", "ADD", &conf).stdout);
    assert_eq!(reply["cniVersion"], "0.1.0");
    assert_eq!(reply["ip4"]["ip"], "10.1.0.2/24");
}

#[test]
fn an_array_is_no_configuration_and_null_is_an_empty_one() {
    let scratch = Scratch::new();
    let reply = json(&call(&scratch, "bridge", "ADD", &json!([])).stdout);
    assert_eq!(reply["code"], 6, "{reply}");
    let reply = json(&call(&scratch, "bridge", "ADD", &Value::Null).stdout);
    let wanted = json!({"code": 7, "msg": "missing network name"});
    assert_eq!(reply, wanted);
}

#[test]
fn del_minds_no_file_of_the_cache() {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "loopback"}]});
    let list = list(&scratch, &conf);
    let run = |action| libcni::run(action, &list, &runtime(), &options);
    let file = scratch.0.join("results/n-c1-eth0");
    assert!(!run(Action::Add).failed);
    // What cannot be read, here a folder, is as if it were not there, and cannot be removed.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(!run(Action::Del).failed);
    assert!(file.is_dir());
    fs::remove_dir(&file).unwrap();
    // What is no JSON is a fault of CHECK only, and DEL removes it.
    fs::write(&file, "{").unwrap();
    let check = run(Action::Check).stdout;
    assert!(check.contains("cached result"), "{check}");
    assert!(!run(Action::Del).failed);
    assert!(!file.exists());
}

#[test]
fn a_file_of_an_old_cache_is_the_result_itself() {
    let scratch = Scratch::new();
    let options = scratch.options(PluginsVersion::default());
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "loopback"}]});
    let list = list(&scratch, &conf);
    let run = |action| libcni::run(action, &list, &runtime(), &options);
    let file = scratch.0.join("results/n-c1-eth0");
    assert!(!run(Action::Add).failed);
    let kept = json(&fs::read_to_string(&file).unwrap());
    fs::write(&file, kept["result"].to_string()).unwrap();
    let check = run(Action::Check);
    assert!(!check.failed, "{}", check.stdout);
    fs::write(&file, r#"{"cniVersion":"9.0.0"}"#).unwrap();
    let check = run(Action::Check).stdout;
    assert!(check.contains("unsupported CNI result version"), "{check}");
}

#[test]
fn a_journal_names_no_file_of_another_folder() {
    let scratch = Scratch::new();
    let netns = scratch.0.join("netns");
    let conf = json!({"cniVersion": "1.0.0", "name": "n"});
    fs::create_dir_all(&netns).unwrap();
    let absolute = scratch.0.join("outside").display().to_string();
    for name in ["../outside", "..", "a/b", "", "./a", &absolute] {
        fs::write(
            netns.join(".journal"),
            json!({"c1": "", name: "x"}).to_string(),
        )
        .unwrap();
        let reply = json(&call(&scratch, "loopback", "ADD", &conf).stdout);
        assert_eq!(reply["code"], 5, "{name}: {reply}");
        assert!(!scratch.0.join("outside").exists(), "{name}");
    }
}

#[test]
fn an_empty_file_has_its_fault_in_the_first_column() {
    let scratch = Scratch::new();
    let file = scratch.0.join("n.conflist");
    fs::write(&file, "").unwrap();
    let error = NetworkList::read(&file).unwrap_err().to_string();
    assert!(error.contains("n.conflist:1:1: EOF"), "{error}");
}
