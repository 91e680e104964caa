//! Rule sets made at random: what each match and target means, on every hook, in chains that call each
//! other; and packets that go through them, both ways. Of iptables, and of nftables beside iptables.

mod nft_rules;
mod rules;
mod traffic;

use podwire_controlplane::cni::PodNetwork;
use podwire_dataplane::NetnsState;
use podwire_packet::{Family, FiveTuple, Headers, Protocol, TcpFlags};
use podwire_ruleset::{Choose, Draw, RuleSet, ipset, iptables, outcomes};
use podwire_testkit::kernel::{self, Lane, Tracked};

use crate::agreement::Steps;
use crate::lab::{Lab, Place, Rules, Sender};
use crate::nodes::cluster;
use crate::probes;

/// Rule sets, and flows through each.
const RULE_SETS: u64 = 100;
const FLOWS: usize = 50;
/// How often a rule set is begun anew when the kernel's trace of a packet is lost, as netlink messages
/// are on a busy machine.
const TRIES: usize = 4;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rules: usize,
    packets: usize,
    steps: usize,
    replies: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.rules += other.rules;
        self.packets += other.packets;
        self.steps += other.steps;
        self.replies += other.replies;
    }
}

/// Why a packet could not be said to agree.
enum Fault {
    /// The kernel told nothing of it, not even of the TRACE rule that every packet meets first.
    Lost,
    /// The two say different things.
    Differs(String),
}

#[test]
fn the_kernel_reads_random_rules_as_podwire_does() {
    compare_all("rules", |draw| {
        let text = rules::text(draw);
        Rules::of_iptables(text.clone(), parse(&text), rules::SETS, false)
    });
}

#[test]
fn the_kernel_reads_random_nftables_as_podwire_does() {
    compare_all("nftables", |draw| {
        // One rule set of two has random rules of iptables on the same hooks.
        let (text, sets) = if draw.one_of(2) == 0 {
            (rules::text(draw), rules::SETS)
        } else {
            (rules::QUIET.to_owned(), "")
        };
        let set = parse(&text);
        Rules::of_both(text, set, sets, nft_rules::table(draw))
    });
}

fn parse(text: &str) -> RuleSet {
    iptables::parse(text, Family::Ipv4)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .rules
}

/// Makes rule sets and sends flows through each.
#[expect(clippy::print_stdout, reason = "what was compared is to be read")]
fn compare_all(what: &str, rules: impl Fn(&mut Draw) -> Rules) {
    let Some(lane) = kernel::lane() else {
        return;
    };
    kernel::stay_on_one_cpu(lane).expect("a processor");
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    for seed in 1..=RULE_SETS {
        let mut tries = (0..TRIES).map(|_| compare(lane, seed, &rules));
        let (of_set, of_set_wrong) = tries
            .find_map(Result::ok)
            .expect("the kernel's trace is lost each time");
        count += of_set;
        wrong.extend(of_set_wrong);
    }
    println!(
        "kernel lane: generated {what}: {count:?}, {} disagreements",
        wrong.len()
    );
    let first: Vec<String> = wrong.iter().take(6).cloned().collect();
    assert!(wrong.is_empty(), "{}", first.join("\n"));
}

fn compare(
    lane: Lane,
    seed: u64,
    rules: impl Fn(&mut Draw) -> Rules,
) -> Result<(Count, Vec<String>), Fault> {
    let mut count = Count::default();
    let cluster = cluster("002-clusterip-plain");
    let network = PodNetwork::new(&cluster);
    let node = &network.nodes()[0];
    let pods = probes::local_pods(&cluster, node);
    let mut draw = Draw(seed);
    let rules = rules(&mut draw);
    let place = Place {
        network: &network,
        node,
        pods: &pods,
    };
    let mut lab =
        Lab::new(lane, place, &rules).unwrap_or_else(|error| panic!("{error}\n{}", rules.text()));
    count.rules += lab.podwire_rules();
    assert_eq!(
        lab.kernel_rules(),
        lab.podwire_rules(),
        "the kernel has other rules:\n{}",
        rules.text()
    );
    let mut wrong = Vec::new();
    let mut memory = NetnsState::default();
    memory.ipv4.sets = ipset::parse(&rules.sets)
        .expect("sets that the kernel takes")
        .into();
    for number in 0..FLOWS {
        let first = traffic::first_packet(&mut draw, node, &pods, number);
        match flow(&mut lab, &mut draw, first, &mut memory, &mut count) {
            Ok(()) => {}
            Err(Fault::Lost) => return Err(Fault::Lost),
            Err(Fault::Differs(text)) => {
                wrong.push(format!("rule set {seed}: {text}"));
                // What rules remember is not known to be the same from here on.
                break;
            }
        }
    }
    Ok((count, wrong))
}

