//! Which mode a dump shows, and the comparison of each.

use std::collections::{BTreeMap, BTreeSet};

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, IpvsProxier, KubeProxyVersion, NftablesProxier, ProxierError, ServicePorts,
};
use podwire_packet::Family;

use super::compare::differences;
use super::explain::{Context, findings};
use super::files::NodeDump;
use super::finding::{Code, Finding, ForeignChains, Report, Severity};
use super::known::{ChainsOf, Known};
use super::lines::Lines;
use super::listing::{Kind, Listing};
use super::owners::owner;
use super::{iptables, ipvs, nftables};

/// Modes that are recognised, the surest first.
const MODES: [ProxyMode; 3] = [ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Iptables];

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

pub(super) fn compare(
    dump: &NodeDump,
    cluster: &Cluster,
    node: &str,
    version: KubeProxyVersion,
) -> Result<Report, ProxierError> {
    let configured = cluster.kube_proxy.as_ref();
    let configured = configured.map(KubeProxyConfiguration::proxy_mode);
    let shown: Vec<(ProxyMode, String)> = MODES
        .into_iter()
        .filter_map(|mode| Some((mode, shown_by(dump, mode)?)))
        .collect();
    let own = shown.iter().find(|(mode, _)| Some(*mode) == configured);
    let chosen = own.or_else(|| shown.first());
    let mode = chosen.map_or(configured.unwrap_or(ProxyMode::Iptables), |(mode, _)| *mode);
    let mut report = Report {
        node: node.into(),
        mode,
        recognised_by: chosen.map(|(_, by)| by.as_str().into()),
        compared: Vec::new(),
        not_compared: Vec::new(),
        findings: Vec::new(),
        foreign: Vec::new(),
    };
    if let (Some(configured), Some((_, by))) = (configured.filter(|own| *own != mode), chosen) {
        let effect = format!(
            "the node works in {} mode, by {by}; the configuration says {}",
            mode.name(),
            configured.name()
        );
        report
            .findings
            .push(of_mode(Code::OtherMode, Severity::Error, mode, effect));
    }
    for (other, by) in shown.iter().filter(|(other, _)| *other != mode) {
        let effect = format!(
            "rules of {} mode are left, by {by}: packets may come to them first; `kube-proxy --cleanup` removes them",
            other.name()
        );
        let finding = of_mode(Code::LeftoverMode, Severity::Warning, *other, effect);
        report.findings.push(finding);
    }
    let mut foreign = BTreeMap::new();
    for family in FAMILIES {
        let services = ServicePorts::new(cluster, family, version);
        of_family(dump, cluster, &services, &mut report, &mut foreign)?;
    }
    if mode == ProxyMode::Nftables {
        nftables::count_others(dump, &mut foreign);
    }
    let counted = foreign
        .into_iter()
        .map(|(owner, (chains, rules))| ForeignChains {
            owner,
            chains,
            rules,
        });
    report.foreign = counted.collect();
    report.findings.sort_by(|a, b| {
        let key = |own: &Finding| (own.severity, own.code, own.subject.clone());
        key(a).cmp(&key(b))
    });
    Ok(report)
}

/// Chains and rules by owner.
pub(super) type Counted = BTreeMap<&'static str, (usize, usize)>;

/// Compares the rules of one family.
fn of_family(
    dump: &NodeDump,
    cluster: &Cluster,
    services: &ServicePorts<'_>,
    report: &mut Report,
    foreign: &mut Counted,
) -> Result<(), ProxierError> {
    let family = services.family();
    let node = report.node.clone();
    let chains = match report.mode {
        ProxyMode::Nftables => ChainsOf::Nftables,
        ProxyMode::Ipvs => ChainsOf::NoMode,
        ProxyMode::Iptables | ProxyMode::Userspace | ProxyMode::Kernelspace => ChainsOf::Iptables,
    };
    let known = Known::new(services, chains);
    let mut pairs: Vec<(Listing, Listing)> = Vec::new();
    let mut iptables_of = |expected: &podwire_ruleset::RuleSet, keeps_order: bool| {
        let program = match family {
            Family::Ipv4 => "iptables-save",
            Family::Ipv6 => "ip6tables-save",
        };
        let Some(read) = dump.iptables(family) else {
            return Err(program);
        };
        let lines = Lines::of_iptables(dump.text(read.file));
        let own = iptables::listing(&read.value, &known, &lines, Some(read.file), keeps_order);
        let expected = iptables::listing(expected, &known, &Lines::default(), None, keeps_order);
        count_foreign(&own, &expected, foreign);
        Ok((expected, own))
    };
    let mut lacks = Vec::new();
    match report.mode {
        ProxyMode::Nftables => {
            let proxier = NftablesProxier::new(cluster, services, &node)?;
            // Without services a family's table decides nothing, and may not have been asked for.
            let is_asked = nftables::has_table(dump, family) || !services.is_empty();
            match dump.nft().filter(|_| is_asked) {
                Some(read) => pairs.push(nftables::pair(dump, read, &proxier.table(), &known)),
                None => lacks.push("nft list ruleset of table kube-proxy"),
            }
        }
        ProxyMode::Ipvs => {
            let program = IpvsProxier::new(cluster, services, &node)?.program();
            match iptables_of(&program.rule_set(), true) {
                Ok(pair) => pairs.push(pair),
                Err(program) => lacks.push(program),
            }
            let excluded = cluster
                .kube_proxy
                .as_ref()
                .map(|own| &*own.ipvs.exclude_cidrs);
            match dump.virtual_servers() {
                Some(read) => pairs.push(ipvs::servers(
                    dump,
                    read,
                    program.virtual_servers(),
                    &known,
                    (family, excluded.unwrap_or_default()),
                )),
                None => lacks.push("ipvsadm -Sn"),
            }
            let is_asked = ipvs::has_sets(dump, family) || !services.is_empty();
            match dump.sets().filter(|_| is_asked) {
                Some(read) => pairs.push(ipvs::sets(dump, read, &program.sets(), &known, family)),
                None => lacks.push("ipset save with sets of kube-proxy's"),
            }
        }
        ProxyMode::Iptables | ProxyMode::Userspace | ProxyMode::Kernelspace => {
            let proxier = IptablesProxier::new(cluster, services, &node)?;
            match iptables_of(&proxier.rule_set(), false) {
                Ok(pair) => pairs.push(pair),
                Err(program) => lacks.push(program),
            }
        }
    }
    for program in lacks {
        let line = format!("{family}: the dump has no {program}");
        report.not_compared.push(line.into());
    }
    let mut found = Vec::new();
    for (expected, own) in &pairs {
        let entries: usize = expected
            .blocks
            .values()
            .map(|block| block.entries.len())
            .sum();
        if let Some(file) = own.file {
            let path = dump.files()[file].path.display();
            let (blocks, are) = (expected.blocks.len(), expected.blocks_are);
            let line = format!("{family}: {path}, {blocks} {are} with {entries} entries");
            report.compared.push(line.into());
        }
        found.extend(differences(expected, own));
    }
    let context = Context {
        dump,
        known: &known,
        provenance: services.provenance(),
        node: &node,
    };
    let (expected, own): (Vec<&Listing>, Vec<&Listing>) =
        pairs.iter().map(|(expected, own)| (expected, own)).unzip();
    report
        .findings
        .extend(findings(context, &expected, &own, found));
    Ok(())
}

