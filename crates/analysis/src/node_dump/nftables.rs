//! The table of nftables mode as a listing.

use std::collections::BTreeSet;
use std::rc::Rc;

use podwire_packet::Family;
use podwire_ruleset::nft::{
    BaseChain, Chain, Commands, Element, Lookup, MapValue, Name, Rule, Set, Statement, Table,
    TableFamily, Wording, rule_text,
};

use super::NodeDump;
use super::files::Read;
use super::known::{Comment, Known, read_comment};
use super::lines::Lines;
use super::listing::{Block, Entry, Kind, Listing, Order, Subject};
use super::modes::Counted;
use super::owners::{UNKNOWN, owner};

/// The table that the objects call for, and the dump's of the same name.
pub(super) fn pair(
    dump: &NodeDump,
    read: &Read<podwire_ruleset::nft::RuleSet>,
    expected: &Table,
    known: &Known<'_>,
) -> (Listing, Listing) {
    let lines = Lines::of_nft(dump.text(read.file));
    let found = read
        .value
        .tables
        .get(&(expected.family, expected.name.clone()));
    let mut own = found.map_or_else(Listing::default, |table| {
        let chains = expected.chains.keys().map(Name::as_str).collect();
        listing(table, known, &lines, &chains)
    });
    own.file = Some(read.file);
    let chains = expected.chains.keys().map(Name::as_str).collect();
    (listing(expected, known, &Lines::default(), &chains), own)
}

/// Whether a dump has kube-proxy's table of a family.
pub(super) fn has_table(dump: &NodeDump, family: Family) -> bool {
    let family = TableFamily::from(family);
    let tables = dump.nft().map(|read| &read.value.tables);
    let mut tables = tables.into_iter().flatten();
    tables.any(|((of, name), _)| *of == family && name.as_str() == "kube-proxy")
}

/// Counts tables of others, as owners name them.
pub(super) fn count_others(dump: &NodeDump, foreign: &mut Counted) {
    let tables = dump.nft().map(|read| &read.value.tables);
    for ((_, name), table) in tables.into_iter().flatten() {
        if name.as_str() != "kube-proxy" {
            // iptables-nft keeps its tables here; their chains tell whose they are.
            for chain in table.chains.values() {
                let chain_name = chain.name.as_str();
                let whose = match owner(chain_name) {
                    // Told as rules of another mode.
                    UNKNOWN if chain_name.starts_with("KUBE-") => continue,
                    UNKNOWN => owner(name.as_str()),
                    known => known,
                };
                let counted = foreign.entry(whose).or_default();
                counted.0 += 1;
                counted.1 += chain.rules.len();
            }
        }
    }
}

fn listing(
    table: &Table,
    known: &Known<'_>,
    lines: &Lines,
    expected_chains: &BTreeSet<&str>,
) -> Listing {
    let family = match table.family {
        TableFamily::Ip6 => Family::Ipv6,
        TableFamily::Ip | TableFamily::Inet => Family::Ipv4,
    };
    let subjects = Subjects { known, family };
    let mut listing = Listing {
        blocks_are: "chains, sets and maps",
        ..Listing::default()
    };
    let mut add = |name: &Name, mut block: Block| {
        let label = format!("{}/{} {name}", table.family, table.name);
        let block_lines = lines.block(&label);
        block.line = block_lines.declared;
        for entry in &mut block.entries {
            // The reader of lines counts rules, and an entry may be a part of one.
            let place = entry.line.take().map(|index| index as usize);
            let rules = table.chains.get(name).map_or(0, |chain| chain.rules.len());
            entry.line = place.and_then(|index| block_lines.entry(index, rules));
        }
        listing.blocks.insert(label.into(), block);
    };
    for (name, set) in &table.sets {
        add(name, set_block(table, name, set, &subjects));
    }
    for (name, chain) in &table.chains {
        add(name, chain_block(chain, &subjects, expected_chains));
    }
    listing
}

