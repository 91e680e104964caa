//! Random rule sets and packets, written as text from small lots.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_packet::{Family, FiveTuple, Headers, Mark, Protocol, SimTime, TcpFlags};
use podwire_ruleset::{
    Choose as _, ConntrackInfo, CtDirection, CtState, CtStatuses, Draw, Hook, HostAddresses,
    IpvsInfo, Packet, State, TableName, ipset, iptables,
};
use proptest::prelude::*;

use super::{Both, Compared};

const PACKETS_A_RULE_SET: usize = 40;

/// Everything random is drawn from one seed; proptest finds the seed.
pub(super) struct Lots(pub(super) Draw);

impl Lots {
    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0.one_of(u32::try_from(n).unwrap()) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The words of a family.
pub(super) struct Words {
    pub(super) family: Family,
    pub(super) addresses: &'static [&'static str],
    pub(super) prefixes: &'static [&'static str],
    ranges: &'static [&'static str],
    mask: &'static str,
    pub(super) sets: &'static str,
}

pub(super) const IPV4: Words = Words {
    family: Family::Ipv4,
    addresses: &[
        "10.0.0.1",
        "10.0.0.2",
        "10.0.1.1",
        "10.1.0.1",
        "192.0.2.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "10.0.0.255",
    ],
    prefixes: &[
        "10.0.0.1/32",
        "10.0.0.2/32",
        "10.0.1.1/32",
        "10.0.0.0/24",
        "10.0.0.0/23",
        "10.0.0.0/8",
        "192.0.2.1/32",
        "10.0.0.1/255.0.0.255",
        "0.0.0.0/0",
        "224.0.0.0/4",
    ],
    ranges: &["10.0.0.1-10.0.0.2", "10.0.0.2-10.1.0.0", "0.0.0.0-10.0.0.1"],
    mask: "255.255.255.0",
    sets: "create nets hash:net family inet\nadd nets 10.0.0.0/24\nadd nets 10.0.0.2/32 nomatch\n\
           create pairs hash:ip,port family inet\nadd pairs 10.0.0.1,tcp:80\nadd pairs 10.0.0.2,udp:53\n\
           add pairs 10.0.0.1,icmp:8/0\n\
           create both hash:net,net family inet\nadd both 10.0.0.0/24,10.0.0.0/8\nadd both 10.0.0.0/8,10.0.1.0/24 nomatch\n\
           create all list:set timeout 0\nadd all nets\nadd all pairs timeout 9\n\
           create brief hash:net timeout 4 family inet\nadd brief 10.0.0.0/24\nadd brief 10.0.0.2 timeout 2 nomatch\n\
           add brief 192.0.2.1 timeout 0\n\
           create thrice hash:ip,port,ip family inet\nadd thrice 10.0.0.1,tcp:80,10.0.0.1\nadd thrice 10.0.0.1,udp:53-81,10.0.0.2\n\
           create within hash:ip,port,net family inet\nadd within 10.0.0.1,tcp:80,10.0.0.0/24\n\
           add within 10.0.0.1,tcp:80,10.0.0.2 nomatch\nadd within 10.0.0.1,tcp:81,192.0.2.0/24\n\
           create masked hash:ip family inet netmask 24\nadd masked 10.0.0.0\nadd masked 192.0.2.0\n\
           create some bitmap:port range 0-1024\nadd some 53-80\n",
};

