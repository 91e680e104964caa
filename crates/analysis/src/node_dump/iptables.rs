//! Tables of iptables as a listing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use indexmap::IndexMap;
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{Chain, Match, Rule, RuleSet, Table, Target};

use super::known::{Comment, Known, endpoint_of, read_comment};
use super::lines::Lines;
use super::listing::{Block, Entry, Kind, Listing, Order, Subject};
use super::owners::{self, owner};

/// Chains that service ports put rules into, in random order.
const DISPATCH: [&str; 5] = [
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-PROXY-FIREWALL",
    "KUBE-IPVS-OUT-FILTER",
];

/// Beginnings of the names of service ports' and endpoints' chains, those of older releases too.
const OWN_CHAINS: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-XLB-",
    ENDPOINT_CHAIN,
];
const ENDPOINT_CHAIN: &str = "KUBE-SEP-";

/// Chains that every node has, in some mode or release.
const COMMON_CHAINS: [&str; 18] = [
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-FORWARD",
    "KUBE-NODE-PORT",
    "KUBE-LOAD-BALANCER",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-PORTALS-CONTAINER",
    "KUBE-PORTALS-HOST",
    "KUBE-NODEPORT-CONTAINER",
    "KUBE-NODEPORT-HOST",
    "KUBE-NODEPORT-NON-LOCAL",
];

/// Whether chains of that name are for service ports or endpoints.
pub(super) fn is_own_chain(name: &str) -> bool {
    OWN_CHAINS.iter().any(|prefix| name.starts_with(prefix))
}

/// A listing of a rule set. `keeps_order` says whether chains that dispatch to service ports are in a
/// stated order too, as in IPVS mode, where they ask sets.
pub(super) fn listing(
    rules: &RuleSet,
    known: &Known<'_>,
    lines: &Lines,
    file: Option<usize>,
    keeps_order: bool,
) -> Listing {
    let mut listing = Listing {
        file,
        blocks_are: "chains",
        blocks: IndexMap::with_capacity(rules.tables.values().map(|t| t.chains.len()).sum()),
    };
    for (name, table) in &rules.tables {
        let subjects = Subjects::new(table, known);
        let ending = ending_chains(table);
        for (chain_name, chain) in &table.chains {
            let label = format!("{name} {chain_name}");
            let block_lines = lines.block(&label);
            let of = subjects.chain(chain_name.as_str());
            let kind = kind(chain, &of);
            let is_dispatch = DISPATCH.contains(&chain_name.as_str())
                && !(keeps_order && chain_name.as_str() != "KUBE-IPVS-OUT-FILTER");
            let order = if kind == Kind::BuiltIn || is_dispatch {
                Order::Free
            } else {
                Order::Exact
            };
            let count = chain.rules.len();
            let entries = chain.rules.iter().enumerate().map(|(index, rule)| {
                let mut entry = entry(rule, chain, rules, &of, &subjects, &ending);
                entry.line = block_lines.entry(index, count);
                entry.is_last = is_dispatch && leads_to(rule) == Some("KUBE-NODEPORTS");
                entry
            });
            let block = Block {
                entries: entries.collect(),
                kind,
                order,
                line: block_lines.declared,
                of,
            };
            listing.blocks.insert(label.into(), block);
        }
    }
    listing
}

fn kind(chain: &Chain, of: &Subject) -> Kind {
    let name = chain.name.as_str();
    if chain.built_in.is_some() {
        Kind::BuiltIn
    } else if *of != Subject::Common || COMMON_CHAINS.contains(&name) {
        Kind::KubeProxy
    } else {
        Kind::Other
    }
}

fn entry(
    rule: &Rule,
    chain: &Chain,
    rules: &RuleSet,
    of_chain: &Subject,
    subjects: &Subjects<'_>,
    ending: &BTreeSet<&str>,
) -> Entry {
    let text = |rule: &Rule| rule_text(rule, Wording::Save, rules.family);
    let target = leads_to(rule);
    let comment = rule.comment().and_then(read_comment);
    let of_target = target.filter(|name| is_own_chain(name));
    let of_target = of_target.map(|name| subjects.chain(name));
    let remembers = rule
        .matches
        .iter()
        .any(|own| matches!(own, Match::Recent(_)));
    let (of, chooses) = match (of_chain, of_target, comment) {
        (Subject::Endpoint(..), ..) => (of_chain.clone(), false),
        (_, Some(endpoint @ Subject::Endpoint(..)), _) => (endpoint, !remembers),
        (Subject::Port(_), ..) => (of_chain.clone(), false),
        (Subject::Common, Some(port), _) => (port, false),
        (Subject::Common, None, Some(Comment::Port(port) | Comment::Endpoint(port, _))) => {
            (Subject::Port(port.into()), false)
        }
        (Subject::Common, None, None | Some(Comment::Common)) => (Subject::Common, false),
    };
    let is_kube = |name: &str| name.starts_with("KUBE-") && owner(name) == owners::UNKNOWN;
    Entry {
        text: format!("-A {} {}", chain.name, text(rule)).into(),
        chooses,
        is_recognised: comment.is_some() || target.is_some_and(is_kube),
        ends: ends(rule, ending) || (chain.built_in.is_some() && is_return(rule)),
        owner: whose(rule),
        ..Entry::new(text(&rule.canonical()), of)
    }
}

