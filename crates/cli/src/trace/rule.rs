//! Rules of either language as people and programs read them: names and texts in place of ids.

use podwire_cluster::{NetworkPolicy, Source};
use podwire_controlplane::network_policy::WeaveNpc;
use podwire_packet::{Family, FiveTuple};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{BaseChainRef, NatKind, Origin, RuleRef, Target, nft};
use podwire_sim::{NetnsId, World};

/// A rule, and what one of nftables found in a named map.
pub(crate) type Spoken = (RuleRef, Option<nft::ElementId>);

/// A rule with the words for it.
pub(crate) struct Named {
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) number: u32,
    pub(crate) text: String,
    pub(crate) verdict: String,
    pub(crate) origin: Option<Origin>,
}

impl Named {
    /// The rule of that id in a namespace; only nodes have rules.
    pub(crate) fn of(
        world: &World<'_>,
        family: Family,
        at: NetnsId,
        (rule, found): Spoken,
    ) -> Option<Self> {
        let NetnsId::Node(node) = at else {
            return None;
        };
        let rules = world.rules(node).ok()?;
        let rules = rules.of(family);
        match rule {
            RuleRef::Iptables(id) => {
                let set = rules.rules();
                let (chain, rule) = (set.chain_name(id)?, set.rule(id)?);
                let target = rule.target.as_ref();
                Some(Self {
                    table: id.table.name().to_owned(),
                    chain: chain.as_str().to_owned(),
                    number: id.number,
                    text: rule_text(rule, Wording::KubeProxy, family),
                    verdict: target.map_or_else(|| "continue".to_owned(), verdict),
                    origin: rule.origin,
                })
            }
            RuleRef::Nft(id) => {
                let set = rules.nft()?.rules();
                let rule = set.rule(id)?;
                let (_, table) = set.tables.get_index(id.table as usize)?;
                // What the map says is what the rule does, and who put it there is who to ask.
                let element = found.and_then(|id| Some(set.element(id)?.1));
                let of_map = element.and_then(|element| match element.value.as_ref()? {
                    nft::MapValue::Verdict(verdict) => Some(nft_verdict(verdict)),
                    nft::MapValue::Data(_) => None,
                });
                Some(Self {
                    table: table_name(table),
                    chain: table.chain(id.chain)?.name.to_string(),
                    number: id.number,
                    text: nft::rule_text(rule, nft::Wording::KubeProxy),
                    verdict: of_map.unwrap_or_else(|| nft_rule_verdict(rule)),
                    origin: element.and_then(|element| element.origin).or(rule.origin),
                })
            }
        }
    }
}

/// Names of the table and of a base chain.
pub(crate) fn base_chain(
    world: &World<'_>,
    family: Family,
    at: NetnsId,
    chain: BaseChainRef,
) -> (String, String) {
    let of_nft = |id: nft::BaseChainId| {
        let NetnsId::Node(node) = at else {
            return None;
        };
        let rules = world.rules(node).ok()?;
        let (_, table) = rules
            .of(family)
            .nft()?
            .rules()
            .tables
            .get_index(id.table as usize)?;
        Some((table_name(table), table.chain(id.chain)?.name.to_string()))
    };
    match chain {
        BaseChainRef::Iptables { table, hook } => (table.name().to_owned(), hook.name().to_owned()),
        BaseChainRef::Nft { chain, .. } => of_nft(chain)
            .unwrap_or_else(|| unreachable!("a base chain that ended is one of the node's")),
    }
}

fn table_name(table: &nft::Table) -> String {
    format!("{} {}", table.family, table.name)
}

/// The object that an origin stands for, its endpoint, and where the object was read.
pub(crate) fn object_text(world: &World<'_>, family: Family, origin: Origin) -> Option<String> {
    let npc = world.policy_controller();
    if let Some(object) = npc.and_then(|npc| npc.object(origin)) {
        let name = object.name.to_string();
        return Some(placed(world, object.kind, &name, object.source));
    }
    let (object, endpoint) = world.object(family, origin)?;
    let place = object
        .source
        .map(|source| format!(" ({})", world.cluster().place(source)));
    let endpoint = endpoint.map(|endpoint| format!(" {endpoint}"));
    Some(format!(
        "{object}{}{}",
        endpoint.unwrap_or_default(),
        place.unwrap_or_default()
    ))
}