pub(super) const IPV6: Words = Words {
    family: Family::Ipv6,
    addresses: &[
        "fd00::1",
        "fd00::2",
        "fd00::1:1",
        "fd01::1",
        "2001:db8::1",
        "::1",
        "::",
        "ff02::1",
        "fe80::1",
        "fd00::ff",
    ],
    prefixes: &[
        "fd00::1/128",
        "fd00::2/128",
        "fd00::1:1/128",
        "fd00::/112",
        "fd00::/64",
        "fd00::/8",
        "2001:db8::1/128",
        "fd00::1/ff00::ffff",
        "::/0",
        "ff00::/8",
    ],
    ranges: &["fd00::1-fd00::2", "fd00::2-fd01::", "::-fd00::1"],
    mask: "ffff:ffff::",
    sets: "create nets hash:net family inet6\nadd nets fd00::/112\nadd nets fd00::2/128 nomatch\n\
           create pairs hash:ip,port family inet6\nadd pairs fd00::1,tcp:80\nadd pairs fd00::2,udp:53\n\
           create both hash:net,net family inet6\nadd both fd00::/112,fd00::/8\n\
           create all list:set timeout 0\nadd all nets\nadd all pairs timeout 9\n\
           create brief hash:net timeout 4 family inet6\nadd brief fd00::/112\nadd brief fd00::2 timeout 2 nomatch\n\
           add brief 2001:db8::1 timeout 0\n\
           create thrice hash:ip,port,ip family inet6\nadd thrice fd00::1,tcp:80,fd00::1\nadd thrice fd00::1,udp:53-81,fd00::2\n\
           create within hash:ip,port,net family inet6\nadd within fd00::1,tcp:80,fd00::/112\n\
           add within fd00::1,tcp:80,fd00::2 nomatch\nadd within fd00::1,tcp:81,2001:db8::/64\n\
           create masked hash:ip family inet6 netmask 112\nadd masked fd00::\nadd masked 2001:db8::\n\
           create some bitmap:port range 0-1024\nadd some 53-80\n",
};

const PORTS: [&str; 4] = ["80", "81", "53", "443"];
const PORT_RANGES: [&str; 6] = ["80", "80:81", "53", "443", "0:80", "81:65535"];
const CHAINS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

fn not(lots: &mut Lots) -> &'static str {
    if lots.one_in(6) { "! " } else { "" }
}

/// A rule that a hash table could hold: equality tests only, as kube-proxy writes them.
fn write_equality(line: &mut String, lots: &mut Lots, words: &Words) {
    let host = words.prefixes[lots.below(3)];
    match lots.below(5) {
        0 => write!(line, " -s {host}"),
        1 => write!(line, " -d {host}"),
        2 => write!(line, " -d {}", words.prefixes[3 + lots.below(3)]),
        3 => write!(line, " -p tcp -m tcp --dport {}", lots.one(&PORTS)),
        _ => write!(
            line,
            " -d {host} -p {0} -m {0} --dport {1}",
            lots.one(&["tcp", "udp"]),
            lots.one(&PORTS)
        ),
    }
    .unwrap();
}

fn write_header_tests(line: &mut String, lots: &mut Lots, words: &Words) {
    for option in ["-s", "-d"] {
        if lots.one_in(3) {
            let not = not(lots);
            write!(line, " {not}{option} {}", lots.one(words.prefixes)).unwrap();
        }
    }
    if lots.one_in(10) {
        let device = lots.one(&["eth0", "eth+", "cni0", "+"]);
        write!(
            line,
            " {}{} {device}",
            not(lots),
            lots.one(&["-i", "-i", "-o"])
        )
        .unwrap();
    }
    if words.family == Family::Ipv4 && lots.one_in(20) {
        line.push_str(lots.one(&[" -f", " ! -f"]));
    }
}

fn write_transport_tests(line: &mut String, lots: &mut Lots, words: &Words) {
    let icmp = match words.family {
        Family::Ipv4 => " -p icmp -m icmp --icmp-type 8",
        Family::Ipv6 => " -p ipv6-icmp -m icmp6 --icmpv6-type 128",
    };
    match lots.below(10) {
        0..=3 => {
            let protocol = lots.one(&["tcp", "tcp", "udp", "sctp"]);
            write!(line, " -p {protocol} -m {protocol}").unwrap();
            for option in ["--sport", "--dport", "--dport"] {
                if lots.one_in(3) && !line.contains(option) {
                    write!(line, " {}{option} {}", not(lots), lots.one(&PORT_RANGES)).unwrap();
                }
            }
            if protocol == "tcp" && lots.one_in(6) {
                write!(line, " {}--tcp-flags SYN,ACK SYN", not(lots)).unwrap();
            }
        }
        4 => line.push_str(icmp),
        5 => {
            let side = lots.one(&["--sports", "--dports", "--ports"]);
            let not = not(lots);
            write!(line, " -p udp -m multiport {not}{side} 53,80:81").unwrap();
        }
        6 => write!(line, " {}-p {}", not(lots), lots.one(&["tcp", "udp", "47"])).unwrap(),
        _ => {}
    }
}