/// Whose a rule is, by the chain that it leads to, or by its comment.
fn whose(rule: &Rule) -> &'static str {
    let by_target = leads_to(rule).map_or(owners::UNKNOWN, owner);
    if by_target != owners::UNKNOWN {
        return by_target;
    }
    match rule.comment() {
        // `appendRuleIfNotPresent` of pkg/kubelet/kubelet_network_linux.go, to 1.27.
        Some("kubernetes firewall for dropping marked packets") => "kubelet",
        Some(comment) => owner(comment.split(':').next().unwrap_or(comment)),
        None => owners::UNKNOWN,
    }
}

/// The chain that a rule leads to.
fn leads_to(rule: &Rule) -> Option<&str> {
    if let Some(Target::Jump(chain) | Target::Goto(chain)) = &rule.target {
        Some(chain.as_str())
    } else {
        None
    }
}

const fn is_return(rule: &Rule) -> bool {
    matches!(rule.target, Some(Target::Return))
}

/// Whether the table may be done with a packet that the rule takes.
fn ends(rule: &Rule, ending: &BTreeSet<&str>) -> bool {
    match &rule.target {
        Some(Target::Jump(chain) | Target::Goto(chain)) => ending.contains(chain.as_str()),
        Some(
            Target::Accept
            | Target::Drop
            | Target::Reject(_)
            | Target::Dnat(_)
            | Target::Snat(_)
            | Target::Masquerade(_)
            | Target::Redirect(_),
        ) => true,
        // What is not evaluated may do anything.
        Some(Target::Unknown(_)) => true,
        Some(
            Target::Return
            | Target::Mark { .. }
            | Target::Connmark(_)
            | Target::Log(_)
            | Target::Nflog(_)
            | Target::Notrack
            | Target::Trace
            | Target::Checksum(_)
            | Target::Tcpmss(_),
        )
        | None => false,
    }
}

/// The chains in which the table may be done with a packet, by themselves or by what they call.
fn ending_chains(table: &Table) -> BTreeSet<&str> {
    let mut callers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let mut open = Vec::new();
    for chain in table.chains.values() {
        let name = chain.name.as_str();
        for rule in &chain.rules {
            if let Some(called) = leads_to(rule) {
                callers.entry(called).or_default().push(name);
            } else if ends(rule, &BTreeSet::new()) && found.insert(name) {
                open.push(name);
            }
        }
    }
    while let Some(name) = open.pop() {
        for caller in callers.remove(name).unwrap_or_default() {
            if found.insert(caller) {
                open.push(caller);
            }
        }
    }
    found
}

/// What the chains of a table are for.
struct Subjects<'k> {
    known: &'k Known<'k>,
    /// Chains whose names the objects could not give, by what comments and translations say.
    told: BTreeMap<&'k str, Subject>,
}

impl<'k> Subjects<'k> {
    fn new(table: &'k Table, known: &'k Known<'k>) -> Self {
        let mut told: BTreeMap<&str, Subject> = BTreeMap::new();
        let unknown = |name: &str| is_own_chain(name) && known.chain(name).is_none();
        let own = |chain: &Chain| is_own_chain(chain.name.as_str());
        // Comments first, of its rules and of those that lead to it.
        for chain in table.chains.values() {
            let name = chain.name.as_str();
            for rule in &chain.rules {
                let target = leads_to(rule).filter(|target| unknown(target));
                match rule.comment().and_then(read_comment) {
                    Some(Comment::Endpoint(port, endpoint)) => {
                        if let Some(target) = target {
                            let of = Subject::Endpoint(port.into(), endpoint.into());
                            told.insert(target, of);
                        }
                        if unknown(name) {
                            told.entry(name)
                                .or_insert_with(|| Subject::Port(port.into()));
                        }
                    }
                    Some(Comment::Port(port)) => {
                        for name in [target, unknown(name).then_some(name)]
                            .into_iter()
                            .flatten()
                        {
                            told.entry(name)
                                .or_insert_with(|| Subject::Port(port.into()));
                        }
                    }
                    Some(Comment::Common) | None => {}
                }
            }
        }
        // Then chains without comments, as in a large cluster: by who leads there.
        for chain in table.chains.values().filter(|chain| own(chain)) {
            let of = known.chain(chain.name.as_str());
            let of = of.or_else(|| told.get(chain.name.as_str()));
            let Some(port) = of.and_then(Subject::port).cloned() else {
                continue;
            };
            for target in chain.rules.iter().filter_map(leads_to) {
                if unknown(target) {
                    told.entry(target)
                        .or_insert_with(|| Subject::Port(Rc::clone(&port)));
                }
            }
        }
        // And what endpoints' chains translate to.
        for chain in table.chains.values() {
            let name = chain.name.as_str();
            if !name.starts_with(ENDPOINT_CHAIN) || !unknown(name) {
                continue;
            }
            let translated = chain.rules.iter().find_map(|rule| {
                if let Some(Target::Dnat(to)) = &rule.target {
                    endpoint_of(to)
                } else {
                    None
                }
            });
            let port = told.get(name).and_then(Subject::port).cloned();
            if let Some(endpoint) = translated {
                let port = port.unwrap_or_else(|| name.into());
                told.insert(name, Subject::Endpoint(port, endpoint));
            }
        }
        Self { known, told }
    }

    /// What a chain is for; one in kube-proxy's form that nothing tells of is for a port of its own.
    fn chain(&self, name: &str) -> Subject {
        if !is_own_chain(name) {
            return Subject::Common;
        }
        let known = self.known.chain(name).or_else(|| self.told.get(name));
        known.cloned().unwrap_or_else(|| Subject::Port(name.into()))
    }
}
