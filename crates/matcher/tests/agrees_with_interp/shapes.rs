//! Random rule sets of the two shapes that the compiler has forms of its own for: tables of Services, with
//! what kube-proxy puts behind them, and long chains of prefixes and ranges, as policies are.

use std::fmt::Write as _;

use podwire_packet::Family;
use podwire_ruleset::Hook;

use super::generated::{Lots, Words, write_module};
use super::probes::{address, number};

const SERVICES: usize = 6;
const PORTS: [&str; 5] = ["80", "81", "443", "8080", "53"];
/// What marks a packet for masquerading, and what is nearly that.
const MARKS: [&str; 4] = [
    "KUBE-MARK-MASQ",
    "KUBE-MARK-MASQ",
    "KUBE-MARK-MASQ",
    "MARK --set-xmark 0x8/0x8",
];

fn socket(words: &Words, own: &str, port: &str) -> String {
    match words.family {
        Family::Ipv4 => format!("{own}:{port}"),
        Family::Ipv6 => format!("[{own}]:{port}"),
    }
}

/// A way to one endpoint, mostly as kube-proxy writes it.
fn endpoint(
    lots: &mut Lots,
    words: &Words,
    (chain, mark, port): (&str, &str, &str),
    is_plain: bool,
) -> String {
    let mut text = String::new();
    let own = words.addresses[lots.below(words.addresses.len())];
    if is_plain {
        let to = socket(words, own, port);
        writeln!(text, "-A {chain} -s {own} -j {mark}").unwrap();
        writeln!(
            text,
            "-A {chain} -p tcp -m tcp -j DNAT --to-destination {to}"
        )
        .unwrap();
        return text;
    }
    if !lots.one_in(8) {
        let source = if lots.one_in(12) {
            words.addresses[0]
        } else {
            own
        };
        writeln!(text, "-A {chain} -s {source} -j {mark}").unwrap();
    }
    let affinity = if lots.one_in(8) {
        format!(" -m recent --set --name {chain} --rsource")
    } else {
        String::new()
    };
    let to = socket(words, own, port);
    match lots.below(24) {
        0 => writeln!(text, "-A {chain} -j DNAT --to-destination {own}"),
        1 => writeln!(
            text,
            "-A {chain} -p tcp -m tcp -j DNAT --to-destination {to} --persistent"
        ),
        2 => writeln!(
            text,
            "-A {chain} -p udp -m udp{affinity} -j DNAT --to-destination {to}"
        ),
        3 => writeln!(
            text,
            "-A {chain} -p tcp -m tcp --dport 80 -j DNAT --to-destination {to}"
        ),
        4 => Ok(()),
        _ => writeln!(
            text,
            "-A {chain} -p tcp -m tcp{affinity} -j DNAT --to-destination {to}"
        ),
    }
    .unwrap();
    text
}