/// Counts chains of others, and their rules in built-in chains.
fn count_foreign(own: &Listing, expected: &Listing, foreign: &mut Counted) {
    for (label, block) in &own.blocks {
        let chain = label.rsplit(' ').next().unwrap_or(label);
        let called_for = expected.blocks.get(label);
        match (block.kind, called_for) {
            (Kind::BuiltIn, _) => {
                let keys = called_for.into_iter().flat_map(|block| &block.entries);
                let keys: BTreeSet<&str> = keys.map(|entry| &*entry.key).collect();
                let of_others = block
                    .entries
                    .iter()
                    .filter(|entry| !entry.is_recognised && !keys.contains(&*entry.key));
                for entry in of_others {
                    foreign.entry(entry.owner).or_default().1 += 1;
                }
            }
            (Kind::Other, None) => {
                let counted = foreign.entry(owner(chain)).or_default();
                counted.0 += 1;
                counted.1 += block.entries.len();
            }
            (Kind::KubeProxy, _) | (Kind::Other, Some(_)) => {}
        }
    }
}

fn of_mode(code: Code, severity: Severity, mode: ProxyMode, effect: String) -> Finding {
    Finding {
        code,
        severity,
        subject: mode.name().into(),
        effect: effect.into(),
        object: None,
        evidence: Vec::new(),
    }
}

/// What in a dump shows that mode.
fn shown_by(dump: &NodeDump, mode: ProxyMode) -> Option<String> {
    let chain = |wanted: &dyn Fn(&str) -> bool| {
        let tables = FAMILIES.iter().filter_map(|&family| dump.iptables(family));
        let tables = tables.flat_map(|read| &read.value.tables);
        let chains = tables.flat_map(|(table, own)| {
            let names = own.chains.keys().map(podwire_ruleset::ChainName::as_str);
            names.map(move |chain| (table.name(), chain))
        });
        // iptables-nft keeps its chains where nft lists them too.
        let listed = dump.nft().into_iter().flat_map(|read| &read.value.tables);
        let listed = listed.flat_map(|((_, table), own)| {
            let names = own.chains.keys().map(podwire_ruleset::nft::Name::as_str);
            names.map(move |chain| (table.as_str(), chain))
        });
        let found = chains.chain(listed).find(|(_, chain)| wanted(chain));
        found.map(|(table, chain)| format!("chain {chain} of table {table}"))
    };
    match mode {
        ProxyMode::Nftables => {
            let mut tables = dump.nft()?.value.tables.keys();
            let (family, table) = tables.find(|(_, table)| table.as_str() == "kube-proxy")?;
            Some(format!("table {family} {table}"))
        }
        ProxyMode::Ipvs => chain(&|name| matches!(name, "KUBE-IPVS-FILTER" | "KUBE-NODE-PORT"))
            .or_else(|| {
                let mut sets = dump.sets()?.value.keys();
                let found =
                    sets.find(|set| matches!(&***set, "KUBE-CLUSTER-IP" | "KUBE-6-CLUSTER-IP"))?;
                Some(format!("set {found}"))
            }),
        ProxyMode::Iptables => {
            chain(&|name| name == "KUBE-NODEPORTS" || iptables::is_own_chain(name))
        }
        ProxyMode::Userspace | ProxyMode::Kernelspace => None,
    }
}
