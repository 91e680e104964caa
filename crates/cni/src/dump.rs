//! All that is in the emulated namespaces, for people and programs.

use std::fmt::Write as _;

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{Chain, RuleSet, TableName};
use serde_json::{Map, Value, json};

use crate::kernel::Kernel;
use crate::kernel::device::{Device, Kind};
use crate::kernel::namespace::{Namespace, Route, Scope};
use crate::protocol::Options;
use crate::{CniError, StateError};

/// The namespaces of a state directory, read at one moment.
#[derive(Debug)]
pub struct Dump {
    host: Namespace,
    containers: Vec<(String, Namespace)>,
}

impl Dump {
    /// Reads them.
    ///
    /// # Errors
    /// When a file cannot be read, or is none of podwire's.
    pub fn read(options: &Options) -> Result<Self, StateError> {
        let mut kernel = Kernel::open(&options.state)?;
        let containers = kernel.containers()?;
        Ok(Self {
            host: kernel.host().clone(),
            containers,
        })
    }

    /// Bridges and rules of the host, devices and routes of containers.
    ///
    /// # Errors
    /// When the rules in a file are none.
    pub fn to_json(&self) -> Result<Value, CniError> {
        let host = &self.host;
        let bridges = host.devices.iter().filter(|device| device.is_bridge());
        let bridges: Map<String, Value> = bridges
            .map(|bridge| (bridge.name.clone(), of_bridge(host, bridge)))
            .collect();
        let containers = self.containers.iter();
        let containers: Map<String, Value> = containers
            .map(|(name, namespace)| (name.clone(), of_container(namespace)))
            .collect();
        let mut all = json!({
            "bridges": bridges,
            "containers": containers,
            "ip_forward": host.sysctl("net/ipv4/ip_forward"),
        });
        for (family, program) in [(Family::Ipv4, "iptables"), (Family::Ipv6, "ip6tables")] {
            let rules = host.iptables.rules(family)?;
            for table in [TableName::Nat, TableName::Filter] {
                let lines = lines_of(&rules, table);
                if !lines.is_empty() {
                    all[format!("{program}_{table}")] = lines.into();
                }
            }
        }
        Ok(all)
    }

