//! Times podwire beside its peers and prints one table.
//!
//! `peer_podwire FILES PROGRAMS KERNEL`: FILES is the folder of `peer_files`, PROGRAMS the one with `rte`
//! (which may be missing), KERNEL what `kernel.sh` printed.
//!
//! Timed: from a packet in memory to the decision of one table at one hook, which is nat at PREROUTING
//! for Services and filter at FORWARD for policies. One call a packet, and one for every [`BATCH`]. Not
//! timed: reading, compiling, conntrack.
//!
//! The floor, for Services: a bare hash table finds the Service, then the endpoint that a draw names is
//! read. `rte` says what is timed of DPDK, `kernel.sh` what of the kernel.
//!
//! A figure is the median of [`ROUNDS`] repetitions, by the CPU clock of the thread that answers, so that
//! other programs count only for what they take from the caches. All columns but the kernel's are asked
//! in turn in every round, each round beginning with another and asking about the file's next packets;
//! some packets before those are asked about untimed. Every answer is compared with the file's before
//! anything is timed.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use hashbrown::HashMap;
use nix::time::{ClockId, clock_gettime};
use podwire_bench::peers::{self, ENDPOINTS, QUESTION_BYTES, Question};
use podwire_controlplane::kube_proxy::{IptablesProxier, KubeProxyVersion, ServicePorts};
use podwire_matcher::{Brief, Matcher, Nat};
use podwire_packet::{DeviceName, Family, Headers, Mark, SimTime};
use podwire_ruleset::{
    Choose as _, ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, RuleSet, State,
    TableName, Target, Verdict, iptables,
};
use rustc_hash::FxBuildHasher;

/// Packets of a batch.
const BATCH: usize = 64;

/// Repetitions of which the median is taken.
const ROUNDS: usize = 31;

/// A repetition asks about as many packets as take about this long, within [`PACKETS`].
const REPETITION_NS: f64 = 4e6;
const PACKETS: std::ops::RangeInclusive<usize> = 512..=32_768;

/// One in so many packets more is asked about before, untimed.
const WARMING: usize = 4;

/// What the table has rows for: name, size and case, as files are called.
const ROWS: [(&str, u32, &str); 10] = [
    ("services", 1_000, "random"),
    ("services", 10_000, "random"),
    ("services", 100_000, "random"),
    ("services", 1_000_000, "random"),
    ("services", 1_000, "last"),
    ("services", 10_000, "last"),
    ("policy", 1_000, "random"),
    ("policy", 10_000, "random"),
    ("unfavourable", 1_000, "random"),
    ("unfavourable", 10_000, "random"),
];

/// Who is asked in this program and in `rte`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    One,
    Batch,
    Floor,
    Acl,
    WiderAcl,
    Hash,
}

/// What podwire is asked about.
enum Packets<'a> {
    /// Headers of packets that are alike otherwise, as all for Services are.
    Alike(Vec<Headers>),
    /// Packets with marks and bridge ports of their own.
    Each(Vec<Packet<'a>>),
}

impl Packets<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Alike(all) => all.len(),
            Self::Each(all) => all.len(),
        }
    }
}

/// podwire with a rule set.
struct Podwire<'a> {
    matcher: Matcher,
    table: TableName,
    state: State,
    /// What does not change from packet to packet.
    packet: Packet<'a>,
    /// Of a policy: what its rules do, in order.
    verdicts: Vec<Verdict>,
}

impl<'a> Podwire<'a> {
    fn new(name: &str, rules: &RuleSet, host: &'a HostAddresses) -> io::Result<Self> {
        let is_nat = name == "services";
        let (table, hook, output) = match is_nat {
            true => (TableName::Nat, Hook::Prerouting, None),
            false => (TableName::Filter, Hook::Forward, Some(DeviceName::ETH0)),
        };
        let nobody = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let protocol = podwire_packet::Protocol::UDP;
        Ok(Self {
            matcher: Matcher::new(rules).map_err(io::Error::other)?,
            table,
            state: State::default(),
            packet: Packet {
                headers: Headers::first_of_flow(nobody, nobody, protocol, 0, 0),
                mark: Mark(0),
                hook,
                input: Some(DeviceName::ETH0),
                output,
                physdev_in: None,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(CtState::New),
                host,
                now: SimTime::START,
            },
            verdicts: if is_nat { Vec::new() } else { verdicts(rules) },
        })
    }