/// The policies for which weave-npc's rules drop a packet of a flow.
pub(crate) fn isolation_text(world: &World<'_>, origin: Origin, flow: FiveTuple) -> Option<String> {
    world.policy_controller()?;
    if origin != WeaveNpc::isolation() {
        return None;
    }
    let policies = world.isolating_policies(flow);
    let texts = policies.iter().map(|policy| policy_text(world, policy));
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// A policy, and where it was read.
pub(crate) fn policy_text(world: &World<'_>, policy: &NetworkPolicy) -> String {
    let meta = &policy.meta;
    placed(world, "NetworkPolicy", &meta.name.to_string(), meta.source)
}

fn placed(world: &World<'_>, kind: &str, name: &str, source: Option<Source>) -> String {
    let place = source.map(|source| format!(" ({})", world.cluster().place(source)));
    format!("{kind} {name}{}", place.unwrap_or_default())
}

fn nft_verdict(verdict: &nft::Verdict) -> String {
    match verdict {
        nft::Verdict::Accept => "accept".to_owned(),
        nft::Verdict::Drop => "drop".to_owned(),
        nft::Verdict::Continue => "continue".to_owned(),
        nft::Verdict::Return => "return".to_owned(),
        nft::Verdict::Jump(chain) => format!("jump {chain}"),
        nft::Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

/// What the last statement of a rule does.
fn nft_rule_verdict(rule: &nft::Rule) -> String {
    let said = match rule.statements.last() {
        Some(nft::Statement::Verdict(verdict)) => return nft_verdict(verdict),
        Some(nft::Statement::VerdictMap { .. }) => "vmap",
        Some(nft::Statement::Reject { .. }) => "reject",
        Some(nft::Statement::SetMark(_)) => "mark",
        Some(nft::Statement::Nat(nat)) => match nat.kind {
            NatKind::Dnat => "dnat",
            NatKind::Snat => "snat",
            NatKind::Masquerade => "masquerade",
            NatKind::Redirect => "redirect",
        },
        Some(nft::Statement::Set(set)) => match set.operation {
            nft::SetOperation::Add => "add",
            nft::SetOperation::Update => "update",
            nft::SetOperation::Delete => "delete",
        },
        Some(nft::Statement::Log(_)) => "log",
        Some(nft::Statement::Notrack) => "notrack",
        Some(nft::Statement::Unknown(text)) => return text.to_string(),
        Some(
            nft::Statement::Match(_)
            | nft::Statement::Limit(_)
            | nft::Statement::Counter(_)
            | nft::Statement::Nftrace(_),
        )
        | None => "continue",
    };
    said.to_owned()
}

fn verdict(target: &Target) -> String {
    match target {
        Target::Accept => "ACCEPT".to_owned(),
        Target::Drop => "DROP".to_owned(),
        Target::Reject(_) => "REJECT".to_owned(),
        Target::Return => "RETURN".to_owned(),
        Target::Jump(chain) => format!("jump {chain}"),
        Target::Goto(chain) => format!("goto {chain}"),
        Target::Mark { .. } => "MARK".to_owned(),
        Target::Connmark(_) => "CONNMARK".to_owned(),
        Target::Dnat(_) => "DNAT".to_owned(),
        Target::Snat(_) => "SNAT".to_owned(),
        Target::Masquerade(_) => "MASQUERADE".to_owned(),
        Target::Redirect(_) => "REDIRECT".to_owned(),
        Target::Log(_) => "LOG".to_owned(),
        Target::Nflog(_) => "NFLOG".to_owned(),
        Target::Notrack => "NOTRACK".to_owned(),
        Target::Trace => "TRACE".to_owned(),
        Target::Checksum(_) => "CHECKSUM".to_owned(),
        Target::Tcpmss(_) => "TCPMSS".to_owned(),
        Target::Unknown(text) => text.to_string(),
    }
}
