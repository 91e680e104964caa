//! What the real host-local (containernetworking/plugins 1.9.1) answered, step by step, and the files
//! that it left: `tests/data/host_local.jsonl`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podwire_ipam::{HostLocal, Range, RangeError, RangeSet, RangeSets, RangeSetsError};
use serde_json::Value;

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str().map(|text| text.parse().expect("an address"))
}

fn range(value: &Value) -> Result<Range, RangeError> {
    let (network, length) = value["subnet"]
        .as_str()
        .and_then(|subnet| subnet.split_once('/'))
        .expect("a subnet");
    Range::new(
        network.parse().expect("an address"),
        length.parse().expect("a length"),
        ip(&value["rangeStart"]),
        ip(&value["rangeEnd"]),
        ip(&value["gateway"]),
    )
}

/// The range sets of an `ipam` section; one subnet may stand there itself.
fn sets(ipam: &Value) -> Result<RangeSets, RangeSetsError> {
    let of_set = |(index, set): (usize, Vec<&Value>)| {
        set.into_iter()
            .map(range)
            .collect::<Result<_, _>>()
            .and_then(RangeSet::new)
            .map_err(|source| RangeSetsError::Set { index, source })
    };
    let mut all: Vec<Vec<&Value>> = Vec::new();
    if !ipam["subnet"].is_null() {
        all.push(vec![ipam]);
    }
    for set in ipam["ranges"].as_array().into_iter().flatten() {
        all.push(set.as_array().expect("a set").iter().collect());
    }
    let sets = all.into_iter().enumerate().map(of_set);
    RangeSets::new(sets.collect::<Result<_, _>>()?)
}

fn requested(step: &Value) -> Vec<IpAddr> {
    let from_args = step["env"]["CNI_ARGS"].as_str();
    let from_args = from_args.and_then(|args| args.strip_prefix("IP="));
    let from_runtime = step["stdin"]["runtimeConfig"]["ips"].as_array();
    let from_runtime = from_runtime.into_iter().flatten().filter_map(Value::as_str);
    from_args
        .into_iter()
        .chain(from_runtime)
        .map(|text| text.split('/').next().unwrap_or(text))
        .map(|text| text.parse().expect("an address"))
        .collect()
}

type Networks = BTreeMap<String, HostLocal>;

fn files(networks: &Networks) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (network, state) in networks {
        for (name, content) in state.export() {
            files.insert(format!("{network}/{name}"), content);
        }
    }
    files
}

fn import(prior: &Value) -> Networks {
    let mut folders: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, content) in prior.as_object().into_iter().flatten() {
        let (network, name) = path.split_once('/').expect("a folder");
        let content = content.as_str().expect("a text").to_owned();
        let folder = folders.entry(network.to_owned()).or_default();
        folder.insert(name.to_owned(), content);
    }
    let state = |files| HostLocal::import(&files).expect("state");
    folders
        .into_iter()
        .map(|(n, files)| (n, state(files)))
        .collect()
}

/// The result's `address gateway`s in the order of the sets, or the error's message.
fn run(step: &Value, networks: &mut Networks) -> Result<Vec<(String, String)>, String> {
    let network = step["stdin"]["name"].as_str().expect("a name").to_owned();
    let state = networks.entry(network).or_default();
    let text = |key: &str| step["env"][key].as_str().expect("a variable");
    let (container, device) = (text("CNI_CONTAINERID"), text("CNI_IFNAME"));
    let sets = sets(&step["stdin"]["ipam"]).map_err(|error| error.to_string())?;
    match text("CNI_COMMAND") {
        "ADD" => {
            let given = state.add(&sets, container, device, &requested(step));
            let given = given.map_err(|error| error.to_string())?;
            let told = given.iter().map(|a| {
                let address = format!("{}/{}", a.ip, a.subnet.len());
                (address, a.gateway.to_string())
            });
            Ok(told.collect())
        }
        "DEL" => {
            state.del(container, device);
            Ok(Vec::new())
        }
        "CHECK" => {
            assert!(state.check(container, device));
            Ok(Vec::new())
        }
        other => panic!("{other}"),
    }
}

fn wanted(expect: &Value) -> Result<Vec<(String, String)>, String> {
    if let Some(message) = expect["error"]["msg"].as_str() {
        return Err(message.to_owned());
    }
    let result = &expect["result"];
    // Results of CNI 0.2.0 and before have a key for each family.
    let old = [(&result["ip4"], "ip"), (&result["ip6"], "ip")];
    let old = old.into_iter().filter(|(one, _)| !one.is_null());
    let new = result["ips"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Ok(old
        .chain(new.map(|one| (one, "address")))
        .map(|(one, key)| (text(&one[key]), text(&one["gateway"])))
        .collect())
}

#[test]
fn addresses_messages_and_files_are_host_locals_own() {
    let cases = include_str!("data/host_local.jsonl");
    let mut steps = 0;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let mut networks = import(&case["prior_state"]);
        for step in case["steps"].as_array().unwrap() {
            let expect = &step["expect"];
            assert_eq!(run(step, &mut networks), wanted(expect), "{}", case["id"]);
            let state: BTreeMap<String, String> =
                serde_json::from_value(expect["state"].clone()).unwrap();
            assert_eq!(files(&networks), state, "{}", case["id"]);
            steps += 1;
        }
    }
    assert!(steps > 70, "{steps}");
}