/// A set or map. What a set remembers of clients is left out.
fn set_block(table: &Table, name: &Name, set: &Set, subjects: &Subjects<'_>) -> Block {
    let of = subjects.of_name(name.as_str());
    let mut entries = Vec::new();
    if let Some(timeout) = set.timeout {
        let text = format!("timeout {}s", timeout.as_secs());
        entries.push(Entry::new(text, of.clone()));
    } else {
        let commands = Commands::new(table.family, &table.name);
        entries.extend(set.elements.iter().map(|(key, element)| {
            let plain = Element {
                comment: None,
                ..element.clone()
            };
            let mut text = String::new();
            commands.add_element(&mut text, name, key, &plain);
            let chain = match &element.value {
                Some(MapValue::Verdict(verdict)) => verdict.chain(),
                Some(MapValue::Data(_)) | None => None,
            };
            let by_chain = chain.map(|chain| subjects.of_name(chain.as_str()));
            let of = match by_chain {
                Some(of @ (Subject::Port(_) | Subject::Endpoint(..))) => of,
                Some(Subject::Common) | None => {
                    match element.comment.as_deref().and_then(read_comment) {
                        Some(Comment::Port(port)) => Subject::Port(port.into()),
                        Some(Comment::Endpoint(..) | Comment::Common) | None => {
                            subjects.of_key(key)
                        }
                    }
                }
            };
            Entry::new(text.trim_end(), of)
        }));
    }
    Block {
        kind: Kind::KubeProxy,
        order: Order::Free,
        line: None,
        entries,
        of,
    }
}

fn chain_block(chain: &Chain, subjects: &Subjects<'_>, expected: &BTreeSet<&str>) -> Block {
    let name = chain.name.as_str();
    let of = subjects.of_name(name);
    // kube-proxy empties a chain that it uses no more, and deletes it in a later sync.
    let is_leaving = chain.rules.is_empty() && !expected.contains(name);
    let kind = if is_leaving || (of == Subject::Common && !expected.contains(name)) {
        Kind::Other
    } else {
        Kind::KubeProxy
    };
    let mut entries = Vec::new();
    entries.extend(
        chain
            .base
            .map(|base| Entry::new(base_text(base), of.clone())),
    );
    for (index, rule) in (0..).zip(&chain.rules) {
        for mut entry in rule_entries(rule, &of, subjects) {
            // A place for now; see `listing`.
            entry.line = Some(index);
            entries.push(entry);
        }
    }
    Block {
        kind,
        order: Order::Exact,
        line: None,
        entries,
        of,
    }
}

fn base_text(base: BaseChain) -> String {
    let (kind, hook) = (base.kind.name(), base.hook.name().to_lowercase());
    let (priority, policy) = (base.priority, base.policy.name().to_lowercase());
    format!("type {kind} hook {hook} priority {priority}; policy {policy};")
}

/// A rule as entries: one that chooses among endpoints has one for each.
fn rule_entries(rule: &Rule, of_chain: &Subject, subjects: &Subjects<'_>) -> Vec<Entry> {
    let mut plain = rule.canonical();
    plain.comment = None;
    if let [
        Statement::VerdictMap {
            key,
            map: Lookup::Anonymous(elements),
        },
    ] = &*plain.statements
    {
        let choices = elements.iter().map(|element| {
            let only = Lookup::Anonymous(vec![element.clone()]);
            let statement = Statement::VerdictMap {
                key: key.clone(),
                map: only,
            };
            let chain = match &element.1 {
                MapValue::Verdict(verdict) => verdict.chain(),
                MapValue::Data(_) => None,
            };
            let of = chain.map_or(of_chain.clone(), |chain| subjects.of_name(chain.as_str()));
            Entry {
                chooses: true,
                ..Entry::new(rule_text(&Rule::of(vec![statement]), Wording::List), of)
            }
        });
        return choices.collect();
    }
    let chain = plain.statements.iter().find_map(|statement| {
        if let Statement::Verdict(verdict) = statement {
            verdict.chain()
        } else {
            None
        }
    });
    let target = chain.map(|chain| subjects.of_name(chain.as_str()));
    let of = match (of_chain, target) {
        (Subject::Endpoint(..), _) | (_, None | Some(Subject::Common)) => of_chain.clone(),
        (_, Some(endpoint @ Subject::Endpoint(..))) => endpoint,
        (Subject::Port(_), Some(Subject::Port(_))) => of_chain.clone(),
        (Subject::Common, Some(port @ Subject::Port(_))) => port,
    };
    let ends = plain.statements.iter().any(|statement| {
        matches!(statement, Statement::Reject { .. } | Statement::Nat(_))
            || matches!(statement, Statement::Verdict(verdict) if verdict.chain().is_none())
    });
    let leads_to_own = chain.is_some_and(|chain| is_own_name(chain.as_str()));
    vec![Entry {
        is_recognised: leads_to_own,
        ends,
        ..Entry::new(rule_text(&plain, Wording::List), of)
    }]
}