    /// The packet of each question.
    fn packets(&self, questions: &[Question]) -> Packets<'a> {
        let headers = |Question { flow, .. }: &Question| {
            Headers::first_of_flow(
                Ipv4Addr::from(flow.src).into(),
                Ipv4Addr::from(flow.dst).into(),
                flow.protocol,
                flow.sport,
                flow.dport,
            )
        };
        let is_like = |Question { flow, .. }: &Question| {
            Mark(flow.mark) == self.packet.mark && flow.bridge_port == self.packet.physdev_in
        };
        if questions.iter().all(is_like) {
            return Packets::Alike(questions.iter().map(headers).collect());
        }
        let packet = |question: &Question| Packet {
            headers: headers(question),
            mark: Mark(question.flow.mark),
            physdev_in: question.flow.bridge_port,
            ..self.packet
        };
        Packets::Each(questions.iter().map(packet).collect())
    }

    /// What is timed: decides about packets one by one.
    fn ask_each(&self, packets: &Packets<'_>, range: Range<usize>, draw: &mut Draw) {
        let here = self.matcher.at(self.table, self.packet.hook);
        match packets {
            Packets::Alike(all) => {
                for headers in &all[range] {
                    let headers = black_box(headers);
                    black_box(&here.decide_like(&self.packet, headers, &self.state, draw));
                }
            }
            Packets::Each(all) => {
                for packet in &all[range] {
                    black_box(&here.decide(black_box(packet), &self.state, draw));
                }
            }
        }
    }

    /// What is timed: decides about batches of packets.
    fn ask_batches(&self, packets: &Packets<'_>, range: Range<usize>) {
        let here = self.matcher.at(self.table, self.packet.hook);
        let mut out = [Brief::accept(&self.packet); BATCH];
        for first in range.clone().step_by(BATCH) {
            let batch = first..range.end.min(first + BATCH);
            let draws = |at: usize| Draw((first + at) as u64);
            match packets {
                Packets::Alike(all) => {
                    let headers = black_box(&all[batch]);
                    here.decide_batch_like(&self.packet, headers, &self.state, draws, &mut out);
                }
                Packets::Each(all) => {
                    here.decide_batch(black_box(&all[batch]), &self.state, draws, &mut out);
                }
            }
            black_box(&out);
        }
    }

    fn is_right(&self, question: &Question, decision: &Brief<'_>) -> bool {
        match (self.table, question.rule.checked_sub(1)) {
            (TableName::Nat, Some(service)) => match decision.nat {
                Nat::To(to, port) => (0..ENDPOINTS).any(|own| {
                    let (address, own) = peers::endpoint(service, own);
                    to == IpAddr::from(Ipv4Addr::from(address)) && port == Some(own)
                }),
                Nat::None | Nat::Range(..) => false,
            },
            (_, Some(rule)) => self.verdicts.get(rule as usize) == Some(&decision.verdict),
            (_, None) => decision.verdict == Verdict::Accept && decision.nat == Nat::None,
        }
    }

    fn check(&self, questions: &[Question], packets: &Packets<'_>) -> io::Result<()> {
        let (state, draws) = (&self.state, |at: usize| Draw(at as u64));
        let here = self.matcher.at(self.table, self.packet.hook);
        let mut answers = vec![Brief::accept(&self.packet); packets.len()];
        let alone = |at| match packets {
            Packets::Alike(all) => here.decide_like(&self.packet, &all[at], state, &mut draws(at)),
            Packets::Each(all) => here.decide(&all[at], state, &mut draws(at)),
        };
        match packets {
            Packets::Alike(all) => {
                here.decide_batch_like(&self.packet, all, state, draws, &mut answers);
            }
            Packets::Each(all) => here.decide_batch(all, state, draws, &mut answers),
        }
        if (0..).zip(&answers).any(|(at, answer)| alone(at) != *answer) {
            return Err(io::Error::other("a batch and a call disagree"));
        }
        let mut both = questions.iter().zip(&answers);
        match both.find(|(question, answer)| !self.is_right(question, answer)) {
            Some(wrong) => Err(io::Error::other(format!("a wrong answer: {wrong:?}"))),
            None => Ok(()),
        }
    }
}

