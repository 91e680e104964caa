//! Random rules, as `iptables-save` words them.

use std::fmt::Write as _;

use podwire_ruleset::{Choose, Draw};

use crate::lab::{CONNECTION_MARKER, MARKER};

/// Ports that packets go to and rules ask for.
pub(super) const PORTS: [u16; 5] = [53, 80, 443, 8_080, 30_080];

/// Sets that rules ask about, as `ipset save` words them.
pub(super) const SETS: &str = "\
create A hash:ip family inet
add A 10.244.1.4
add A 203.0.113.7
create N hash:net family inet
add N 10.244.0.0/16
add N 10.244.1.4/31 nomatch
add N 192.168.10.199
create P hash:ip,port family inet
add P 10.244.1.4,tcp:8080
add P 10.244.2.77,udp:53
add P 203.0.113.7,icmp:8/0
create E hash:net,port family inet
add E 10.244.0.0/16,tcp:80
add E 203.0.113.0/24,53
add E 192.168.10.0/24,udp:443
create T hash:ip,port,net family inet
add T 10.244.1.4,tcp:80,203.0.113.0/24
add T 10.244.1.4,udp:53,10.244.0.0/16
create I hash:net,iface family inet
add I 10.244.0.0/16,cni0
add I 203.0.113.0/24,eth0
create B bitmap:port range 0-1024
add B 53-80
create D hash:ip,port,ip family inet
add D 10.244.1.4,tcp:8080,10.244.1.4
add D 10.244.1.4,udp:53-80,203.0.113.7
add D 192.168.10.11,tcp:80-443,10.244.1.5
create X hash:ip,port,net family inet
add X 10.244.1.4,tcp:80,10.244.0.0/16
add X 10.244.1.4,tcp:80,10.244.1.4/30 nomatch
add X 10.244.1.4,tcp:80,10.244.1.5
add X 192.168.10.11,tcp:8080,203.0.113.0/24
create M hash:ip family inet netmask 24
add M 10.244.1.0
add M 203.0.113.0
create W bitmap:ip range 10.244.1.0-10.244.1.255
add W 10.244.1.4-10.244.1.5
create Z hash:net family inet timeout 90000
add Z 10.244.0.0/16 timeout 0
add Z 10.244.1.4 nomatch
add Z 192.168.0.0/16
create L list:set
add L A
add L N
add L Z
";

/// What keeps the node's own errors from rules: of connections that it refuses, and of ICMP.
pub(super) const QUIET: &str = "\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p icmp -j DROP
-A OUTPUT -p tcp -m tcp --tcp-flags RST RST -j DROP
COMMIT
";

/// One of several.
pub(super) fn pick<T: Copy>(draw: &mut Draw, of: &[T]) -> T {
    of[draw.one_of(u32::try_from(of.len()).expect("few")) as usize]
}

fn one_in(draw: &mut Draw, n: u32) -> bool {
    draw.one_of(n) == 0
}

/// A group of chains: built-in ones, and others that only they call.
struct Group {
    table: &'static str,
    built_in: &'static [&'static str],
    others: &'static [&'static str],
    targets: &'static [&'static str],
}

const ANY: [&str; 5] = [
    "MARK --set-xmark 0x1/0xffffffff",
    "MARK --set-xmark 0x4000/0x4000",
    "MARK --set-xmark 0x0/0xfe",
    "CONNMARK --set-xmark 0x2/0xff",
    "CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
];

const GROUPS: [Group; 5] = [
    Group {
        table: "raw",
        built_in: &["PREROUTING", "OUTPUT"],
        others: &["R1", "R2"],
        targets: &["CT --notrack", "MARK --set-xmark 0x2/0x2"],
    },
    Group {
        table: "mangle",
        built_in: &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        others: &["M1", "M2", "M3"],
        targets: &[
            "CONNMARK --save-mark --nfmask 0xff --ctmask 0xff",
            "MARK --set-xmark 0x8/0x0",
        ],
    },
    Group {
        table: "nat",
        built_in: &["PREROUTING", "OUTPUT"],
        others: &["D1", "D2"],
        targets: &[
            "DNAT --to-destination 10.244.1.4",
            "DNAT --to-destination 10.244.1.5-10.244.1.6",
            "DNAT --to-destination 203.0.113.7",
            "DNAT --to-destination 192.168.10.11",
            "tcp DNAT --to-destination 10.244.1.4:8080",
            "udp DNAT --to-destination 10.244.2.77:5000-5003",
            "tcp REDIRECT --to-ports 8080",
            "REDIRECT",
        ],
    },
    Group {
        table: "nat",
        built_in: &["POSTROUTING"],
        others: &["S1", "S2"],
        targets: &[
            "MASQUERADE",
            "udp MASQUERADE --to-ports 2000-3000",
            "SNAT --to-source 198.51.100.1",
            "SNAT --to-source 198.51.100.1-198.51.100.3",
            "tcp SNAT --to-source 192.168.10.11:4000-5000",
        ],
    },
    Group {
        table: "filter",
        built_in: &["INPUT", "FORWARD", "OUTPUT"],
        others: &["F1", "F2", "F3", "F4"],
        targets: &[
            "DROP",
            "REJECT --reject-with icmp-port-unreachable",
            "tcp REJECT --reject-with tcp-reset",
        ],
    },
];