/// Whether chains of that name are for service ports (`isServiceChainName`).
fn is_own_name(name: &str) -> bool {
    name.contains('/')
}

/// What names of chains, sets and keys stand for.
struct Subjects<'k> {
    known: &'k Known<'k>,
    family: Family,
}

impl Subjects<'_> {
    fn of_name(&self, name: &str) -> Subject {
        if !is_own_name(name) {
            return Subject::Common;
        }
        // A set that remembers clients is called as the endpoint's chain.
        let chain = match name.strip_prefix("affinity-") {
            Some(own) => &*format!("endpoint-{own}"),
            None => name,
        };
        let found = self.known.chain(chain).cloned();
        found.unwrap_or_else(|| read_name(chain, self.family).unwrap_or(Subject::Port(name.into())))
    }

    /// The service port at an element's address, or its port on nodes.
    fn of_key(&self, key: &podwire_ruleset::nft::Key) -> Subject {
        use podwire_ruleset::nft::{Span, Value};
        let (mut address, mut protocol, mut port) = (None, None, None);
        for span in key.iter() {
            if let Span::One(Value::Address(own)) = span {
                address = Some(*own);
            } else if let Span::One(Value::Protocol(own)) = span {
                protocol = Some(*own);
            } else if let Span::One(Value::Port(own)) = span {
                port = Some(*own);
            }
        }
        let found = match (address, protocol, port) {
            (Some(address), Some(protocol), Some(port)) => self.known.at(address, protocol, port),
            (None, Some(protocol), Some(port)) => self.known.node_port(protocol, port),
            (Some(address), ..) => self.known.address(address),
            (None, ..) => None,
        };
        found.map_or(Subject::Common, |port| Subject::Port(Rc::clone(port)))
    }
}

/// Reads `service-HASH-namespace/name/protocol/port`, or an endpoint's name with `__address/port`
/// behind that (`servicePortChainNameBase`, `servicePortEndpointChainNameBase`).
fn read_name(name: &str, family: Family) -> Option<Subject> {
    const PREFIXES: [&str; 5] = ["service-", "local-", "external-", "firewall-", "endpoint-"];
    const HASH: usize = 8;
    let rest = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let rest = rest.get(HASH..)?.strip_prefix('-')?;
    let (port, endpoint) = match rest.split_once("__") {
        Some((port, endpoint)) => (port, Some(endpoint)),
        None => (rest, None),
    };
    let mut parts = port.splitn(4, '/');
    let (namespace, service) = (parts.next()?, parts.next()?);
    let (_, port_name) = (parts.next()?, parts.next()?);
    let colon = if port_name.is_empty() { "" } else { ":" };
    let port: Rc<str> = format!("{namespace}/{service}{colon}{port_name}").into();
    let Some(endpoint) = endpoint else {
        return Some(Subject::Port(port));
    };
    let (address, number) = endpoint.rsplit_once('/')?;
    let endpoint = match family {
        Family::Ipv4 => format!("{address}:{number}"),
        Family::Ipv6 => format!("[{}]:{number}", address.replace('.', ":")),
    };
    Some(Subject::Endpoint(port, endpoint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read() {
        let port = |name: &str| Some(Subject::Port(name.into()));
        let v4 = Family::Ipv4;
        assert_eq!(
            read_name("service-ID22ZFOO-prod/open/tcp/http", v4),
            port("prod/open:http")
        );
        assert_eq!(
            read_name("external-ID22ZFOO-prod/open/tcp/", v4),
            port("prod/open")
        );
        let endpoint = |text: &str| Some(Subject::Endpoint("a/b".into(), text.into()));
        let of = |name| read_name(name, v4);
        assert_eq!(
            of("endpoint-44GMI75M-a/b/udp/__10.0.0.4/81"),
            endpoint("10.0.0.4:81")
        );
        let name = "endpoint-44GMI75M-a/b/udp/__fd00..4/81";
        assert_eq!(read_name(name, Family::Ipv6), endpoint("[fd00::4]:81"));
        assert_eq!(of("service-äääää"), None);
        assert_eq!(of("services"), None);
    }
}