fn verdicts(rules: &RuleSet) -> Vec<Verdict> {
    let table = rules.tables.get(&TableName::Filter);
    let chain = table.and_then(|table| table.at(Hook::Forward));
    let rules = chain.iter().flat_map(|(_, chain)| &chain.rules);
    let verdict = |target: &Option<Target>| match target {
        Some(Target::Drop) => Verdict::Drop,
        Some(Target::Reject(with)) => Verdict::Reject(*with),
        _ => Verdict::Accept,
    };
    rules.map(|rule| verdict(&rule.target)).collect()
}

/// A hash table of Services, and their endpoints.
struct Floor {
    services: HashMap<(u32, u8, u16), u32, FxBuildHasher>,
    /// Of the Service with number n those from n * `ENDPOINTS` on.
    endpoints: Vec<(u32, u16)>,
}

impl Floor {
    fn new(count: u32) -> Self {
        let key = |number| {
            let (address, port) = peers::service(number);
            ((address, podwire_packet::Protocol::UDP.0, port), number)
        };
        let all = |number| (0..ENDPOINTS).map(move |own| peers::endpoint(number, own));
        Self {
            services: (0..count).map(key).collect(),
            endpoints: (0..count).flat_map(all).collect(),
        }
    }

    fn ask(&self, packets: &Packets<'_>, range: Range<usize>, draw: &mut Draw) {
        let Packets::Alike(all) = packets else {
            return;
        };
        for headers in &all[range] {
            let headers = black_box(headers);
            let dst = match headers.dst {
                IpAddr::V4(ip) => u32::from(ip),
                IpAddr::V6(_) => 0,
            };
            let service = self.services.get(&(dst, headers.protocol.0, headers.dport));
            let endpoint = service.and_then(|service| {
                let place = service * ENDPOINTS + draw.one_of(ENDPOINTS);
                self.endpoints.get(place as usize)
            });
            black_box(&endpoint.copied());
        }
    }
}

/// The program `rte` with a rule set.
struct Rte {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// rte_acl's algorithm, the wider one, rte_hash's function, seconds to build the ACL; `-` where
    /// there is none.
    about: [String; 4],
    /// DPDK's version, and EAL's arguments.
    version: String,
}

impl Rte {
    fn new(program: &Path, boxes: &Path, packets: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args([boxes, packets]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        let mut own = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            about: Default::default(),
            version: String::new(),
        };
        let ready = own.line()?;
        let words: Vec<String> = ready.split_whitespace().map(Into::into).collect();
        let about: Result<[String; 5], _> = words.try_into();
        let [_, rest @ ..] = about.map_err(|_| io::Error::other(format!("rte said: {ready}")))?;
        own.about = rest;
        own.version = own.line()?.trim().into();
        Ok(own)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::other(format!("rte: {}", self.child.wait()?))),
            _ => Ok(line),
        }
    }

    fn ask(&mut self, who: char, first: usize, count: usize) -> io::Result<f64> {
        writeln!(self.questions, "{who} {first} {count}")?;
        let line = self.line()?;
        line.trim().parse().map_err(io::Error::other)
    }

    /// Ends it; the version is left.
    fn end(self) -> io::Result<String> {
        let Self {
            mut child,
            questions,
            version,
            ..
        } = self;
        drop(questions);
        child.wait().map(|_| version)
    }
}

/// All that a row of the table is measured with.
struct Row<'a> {
    podwire: Podwire<'a>,
    floor: Option<Floor>,
    rte: Option<Rte>,
    packets: Packets<'a>,
}

