//! Lists of plugins, as libcni calls them: plugins that write down what they got, and podwire's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use podwire_cni::libcni::{self, Action, NetworkList, Runtime, Shim};
use podwire_cni::{PluginsVersion, Reply};
use serde_json::{Map, Value};

use super::{RELEASES, Scratch, blank, cases, json, named, state, used};

/// A plugin that writes each call to `calls` beside it, refuses what its `failOn` names, and gives one
/// address in the form of the configuration's version.
const RECORDER: &str = r#"#!/bin/sh
name="${0##*/}"
conf="$(cat)"
printf '{"plugin":"%s","env":{"CNI_ARGS":"%s","CNI_COMMAND":"%s","CNI_CONTAINERID":"%s","CNI_IFNAME":"%s","CNI_NETNS":"%s"},"stdin":%s}\n' \
    "$name" "$CNI_ARGS" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_NETNS" "$conf" >> "${0%/*}/calls"
case "$conf" in *'"failOn":"'"$CNI_COMMAND"'"'*)
    printf '{"code":100,"msg":"%s refuses","details":"as told"}' "$name"
    exit 1;;
esac
[ "$CNI_COMMAND" = ADD ] || exit 0
version="${conf#*\"cniVersion\":\"}"
version="${version%%\"*}"
case "$version" in
1.*) family= ; dns= ;;
*) family='"version":"4",' ; dns=',"dns":{}' ;;
esac
printf '{"cniVersion":"%s","interfaces":[{"name":"%s","sandbox":"%s"}],"ips":[{%s"interface":0,"address":"10.9.0.1/24"}]%s}' \
    "$version" "$CNI_IFNAME" "$CNI_NETNS" "$family" "$dns"
"#;

/// Puts recorders called `aa`, `bb` and `cc` into a folder.
fn put_recorders(dir: &Path) {
    for name in ["aa", "bb", "cc"] {
        let path = dir.join(name);
        fs::write(&path, RECORDER).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn text<'v>(value: &'v Value, default: &'v str) -> &'v str {
    value.as_str().unwrap_or(default)
}

fn runtime(case: &Value, step: &Value, path: &Path) -> Runtime {
    let told = &step["runtime"];
    let id = text(&told["ContainerID"], text(&step["container"], "c1"));
    let netns = match text(&case["plugin"], "") {
        "libcni" => "/var/run/netns/none".to_owned(),
        _ => format!("NETNS-{id}"),
    };
    let mut capabilities = told["CapabilityArgs"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    if let Some(mappings) = step.get("portMappings") {
        capabilities.insert("portMappings".to_owned(), mappings.clone());
    }
    Runtime {
        container_id: id.to_owned(),
        netns,
        ifname: text(&told["IfName"], "eth0").to_owned(),
        args: String::new(),
        path: path.display().to_string(),
        capabilities,
        shim: Shim::default(),
    }
}

fn action(step: &Value) -> Option<Action> {
    match text(&step["action"], "") {
        "ADD" => Some(Action::Add),
        "CHECK" => Some(Action::Check),
        "DEL" => Some(Action::Del),
        "STATUS" => Some(Action::Status),
        "GC" => Some(Action::Gc),
        _ => None,
    }
}

/// What the runtime was told, in the form of the table.
fn outcome(reply: &Reply, folder: &str) -> Value {
    let told = json(&reply.stdout);
    let mut outcome = Map::new();
    if reply.failed {
        let details = text(&told["details"], "");
        let between = if details.is_empty() { "" } else { "; " };
        let error = named(&format!("{}{between}{details}", text(&told["msg"], "")));
        let error = error.replace(folder, "CNI_PATH");
        outcome.insert("error".to_owned(), error.into());
    } else if told.is_null() {
        outcome.insert("ok".to_owned(), true.into());
    } else {
        outcome.insert("result".to_owned(), blank(&told));
    }
    outcome.into()
}

fn run(case: &Value, release: PluginsVersion) {
    let (scratch, plugins) = (Scratch::new(), Scratch::new());
    put_recorders(&plugins.0);
    let options = scratch.options(release);
    let file = plugins.0.join("list.conflist");
    for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let place = format!("{} step {number} of {release}", case["id"]);
        let list = step
            .get("conflist")
            .unwrap_or(&case["conflist"])
            .to_string();
        let data = scratch.0.join("networks").display().to_string();
        fs::write(&file, list.replace("DATADIR", &data)).unwrap();
        let wanted = match (release, step.get("expect_plugins_1.1.1")) {
            (PluginsVersion::V1_1_1, Some(wanted)) => wanted,
            _ => step.get("expect").unwrap_or(step),
        };
        let mut outcome_wanted = blank(&wanted["outcome"]);
        let members = outcome_wanted.as_object_mut().unwrap();
        members.remove("stage");
        members.remove("code");
        let calls = plugins.0.join("calls");
        let _ = fs::remove_file(&calls);
        let list = match NetworkList::read(&file) {
            Ok(list) => list,
            Err(error) => {
                let error = error.to_string();
                let wanted = text(&outcome_wanted["error"], "");
                assert!(error.ends_with(wanted), "{place}: {error}");
                continue;
            }
        };
        let Some(action) = action(step) else {
            let told = (
                list.name.as_str(),
                list.version.as_str(),
                list.disable_check,
            );
            let wanted = &wanted["outcome"];
            let name = text(&wanted["name"], "");
            let version = text(&wanted["cniVersion"], "");
            let disabled = wanted["disableCheck"] == Value::Bool(true);
            assert_eq!(told, (name, version, disabled), "{place}");
            continue;
        };
        let runtime = runtime(case, step, &plugins.0);
        let reply = libcni::run(action, &list, &runtime, &options);
        let told = outcome(&reply, &runtime.path);
        assert_eq!(told, outcome_wanted, "{place}");
        if let Some(wanted) = wanted.get("calls") {
            let calls = fs::read_to_string(&calls).unwrap_or_default();
            let calls: Value = calls.lines().map(json).collect();
            assert_eq!(&calls, wanted, "{place}");
        }
        if let Some(wanted) = wanted.get("state") {
            assert_eq!(state(&options), used(wanted), "{place}");
        }
    }
}

#[test]
fn lists_are_called_as_libcni_calls_them() {
    let mut count = 0;
    for case in cases(include_str!("../data/conflist.jsonl")) {
        for release in RELEASES {
            run(&case, release);
        }
        count += 1;
    }
    assert_eq!(count, 27);
}