pub(super) fn write_module(line: &mut String, lots: &mut Lots, words: &Words) {
    let not = not(lots);
    match lots.below(26) {
        0 => write!(
            line,
            " -m conntrack {not}--ctstate {}",
            lots.one(&[
                "NEW",
                "RELATED,ESTABLISHED",
                "INVALID",
                "UNTRACKED",
                "DNAT",
                "NEW,SNAT"
            ])
        ),
        1 => write!(
            line,
            " -m conntrack {not}{}",
            lots.one(&[
                "--ctorigdstport 80",
                "--ctproto 6",
                "--ctstatus ASSURED",
                "--ctexpire 0:10",
                "--ctreplsrcport 80:81",
            ])
        ),
        2 => write!(
            line,
            " -m conntrack {not}{} {}",
            lots.one(&["--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"]),
            lots.one(&words.prefixes[..3])
        ),
        3 => write!(
            line,
            " -m conntrack --ctdir {}",
            lots.one(&["ORIGINAL", "REPLY"])
        ),
        4 => write!(
            line,
            " -m state {not}--state {}",
            lots.one(&["NEW", "INVALID,UNTRACKED"])
        ),
        5 | 6 => write!(
            line,
            " -m mark {not}--mark {}",
            lots.one(&["0x1", "0x0/0x2", "0x3/0x3"])
        ),
        7 => write!(
            line,
            " -m connmark {not}--mark {}",
            lots.one(&["0x1", "0x0/0x2"])
        ),
        8 | 9 | 22..=25 => write!(
            line,
            " -m statistic --mode random {not}--probability {}",
            lots.one(&[
                "0.50000000000",
                "0.33333333349",
                "0.00000000000",
                "1.00000000000"
            ])
        ),
        10 => write!(
            line,
            " -m statistic --mode nth {not}--every 2 --packet {}",
            lots.below(2)
        ),
        11 => write!(
            line,
            " -m addrtype {not}--{}-type {}",
            lots.one(&["src", "dst"]),
            lots.one(&[
                "LOCAL",
                "UNICAST",
                "MULTICAST",
                "LOCAL,UNICAST",
                "UNSPEC",
                "ANYCAST"
            ])
        ),
        12 => write!(line, " -m addrtype {not}--dst-type LOCAL --limit-iface-in"),
        13 => write!(
            line,
            " -m iprange {not}--{}-range {}",
            lots.one(&["src", "dst"]),
            lots.one(words.ranges)
        ),
        14 => write!(line, " -m made-up --option {}", lots.one(&PORTS)),
        15 => write!(
            line,
            " -m limit --limit 1/sec --limit-burst {}",
            1 + lots.below(2)
        ),
        16 => write!(
            line,
            " -m recent {not}{} --name {} {}",
            lots.one(&[
                "--set",
                "--rcheck",
                "--update",
                "--remove",
                "--rcheck --seconds 5 --reap",
                "--update --seconds 5 --reap --hitcount 2",
                "--update --rttl",
            ]),
            lots.one(&["X", "Y"]),
            lots.one(&["--rsource", "--rdest"]),
        ),
        17 => write!(
            line,
            " -m recent --{} --name X --mask {} --rsource",
            lots.one(&["set", "rcheck"]),
            words.mask
        ),
        18 | 19 => {
            let (name, directions) = [
                ("nets", "src"),
                ("nets", "dst"),
                ("pairs", "dst,dst"),
                ("pairs", "src,dst"),
                ("both", "src,dst"),
                ("all", "dst,dst"),
                ("none", "src"),
                ("brief", "src"),
                ("brief", "dst"),
                ("thrice", "dst,dst,src"),
                ("thrice", "src,src,dst"),
                ("within", "dst,dst,src"),
                ("masked", "src"),
                ("some", "dst"),
                ("some", "src"),
            ][lots.below(15)];
            let option = lots.one(&["", "", " --return-nomatch"]);
            write!(line, " -m set {not}--match-set {name} {directions}{option}")
        }
        20 => write!(
            line,
            " -m physdev {}",
            lots.one(&[
                "--physdev-is-bridged",
                "! --physdev-is-in",
                "--physdev-in veth0",
                "! --physdev-in veth+",
                "--physdev-is-out",
            ])
        ),
        21 => {
            let address = words.prefixes[lots.below(5)];
            let port = lots.one(&PORTS);
            let tests = [
                format!("{not}--ipvs"),
                format!("{not}--vport {port}"),
                format!("--vproto tcp {not}--vaddr {address}"),
                format!("{not}--vdir REPLY --vaddr {address}"),
            ];
            write!(line, " -m ipvs {}", tests[lots.below(4)])
        }
        _ => write!(line, " -m comment --comment \"a word\""),
    }
    .unwrap();
}