/// The chain of a Service and those of its endpoints: mostly a ladder of even chances.
fn service(lots: &mut Lots, words: &Words, number: usize, text: &mut String) {
    let chain = format!("SVC{number}");
    let endpoints = if lots.one_in(10) {
        0
    } else {
        1 + lots.below(9)
    };
    let mark = lots.one(&MARKS);
    let same_port = if lots.one_in(4) { None } else { Some("8080") };
    for n in 0..endpoints {
        writeln!(text, ":SEP{number}-{n} - [0:0]").unwrap();
    }
    match lots.below(8) {
        0..=3 => {
            let source = lots.one(words.prefixes);
            writeln!(text, "-A {chain} ! -s {source} -j {mark}").unwrap();
        }
        4 => writeln!(text, "-A {chain} -j {mark}").unwrap(),
        5 => writeln!(text, "-A {chain} -s {} -j RETURN", lots.one(words.prefixes)).unwrap(),
        _ => {}
    }
    if lots.one_in(6) {
        // Affinity: whoever came before goes where it went.
        for n in 0..endpoints {
            writeln!(
                text,
                "-A {chain} -m recent --rcheck --seconds 10800 --reap --name SEP{number}-{n} --rsource -j SEP{number}-{n}"
            )
            .unwrap();
        }
    }
    let flawed = lots.one_in(6);
    let is_plain = lots.below(3) < 2;
    for n in 0..endpoints {
        let left = endpoints - n;
        let even = 1.0 / f64::from(u32::try_from(left).unwrap());
        let chance = if left == 1 {
            String::new()
        } else if flawed && lots.one_in(3) {
            " -m statistic --mode random --probability 0.25".to_owned()
        } else if lots.one_in(8) {
            format!(" -m statistic --mode random --probability {even:.9}")
        } else {
            format!(" -m statistic --mode random --probability {even:.11}")
        };
        let jump = if lots.one_in(60) { "-g" } else { "-j" };
        let to = match lots.below(60) {
            0 => 0,
            _ => n,
        };
        writeln!(text, "-A {chain}{chance} {jump} SEP{number}-{to}").unwrap();
    }
    for n in 0..endpoints {
        let port = same_port.unwrap_or_else(|| lots.one(&PORTS));
        let chain = format!("SEP{number}-{n}");
        *text += &endpoint(lots, words, (&chain, mark, port), is_plain);
    }
    // From elsewhere: marked, and then as from within.
    match lots.below(4) {
        0 => {}
        1 => {
            writeln!(
                text,
                "-A EXT{number} -s {} -j SVC{number}",
                lots.one(words.prefixes)
            )
            .unwrap();
            writeln!(
                text,
                "-A EXT{number} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"
            )
            .unwrap();
            writeln!(
                text,
                "-A EXT{number} -m addrtype --src-type LOCAL -j SVC{number}"
            )
            .unwrap();
        }
        2 => writeln!(
            text,
            "-A EXT{number} -m comment --comment \"masquerade\" -j {mark}\n-A EXT{number} -j SVC{number}"
        )
        .unwrap(),
        _ => writeln!(text, "-A EXT{number} -j {mark}\n-A EXT{number} -g SVC{number}").unwrap(),
    }
    // A load balancer with source ranges.
    for _ in 0..lots.below(4) {
        let source = lots.one(words.prefixes);
        writeln!(text, "-A FW{number} -s {source} -j EXT{number}").unwrap();
    }
    if lots.one_in(2) {
        writeln!(text, "-A FW{number} -j MARK --set-xmark 0x8000/0x8000").unwrap();
    }
}

/// The rule that leads packets to a Service, of few addresses and ports, so that keys come again.
fn dispatch(lots: &mut Lots, words: &Words, services: usize, breaks: bool) -> String {
    let address = words.addresses[lots.below(5)];
    let protocol = match lots.below(12) {
        0 => "udp",
        1 => "sctp",
        _ => "tcp",
    };
    let port = lots.one(&PORTS);
    let chain = match lots.below(6) {
        0 => "EXT",
        1 => "FW",
        _ => "SVC",
    };
    let mut line =
        format!("-A KUBE-SERVICES -d {address} -p {protocol} -m {protocol} --dport {port}");
    if lots.one_in(4) {
        line += " -m comment --comment \"default/web:http cluster IP\"";
    }
    if breaks {
        match lots.below(12) {
            0 => write!(line, " ! -s {}", lots.one(words.prefixes)).unwrap(),
            1 => write!(line, " -s {}", lots.one(words.prefixes)).unwrap(),
            2 => line += " -m mark --mark 0x4000/0x4000",
            3 => line += " -m limit --limit 1/sec --limit-burst 2",
            4 => line += " -m statistic --mode random --probability 0.5",
            5 => line += " -m conntrack --ctstate NEW",
            6 => write_module(&mut line, lots, words),
            _ => {}
        }
    }
    match lots.below(20) {
        0 => line += " -j KUBE-MARK-MASQ",
        1 => line += " -j RETURN",
        2 => write!(
            line,
            " -j DNAT --to-destination {}",
            words.addresses[lots.below(4)]
        )
        .unwrap(),
        3 => {}
        4 => write!(line, " -g {chain}{}", lots.below(services)).unwrap(),
        _ => write!(line, " -j {chain}{}", lots.below(services)).unwrap(),
    }
    line + "\n"
}