impl Row<'_> {
    fn everybody(&self) -> Vec<Who> {
        let floor = self.floor.is_some();
        let has = |place: usize| self.rte.as_ref().is_some_and(|rte| rte.about[place] != "-");
        let all = [
            (Who::One, true),
            (Who::Batch, true),
            (Who::Floor, floor),
            (Who::Acl, has(0)),
            (Who::WiderAcl, has(1)),
            (Who::Hash, has(2)),
        ];
        all.into_iter()
            .filter_map(|(who, is_there)| is_there.then_some(who))
            .collect()
    }

    /// Nanoseconds a packet.
    fn repetition(&mut self, who: Who, first: usize, count: usize) -> io::Result<f64> {
        let (packets, range) = (&self.packets, first..first + count);
        let mut draw = Draw(first as u64);
        let begin = thread_time()?;
        match (who, &mut self.rte) {
            (Who::One, _) => self.podwire.ask_each(packets, range, &mut draw),
            (Who::Batch, _) => self.podwire.ask_batches(packets, range),
            (Who::Floor, _) => {
                if let Some(floor) = &self.floor {
                    floor.ask(packets, range, &mut draw);
                }
            }
            (Who::Acl, Some(rte)) => return rte.ask('a', first, count),
            (Who::WiderAcl, Some(rte)) => return rte.ask('w', first, count),
            (Who::Hash, Some(rte)) => return rte.ask('h', first, count),
            (Who::Acl | Who::WiderAcl | Who::Hash, None) => {}
        }
        let taken = thread_time()?.saturating_sub(begin);
        Ok(taken.as_secs_f64() * 1e9 / count as f64)
    }

    /// The median of each.
    fn medians(&mut self) -> io::Result<Vec<(Who, f64)>> {
        let mut all = Vec::new();
        for who in self.everybody() {
            let ns = self.repetition(who, 0, *PACKETS.start())?;
            let mut count = *PACKETS.end();
            while count > *PACKETS.start() && ns * count as f64 > REPETITION_NS {
                count /= 2;
            }
            all.push((who, count, Vec::new()));
        }
        for round in 0..ROUNDS {
            let places = all.len();
            for turn in 0..places {
                let (who, count, times) = &mut all[(turn + round) % places];
                let before = *count / WARMING;
                let windows = self.packets.len() / (before + *count);
                let first = round % windows * (before + *count);
                self.repetition(*who, first, before)?;
                times.push(self.repetition(*who, first + before, *count)?);
            }
        }
        let median = |(who, _, mut times): (Who, usize, Vec<f64>)| {
            times.sort_by(f64::total_cmp);
            (who, times[ROUNDS / 2])
        };
        Ok(all.into_iter().map(median).collect())
    }
}