/// A target; chains call only those behind them, so nothing calls in a circle.
fn write_target(line: &mut String, lots: &mut Lots, words: &Words, table: TableName, from: usize) {
    let callable = &CHAINS[from.min(CHAINS.len())..];
    if !callable.is_empty() && lots.below(5) < 3 {
        write!(
            line,
            " {} {}",
            lots.one(&["-j", "-j", "-j", "-g"]),
            lots.one(callable)
        )
        .unwrap();
        return;
    }
    let address = words.addresses[lots.below(3)];
    let has_ports = line.contains(" -p tcp") || line.contains(" -p udp");
    let has_ports = has_ports && !line.contains("! -p");
    let socket = match words.family {
        _ if !has_ports => address.to_owned(),
        Family::Ipv4 => format!("{address}:8080"),
        Family::Ipv6 => format!("[{address}]:8080"),
    };
    match lots.below(14) {
        0 => line.push_str(" -j ACCEPT"),
        1 => line.push_str(" -j DROP"),
        2 | 3 => line.push_str(" -j RETURN"),
        4 | 5 => write!(
            line,
            " -j MARK --set-xmark {}",
            lots.one(&["0x1/0x1", "0x2/0x2", "0x1/0xffffffff", "0x3/0x0"])
        )
        .unwrap(),
        6 => line.push_str(match table {
            TableName::Filter => " -j REJECT",
            TableName::Nat if from <= 1 => " -j ACCEPT",
            TableName::Raw => " -j NOTRACK",
            TableName::Mangle | TableName::Nat | TableName::Security => {
                " -j MARK --set-xmark 0x2/0x3"
            }
        }),
        7 => write!(
            line,
            " -j CONNMARK {}",
            lots.one(&[
                "--set-xmark 0x1/0x1",
                "--save-mark",
                "--restore-mark --nfmask 0x3 --ctmask 0x1"
            ])
        )
        .unwrap(),
        8 if table == TableName::Nat => write!(line, " -j DNAT --to-destination {socket}").unwrap(),
        9 if table == TableName::Nat && has_ports => line.push_str(" -j REDIRECT --to-ports 80"),
        10 if table == TableName::Raw => line.push_str(" -j NOTRACK"),
        11 => line.push_str(" -j LOG"),
        12 => line.push_str(" -j TEE --gateway 10.0.0.3"),
        _ => {}
    }
}

pub(super) fn rule(
    lots: &mut Lots,
    words: &Words,
    table: TableName,
    chain: &str,
    from: usize,
) -> String {
    let mut line = format!("-A {chain}");
    if lots.below(5) < 3 {
        write_equality(&mut line, lots, words);
        if lots.one_in(6) {
            write_module(&mut line, lots, words);
        }
    } else {
        write_header_tests(&mut line, lots, words);
        write_transport_tests(&mut line, lots, words);
        for _ in 0..lots.below(3) {
            // A statistic or limit may stand in front of a port test too.
            write_module(&mut line, lots, words);
        }
    }
    if lots.one_in(8) && line.contains(" -p tcp -m tcp") && !line.contains("--dport") {
        write!(line, " -m tcp --dport {}", lots.one(&PORTS)).unwrap();
    }
    write_target(&mut line, lots, words, table, from);
    line.push('\n');
    line
}