/// A nat table with 5 to 40 dispatch rules.
pub(super) fn services(lots: &mut Lots, words: &Words) -> String {
    let services = 2 + lots.below(SERVICES - 1);
    let mut text = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         :POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n\
         :EMPTY - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n",
    );
    for n in 0..services {
        write!(text, ":SVC{n} - [0:0]\n:EXT{n} - [0:0]\n:FW{n} - [0:0]\n").unwrap();
    }
    if lots.one_in(4) {
        let source = lots.one(words.prefixes);
        writeln!(
            text,
            "-A PREROUTING -s {source} -j MARK --set-xmark 0x2/0x2"
        )
        .unwrap();
    }
    text += "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n";
    text += "-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n";
    text += "-A POSTROUTING -j MARK --set-xmark 0x4000/0x0\n";
    text += "-A POSTROUTING -j MASQUERADE --random-fully\n";
    for n in 0..services {
        service(lots, words, n, &mut text);
    }
    let breaks = lots.one_in(2);
    for _ in 0..5 + lots.below(36) {
        let breaks = breaks && lots.one_in(4);
        text += &dispatch(lots, words, services, breaks);
    }
    node_ports(lots, words, services, &mut text);
    for hook in ["PREROUTING", "OUTPUT"] {
        if lots.one_in(4) {
            writeln!(text, "-A {hook} -p tcp -j MARK --set-xmark 0x8/0x8").unwrap();
        }
    }
    text + "COMMIT\n"
}

/// What stands behind the rules of Services: jumps for some destinations, and a chain of NodePorts.
fn node_ports(lots: &mut Lots, words: &Words, services: usize, text: &mut String) {
    let local = "-m addrtype --dst-type LOCAL";
    for _ in 0..lots.below(3) {
        let (address, prefix) = (lots.one(words.addresses), lots.one(words.prefixes));
        let tests = match lots.below(8) {
            0 => String::new(),
            1 => "-m addrtype ! --dst-type LOCAL".into(),
            2 => format!("! -d {prefix} {local}"),
            3 => format!("-d {address}"),
            4 => format!("-s {prefix} {local}"),
            5 => format!("{local} --limit-iface-in"),
            6 => "-m addrtype --dst-type LOCAL,BROADCAST,MULTICAST".into(),
            _ => "-m addrtype --src-type LOCAL --dst-type UNICAST".into(),
        };
        let to = [
            "-j KUBE-NODEPORTS",
            "-g KUBE-NODEPORTS",
            "-j EMPTY",
            "-j KUBE-MARK-MASQ",
        ];
        writeln!(text, "-A KUBE-SERVICES {tests} {}", lots.one(&to)).unwrap();
    }
    writeln!(text, "-A KUBE-SERVICES {local} -j KUBE-NODEPORTS").unwrap();
    if lots.one_in(6) {
        *text += "-A KUBE-SERVICES -j MARK --set-xmark 0x10/0x10\n";
    }
    let count = [0, 3, 7, 24][lots.below(4)];
    let breaks = lots.one_in(3);
    for _ in 0..count {
        let port = match lots.below(2) {
            0 => (*lots.one(&PORTS)).to_owned(),
            _ => (30_000 + lots.below(40)).to_string(),
        };
        let protocol = if lots.one_in(4) { "udp" } else { "tcp" };
        let (to, n) = (lots.one(&["EXT", "EXT", "SVC"]), lots.below(services));
        let more = if breaks && lots.one_in(5) {
            format!(" -s {}", lots.one(words.prefixes))
        } else {
            String::new()
        };
        let flag = if lots.one_in(8) { "-g" } else { "-j" };
        writeln!(
            text,
            "-A KUBE-NODEPORTS -p {protocol} -m {protocol} --dport {port}{more} {flag} {to}{n}"
        )
        .unwrap();
    }
}

/// An address of a small part of the world, so that prefixes lie in one another.
fn any_address(lots: &mut Lots, words: &Words) -> String {
    let near = lots.0.next() & 0x0003_0303;
    let any = match words.family {
        Family::Ipv4 => 0x0a00_0000 | u128::from(near),
        Family::Ipv6 => {
            let far = u128::from(lots.0.next() & 0x0001_0003) << 64;
            0xfd << 120 | far | u128::from(near)
        }
    };
    address(words.family, any).to_string()
}

fn any_prefix(lots: &mut Lots, words: &Words) -> String {
    let bits = match words.family {
        Family::Ipv4 => [32, 32, 31, 30, 24, 25, 23, 16, 15, 9, 8, 0],
        Family::Ipv6 => [128, 128, 127, 120, 112, 66, 64, 63, 65, 48, 8, 0],
    };
    let own = any_address(lots, words);
    format!("{own}/{}", bits[lots.below(bits.len())])
}

