//! The question and the answer.

use std::net::IpAddr;

use podwire_packet::{Mark, SimTime};

use crate::{Choose, Hook, LimitState, NatRange, Packet, RuleId, State, TableName, nft};

/// What REJECT answers with.
///
/// Source: `enum ipt_reject_with` and `enum ip6t_reject_with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectWith {
    /// `icmp-net-unreachable`, `icmp6-no-route`.
    NetUnreachable,
    /// `icmp-host-unreachable`, `icmp6-addr-unreachable`.
    HostUnreachable,
    /// `icmp-proto-unreachable`; IPv4 only.
    ProtoUnreachable,
    /// `icmp-port-unreachable`, `icmp6-port-unreachable`: what it answers unless told otherwise.
    PortUnreachable,
    /// `icmp-net-prohibited`; IPv4 only.
    NetProhibited,
    /// `icmp-host-prohibited`; IPv4 only.
    HostProhibited,
    /// `icmp-admin-prohibited`, `icmp6-adm-prohibited`.
    AdminProhibited,
    /// `tcp-reset`.
    TcpReset,
    /// `icmp6-policy-fail`; IPv6 only.
    PolicyFail,
    /// `icmp6-reject-route`; IPv6 only.
    RejectRoute,
}

/// What a table, or a base chain of nftables, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The packet goes on to the next table or base chain.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject(RejectWith),
}

/// What a rule wants remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `recent` noted an address.
    RecentSeen {
        /// The list.
        list: Box<str>,
        /// The address, masked.
        address: IpAddr,
        /// TTL of the packet.
        ttl: u8,
        /// When.
        at: SimTime,
    },
    /// `recent --reap` looked at the address of the list that was not seen for longest, and forgets
    /// it if that was before a moment.
    RecentReaped {
        /// The list.
        list: Box<str>,
        /// The moment.
        before: SimTime,
    },
    /// `recent --remove` took an address out.
    RecentRemoved {
        /// The list.
        list: Box<str>,
        /// The address, masked.
        address: IpAddr,
    },
    /// `limit` looked into its bucket.
    Limit {
        /// The rule.
        rule: RuleId,
        /// The bucket afterwards.
        state: LimitState,
    },
    /// `statistic --mode nth` counted a packet.
    Nth {
        /// The rule.
        rule: RuleId,
        /// The count afterwards.
        count: u32,
    },
    /// LOG or NFLOG wrote about the packet.
    Logged {
        /// The rule.
        rule: RuleId,
    },
}

/// An address translation that a rule asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatKind {
    /// New destination.
    Dnat,
    /// New source.
    Snat,
    /// New source: an address of the outgoing device.
    Masquerade,
    /// New destination: an address of this host.
    Redirect,
}

/// What one table says about one packet at one hook; of nftables, what one base chain says
/// ([`nft::Decision`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R = RuleId, E = Effect> {
    /// Accept, drop or reject.
    pub verdict: Verdict,
    /// The packet's mark afterwards.
    pub mark: Mark,
    /// The connection's mark afterwards.
    pub conntrack_mark: Mark,
    /// The translation asked for, with what to choose from.
    pub nat: Option<(NatKind, NatRange)>,
    /// Whether the packet is not to be tracked.
    pub notrack: bool,
    /// Whether the packet is to be traced.
    pub trace: bool,
    /// What is to be remembered, in order.
    pub effects: Vec<E>,
    /// The first rule that podwire could not evaluate though every test it knows of it held. The
    /// rule was passed over; where it would have said something else, so would the answer.
    pub uncertain: Option<R>,
}

impl<R, E> Decision<R, E> {
    /// The answer of a table without rules.
    #[must_use]
    pub const fn accept(packet: &Packet<'_>) -> Self {
        Self {
            verdict: Verdict::Accept,
            mark: packet.mark,
            conntrack_mark: packet.conntrack.mark,
            nat: None,
            notrack: false,
            trace: false,
            effects: Vec::new(),
            uncertain: None,
        }
    }
}

/// Who watches an evaluation. The unit type watches nothing and costs nothing.
pub trait Observe {
    /// A rule matched; its target is about to apply.
    fn matched(&mut self, rule: RuleId);

    /// The packet reached the end of a built-in chain.
    fn policy(&mut self, table: TableName, hook: Hook);

    /// Whether it ignores all that it is told; an evaluator may then find the same decision without
    /// finding the rules on the way.
    fn is_silent(&self) -> bool {
        false
    }
}

impl Observe for () {
    fn is_silent(&self) -> bool {
        true
    }

    fn matched(&mut self, _: RuleId) {}

    fn policy(&mut self, _: TableName, _: Hook) {}
}

impl Observe for Vec<RuleId> {
    fn matched(&mut self, rule: RuleId) {
        self.push(rule);
    }

    fn policy(&mut self, _: TableName, _: Hook) {}
}

/// Evaluates rules: what `interp` and `matcher` both do.
///
/// The call is total: it cannot fail, and what could be wrong with a rule set was found when the
/// evaluator was built.
pub trait Classify {
    /// Whether `table` has any rule at `hook`; if not, nothing needs to be asked there.
    fn has_rules(&self, table: TableName, hook: Hook) -> bool;

    /// What `table` says about the packet at its hook.
    fn classify(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision;

    /// The base chains that nftables has at `hook`, in the order in which the kernel asks them. An
    /// evaluator of iptables alone has none.
    fn base_chains(&self, hook: Hook) -> &[nft::HookedChain] {
        let _ = hook;
        &[]
    }

    /// What a base chain of nftables says about the packet at its hook.
    fn classify_chain(
        &self,
        chain: nft::BaseChainId,
        packet: &Packet<'_>,
        state: &nft::State,
        choose: &mut impl Choose,
        observe: &mut impl nft::Observe,
    ) -> nft::Decision {
        let _ = (chain, state, choose, observe);
        Decision::accept(packet)
    }
}