/// A whole rule set. Every packet is traced; what tells the packets of interest apart passes first, and
/// what the node says by itself, such as that nobody listens, is dropped before rules can remember it.
pub(super) fn text(draw: &mut Draw) -> String {
    let mut text = String::new();
    for table in ["raw", "mangle", "nat", "filter"] {
        line(&mut text, format_args!("*{table}"));
        let groups = || GROUPS.iter().filter(|group| group.table == table);
        for chain in groups().flat_map(|group| group.built_in) {
            let drops = table == "filter" && one_in(draw, 4);
            let policy = if drops { "DROP" } else { "ACCEPT" };
            line(&mut text, format_args!(":{chain} {policy} [0:0]"));
        }
        for chain in groups().flat_map(|group| group.others) {
            line(&mut text, format_args!(":{chain} - [0:0]"));
        }
        for group in groups() {
            for chain in group.built_in {
                let mut first = vec![format!("-s {CONNECTION_MARKER}/32 -j ACCEPT")];
                if table == "raw" {
                    first.insert(0, "-j TRACE".to_owned());
                    first.push(format!("-s {MARKER}/32 -j DROP"));
                }
                if (table, *chain) == ("raw", "OUTPUT") {
                    first.push("-p icmp -j DROP".to_owned());
                    first.push("-p tcp -m tcp --tcp-flags RST RST -j DROP".to_owned());
                }
                for rule in first {
                    line(&mut text, format_args!("-A {chain} {rule}"));
                }
                for _ in 0..1 + draw.one_of(4) {
                    rule(draw, group, chain, group.others, &mut text);
                }
            }
            for (index, chain) in group.others.iter().enumerate() {
                for _ in 0..2 + draw.one_of(5) {
                    rule(draw, group, chain, &group.others[index + 1..], &mut text);
                }
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a string takes everything");
}

fn rule(draw: &mut Draw, group: &Group, chain: &str, callees: &[&str], text: &mut String) {
    let mut target = target(draw, group, callees);
    // A target that needs a protocol says so first.
    let mut protocol = None;
    for name in ["tcp", "udp"] {
        if let Some(rest) = target.strip_prefix(&format!("-j {name} ")) {
            target = format!("-j {rest}");
            protocol = Some(name);
        }
    }
    let protocol =
        protocol.or_else(|| one_in(draw, 3).then(|| pick(draw, &["tcp", "udp", "sctp", "icmp"])));
    let mut words = vec![format!("-A {chain}")];
    words.extend(addresses(draw));
    words.extend(devices(draw, chain));
    match protocol {
        Some(protocol) => words.extend(transport(draw, protocol)),
        None if one_in(draw, 8) => {
            words.push(format!("! -p {}", pick(draw, &["tcp", "udp", "icmp"])))
        }
        None => {}
    }
    if one_in(draw, 2) {
        words.push(stateless(draw, group, chain));
    }
    // What remembers, or leaves it to chance, is asked last: so that what it did can be seen.
    if one_in(draw, 6) {
        words.push(with_memory(draw));
    }
    words.push(target);
    words.retain(|word| !word.is_empty());
    text.push_str(&words.join(" "));
    text.push('\n');
}

fn target(draw: &mut Draw, group: &Group, callees: &[&str]) -> String {
    match draw.one_of(12) {
        0..=3 if !callees.is_empty() => format!("-j {}", pick(draw, callees)),
        4 if !callees.is_empty() => format!("-g {}", pick(draw, callees)),
        0 => "-j ACCEPT".to_owned(),
        1 | 5 => "-j RETURN".to_owned(),
        2 => String::new(),
        3 | 6 | 7 => format!("-j {}", pick(draw, &ANY)),
        _ => format!("-j {}", pick(draw, group.targets)),
    }
}

/// `! ` now and then.
fn not(draw: &mut Draw) -> &'static str {
    if one_in(draw, 4) { "! " } else { "" }
}

const ADDRESSES: [&str; 10] = [
    "10.244.0.0/16",
    "10.244.1.0/24",
    "10.244.1.4/32",
    "10.244.1.5/32",
    "192.168.10.0/24",
    "192.168.10.11/32",
    "203.0.113.7/32",
    "10.0.0.0/8",
    "0.0.0.4/0.0.0.7",
    "10.244.0.5/255.255.0.255",
];

fn addresses(draw: &mut Draw) -> Vec<String> {
    let mut words = Vec::new();
    for side in ["-s", "-d"] {
        if one_in(draw, 4) {
            words.push(format!("{}{side} {}", not(draw), pick(draw, &ADDRESSES)));
        }
    }
    words
}

/// iptables takes `-o` in no chain that a packet meets before it is routed, and `-i` in none that is for
/// packets of this host.
fn devices(draw: &mut Draw, chain: &str) -> Vec<String> {
    let names = ["eth0", "cni0", "lo", "eth+", "c+", "veth+"];
    let mut words = Vec::new();
    if !matches!(chain, "OUTPUT" | "POSTROUTING") && one_in(draw, 5) {
        words.push(format!("{}-i {}", not(draw), pick(draw, &names)));
    }
    if !matches!(chain, "PREROUTING" | "INPUT") && one_in(draw, 5) {
        words.push(format!("{}-o {}", not(draw), pick(draw, &names)));
    }
    words
}

fn transport(draw: &mut Draw, protocol: &str) -> Vec<String> {
    let mut words = vec![format!("-p {protocol}")];
    if protocol == "icmp" {
        if one_in(draw, 2) {
            let kind = pick(draw, &["8", "any", "3/1", "0", "13", "8/1"]);
            words.push(format!("-m icmp {}--icmp-type {kind}", not(draw)));
        }
        return words;
    }
    let ports = [
        "80",
        "53",
        "8080",
        "1:1023",
        "443:30080",
        "20000:20020",
        "20021:65535",
    ];
    match draw.one_of(5) {
        0 => words.push(format!(
            "-m {protocol} {}--dport {}",
            not(draw),
            pick(draw, &ports)
        )),
        1 => words.push(format!(
            "-m {protocol} {}--sport {}",
            not(draw),
            pick(draw, &ports)
        )),
        2 => {
            let side = pick(draw, &["--dports", "--sports", "--ports"]);
            let list = pick(draw, &["53,80", "80,443,8000:9000", "20000:20010,30080"]);
            words.push(format!("-m multiport {}{side} {list}", not(draw)));
        }
        3 if protocol == "tcp" => {
            let flags = pick(
                draw,
                &[
                    "SYN,RST,ACK,FIN SYN",
                    "ALL NONE",
                    "ACK ACK",
                    "SYN,FIN SYN,FIN",
                    "ALL SYN,ACK",
                    "PSH,URG PSH",
                ],
            );
            let flags = flags.replace("ALL", "FIN,SYN,RST,PSH,ACK,URG");
            words.push(format!("-m tcp {}--tcp-flags {flags}", not(draw)));
        }
        _ => {}
    }
    words
}

fn stateless(draw: &mut Draw, group: &Group, chain: &str) -> String {
    let is_built_in = group.built_in.contains(&chain);
    let not = not(draw);
    match draw.one_of(10) {
        8 | 9 => {
            let tests = [
                "A src",
                "A dst",
                "N src",
                "N dst",
                "N dst --return-nomatch",
                "P dst,dst",
                "P src,dst",
                "P dst,src",
                "E src,dst",
                "E dst,dst",
                "I src,src",
                "I dst,dst",
                "T src,dst,dst",
                "T dst,dst,src",
                "B dst",
                "B src",
                "D dst,dst,src",
                "D src,dst,dst",
                "X dst,dst,src",
                "X dst,dst,src --return-nomatch",
                "X src,src,dst",
                "M src",
                "M dst",
                "W src",
                "W dst",
                "Z src",
                "Z dst",
                "Z dst --return-nomatch",
                "L src",
                "L dst",
            ];
            format!("-m set {not}--match-set {}", pick(draw, &tests))
        }
        0 => {
            let side = pick(draw, &["--src-type", "--dst-type"]);
            let types = pick(
                draw,
                &[
                    "LOCAL",
                    "UNICAST",
                    "BROADCAST",
                    "LOCAL,UNICAST",
                    "MULTICAST",
                ],
            );
            let limit = match chain {
                "PREROUTING" | "INPUT" if one_in(draw, 3) => " --limit-iface-in",
                "POSTROUTING" | "OUTPUT" if one_in(draw, 3) => " --limit-iface-out",
                _ => "",
            };
            format!("-m addrtype {not}{side} {types}{limit}")
        }
        1 | 2 => {
            let tests = [
                "--ctstate NEW",
                "--ctstate ESTABLISHED",
                "--ctstate INVALID",
                "--ctstate RELATED,ESTABLISHED",
                "--ctstate UNTRACKED",
                "--ctstate DNAT",
                "--ctstate SNAT",
                "--ctstate NEW,DNAT",
                "--ctstatus CONFIRMED",
                "--ctstatus SEEN_REPLY",
                "--ctstatus NONE",
                "--ctproto 6",
                "--ctorigsrc 10.244.0.0/16",
                "--ctorigdst 192.168.10.0/24",
                "--ctreplsrc 10.244.1.4/32",
                "--ctrepldst 10.244.0.0/16",
                "--ctorigdstport 80",
                "--ctreplsrcport 8080:9000",
            ];
            format!("-m conntrack {not}{}", pick(draw, &tests))
        }
        3 => {
            let direction = pick(draw, &["ORIGINAL", "REPLY"]);
            format!("-m conntrack --ctdir {direction}")
        }
        4 => format!(
            "-m state {not}--state {}",
            pick(
                draw,
                &[
                    "NEW",
                    "ESTABLISHED",
                    "INVALID",
                    "NEW,ESTABLISHED",
                    "UNTRACKED"
                ]
            )
        ),
        5 => format!(
            "-m mark {not}--mark {}",
            pick(draw, &["0x1", "0x0", "0x4000/0x4000", "0x0/0x3", "0x2/0x2"])
        ),
        6 => format!(
            "-m connmark {not}--mark {}",
            pick(draw, &["0x2", "0x0", "0x2/0xff", "0x0/0x2"])
        ),
        _ if is_built_in && one_in(draw, 2) => physdev(draw, chain),
        _ => {
            let side = pick(draw, &["--src-range", "--dst-range"]);
            let range = pick(
                draw,
                &[
                    "10.244.1.0-10.244.1.5",
                    "10.0.0.0-192.168.10.11",
                    "203.0.113.7-203.0.113.7",
                ],
            );
            format!("-m iprange {not}{side} {range}")
        }
    }
}

/// The kernel takes what asks for a port to leave by in FORWARD and POSTROUTING alone.
fn physdev(draw: &mut Draw, chain: &str) -> String {
    let not = not(draw);
    let leaves = matches!(chain, "FORWARD" | "POSTROUTING");
    match draw.one_of(4) {
        0 if leaves => format!("-m physdev {not}--physdev-is-bridged"),
        1 if leaves => format!("-m physdev {not}--physdev-out veth+ --physdev-is-bridged"),
        2 => format!("-m physdev {not}--physdev-in veth+"),
        _ => format!("-m physdev {not}--physdev-is-in"),
    }
}

fn with_memory(draw: &mut Draw) -> String {
    let not = not(draw);
    match draw.one_of(6) {
        0 => format!(
            "-m statistic --mode random {not}--probability {}",
            pick(draw, &["0.50000000000", "0.33333333349"])
        ),
        1 => {
            let (every, packet) = pick(draw, &[(2, 0), (3, 1), (3, 2)]);
            format!("-m statistic --mode nth {not}--every {every} --packet {packet}")
        }
        2 => format!(
            "-m limit --limit 1/day --limit-burst {}",
            pick(draw, &[1, 3, 5])
        ),
        _ => {
            // A list has the mask of its first rule.
            let (list, mask) = pick(draw, &[("L1", "255.255.255.255"), ("L2", "255.255.0.0")]);
            let side = pick(draw, &["--rsource", "--rdest"]);
            let operation = pick(
                draw,
                &[
                    "--set",
                    "--rcheck",
                    "--update",
                    "--remove",
                    "--rcheck --seconds 3600 --reap",
                    "--update --seconds 3600 --hitcount 3",
                    "--rcheck --hitcount 2",
                    "--rcheck --rttl",
                ],
            );
            format!("-m recent {not}{operation} --name {list} --mask {mask} {side}")
        }
    }
}
