//! What podwire and the kernel say of one packet, in the same words.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use podwire_dataplane::{Disposition, Event, NetnsState, Outcome};
use podwire_interp::Interp;
use podwire_packet::{Family, FiveTuple, Protocol, SimTime};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{BaseChainRef, Hook, RuleRef, TableName, nft};
use podwire_testkit::kernel::{Numbers, TraceLine, Tracked};

/// One line of both traces. Tables are called `nat`, as iptables calls its own, or `ip kube-proxy`.
///
/// The kernel tells of the rules that matched and of the policies that were reached, RETURN among
/// the rules; that another chain ended it does not tell, and podwire has no event for it either. Of
/// built-in chains of iptables without rules, which podwire passes by, policies are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A rule matched.
    Rule(String, String, u32),
    /// A base chain ended.
    Policy(String, String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(table, chain, number) => write!(f, "{table}/{chain}/{number}"),
            Self::Policy(table, chain) => write!(f, "{table}/{chain}/policy"),
        }
    }
}

impl Step {
    /// A thing that happened in podwire, if it is a step.
    fn of(event: &Event, rules: &Interp) -> Option<Self> {
        let nft_chain = |table: u32, chain| {
            let tables = rules.nft().expect("a chain of these rules").rules();
            let (_, table) = tables.tables.get_index(table as usize)?;
            let chain = table.chain(chain)?;
            Some((table_label(table), chain.name.to_string()))
        };
        if let Event::Rule { rule, .. } = event {
            Some(match rule {
                RuleRef::Iptables(rule) => {
                    let chain = rules.rules().chain_name(*rule).expect("a rule of this set");
                    Self::Rule(rule.table.to_string(), chain.to_string(), rule.number)
                }
                RuleRef::Nft(rule) => {
                    let (table, chain) =
                        nft_chain(rule.table, rule.chain).expect("a rule of this set");
                    Self::Rule(table, chain, rule.number)
                }
            })
        } else if let Event::Policy { chain } = event {
            Some(match chain {
                BaseChainRef::Iptables { table, hook } => {
                    Self::Policy(table.to_string(), hook.to_string())
                }
                BaseChainRef::Nft { chain, .. } => {
                    let (table, chain) =
                        nft_chain(chain.table, chain.chain).expect("a chain of this set");
                    Self::Policy(table, chain)
                }
            })
        } else {
            None
        }
    }

    /// The rule, if it is one.
    pub(crate) fn rule_text(&self, rules: &Interp) -> Option<String> {
        let Self::Rule(table, chain, number) = self else {
            return None;
        };
        let index = number.checked_sub(1)? as usize;
        if let Ok(table) = table.parse::<TableName>() {
            let rules = &rules
                .rules()
                .tables
                .get(&table)?
                .chains
                .get(chain.as_str())?
                .rules;
            return Some(rule_text(rules.get(index)?, Wording::Save, Family::Ipv4));
        }
        let mut tables = rules.nft()?.rules().tables.values();
        let found = tables.find(|own| table_label(own) == *table)?;
        let rule = found.chains.get(chain.as_str())?.rules.get(index)?;
        Some(nft::rule_text(rule, nft::Wording::List))
    }
}

fn table_label(table: &nft::Table) -> String {
    format!("{} {}", table.family, table.name)
}

/// A packet's way through the node.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    /// Its connection, if one was entered into the table.
    pub(crate) connection: Option<Translation>,
    /// Source and destination as it began, where podwire chose the source.
    pub(crate) sent: Option<FiveTuple>,
    /// What podwire remembers of it.
    pub(crate) state: NetnsState,
    /// Whether podwire gave it to a socket of this host, or looked for one.
    pub(crate) is_local: bool,
    /// Where it ended, in podwire's words.
    pub(crate) end: String,
}

/// What became of a connection's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// Who gets the packets.
    pub(crate) to: SocketAddr,
    /// Who they seem to come from.
    pub(crate) from: SocketAddr,
    /// Whether that is somebody else than who sent them.
    pub(crate) is_masqueraded: bool,
    /// Whether ports are the identifier of an ICMP echo, one for both ends.
    is_echo: bool,
}

impl Translation {
    fn of(original: FiveTuple, reply: FiveTuple) -> Self {
        Self {
            to: (reply.src, reply.sport).into(),
            from: (reply.dst, reply.dport).into(),
            is_masqueraded: (reply.dst, reply.dport) != (original.src, original.sport),
            is_echo: original.protocol == Protocol::ICMP,
        }
    }

    /// Whether the kernel says the same. The port of a packet that podwire masquerades is random
    /// (`--random-fully`), and so now and then the one that it had; that the kernel masquerades it too
    /// is seen by the rule that matched.
    fn agrees(&self, kernel: &Self) -> bool {
        let same_source_port = self.is_masqueraded || self.from.port() == kernel.from.port();
        let same_port = self.to.port() == kernel.to.port() || self.is_masqueraded && self.is_echo;
        self.to.ip() == kernel.to.ip()
            && self.from.ip() == kernel.from.ip()
            && same_source_port
            && same_port
    }
}

