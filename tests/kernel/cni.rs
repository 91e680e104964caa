//! podwire's CNI plugins beside the real ones: Debian 12's containernetworking-plugins, which are 1.1.1.
//!
//! Both get the same calls, podwire with `--plugins-version 1.1.1`. After each, what they printed and what
//! is in the namespaces must be the same, random names and Ethernet addresses apart.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use podwire_cni::{Dump, Environment, Options, PluginsVersion, call};
use podwire_testkit::kernel::{Lane, Namespace, lane_with};
use serde_json::{Map, Value, json};

/// Where Debian has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// The host and two containers, in the kernel and emulated.
struct Beside {
    host: Namespace,
    containers: Vec<Namespace>,
    folder: PathBuf,
    previous: [Value; 2],
}

/// One call.
struct Step {
    plugin: &'static str,
    command: &'static str,
    container: usize,
    conf: Value,
}

fn step(command: &'static str, container: usize, conf: &Value) -> Step {
    let plugin = match conf["type"].as_str().unwrap_or_default() {
        "bridge" => "bridge",
        "ptp" => "ptp",
        "portmap" => "portmap",
        "firewall" => "firewall",
        "tuning" => "tuning",
        "host-local" => "host-local",
        other => panic!("{other}"),
    };
    Step {
        plugin,
        command,
        container,
        conf: conf.clone(),
    }
}

impl Beside {
    fn new(lane: Lane, name: &str) -> Self {
        let namespace = || {
            let namespace = Namespace::new(lane).expect("a namespace");
            for of in ["all", "default"] {
                let name = format!("net.ipv6.conf.{of}.disable_ipv6");
                namespace.sysctl(&name, "0").expect("IPv6 can be on");
            }
            namespace
        };
        let folder = format!("podwire-cni-beside-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self {
            host: namespace(),
            containers: vec![namespace(), namespace()],
            folder,
            previous: [Value::Null, Value::Null],
        }
    }

    fn options(&self) -> Options {
        Options {
            state: self.folder.join("ours"),
            plugins: PluginsVersion::V1_1_1,
        }
    }

    /// The configuration that one side gets: with a folder of its own, and its own result before.
    fn conf(&self, step: &Step, side: usize) -> Value {
        let mut conf = step.conf.clone();
        let folder = self.folder.join(["real", "ours"][side]);
        if conf["ipam"]["type"] == "host-local" {
            conf["ipam"]["dataDir"] = json!(folder);
        }
        if step.plugin == "tuning" {
            conf["dataDir"] = json!(folder.join("tuning"));
        }
        let chained = matches!(step.plugin, "portmap" | "firewall" | "tuning");
        if (chained || step.command == "CHECK") && !self.previous[side].is_null() {
            conf["prevResult"] = self.previous[side].clone();
        }
        conf
    }

    /// Calls both, and compares.
    fn run(&mut self, step: &Step, place: &str) {
        let env = Environment {
            command: step.command.to_owned(),
            container_id: format!("c{}", step.container),
            netns: self.containers[step.container].path(),
            ifname: "eth0".to_owned(),
            path: PLUGINS.to_owned(),
            ..Environment::default()
        };
        let real = self.real(step, &env);
        let conf = self.conf(step, 1).to_string();
        let ours = call(step.plugin, &self.options(), &env, || Ok(conf.into_bytes()));
        let ours = ours.expect("podwire has that plugin");
        let ours = (ours.failed, parse(&ours.stdout));
        let place = format!("{place}: {} {}", step.plugin, step.command);
        assert_eq!(blank(&ours.1), blank(&real.1), "{place}");
        assert_eq!(ours.0, real.0, "{place}");
        if step.command == "ADD" && !real.0 {
            self.previous = [real.1, ours.1];
        }
        let emulated = Dump::read(&self.options()).expect("namespaces").to_json();
        let mut emulated = emulated.expect("rules");
        let held = emulated["containers"].as_object().expect("containers");
        let held = held.iter().filter(|(_, own)| own["links"] != json!({}));
        emulated["containers"] = held
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>()
            .into();
        assert_eq!(blank(&emulated), blank(&self.in_the_kernel()), "{place}");
    }