    /// The same as text, with the host's other devices, routes and sysctls.
    ///
    /// # Errors
    /// As [`Self::to_json`].
    pub fn to_text(&self) -> Result<String, CniError> {
        let mut out = String::from("host\n");
        write_namespace(&mut out, &self.host)?;
        for (name, namespace) in &self.containers {
            put(&mut out, format_args!("{name}\n"));
            write_namespace(&mut out, namespace)?;
        }
        Ok(out)
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

fn of_bridge(host: &Namespace, bridge: &Device) -> Value {
    let port = |device: &Device| {
        let port = device.port.as_ref();
        json!({
            "mtu": device.mtu,
            "hairpin": port.is_some_and(|port| port.hairpin),
            "isolated": port.is_some_and(|port| port.isolated),
        })
    };
    let vlan_filtering = matches!(
        bridge.kind,
        Kind::Bridge {
            vlan_filtering: true,
            ..
        }
    );
    json!({
        "addrs": addresses(bridge),
        "mtu": bridge.mtu,
        "promisc": bridge.promisc,
        "up": bridge.is_up,
        "vlan_filtering": u8::from(vlan_filtering),
        "ports": host.ports(&bridge.name).map(port).collect::<Vec<_>>(),
    })
}

fn addresses(device: &Device) -> Vec<String> {
    device.addresses.iter().map(ToString::to_string).collect()
}

fn of_container(namespace: &Namespace) -> Value {
    let devices = namespace.devices.iter();
    let devices = devices.filter(|device| device.kind != Kind::Loopback);
    let links: Map<String, Value> = devices
        .map(|device| {
            let value = json!({
                "addrs": addresses(device),
                "mtu": device.mtu,
                "up": device.is_up,
                "mac": device.mac.to_string(),
            });
            (device.name.clone(), value)
        })
        .collect();
    let routes: Vec<Value> = namespace
        .listed_routes()
        .into_iter()
        .map(of_route)
        .collect();
    json!({"links": links, "routes": routes})
}

/// A route as `ip -j route` tells it.
fn of_route(route: &Route) -> Value {
    let dst = match (route.dst.is_empty(), route.dst.is_host()) {
        (true, _) => "default".to_owned(),
        (_, true) => route.dst.address().to_string(),
        _ => route.dst.to_string(),
    };
    let mut value = json!({"dst": dst, "dev": route.dev});
    let is_ipv4 = route.dst.family() == Family::Ipv4;
    if let Some(via) = route.via {
        value["gateway"] = via.to_string().into();
    }
    if route.of_kernel {
        value["protocol"] = "kernel".into();
    }
    match route.scope {
        Scope::Link if is_ipv4 => value["scope"] = "link".into(),
        Scope::Host if is_ipv4 => value["scope"] = "host".into(),
        Scope::Global | Scope::Link | Scope::Host => {}
    }
    if let Some(src) = route.src {
        value["prefsrc"] = src.to_string().into();
    }
    value
}

/// A table as `iptables-save` (nf_tables) tells it, without its built-in chains' own lines: chains of the
/// user's sorted by name, then rules chain by chain.
fn lines_of(rules: &RuleSet, table: TableName) -> Vec<String> {
    let Some(table) = rules.tables.get(&table) else {
        return Vec::new();
    };
    let (built_in, mut user): (Vec<&Chain>, Vec<&Chain>) = table
        .chains
        .values()
        .map(|chain| &**chain)
        .partition(|chain| chain.built_in.is_some());
    user.sort_by(|a, b| a.name.cmp(&b.name));
    let names = user.iter().map(|chain| format!(":{} - [0:0]", chain.name));
    let rule_lines = built_in.iter().chain(&user).flat_map(|chain| {
        let name = &chain.name;
        let text = |rule| rule_text(rule, Wording::Save, rules.family);
        chain
            .rules
            .iter()
            .map(move |rule| format!("-A {name} {}", text(rule)))
    });
    names.chain(rule_lines).collect()
}

fn write_namespace(out: &mut String, namespace: &Namespace) -> Result<(), CniError> {
    for device in &namespace.devices {
        let state = if device.is_up { "UP" } else { "DOWN" };
        let (index, name) = (device.index, &device.name);
        put(out, format_args!("  {index}: {name}"));
        if let Some(peer) = device.peer() {
            put(out, format_args!("@{}", peer.name));
        }
        put(
            out,
            format_args!(" mtu {} state {state} {}", device.mtu, device.mac),
        );
        if let Some(port) = &device.port {
            put(out, format_args!(" master {}", port.bridge));
            if port.hairpin {
                out.push_str(" hairpin");
            }
        }
        for address in &device.addresses {
            put(out, format_args!(" {address}"));
        }
        for (parent, qdisc) in &device.qdiscs {
            put(out, format_args!(" qdisc {parent} {qdisc}"));
        }
        out.push('\n');
    }
    let main = namespace.listed_routes();
    let others = namespace
        .routes
        .iter()
        .filter(|route| route.table != Route::MAIN);
    for route in main.into_iter().chain(others) {
        put(out, format_args!("  route {}", route.dst));
        if let Some(via) = route.via {
            put(out, format_args!(" via {via}"));
        }
        put(out, format_args!(" dev {}", route.dev));
        if let Some(src) = route.src {
            put(out, format_args!(" src {src}"));
        }
        if route.table != Route::MAIN {
            put(out, format_args!(" table {}", route.table));
        }
        out.push('\n');
    }
    for rule in &namespace.policy {
        put(
            out,
            format_args!("  rule from {} lookup {}\n", rule.from, rule.table),
        );
    }
    for (name, value) in &namespace.sysctls {
        put(out, format_args!("  sysctl {name} = {value}\n"));
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let rules = namespace.iptables.rules(family)?;
        for table in [TableName::Nat, TableName::Filter] {
            for line in lines_of(&rules, table) {
                put(out, format_args!("  {family} {table}  {line}\n"));
            }
        }
    }
    for rules in namespace.bridge_rules.values().flatten() {
        put(out, format_args!("  bridge nat  {rules}\n"));
    }
    Ok(())
}
