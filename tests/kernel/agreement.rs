//! What podwire and the kernel say of one packet, in the same words.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use podwire_dataplane::{Disposition, Event, NetnsState, Outcome};
use podwire_packet::{Family, FiveTuple, Protocol, SimTime};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{BaseChainRef, Hook, RuleRef, RuleSet, TableName};
use podwire_testkit::kernel::{Numbers, TraceLine, Tracked};

/// One line of both traces.
///
/// The kernel tells of the rules that matched and of the policies that were reached, RETURN among
/// the rules; that a user's chain ended it does not tell, and podwire has no event for it either. Of
/// built-in chains without rules, which podwire passes by, policies are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A rule matched.
    Rule(TableName, String, u32),
    /// A built-in chain ended.
    Policy(TableName, String),
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
    /// The rule, if it is one.
    pub(crate) fn rule_text(&self, rules: &RuleSet) -> Option<String> {
        match self {
            Self::Rule(table, chain, number) => {
                let rules = &rules.tables.get(table)?.chains.get(chain.as_str())?.rules;
                let rule = rules.get(number.checked_sub(1)? as usize)?;
                Some(rule_text(rule, Wording::Save, Family::Ipv4))
            }
            Self::Policy(..) => None,
        }
    }
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
        rules: &RuleSet,
        events: &[Event],
        before: &NetnsState,
        state: NetnsState,
        outcome: &Outcome,
    ) -> Self {
        let step = |event: &Event| {
            if let Event::Rule {
                rule: RuleRef::Iptables(rule),
                ..
            } = event
            {
                let chain = rules.chain_name(*rule).expect("a rule of this set");
                Some(Step::Rule(rule.table, chain.to_string(), rule.number))
            } else if let Event::Policy {
                chain: BaseChainRef::Iptables { table, hook },
            } = event
            {
                Some(Step::Policy(*table, hook.name().to_owned()))
            } else {
                None
            }
        };
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
            steps: events.iter().filter_map(step).collect(),
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
        rules: &RuleSet,
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
        let mut steps = Vec::new();
        for line in &self.lines {
            if let TraceLine::Packet(packet) = line {
                let sender = packet.ports.map(|(sport, _)| (packet.src, sport));
                // ICMP shows no ports; error messages have another sender.
                let is_echo = flow.protocol == Protocol::ICMP && packet.src == flow.src;
                let has_ports = sender.is_some_and(|sender| own.contains(&sender));
                is_own.insert(packet.id, has_ports || sender.is_none() && is_echo);
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
                    let number = numbers.get(*table, chain, *handle).unwrap_or(0);
                    steps.push(Step::Rule(*table, chain.clone(), number));
                }
                TraceLine::Policy { table, chain, .. } => {
                    if has_rules(rules, *table, chain) {
                        steps.push(Step::Policy(*table, chain.clone()));
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

fn has_rules(rules: &RuleSet, table: TableName, chain: &str) -> bool {
    let hook = chain.parse::<Hook>().ok();
    let found = hook.and_then(|hook| rules.tables.get(&table)?.at(hook));
    found.is_some_and(|(_, chain)| !chain.rules.is_empty())
}
