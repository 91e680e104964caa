//! Packets made for a rule set: each is aimed at a rule, by way of the rules that lead to its chain, and
//! often misses a test of it by one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::{DeviceName, Family, Headers, Mark, Prefix, Protocol, SimTime, TcpFlags};
use podwire_ruleset::{
    AddressMatch, AddressType, Chain, ConntrackInfo, CtState, Hook, HostAddresses, InterfaceMatch,
    Inv, Match, MultiportSide, Packet, Rule, RuleSet, Table, TableName, Target,
};

use super::generated::Lots;

/// By chain, the rules that jump there: each a chain and its place in it.
type Callers = Vec<Vec<(usize, usize)>>;

/// What packets are drawn from.
pub(super) struct Probes<'a> {
    rules: &'a RuleSet,
    host: &'a HostAddresses,
    /// Addresses that rules name, and those beside them.
    addresses: Vec<IpAddr>,
    /// Of every table, where each rule stands.
    places: Vec<(TableName, usize, usize)>,
    /// Of every table and chain, the rules that jump there.
    callers: BTreeMap<TableName, Callers>,
}

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

pub(super) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(u32::try_from(number & u128::from(u32::MAX)).unwrap().into()),
        Family::Ipv6 => IpAddr::V6(number.into()),
    }
}

/// A value of a range, at its ends most often, and sometimes one outside.
fn near(lots: &mut Lots, first: u128, last: u128) -> u128 {
    match lots.below(9) {
        0..=2 => first,
        3 | 4 => last,
        5 => first.wrapping_sub(1),
        6 => last.wrapping_add(1),
        _ => {
            let width = last.wrapping_sub(first).saturating_add(1);
            let any = u128::from(lots.0.next()) << 64 | u128::from(lots.0.next());
            first.wrapping_add(any % width)
        }
    }
}

fn near_port(lots: &mut Lots, ports: &RangeInclusive<u16>) -> u16 {
    let found = near(lots, (*ports.start()).into(), (*ports.end()).into());
    u16::try_from(found & 0xffff).unwrap()
}

fn called(rule: &Rule) -> Option<&str> {
    match &rule.target {
        Some(Target::Jump(to) | Target::Goto(to)) => Some(to.as_str()),
        Some(_) | None => None,
    }
}

fn callers(table: &Table) -> Callers {
    let mut callers = vec![Vec::new(); table.chains.len()];
    for (at, chain) in table.chains.values().enumerate() {
        for (number, rule) in chain.rules.iter().enumerate() {
            if let Some(to) = called(rule).and_then(|to| table.chain_id(to)) {
                callers[to.index()].push((at, number));
            }
        }
    }
    callers
}