/// A service as kube-proxy has it: marks, a ladder of chances, and endpoints; sometimes with a flaw.
fn service(lots: &mut Lots, words: &Words) -> String {
    let endpoints = 1 + lots.below(4);
    let mut text = String::new();
    let mark = lots.one(&["KMARK", "KMARK", "MARK --set-xmark 0x8/0x8"]);
    let (ip, port) = (words.addresses[lots.below(2)], lots.one(&PORTS));
    let tests = format!("-d {ip} -p tcp -m tcp --dport {port}");
    if lots.one_in(2) {
        text += &format!(
            "-A SVC {tests} ! -s {} -j {mark}\n",
            lots.one(words.prefixes)
        );
    }
    for n in 0..endpoints {
        let left = endpoints - n;
        let chance = if left == 1 {
            String::new()
        } else {
            let even = 1.0 / f64::from(u32::try_from(left).unwrap());
            let odd = lots.one_in(8);
            let p = if odd { 0.25 } else { even };
            format!(" -m statistic --mode random --probability {p:.11}")
        };
        text += &format!("-A SVC{chance} -j SEP{n}\n");
        let own = words.addresses[lots.below(4)];
        let to = match words.family {
            Family::Ipv4 => format!("{own}:8080"),
            Family::Ipv6 => format!("[{own}]:8080"),
        };
        if !lots.one_in(4) {
            let source = if lots.one_in(4) {
                words.addresses[0]
            } else {
                own
            };
            text += &format!("-A SEP{n} -s {source} -j {mark}\n");
        }
        let protocol = if lots.one_in(6) { "udp" } else { "tcp" };
        text += &match lots.below(8) {
            0 => format!("-A SEP{n} -j DNAT --to-destination {own}\n"),
            1 => format!("-A SEP{n} -p tcp -m tcp -j DNAT --to-destination {to} --random\n"),
            _ => format!("-A SEP{n} -p {protocol} -m {protocol} -j DNAT --to-destination {to}\n"),
        };
    }
    let dispatch = lots.one(&[" -j SVC", " -j SVC", " -g SVC"]);
    text += &format!("-A PREROUTING {tests}{dispatch}\n");
    if lots.one_in(3) {
        text += &format!(
            "-A PREROUTING -m addrtype --dst-type LOCAL -p tcp -m tcp --dport {port} -j SVC\n"
        );
    }
    text
}

pub(super) fn rules(lots: &mut Lots, words: &Words, table: TableName) -> String {
    let mut text = format!("*{table}\n");
    for hook in table.hooks() {
        let policy = if table == TableName::Nat {
            "ACCEPT"
        } else {
            lots.one(&["ACCEPT", "DROP"])
        };
        writeln!(text, ":{hook} {policy} [0:0]").unwrap();
    }
    for chain in CHAINS {
        writeln!(text, ":{chain} - [0:0]").unwrap();
    }
    let has_service = table == TableName::Nat && lots.one_in(2);
    if has_service {
        text += ":SVC - [0:0]\n:SEP0 - [0:0]\n:SEP1 - [0:0]\n:SEP2 - [0:0]\n:SEP3 - [0:0]\n";
        text += ":KMARK - [0:0]\n-A KMARK -j MARK --set-xmark 0x4000/0x4000\n";
    }
    for hook in table.hooks() {
        for _ in 0..lots.below(8) {
            text += &rule(lots, words, table, hook.name(), 0);
        }
        for chain in CHAINS {
            if lots.one_in(3) {
                text += &format!("-A {hook} -j {chain}\n");
            }
        }
    }
    if has_service {
        text += &service(lots, words);
        for _ in 0..lots.below(6) {
            text += &rule(lots, words, table, "PREROUTING", 0);
        }
    }
    for (n, chain) in CHAINS.iter().enumerate() {
        for _ in 0..lots.below(9) {
            text += &rule(lots, words, table, chain, n + 1);
        }
    }
    text + "COMMIT\n"
}

pub(super) fn host(words: &Words) -> HostAddresses {
    let own = [words.addresses[2], words.addresses[4]].map(|ip| ip.parse().unwrap());
    let mut local = HostAddresses::of(own).local().to_vec();
    let cni0 = "cni0".parse().unwrap();
    let address: IpAddr = words.addresses[1].parse().unwrap();
    local.push((podwire_packet::Prefix::host(address), cni0));
    HostAddresses::new(local, vec![(words.addresses[9].parse().unwrap(), cni0)])
}