    fn real(&self, step: &Step, env: &Environment) -> (bool, Value) {
        let conf = self.conf(step, 0).to_string();
        let output = self.host.inside(|| {
            let mut command = Command::new(format!("{PLUGINS}/{}", step.plugin));
            command
                .envs([
                    ("CNI_COMMAND", &env.command),
                    ("CNI_CONTAINERID", &env.container_id),
                    ("CNI_NETNS", &env.netns),
                    ("CNI_IFNAME", &env.ifname),
                    ("CNI_PATH", &env.path),
                ])
                .env("CNI_ARGS", "")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().expect("the plugin runs");
            let mut stdin = child.stdin.take().expect("it was piped");
            stdin.write_all(conf.as_bytes()).expect("it reads");
            drop(stdin);
            Ok(child.wait_with_output().expect("the plugin ends"))
        });
        let output = output.expect("the host's namespace can be entered");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        (!output.status.success(), parse(&stdout))
    }

    /// What is in the kernel's namespaces, in the form of podwire's dump.
    fn in_the_kernel(&self) -> Value {
        let links = list(&self.host, &["ip", "-j", "-d", "link", "show"]);
        let addresses = addresses(&self.host);
        let mut bridges = Map::new();
        for link in &links {
            if link["linkinfo"]["info_kind"] != "bridge" {
                continue;
            }
            let ports = links.iter().filter(|port| port["master"] == link["ifname"]);
            let port = |port: &Value| {
                let options = &port["linkinfo"]["info_slave_data"];
                json!({"mtu": port["mtu"], "hairpin": options["hairpin"], "isolated": options["isolated"]})
            };
            let name = link["ifname"].as_str().unwrap_or_default().to_owned();
            let bridge = json!({
                "addrs": addresses[&name],
                "mtu": link["mtu"],
                "promisc": has_flag(link, "PROMISC"),
                "up": has_flag(link, "UP"),
                "vlan_filtering": link["linkinfo"]["info_data"]["vlan_filtering"],
                "ports": ports.map(port).collect::<Vec<_>>(),
            });
            bridges.insert(name, bridge);
        }
        let mut containers = Map::new();
        for namespace in &self.containers {
            let container = in_container(namespace);
            if container["links"] != json!({}) {
                containers.insert(namespace.path(), container);
            }
        }
        let forward = self.host.run(&["cat", "/proc/sys/net/ipv4/ip_forward"], "");
        let mut all = json!({
            "bridges": bridges,
            "containers": containers,
            "ip_forward": forward.expect("a sysctl").trim(),
        });
        for program in ["iptables", "ip6tables"] {
            for table in ["nat", "filter"] {
                let save = format!("{program}-save");
                let text = self.host.run(&[&save, "-t", table], "").expect("rules");
                let is_ours = |line: &&str| {
                    line.starts_with("-A") || (line.starts_with(':') && line.contains(" - "))
                };
                let lines: Vec<&str> = text.lines().filter(is_ours).collect();
                if !lines.is_empty() {
                    all[format!("{program}_{table}")] = json!(lines);
                }
            }
        }
        all
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn parse(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn list(namespace: &Namespace, command: &[&str]) -> Vec<Value> {
    let text = namespace.run(command, "").expect("ip prints");
    let items: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    items
        .into_iter()
        .filter(|item| *item != json!({}))
        .collect()
}

fn has_flag(link: &Value, flag: &str) -> bool {
    let flags = link["flags"].as_array();
    flags.is_some_and(|flags| flags.iter().any(|own| own == flag))
}

/// The addresses of each device, without those of the link.
fn addresses(namespace: &Namespace) -> Map<String, Value> {
    let links = list(namespace, &["ip", "-j", "addr", "show"]);
    let of = |link: &Value| {
        let infos = link["addr_info"].as_array().cloned().unwrap_or_default();
        let infos = infos.iter().filter(|info| info["scope"] != "link");
        let texts = infos.map(|info| {
            let local = info["local"].as_str().unwrap_or_default();
            Value::from(format!("{local}/{}", info["prefixlen"]))
        });
        let name = link["ifname"].as_str().unwrap_or_default().to_owned();
        (name, texts.collect::<Value>())
    };
    links.iter().map(of).collect()
}

fn in_container(namespace: &Namespace) -> Value {
    let addresses = addresses(namespace);
    let mut links = Map::new();
    for link in list(namespace, &["ip", "-j", "link", "show"]) {
        let name = link["ifname"].as_str().unwrap_or_default();
        if name != "lo" {
            let value = json!({
                "addrs": addresses[name],
                "mtu": link["mtu"],
                "up": has_flag(&link, "UP"),
                "mac": link["address"],
            });
            links.insert(name.to_owned(), value);
        }
    }
    let mut routes = Vec::new();
    for family in ["-4", "-6"] {
        for route in list(namespace, &["ip", "-j", family, "route", "show"]) {
            let dst = route["dst"].as_str().unwrap_or_default();
            if dst.starts_with("fe80") {
                continue;
            }
            let mut told = Map::new();
            for key in ["dst", "gateway", "dev", "protocol", "scope", "prefsrc"] {
                let is_told = match key {
                    "protocol" => route[key] != "boot",
                    "scope" => family == "-4",
                    _ => true,
                };
                if let Some(value) = route.get(key).filter(|_| is_told) {
                    told.insert(key.to_owned(), value.clone());
                }
            }
            routes.push(Value::from(told));
        }
    }
    json!({"links": links, "routes": routes})
}

/// Random names and Ethernet addresses made equal.
fn blank(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let is_mac = text.len() == 17 && text.matches(':').count() == 5;
            let at = text.find("veth").filter(|_| text.len() >= 12);
            match at {
                _ if is_mac => "MAC".into(),
                Some(at) => {
                    format!("{}VETH{}", &text[..at], &text[(at + 12).min(text.len())..]).into()
                }
                None => text.as_str().into(),
            }
        }
        Value::Array(items) => items.iter().map(blank).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| (key.clone(), blank(value)));
            members.collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

const IPV4: &str = "10.22.0.0/24";
const IPV6: &str = "fd00:22::/64";

fn conf(kind: &str, more: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "beside", "type": kind});
    let members = conf.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().unwrap_or_default());
    conf
}

