//! What rules mean, a sentence of iptables-extensions(8) or of the kernel at a time.
//!
//! Rules are written as `iptables-save` writes them. Where a test differs from the manual, a line
//! names the function of the kernel that it follows.

mod conntrack;
mod header;
mod laws;
mod memory;
mod modules;
mod nft;
mod sets;
mod walk;

use podwire_packet::{Family, Headers, Mark, Protocol, SimTime, TcpFlags};
use podwire_ruleset::{
    Choose, Classify, ConntrackInfo, CtState, Decision, Draw, Hook, HostAddresses, Packet, RuleId,
    RuleSet, State, TableName, Verdict, ipset, iptables,
};

use crate::Interp;

/// 192.0.2.1 and 2001:db8::1 of eth0, 10.0.0.1 of cni0, and loopback.
fn host() -> HostAddresses {
    let host = HostAddresses::of(["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()));
    let cni0 = "cni0".parse().unwrap();
    let mut local = host.local().to_vec();
    local.push(("10.0.0.1/32".parse().unwrap(), cni0));
    HostAddresses::new(local, vec![("10.0.0.255".parse().unwrap(), cni0)])
}

/// A packet, to be changed step by step and asked about.
#[derive(Clone)]
struct Probe {
    packet: Packet<'static>,
}

impl Probe {
    /// The first packet of a flow, at INPUT, in by eth0.
    fn new(protocol: Protocol, src: &str, sport: u16, dst: &str, dport: u16) -> Self {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Self {
            packet: Packet {
                headers: Headers::first_of_flow(src, dst, protocol, sport, dport),
                mark: Mark(0),
                hook: Hook::Input,
                input: Some("eth0".parse().unwrap()),
                output: None,
                physdev_in: None,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(CtState::New),
                host: Box::leak(Box::new(host())),
                now: SimTime(1_000_000_000_000),
            },
        }
    }

    fn tcp() -> Self {
        Self::new(Protocol::TCP, "198.51.100.7", 40_000, "192.0.2.1", 80)
    }

    fn udp() -> Self {
        Self::new(Protocol::UDP, "198.51.100.7", 40_000, "192.0.2.1", 53)
    }

    fn udp6() -> Self {
        Self::new(Protocol::UDP, "2001:db8:1::7", 40_000, "2001:db8::1", 53)
    }

    fn with(mut self, change: impl FnOnce(&mut Packet<'static>)) -> Self {
        change(&mut self.packet);
        self
    }

    fn to(self, dst: &str) -> Self {
        self.with(|p| p.headers.dst = dst.parse().unwrap())
    }

    fn from(self, src: &str) -> Self {
        self.with(|p| p.headers.src = src.parse().unwrap())
    }

    fn flags(self, flags: TcpFlags) -> Self {
        self.with(|p| p.headers.tcp_flags = flags)
    }

    fn state(self, state: CtState) -> Self {
        self.with(|p| p.conntrack = ConntrackInfo::of_state(state))
    }

    /// At a hook with these devices; `-` is none.
    fn at(self, hook: Hook, input: &str, output: &str) -> Self {
        self.with(|p| {
            p.hook = hook;
            p.input = input.parse().ok().filter(|_| input != "-");
            p.output = output.parse().ok().filter(|_| output != "-");
        })
    }

    /// With these bridge ports; `-` is none.
    fn ports(self, input: &str, output: &str) -> Self {
        self.with(|p| {
            p.physdev_in = input.parse().ok().filter(|_| input != "-");
            p.physdev_out = output.parse().ok().filter(|_| output != "-");
        })
    }

    fn seconds_later(self, seconds: u64) -> Self {
        self.with(|p| p.now.0 += seconds * 1_000_000_000)
    }

    /// Whether a rule with these matches holds.
    fn fits(&self, matches: &str) -> bool {
        self.fits_with(matches, &mut State::default())
    }

    /// The same; what the rule remembers is kept.
    fn fits_with(&self, matches: &str, state: &mut State) -> bool {
        let text = format!("-A {} {matches} -j DROP", self.packet.hook);
        let decision = self.ask(&table("mangle", &text, &self.packet), state, &mut Draw(1));
        assert_eq!(decision.uncertain, None, "{matches}");
        state.apply(&decision.effects);
        decision.verdict == Verdict::Drop
    }

    fn ask(&self, rules: &Interp, state: &State, choose: &mut impl Choose) -> Decision {
        let (table, _) = rules.rules().tables.first().expect("one table");
        rules.classify(*table, &self.packet, state, choose, &mut ())
    }

    /// What the table `mangle` with these lines says.
    fn decide(&self, lines: &str) -> Decision {
        self.ask(
            &table("mangle", lines, &self.packet),
            &State::default(),
            &mut Draw(1),
        )
    }

    /// The rules of `mangle` that match, as `CHAIN/NUMBER`, and the verdict.
    fn walk(&self, lines: &str) -> (String, Verdict) {
        let interp = table("mangle", lines, &self.packet);
        let mut met: Vec<RuleId> = Vec::new();
        let state = State::default();
        let decision = interp.classify(
            TableName::Mangle,
            &self.packet,
            &state,
            &mut Draw(1),
            &mut met,
        );
        let labels = met.iter().map(|&id| interp.rules().label(id));
        let trail: Vec<String> = labels.map(|l| l.replace("mangle/", "")).collect();
        (trail.join(" "), decision.verdict)
    }
}

/// A table of the packet's family; lines that begin with `:` make chains.
fn table(name: &str, lines: &str, packet: &Packet<'_>) -> Interp {
    Interp::new(read(
        packet.headers.family(),
        &format!("*{name}\n{lines}\nCOMMIT\n"),
    ))
    .unwrap()
}

fn read(family: Family, text: &str) -> RuleSet {
    iptables::parse(text, family)
        .unwrap_or_else(|error| panic!("{error}: {text}"))
        .rules
}

/// The sets that `ipset restore` makes of these lines.
fn sets(lines: &str) -> State {
    State {
        sets: ipset::parse(lines)
            .unwrap_or_else(|error| panic!("{error}: {lines}"))
            .into(),
        ..State::default()
    }
}
