//! kube-proxy's own rule sets, and packets to all that they dispatch, and to what is next to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    AddressMatch, ConntrackInfo, CtState, Hook, HostAddresses, Match, Packet, RuleSet, State,
    TableName, Target, iptables,
};

use super::{Both, Compared};

/// Addresses and ports that rules name, and those beside them.
struct Named {
    addresses: BTreeSet<IpAddr>,
    receivers: BTreeSet<(IpAddr, Protocol, u16)>,
}

pub(super) fn beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) ^ 1).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) ^ 1).into()),
    }
}

fn named(rules: &RuleSet, host: IpAddr) -> Named {
    let mut named = Named {
        addresses: BTreeSet::from([host]),
        receivers: BTreeSet::new(),
    };
    let chains = rules
        .tables
        .values()
        .flat_map(|table| table.chains.values());
    for rule in chains.flat_map(|chain| &chain.rules) {
        let (mut to, mut protocol, mut port) = (None, Protocol::TCP, None);
        for test in &rule.matches {
            if let Match::Source(asked) = test
                && let AddressMatch::Prefix(prefix) = asked.value
            {
                named.addresses.extend([prefix.address(), prefix.last()]);
            } else if let Match::Destination(asked) = test
                && let AddressMatch::Prefix(prefix) = asked.value
            {
                to = Some(prefix.last());
            } else if let Match::Protocol(asked) = test {
                protocol = asked.value;
            } else if let Match::DestinationPort(_, asked) = test {
                port = Some(*asked.value.start());
            }
        }
        if let Some(Target::Dnat(range)) = &rule.target
            && let Some(addresses) = &range.addresses
        {
            named.addresses.insert(*addresses.start());
        }
        if let Some(port) = port {
            let to = to.unwrap_or(host);
            named.receivers.extend([
                (to, protocol, port),
                (to, protocol, port ^ 1),
                (beside(to), protocol, port),
                (to, Protocol::SCTP, port),
            ]);
        }
    }
    named
}

fn compare(path: &Path, tries_all: bool, compared: &mut Compared) {
    let text = std::fs::read_to_string(path).unwrap();
    let family = family_of(path);
    let rules = iptables::parse(&text, family)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .rules;
    let own: IpAddr = match family {
        Family::Ipv4 => "192.168.64.11",
        Family::Ipv6 => "fd64::11",
    }
    .parse()
    .unwrap();
    let named = named(&rules, own);
    let host = HostAddresses::of([own]);
    let both = Both::new(rules);
    let mut state = State::default();
    for (n, &(dst, protocol, dport)) in named.receivers.iter().enumerate() {
        for (m, &src) in named.addresses.iter().enumerate() {
            let state_of = |n: usize| match n % 7 {
                0 => CtState::Established,
                1 => CtState::Invalid,
                _ => CtState::New,
            };
            for (table, hook) in [
                (TableName::Nat, Hook::Prerouting),
                (TableName::Nat, Hook::Output),
                (TableName::Nat, Hook::Postrouting),
                (TableName::Filter, Hook::Input),
                (TableName::Filter, Hook::Forward),
                (TableName::Filter, Hook::Output),
            ] {
                // Sources and receivers take turns, unless all are to be tried.
                let turn = (5 * n + m + hook as usize) % 31;
                if turn > 0 && !tries_all {
                    continue;
                }
                let packet = Packet {
                    headers: Headers::first_of_flow(src, dst, protocol, 40_000, dport),
                    mark: Mark(if m % 3 == 0 { 0x4000 } else { 0 }),
                    hook,
                    input: Some("eth0".parse().unwrap()),
                    output: None,
                    physdev_in: None,
                    physdev_out: None,
                    conntrack: ConntrackInfo::of_state(state_of(n + m)),
                    host: &host,
                    now: SimTime((n * 1_000_000_000) as u64),
                };
                both.compare(table, &packet, &mut state, m as u64, compared);
            }
        }
    }
}

pub(super) fn family_of(path: &Path) -> Family {
    let name = path.file_name().unwrap().to_string_lossy();
    if name.contains(".ipv6.") {
        Family::Ipv6
    } else {
        Family::Ipv4
    }
}

/// The texts of one node of every case: all nodes have nearly the same rules.
pub(super) fn files() -> Vec<PathBuf> {
    files_of("tables-save.node-a")
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The texts of all nodes.
pub(super) fn all_files() -> Vec<PathBuf> {
    files_of("tables-save.node-")
}

/// The golden files with that in their names.
pub(super) fn files_of(part: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/kube-proxy");
    let cases = std::fs::read_dir(root).expect("golden files");
    let files = cases.flat_map(|case| std::fs::read_dir(case.unwrap().path()).expect("a case"));
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| file_name(path).contains(part))
        .collect()
}

#[test]
fn on_kube_proxys_rules() {
    let mut compared = Compared::default();
    let tries_all = std::env::var_os("PODWIRE_AGREEMENT_CASES").is_some();
    let mut files = 0;
    for path in self::files() {
        compare(&path, tries_all, &mut compared);
        files += 1;
    }
    println!("{compared:?} over {files} rule sets");
    assert!(files >= 30, "{files}");
    assert!(compared.matched * 2 > compared.packets, "{compared:?}");
    assert!(compared.outcomes > compared.packets, "{compared:?}");
}