fn both_families() -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": IPV4}], [{"subnet": IPV6}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
}

/// Two containers come and go.
fn come_and_go(conf: &Value) -> Vec<Step> {
    vec![
        step("ADD", 0, conf),
        step("CHECK", 0, conf),
        step("ADD", 1, conf),
        step("DEL", 0, conf),
        step("DEL", 0, conf),
        step("DEL", 1, conf),
    ]
}

fn compare(name: &str, cases: &[(&str, Vec<Step>)]) {
    let Some(lane) = lane_with("/usr/lib/cni/bridge") else {
        return;
    };
    for (what, steps) in cases {
        let mut beside = Beside::new(lane, name);
        for (number, step) in steps.iter().enumerate() {
            beside.run(step, &format!("{name}, {what}, step {number}"));
        }
    }
}

#[test]
fn host_local_gives_the_same_addresses_as_the_real_one() {
    let local = |ipam: Value| {
        let mut ipam = ipam;
        ipam["type"] = "host-local".into();
        conf("host-local", &json!({"ipam": ipam}))
    };
    let small = local(json!({"subnet": "10.1.2.0/30"}));
    let other = local(
        json!({"ranges": [[{"subnet": IPV4, "rangeStart": "10.22.0.10",
        "rangeEnd": "10.22.0.11"}], [{"subnet": IPV6}]], "routes": [{"dst": "::/0"}]}),
    );
    let wrong = local(json!({"subnet": "10.1.2.0/31"}));
    compare(
        "host-local",
        &[
            ("exhausted", come_and_go(&small)),
            ("two sets", come_and_go(&other)),
            ("too small", come_and_go(&wrong)),
            (
                "turns",
                vec![
                    step("ADD", 0, &other),
                    step("DEL", 0, &other),
                    step("ADD", 0, &other),
                    step("DEL", 0, &other),
                    step("ADD", 1, &other),
                    step("ADD", 1, &other),
                ],
            ),
        ],
    );
}