impl<'a> Probes<'a> {
    pub(super) fn of(rules: &'a RuleSet, host: &'a HostAddresses) -> Self {
        let mut addresses: Vec<IpAddr> =
            host.local().iter().map(|(net, _)| net.address()).collect();
        let mut places = Vec::new();
        for (&name, table) in &rules.tables {
            for (at, chain) in table.chains.values().enumerate() {
                places.extend((0..chain.rules.len()).map(|number| (name, at, number)));
                for rule in &chain.rules {
                    note_addresses(rule, &mut addresses);
                }
            }
        }
        addresses.retain(|own| own.is_ipv4() == (rules.family == Family::Ipv4));
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            addresses.push(address(rules.family, 0x0a00_0001));
        }
        let callers = rules.tables.iter().map(|(&name, own)| (name, callers(own)));
        Self {
            rules,
            host,
            addresses,
            places,
            callers: callers.collect(),
        }
    }

    fn any_address(&self, lots: &mut Lots) -> IpAddr {
        let own = number(self.addresses[lots.below(self.addresses.len())]);
        let beside = if lots.one_in(8) { own ^ 1 } else { own };
        address(self.rules.family, beside)
    }

    /// A packet that knows no rule.
    fn any(&self, lots: &mut Lots, hook: Hook) -> Packet<'a> {
        let (src, dst) = (self.any_address(lots), self.any_address(lots));
        let protocol = [Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP];
        let protocol = match lots.below(12) {
            0 => Protocol::icmp_of(self.rules.family),
            1 => Protocol(47),
            _ => protocol[lots.below(4)],
        };
        let port = |lots: &mut Lots| match lots.below(4) {
            0 => [80, 81, 53, 443, 8080, 0, 65_535][lots.below(7)],
            _ => u16::try_from(lots.below(1 << 16)).unwrap(),
        };
        let mut headers = Headers::first_of_flow(src, dst, protocol, port(lots), port(lots));
        headers.is_later_fragment = lots.one_in(30);
        if lots.one_in(8) {
            headers.tcp_flags = TcpFlags::ACK;
        }
        let states = [
            CtState::New,
            CtState::New,
            CtState::New,
            CtState::Established,
        ];
        let state = match lots.below(20) {
            0 => CtState::Invalid,
            1 => CtState::Related,
            2 => CtState::Untracked,
            _ => states[lots.below(4)],
        };
        let device = |lots: &mut Lots| [None, Some("eth0"), Some("cni0")][lots.below(3)];
        let parse = |name: Option<&str>| name.map(|name| name.parse().unwrap());
        Packet {
            headers,
            mark: Mark([0, 0, 0, 1, 2, 0x4000, 0x8000, u32::MAX][lots.below(8)]),
            hook,
            input: parse(device(lots)),
            output: parse(device(lots)),
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(state),
            host: self.host,
            now: SimTime(lots.below(20) as u64 * 700_000_000),
        }
    }

    /// A packet aimed at a rule, and the table that has the rule.
    pub(super) fn aimed(&self, lots: &mut Lots) -> (TableName, Packet<'a>) {
        if self.places.is_empty() || lots.one_in(16) {
            let table = TableName::ALL[lots.below(TableName::ALL.len())];
            let hook = table.hooks()[lots.below(table.hooks().len())];
            return (table, self.any(lots, hook));
        }
        let (table, chain, number) = self.places[lots.below(self.places.len())];
        (table, self.aimed_at(lots, table, chain, number))
    }

    /// Packets for one hook, aimed at rules that it comes to.
    pub(super) fn aimed_from(
        &self,
        lots: &mut Lots,
        table: TableName,
        hook: Hook,
        count: usize,
    ) -> Vec<Packet<'a>> {
        let of_table: Vec<_> = self.places.iter().filter(|of| of.0 == table).collect();
        let one = |_| {
            let mut packet = match lots.below(of_table.len() + 1) {
                0 => self.any(lots, hook),
                at => {
                    let (_, chain, number) = *of_table[at - 1];
                    self.aimed_at(lots, table, chain, number)
                }
            };
            packet.hook = hook;
            packet
        };
        (0..count).map(one).collect()
    }

    fn aimed_at(
        &self,
        lots: &mut Lots,
        name: TableName,
        chain: usize,
        number: usize,
    ) -> Packet<'a> {
        let table = &self.rules.tables[&name];
        let callers = &self.callers[&name];
        let chain_at = |at: usize| -> &Chain { &table.chains[at] };
        // Upwards from the rule to a built-in chain; chains do not call each other in a circle.
        let (mut way, mut at) = (vec![&chain_at(chain).rules[number]], chain);
        while let Some(of) = callers.get(at).filter(|of| !of.is_empty()) {
            let (from, number) = of[lots.below(of.len())];
            way.push(&chain_at(from).rules[number]);
            at = from;
        }
        let hook = match chain_at(at).built_in {
            Some(built_in) => built_in.hook,
            None => name.hooks()[lots.below(name.hooks().len())],
        };
        let mut packet = self.any(lots, hook);
        for rule in way.iter().rev() {
            for test in &rule.matches {
                if !lots.one_in(12) {
                    self.satisfy(lots, &mut packet, test);
                }
            }
        }
        packet
    }

    fn one_of(&self, lots: &mut Lots, of: &Inv<AddressMatch>) -> IpAddr {
        if of.inverted {
            return self.any_address(lots);
        }
        match of.value {
            AddressMatch::Prefix(prefix) => self.within(lots, prefix),
            AddressMatch::Sparse { address: own, mask } => {
                let any = number(self.any_address(lots)) & !number(mask);
                address(self.rules.family, number(own) | any)
            }
        }
    }

    fn within(&self, lots: &mut Lots, prefix: Prefix) -> IpAddr {
        // What rules name within the prefix is where they meet.
        if lots.one_in(3) {
            let named = self.any_address(lots);
            if prefix.contains(named) {
                return named;
            }
        }
        let (first, last) = (number(prefix.address()), number(prefix.last()));
        if first == last && !lots.one_in(10) {
            return prefix.address();
        }
        address(self.rules.family, near(lots, first, last))
    }

    /// Changes the packet so that the test holds, or just does not.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other tests are met by chance"
    )]
    fn satisfy(&self, lots: &mut Lots, packet: &mut Packet<'_>, test: &Match) {
        let headers = &mut packet.headers;
        match test {
            Match::Source(of) => headers.src = self.one_of(lots, of),
            Match::Destination(of) => headers.dst = self.one_of(lots, of),
            Match::Protocol(of) if !of.inverted => headers.protocol = of.value,
            Match::SourcePort(_, of) if !of.inverted => headers.sport = near_port(lots, &of.value),
            Match::DestinationPort(_, of) if !of.inverted || lots.one_in(3) => {
                headers.dport = if of.value.start() == of.value.end() && !lots.one_in(10) {
                    *of.value.start()
                } else {
                    near_port(lots, &of.value)
                };
            }
            Match::Multiport(of) if !of.ports.value.is_empty() => {
                let ports = &of.ports.value[lots.below(of.ports.value.len())];
                let port = near_port(lots, ports);
                match of.side {
                    MultiportSide::Source => headers.sport = port,
                    MultiportSide::Destination | MultiportSide::Either => headers.dport = port,
                }
            }
            Match::Iprange(of) => {
                let mut one = |range: &RangeInclusive<IpAddr>| {
                    let found = near(lots, number(*range.start()), number(*range.end()));
                    address(self.rules.family, found)
                };
                if let Some(src) = &of.src {
                    headers.src = one(&src.value);
                }
                if let Some(dst) = &of.dst {
                    headers.dst = one(&dst.value);
                }
            }
            Match::TcpFlags(of) => headers.tcp_flags = of.value.set,
            Match::IcmpType(_, of) => {
                headers.icmp_type = of.value.icmp_type.unwrap_or(0);
                headers.icmp_code = *of.value.codes.start();
            }
            Match::Mark(of) => packet.mark = Mark(of.value.value.0 ^ u32::from(of.inverted)),
            Match::InInterface(of) => packet.input = device(of),
            Match::OutInterface(of) => packet.output = device(of),
            Match::AddressType(of) => {
                let is_local = |types: u16| types & 1 << (AddressType::Local as u16) != 0;
                if let Some(dst) = of.dst
                    && is_local(dst.value.0)
                    && !dst.inverted
                {
                    headers.dst = self.own_address(lots).unwrap_or(headers.dst);
                }
                if let Some(src) = of.src
                    && is_local(src.value.0)
                    && !src.inverted
                {
                    headers.src = self.own_address(lots).unwrap_or(headers.src);
                }
            }
            _ => {}
        }
    }

    fn own_address(&self, lots: &mut Lots) -> Option<IpAddr> {
        let of_family = |own: &IpAddr| own.is_ipv4() == (self.rules.family == Family::Ipv4);
        let own = self.host.local().iter().map(|(net, _)| net.address());
        let own: Vec<IpAddr> = own.filter(of_family).collect();
        own.get(lots.below(own.len().max(1))).copied()
    }
}

fn device(of: &Inv<InterfaceMatch>) -> Option<DeviceName> {
    match of.value {
        InterfaceMatch::Exact(name) | InterfaceMatch::Prefix(name) => Some(name),
        InterfaceMatch::Any => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others name no address")]
fn note_addresses(rule: &Rule, addresses: &mut Vec<IpAddr>) {
    for test in &rule.matches {
        match test {
            Match::Source(of) | Match::Destination(of) => match of.value {
                AddressMatch::Prefix(prefix) => {
                    addresses.extend([prefix.address(), prefix.last()]);
                }
                AddressMatch::Sparse { address, .. } => addresses.push(address),
            },
            Match::Iprange(of) => {
                for range in [&of.src, &of.dst].into_iter().flatten() {
                    addresses.extend([*range.value.start(), *range.value.end()]);
                }
            }
            _ => {}
        }
    }
    if let Some(Target::Dnat(range)) = &rule.target
        && let Some(own) = &range.addresses
    {
        addresses.push(*own.start());
    }
}
