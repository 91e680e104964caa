//! NetworkPolicies: what they mean, and weave-npc's sets and rules of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where its own data is wrong"
)]

#[path = "network_policy/meaning.rs"]
mod meaning;
#[path = "network_policy/weave.rs"]
mod weave;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use podwire_cluster::{Cluster, Input, ObjectName, load};
use podwire_controlplane::network_policy::{Party, Policies};
use serde_json::Value;

fn data(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network_policy");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn lines(file: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    data(file).lines().map(parse).collect()
}

fn read(texts: &[&str]) -> Cluster {
    let input = |text: &&str| Input {
        path: PathBuf::from("input.yaml"),
        text: (*text).to_owned(),
    };
    load(texts.iter().map(input).collect()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `namespace/pod` or an address, met by the address.
fn party<'c>(policies: &Policies<'c>, name: &str, ip: IpAddr) -> Party<'c> {
    let pod = name.split_once('/');
    let pod = pod.map(|(namespace, name)| ObjectName::new(namespace, name));
    pod.map_or_else(
        || policies.address(ip),
        |pod| policies.pod(&pod, ip).unwrap(),
    )
}