#[test]
fn bridge_makes_what_the_real_one_makes() {
    let bridge = |more: Value| {
        let mut conf = conf("bridge", &more);
        if conf["ipam"].is_null() {
            conf["ipam"] = both_families();
        }
        conf
    };
    let plain = json!({"type": "host-local", "subnet": IPV4});
    let gateway = bridge(json!({"isGateway": true, "ipam": plain}));
    let mut elsewhere = bridge(json!({"isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.33.0.0/24"}}));
    elsewhere["name"] = "elsewhere".into();
    let mut forced = elsewhere.clone();
    forced["forceAddress"] = true.into();
    let routes = json!({"type": "host-local", "subnet": IPV4, "routes": [{"dst": "0.0.0.0/0"},
        {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}]});
    let far = json!({"type": "host-local", "subnet": IPV4,
        "routes": [{"dst": "192.168.0.0/16", "gw": "172.16.0.9"}]});
    let fixed = json!({"type": "static", "addresses": [{"address": "10.10.0.5/24",
        "gateway": "10.10.0.254"}, {"address": "fd00:10::5/64"}]});
    compare(
        "bridge",
        &[
            (
                "both families",
                come_and_go(&bridge(json!({"isGateway": true, "ipMasq": true}))),
            ),
            (
                "default gateway",
                come_and_go(&bridge(json!({"isDefaultGateway": true, "ipam": plain}))),
            ),
            (
                "smaller packets",
                come_and_go(&bridge(json!({"mtu": 1400, "hairpinMode": true}))),
            ),
            (
                "promiscuous",
                come_and_go(&bridge(json!({"promiscMode": true, "ipam": plain}))),
            ),
            ("no addresses", come_and_go(&bridge(json!({"ipam": {}})))),
            (
                "no such ipam",
                come_and_go(&bridge(json!({"ipam": {"type": "nosuch"}}))),
            ),
            ("routes", come_and_go(&bridge(json!({"ipam": routes})))),
            ("a far next hop", come_and_go(&bridge(json!({"ipam": far})))),
            (
                "static",
                come_and_go(&bridge(json!({"isDefaultGateway": true, "ipam": fixed}))),
            ),
            (
                "another network",
                vec![step("ADD", 0, &gateway), step("ADD", 1, &elsewhere)],
            ),
            (
                "another by force",
                vec![
                    step("ADD", 0, &gateway),
                    step("ADD", 1, &forced),
                    step("DEL", 1, &forced),
                    step("DEL", 0, &gateway),
                ],
            ),
            (
                "twice",
                vec![step("ADD", 0, &gateway), step("ADD", 0, &forced)],
            ),
        ],
    );
}

#[test]
fn ptp_makes_what_the_real_one_makes() {
    let ptp = |more: Value| {
        let mut conf = conf("ptp", &more);
        conf["ipam"] = both_families();
        conf
    };
    compare(
        "ptp",
        &[
            ("both families", come_and_go(&ptp(json!({"ipMasq": true})))),
            (
                "smaller packets",
                come_and_go(&ptp(json!({"mtu": 1400, "dns": {"domain": "d"}}))),
            ),
        ],
    );
}

#[test]
fn chained_plugins_make_what_the_real_ones_make() {
    let bridge = conf(
        "bridge",
        &json!({"isGateway": true, "ipMasq": true, "ipam": both_families()}),
    );
    let chained = |own: &Value| {
        vec![
            step("ADD", 0, &bridge),
            step("ADD", 0, own),
            step("CHECK", 0, own),
            step("ADD", 0, own),
            step("DEL", 0, own),
            step("DEL", 0, &bridge),
        ]
    };
    let portmap = |more: Value, mappings: Value| {
        let mut conf = conf("portmap", &more);
        conf["runtimeConfig"]["portMappings"] = mappings;
        conf
    };
    let mapping = |host: u32, inside: u32, protocol: &str| json!({"hostPort": host, "containerPort": inside, "protocol": protocol});
    let many: Value = (0..33).map(|i| mapping(8000 + i, 80 + i, "tcp")).collect();
    let hosts = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "::"},
        {"hostPort": 8081, "containerPort": 81, "protocol": "tcp", "hostIP": "192.0.2.7"},
        {"hostPort": 8082, "containerPort": 82, "protocol": "udp", "hostIP": "fd00::7"},
    ]);
    let one = || json!([mapping(8080, 80, "tcp")]);
    let none = json!({});
    compare(
        "chained",
        &[
            ("one port", chained(&portmap(none.clone(), one()))),
            ("many ports", chained(&portmap(none.clone(), many))),
            ("host addresses", chained(&portmap(none.clone(), hosts))),
            (
                "no masquerade",
                chained(&portmap(json!({"snat": false}), one())),
            ),
            (
                "conditions",
                chained(&portmap(
                    json!({"markMasqBit": 0, "conditionsV4": ["!", "-d", "192.0.2.0/24"]}),
                    one(),
                )),
            ),
            (
                "another chain",
                chained(&portmap(
                    json!({"externalSetMarkChain": "KUBE-MARK-MASQ"}),
                    one(),
                )),
            ),
            (
                "no port",
                chained(&portmap(none.clone(), json!([mapping(70000, 80, "tcp")]))),
            ),
            (
                "no protocol",
                chained(&portmap(none, json!([mapping(80, 80, "xyz")]))),
            ),
            (
                "firewall",
                chained(&conf("firewall", &json!({"ingressPolicy": "same-bridge"}))),
            ),
            (
                "tuning",
                chained(&conf(
                    "tuning",
                    &json!({"mac": "c2:b0:57:49:47:f1", "mtu": 1454,
                "promisc": true, "sysctl": {"net.core.somaxconn": "500"}}),
                )),
            ),
        ],
    );
}