impl Steps {
    pub(crate) fn of_podwire(
        rules: &Interp,
        events: &[Event],
        before: &NetnsState,
        state: NetnsState,
        outcome: &Outcome,
    ) -> Self {
        let confirmed = state
            .conntrack
            .connections()
            .filter(|connection| connection.confirmed)
            .find(|connection| {
                !before
                    .conntrack
                    .is_taken(&connection.original, SimTime::START)
            });
        let sent = events.iter().find_map(|event| {
            if let Event::Sent { flow } = event {
                Some(*flow)
            } else {
                None
            }
        });
        Self {
            steps: events
                .iter()
                .filter_map(|event| Step::of(event, rules))
                .collect(),
            connection: confirmed
                .map(|connection| Translation::of(connection.original, connection.reply)),
            sent,
            state,
            is_local: matches!(
                outcome,
                Outcome::Ended(Disposition::Delivered(_) | Disposition::Refused)
            ),
            end: format!("{outcome:?}"),
        }
    }

    /// The kernel gives a packet another source port where an earlier connection, masqueraded to a
    /// random port, has its own (`nf_nat_alloc_null_binding`). podwire is asked about each packet
    /// alone; so, where that is so, the port counts as kept.
    pub(crate) fn with_taken_port_kept(
        &self,
        flow: FiveTuple,
        connections: &BTreeMap<FiveTuple, Tracked>,
    ) -> Self {
        let mut told = self.clone();
        if let Some(connection) = &mut told.connection {
            let (to, from) = (connection.to, connection.from);
            let kept = FiveTuple {
                dst: to.ip(),
                dport: to.port(),
                ..flow
            };
            let is_taken =
                |tracked: &Tracked| tracked.original != flow && tracked.reply == kept.reversed();
            if from.ip() == flow.src
                && from.port() != flow.sport
                && connections.values().any(is_taken)
            {
                connection.from = (flow.src, flow.sport).into();
            }
        }
        told
    }

    /// Whether the packet reached this host's own sockets.
    pub(crate) fn stays_here(&self) -> bool {
        self.is_local
    }

    /// Whether both went the same way.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let same_connection = match (&self.connection, &other.connection) {
            (Some(one), Some(other)) => one.agrees(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.steps == other.steps && same_connection
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(f, " {step}")?;
        }
        match &self.connection {
            Some(Translation { to, from, .. }) => write!(f, " => {from} -> {to}"),
            None => write!(f, " => no connection"),
        }
    }
}

/// What the kernel told while one packet was on its way.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) lines: Vec<TraceLine>,
}

impl Heard {
    /// The packet's own way: what else was told, such as of an error message back to its sender, is
    /// left out. `flow` is the packet as it was sent, `known` its connection
    /// if it is not the first of it.
    pub(crate) fn steps(
        &self,
        flow: FiveTuple,
        connections: &BTreeMap<FiveTuple, Tracked>,
        known: Option<Tracked>,
        numbers: &Numbers,
        rules: &Interp,
    ) -> Steps {
        let tracked = connections.get(&flow);
        let connection = tracked.map(|tracked| Translation::of(tracked.original, tracked.reply));
        // Before and after its source is translated; the latter is seen when it comes in again by
        // loopback.
        let mut own = vec![(flow.src, flow.sport)];
        own.extend(known.or(tracked.copied()).map(|known| {
            if known.original == flow {
                (known.reply.dst, known.reply.dport)
            } else {
                (known.original.dst, known.original.dport)
            }
        }));
        let mut is_own: BTreeMap<u32, bool> = BTreeMap::new();
        // Where the packet with a number went last.
        let mut went: BTreeMap<u32, (IpAddr, Option<u16>, &str)> = BTreeMap::new();
        let mut steps = Vec::new();
        for line in &self.lines {
            if let TraceLine::Packet(packet) = line {
                let sender = packet.ports.map(|(sport, _)| (packet.src, sport));
                // ICMP shows no ports; error messages have another sender.
                let is_echo = flow.protocol == Protocol::ICMP && packet.src == flow.src;
                let has_ports = sender.is_some_and(|sender| own.contains(&sender));
                // A source that was just translated shows in no connection if the packet is dropped then.
                let now = (
                    packet.dst,
                    packet.ports.map(|(_, dport)| dport),
                    packet.output.as_str(),
                );
                let goes_on = is_own.get(&packet.id) == Some(&true)
                    && !packet.output.is_empty()
                    && went.insert(packet.id, now) == Some(now);
                is_own.insert(
                    packet.id,
                    has_ports || sender.is_none() && is_echo || goes_on,
                );
            }
            if !is_own.get(&line.id()).copied().unwrap_or(false) {
                continue;
            }
            match line {
                TraceLine::Packet(_) => {}
                TraceLine::Rule {
                    table,
                    chain,
                    handle,
                    ..
                } => {
                    let number = numbers.get(table, chain, *handle).unwrap_or(0);
                    steps.push(Step::Rule(table.clone(), chain.clone(), number));
                }
                TraceLine::Policy { table, chain, .. } => {
                    if has_rules(rules, table, chain) {
                        steps.push(Step::Policy(table.clone(), chain.clone()));
                    }
                }
            }
        }
        Steps {
            steps,
            connection,
            sent: None,
            state: NetnsState::default(),
            is_local: false,
            end: String::new(),
        }
    }
}

/// Whether podwire asks a base chain: every one of nftables, and of iptables those with rules.
fn has_rules(rules: &Interp, table: &str, chain: &str) -> bool {
    let Ok(table) = table.parse::<TableName>() else {
        return true;
    };
    let hook = chain.parse::<Hook>().ok();
    let found = hook.and_then(|hook| rules.rules().tables.get(&table)?.at(hook));
    found.is_some_and(|(_, chain)| !chain.rules.is_empty())
}