/// Sends the packets of one flow through both.
fn flow(
    lab: &mut Lab,
    draw: &mut Draw,
    (sender, first): (Sender, Headers),
    memory: &mut NetnsState,
    count: &mut Count,
) -> Result<(), Fault> {
    let mut state = NetnsState {
        ipv4: memory.ipv4.clone(),
        ..NetnsState::default()
    };
    let mut connection = None;
    let mut next = Some(Packet {
        sender,
        kernel: first,
        podwire: first,
    });
    let mut sent = 0;
    while let Some(packet) = next.take() {
        sent += 1;
        let (said, tracked) = both(
            lab,
            packet,
            &state,
            connection.map(|(tracked, _)| tracked),
            count,
        )
        .map_err(|fault| match fault {
            Fault::Lost => Fault::Lost,
            Fault::Differs(text) => Fault::Differs(format!(
                "packet {sent} of a flow that began with {first:?}: {text}"
            )),
        })?;
        let stays = said.stays_here();
        state = said.state;
        connection = connection.or(tracked.zip(said.connection));
        // The kernel itself answers what stays here, and that is not modelled.
        if stays || sent == 4 {
            break;
        }
        next = traffic::next_packet(draw, packet, first, connection, &state, lab);
        count.replies += usize::from(next.is_some_and(|next| next.kernel.src != first.src));
    }
    memory.ipv4 = state.ipv4;
    Ok(())
}

/// A packet, which in podwire may be for another port than in the kernel: of an answer to a connection
/// whose source port was masqueraded at random.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sender: Sender,
    kernel: Headers,
    podwire: Headers,
}

/// Sends one packet through both; what podwire said, and the connection if it is a new one.
fn both(
    lab: &mut Lab,
    Packet {
        sender,
        kernel,
        podwire,
    }: Packet,
    before: &NetnsState,
    known: Option<Tracked>,
    count: &mut Count,
) -> Result<(Steps, Option<Tracked>), Fault> {
    let heard = lab
        .in_kernel(sender, kernel)
        .expect("the kernel takes packets");
    let connections = lab.connections().expect("the kernel tells of connections");
    let all: Vec<Steps> = outcomes(|choose| lab.in_podwire(sender, podwire, before, choose))
        .into_iter()
        .map(|(_, said)| said)
        .collect();
    let flow = tuple(&kernel, all[0].sent);
    let tracked = connections
        .iter()
        .find(|tracked| tracked.original == flow)
        .copied();
    let by_flow = tracked.map(|tracked| (flow, tracked)).into_iter().collect();
    let told = heard.steps(flow, &by_flow, known, lab.numbers(), lab.rules());
    if told.steps.is_empty() && all.iter().all(|said| !said.steps.is_empty()) {
        return Err(Fault::Lost);
    }
    count.packets += 1;
    count.steps += told.steps.len();
    match all.iter().find(|said| said.agrees(&told)) {
        Some(said) => Ok((said.clone(), tracked)),
        None => Err(Fault::Differs(
            lab.disagreement(sender, &kernel, &told, &all),
        )),
    }
}

/// The packet as connection tracking knows it.
fn tuple(headers: &Headers, sent: Option<FiveTuple>) -> FiveTuple {
    // Where podwire chose the source, the kernel must have chosen the same.
    let mut tuple = headers.five_tuple();
    tuple.src = sent.map_or(tuple.src, |sent| sent.src);
    if headers.protocol == Protocol::ICMP {
        (tuple.sport, tuple.dport) = (headers.icmp_id, headers.icmp_id);
    }
    tuple
}

/// The same packet in the middle of its connection.
fn later(first: Headers) -> Headers {
    let tcp_flags = if first.protocol == Protocol::TCP {
        TcpFlags::ACK
    } else {
        first.tcp_flags
    };
    Headers { tcp_flags, ..first }
}