fn any_ports(lots: &mut Lots) -> String {
    let first = [0, 1, 22, 79, 80, 81, 443, 1024, 30_000, 65_535][lots.below(10)];
    let width = [0, 0, 0, 1, 10, 400, 2767, 65_535][lots.below(8)];
    match (first + width).min(65_535) {
        last if last == first => first.to_string(),
        last => format!("{first}:{last}"),
    }
}

fn not(lots: &mut Lots) -> &'static str {
    if lots.one_in(10) { "! " } else { "" }
}

/// A rule of a policy.
fn policy_rule(lots: &mut Lots, words: &Words, chain: &str, callable: usize, odd: usize) -> String {
    let mut line = format!("-A {chain}");
    for side in ["-s", "-d"] {
        if lots.below(3) < 2 {
            write!(line, " {}{side} {}", not(lots), any_prefix(lots, words)).unwrap();
        }
    }
    match lots.below(8) {
        0..=3 => {
            let protocol = lots.one(&["tcp", "tcp", "udp"]);
            write!(line, " -p {protocol} -m {protocol}").unwrap();
            for side in ["--sport", "--dport"] {
                if lots.below(4) < if side == "--sport" { 1 } else { 3 } {
                    write!(line, " {}{side} {}", not(lots), any_ports(lots)).unwrap();
                }
            }
        }
        4 => {
            let (a, b) = (any_ports(lots), any_ports(lots));
            let side = lots.one(&["--dports", "--dports", "--sports", "--ports"]);
            let not = not(lots);
            write!(line, " -p tcp -m multiport {not}{side} {a},{b}").unwrap();
        }
        5 => write!(line, " {}-p {}", not(lots), lots.one(&["tcp", "udp", "47"])).unwrap(),
        _ => {}
    }
    if lots.one_in(10) {
        let a = number(any_address(lots, words).parse().unwrap());
        let b = number(any_address(lots, words).parse().unwrap());
        let (low, high) = (a.min(b), a.max(b));
        write!(
            line,
            " -m iprange {}--{}-range {}-{}",
            not(lots),
            lots.one(&["src", "dst"]),
            address(words.family, low),
            address(words.family, high)
        )
        .unwrap();
    }
    if lots.below(odd) == 0 {
        write_module(&mut line, lots, words);
    }
    match lots.below(12) {
        0..=3 => line += " -j ACCEPT",
        4 => line += " -j DROP",
        5 => line += " -j RETURN",
        6 | 7 if callable > 0 => {
            write!(
                line,
                " {} SUB{}",
                lots.one(&["-j", "-j", "-j", "-g"]),
                lots.below(callable)
            )
            .unwrap();
        }
        8 => line += " -j MARK --set-xmark 0x1/0x1",
        9 => line += " -j REJECT",
        10 => line += " -j LOG",
        _ => {}
    }
    line + "\n"
}

/// A filter table with chains of 20 to 80 rules that test prefixes and ranges, and chains that return.
pub(super) fn policies(lots: &mut Lots, words: &Words) -> String {
    let mut text = String::from("*filter\n");
    for hook in [Hook::Input, Hook::Forward, Hook::Output] {
        writeln!(text, ":{hook} {} [0:0]", lots.one(&["ACCEPT", "DROP"])).unwrap();
    }
    text += ":POL0 - [0:0]\n:POL1 - [0:0]\n:SUB0 - [0:0]\n:SUB1 - [0:0]\n:SUB2 - [0:0]\n";
    for n in 0..3 {
        // SUB0 calls nothing, SUB1 only SUB0, SUB2 both.
        let (rules, chain) = (lots.below(12), format!("SUB{n}"));
        for _ in 0..rules {
            text += &policy_rule(lots, words, &chain, n, 30);
        }
    }
    // Whether rules that are more than a box stand among them.
    let odd = [8, 30, 1 << 20][lots.below(3)];
    for chain in ["POL0", "POL1"] {
        for _ in 0..20 + lots.below(61) {
            text += &policy_rule(lots, words, chain, 3, odd);
        }
    }
    for hook in [Hook::Input, Hook::Forward, Hook::Output] {
        if lots.one_in(3) {
            text += &format!("-A {hook} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
        }
        text += &format!("-A {hook} -j POL0\n-A {hook} -p tcp -j POL1\n");
        for _ in 0..lots.below(10) {
            text += &policy_rule(lots, words, hook.name(), 3, 8);
        }
    }
    text + "COMMIT\n"
}