fn packet<'a>(lots: &mut Lots, words: &Words, hook: Hook, host: &'a HostAddresses) -> Packet<'a> {
    let address = |lots: &mut Lots| -> IpAddr {
        let common = if lots.one_in(4) {
            words.addresses.len()
        } else {
            3
        };
        words.addresses[lots.below(common)].parse().unwrap()
    };
    let (src, dst) = (address(lots), address(lots));
    let icmp = Protocol::icmp_of(words.family);
    let tcp = Protocol::TCP;
    let protocol = [
        tcp,
        tcp,
        tcp,
        Protocol::UDP,
        Protocol::SCTP,
        icmp,
        Protocol(47),
    ][lots.below(7)];
    let port = |lots: &mut Lots| [80, 81, 53, 443, 8080, 0, 65_535][lots.below(7)];
    let mut headers = Headers::first_of_flow(src, dst, protocol, port(lots), port(lots));
    headers.is_later_fragment = lots.one_in(12);
    if lots.one_in(4) {
        headers.tcp_flags = TcpFlags::ACK;
        headers.ttl = 63;
    }
    let device = |lots: &mut Lots| [None, Some("eth0"), Some("cni0")][lots.below(3)];
    let port_name = |lots: &mut Lots| [None, None, None, Some("veth0"), Some("vx")][lots.below(5)];
    let parse = |name: Option<&str>| name.map(|name| name.parse().unwrap());
    let states = [
        CtState::New,
        CtState::New,
        CtState::Established,
        CtState::Related,
        CtState::Invalid,
        CtState::Untracked,
    ];
    let mut conntrack = ConntrackInfo::of_state(states[lots.below(states.len())]);
    conntrack.mark = Mark(u32::try_from(lots.below(3)).unwrap());
    conntrack.snat = lots.one_in(4);
    conntrack.dnat = lots.one_in(4);
    conntrack.status = CtStatuses(u16::try_from(lots.below(16)).unwrap());
    conntrack.expires_seconds = [0, 10, 11][lots.below(3)];
    let of_ipvs = [IpvsInfo::Untouched, IpvsInfo::Answer, IpvsInfo::Request];
    conntrack.ipvs = of_ipvs[lots.below(3)];
    if lots.one_in(3) {
        conntrack.direction = CtDirection::Reply;
        conntrack.original = Some(FiveTuple {
            src: address(lots),
            ..headers.five_tuple()
        });
        conntrack.reply = lots.one_in(2).then(|| headers.five_tuple());
    }
    Packet {
        headers,
        mark: Mark(u32::try_from(lots.below(4)).unwrap()),
        hook,
        input: parse(device(lots)),
        output: parse(device(lots)),
        physdev_in: parse(port_name(lots)),
        physdev_out: parse(port_name(lots)),
        conntrack,
        host,
        now: SimTime::START,
    }
}

/// Compares on one rule set of every table, drawn from a seed.
fn compare(seed: u64, words: &Words, compared: &mut Compared) {
    let mut lots = Lots(Draw(seed));
    let text: String = TableName::ALL
        .iter()
        .map(|table| rules(&mut lots, words, *table))
        .collect();
    let parsed = iptables::parse(&text, words.family)
        .unwrap_or_else(|error| panic!("{error} {:?}: {text}", error.span()));
    let both = Both::new(parsed.rules);
    let mut state = State {
        sets: ipset::parse(words.sets).unwrap().into(),
        ..State::default()
    };
    let host = host(words);
    for n in 0..PACKETS_A_RULE_SET {
        let table = TableName::ALL[lots.below(TableName::ALL.len())];
        let hooks = table.hooks();
        let hook = hooks[lots.below(hooks.len())];
        // One in fifty is of the other family, which no table of the kernel would see.
        let of = match (lots.one_in(50), words.family) {
            (false, _) => words,
            (true, Family::Ipv4) => &IPV6,
            (true, Family::Ipv6) => &IPV4,
        };
        let mut packet = packet(&mut lots, of, hook, &host);
        packet.now = SimTime(n as u64 * 700_000_000);
        both.compare(table, &packet, &mut state, seed, compared);
    }
}

/// How many rule sets to try.
fn cases() -> u32 {
    let asked = std::env::var("PODWIRE_AGREEMENT_CASES");
    asked.map_or(400, |cases| cases.parse().expect("a number of rule sets"))
}

#[test]
fn on_rule_sets_that_collide() {
    let compared = std::cell::Cell::new(Compared::default());
    let config = ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        // Everything hangs on the seed: a smaller one is not a simpler case.
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&any::<(u64, bool)>(), |(seed, is_v6)| {
            let mut so_far = compared.get();
            compare(seed, if is_v6 { &IPV6 } else { &IPV4 }, &mut so_far);
            compared.set(so_far);
            Ok(())
        })
        .unwrap();
    let compared = compared.get();
    println!("{compared:?} over {} rule sets", cases());
    assert!(compared.matched * 2 > compared.packets, "{compared:?}");
}