fn thread_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn main() -> io::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [files, programs, kernel] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: peer_podwire FILES PROGRAMS KERNEL",
        ));
    };
    let kernel = fs::read_to_string(kernel)?;
    let program = Some(programs.join("rte")).filter(|own| own.exists());
    let (mut table, mut notes, mut version) = (String::new(), String::new(), String::new());
    for (name, size, case) in ROWS {
        let set = format!("{name}-{size}");
        let packets = files.join(format!("{set}.{case}.packets"));
        if !packets.exists() {
            continue;
        }
        let boxes = files.join(format!("{set}.boxes"));
        let host = HostAddresses::of([IpAddr::from([192, 168, 0, 1])]);
        let rules = rules(files, name, size)?;
        let questions = questions(&packets)?;
        let podwire = Podwire::new(name, &rules, &host)?;
        drop(rules);
        let mut row = Row {
            packets: podwire.packets(&questions),
            podwire,
            floor: (name == "services").then(|| Floor::new(size)),
            rte: None,
        };
        row.podwire.check(&questions, &row.packets)?;
        if let (Some(program), true) = (&program, boxes.exists()) {
            row.rte = Some(Rte::new(program, &boxes, &packets)?);
        }
        let medians = row.medians()?;
        let of = |who| medians.iter().find(|own| own.0 == who).map(|own| own.1);
        write!(table, "| {name}, {case} | {size} |").map_err(io::Error::other)?;
        let acl_is_asked = boxes.exists();
        let cells = [
            cell(of(Who::One), "-"),
            cell(of(Who::Batch), "-"),
            cell(of(Who::Floor), "-"),
            cell(of(Who::Acl), or_missing(acl_is_asked, &program)),
            cell(
                of(Who::Hash),
                or_missing(name == "services" && acl_is_asked, &program),
            ),
            in_kernel(&kernel, &set, case, "legacy"),
            in_kernel(&kernel, &set, case, "nft"),
            in_kernel(&kernel, &set, case, "map"),
        ];
        writeln!(table, " {} |", cells.join(" | ")).map_err(io::Error::other)?;
        if let Some(rte) = row.rte {
            let [usual, wider, _, build_s] = &rte.about;
            let wide = cell(of(Who::WiderAcl), "-");
            writeln!(
                notes,
                "{set}, {case}: rte_acl with {usual}, built in {build_s} s; with {wider} {wide}"
            )
            .map_err(io::Error::other)?;
            version = rte.end()?;
        }
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "A packet or new flow each; medians of {ROUNDS} rounds, `-`: does not apply.\n"
    )?;
    writeln!(
        out,
        "| rules | size | podwire | podwire, {BATCH} a call | floor | rte_acl | rte_hash | legacy | nft | nft map |"
    )?;
    writeln!(out, "|---|{}", "---:|".repeat(9))?;
    writeln!(out, "{table}\n{notes}{version}\n")?;
    kernel
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .try_for_each(|line| writeln!(out, "kernel: {line}"))
}

/// The rules that podwire is to compile.
fn rules(files: &Path, name: &str, size: u32) -> io::Result<RuleSet> {
    if name == "services" {
        let cluster = peers::services(size);
        let ports = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
        let node = cluster.nodes.keys().next().expect("there is a node");
        let proxier = IptablesProxier::new(&cluster, &ports, node).map_err(io::Error::other)?;
        return Ok(proxier.rule_set());
    }
    let text = fs::read_to_string(files.join(format!("{name}-{size}.rules")))?;
    let parsed = iptables::parse(&text, Family::Ipv4).map_err(io::Error::other)?;
    Ok(parsed.rules)
}

fn questions(path: &Path) -> io::Result<Vec<Question>> {
    let bytes = fs::read(path)?;
    let (records, rest) = bytes.as_chunks::<QUESTION_BYTES>();
    let all: Option<Vec<Question>> = records.iter().map(Question::from_bytes).collect();
    all.filter(|all| rest.is_empty() && all.len() >= 2 * *PACKETS.end())
        .ok_or_else(|| io::Error::other(format!("{}: not such a file", path.display())))
}

fn or_missing(is_asked: bool, program: &Option<PathBuf>) -> &'static str {
    match (is_asked, program) {
        (true, None) => "not installed",
        (true, Some(_)) | (false, _) => "-",
    }
}

/// What the kernel's script said, or why it did not.
fn in_kernel(said: &str, set: &str, case: &str, column: &str) -> String {
    if !set.starts_with("services") {
        return "-".into();
    }
    for reason in ["needs root", "not installed"] {
        if said.starts_with(&format!("# {reason}")) {
            return reason.into();
        }
    }
    let begin = format!("{set} {case} {column} ");
    let figure = said.lines().find_map(|line| line.strip_prefix(&begin));
    cell(figure.and_then(|figure| figure.parse().ok()), "-")
}

/// Three digits, or a word where there is no figure.
fn cell(ns: Option<f64>, otherwise: &str) -> String {
    match ns {
        None => otherwise.into(),
        Some(ns) if ns < 99.95 => format!("{ns:.1} ns"),
        Some(ns) if ns < 9_999.5 => format!("{ns:.0} ns"),
        Some(ns) => format!("{:.0} µs", ns / 1e3),
    }
}
