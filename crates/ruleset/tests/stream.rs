//! The stream of a text's chains and rules is what the whole text makes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::Diagnostic;
use podwire_packet::Family;
use podwire_ruleset::iptables::{
    MAX_LINE, ParseError, ReadError, Sink, UnknownOption, line_column, parse, read_into,
};
use podwire_ruleset::{
    ChainId, ChainName, Counters, LinkError, Policy, Rule, RuleId, RuleSet, TableName, Target,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Builds a rule set, and checks every number that it is told.
struct Build {
    rules: RuleSet,
}

impl Sink for Build {
    fn chain(&mut self, table: TableName, id: ChainId, name: &str, policy: Option<Policy>) {
        let name = ChainName::from(name);
        let table = self.rules.table_mut(table);
        let chain = table.chain_mut(&name);
        assert_eq!(chain.built_in.is_some(), policy.is_some());
        if let (Some(built_in), Some(policy)) = (&mut chain.built_in, policy) {
            built_in.policy = policy;
        } else {
            assert!(chain.rules.is_empty());
        }
        assert_eq!(table.chain_id(name.as_str()), Some(id));
    }

    fn rule(&mut self, id: RuleId, rule: &Rule, jump: Option<ChainId>) {
        let table = &mut self.rules.tables[&id.table];
        let named = match &rule.target {
            Some(Target::Jump(to) | Target::Goto(to)) => table.chain_id(to.as_str()),
            _ => None,
        };
        assert_eq!(jump, named);
        let rules = &mut table.chain_at_mut(id.chain.index()).rules;
        rules.push(rule.clone());
        assert_eq!(rules.len(), id.number as usize);
    }
}

type Streamed = Result<(RuleSet, Vec<UnknownOption>), ReadError>;

fn stream(input: impl BufRead, family: Family) -> Streamed {
    let rules = RuleSet::empty(family);
    let mut sink = Build { rules };
    let unknown = read_into(input, family, &mut sink)?;
    Ok((sink.rules, unknown))
}

/// Everything of a rule set that a sink is told, counters of rules and wording too.
fn told(mut rules: RuleSet) -> String {
    for table in rules.tables.values_mut() {
        for chain in table.chains.values_mut() {
            Arc::make_mut(chain).counters = Counters::default();
        }
    }
    format!("{rules:?}")
}

fn is_same(text: &str, family: Family, what: &str) {
    let whole = parse(text, family).unwrap();
    let expected = told(whole.rules);
    // A buffer of seven bytes cuts every line.
    for capacity in [7, 8_192] {
        let input = BufReader::with_capacity(capacity, text.as_bytes());
        let (rules, unknown) = stream(input, family).unwrap();
        assert!(told(rules) == expected, "{what}");
        assert_eq!(unknown, whole.unknown, "{what}");
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_stream_makes_the_rules_that_the_whole_text_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join("../../tests/golden/kube-proxy"), &mut found);
    files(&root.join("tests/data"), &mut found);
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let is_saved = |name: &str| {
        [
            "iptables-save",
            ".save.",
            "docker",
            "pods",
            "zones",
            "policies.txt",
        ]
        .iter()
        .any(|part| name.contains(part))
    };
    found.retain(|path| is_saved(&name(path)));
    assert!(found.len() > 100, "{}", found.len());
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let is_ipv6 = name(&path).contains("ip6tables")
            || name(&path).contains("ipv6")
            || name(&path).contains("pods6");
        let family = if is_ipv6 { Family::Ipv6 } else { Family::Ipv4 };
        is_same(&text, family, &path.display().to_string());
    }
}

/// Lines that may stand anywhere, and what a stream may refuse.
const ODD_LINES: [&str; 12] = [
    "*nat",
    "*mangle",
    "COMMIT",
    ":KUBE-SERVICES - [0:0]",
    ":INPUT DROP [0:0]",
    "-N KUBE-NEW",
    "-A KUBE-NEW -j KUBE-SERVICES",
    "-A PREROUTING -s 10.0.0.1,10.0.0.2 -m odd --x -j KUBE-NEW",
    "-P OUTPUT DROP",
    "-I KUBE-SERVICES -j DROP",
    "-X",
    "-F KUBE-SERVICES",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_refuses_what_it_does_not_read_as_the_whole_text(
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), select(&ODD_LINES[..])), 0..4),
        capacity in 1..300_usize,
    ) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernel");
        let text = fs::read_to_string(root.join("hairpin.ipv4.save.txt")).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        for (from, to, odd) in &changes {
            let moved = lines.remove(from.index(lines.len()));
            lines.insert(to.index(lines.len() + 1), moved);
            lines.insert(from.index(lines.len() + 1), odd);
        }
        let text = lines.join("\n");
        let whole = parse(&text, Family::Ipv4);
        let input = BufReader::with_capacity(capacity, text.as_bytes());
        match (stream(input, Family::Ipv4), whole) {
            (Ok((rules, unknown)), Ok(whole)) => {
                prop_assert_eq!(told(rules), told(whole.rules));
                prop_assert_eq!(unknown, whole.unknown);
            }
            (Err(_), Err(_)) => {}
            // A jump stands before its chain, or the whole text was needed.
            (Err(error), Ok(_)) => {
                let departs = matches!(&error, ReadError::Line { cause, .. }
                    if matches!(**cause, ParseError::Link { .. } | ParseError::EditsEarlier { .. }));
                prop_assert!(departs, "{error}");
            }
            // The stream does not look for circles.
            (Ok(_), Err(ParseError::Link { cause, .. })) => {
                let is_circle = matches!(*cause, LinkError::Loop { .. });
                prop_assert!(is_circle, "{cause}");
            }
            (Ok(_), Err(error)) => prop_assert!(false, "{error}"),
        }
    }
}

#[test]
fn what_iptables_takes_beside_saved_text_is_the_same_too() {
    for text in [
        "",
        "# nothing\n\n",
        "*raw\nCOMMIT",
        "*filter\n:INPUT DROP [1:2]\n-N A\n-P OUTPUT DROP\n[3:4] -A INPUT -g A\nCOMMIT\n",
        "*filter\n:A - [0:0]\n:A - [0:0]\n-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4 -j A\n-A INPUT -j A\nCOMMIT\n",
        "*filter\n:A - [0:0]\nCOMMIT\n*nat\n:A - [0:0]\n-A A\nCOMMIT\n*filter\n-A INPUT -j A\n:B - [0:0]\nCOMMIT\n",
        "*filter\n-A INPUT -6 -j ACCEPT\n  -A INPUT -m odd --word -j TTL --ttl-set 1\r\n-A INPUT -p tcp --dport 1 --tcp-option 2\nCOMMIT\n",
    ] {
        is_same(text, Family::Ipv4, text);
    }
}

struct Count(u32);

impl Sink for Count {
    const COMMENTS: bool = false;

    fn chain(&mut self, _: TableName, _: ChainId, _: &str, _: Option<Policy>) {}

    fn rule(&mut self, _: RuleId, rule: &Rule, _: Option<ChainId>) {
        assert_eq!(rule.comment(), Some(""));
        self.0 += 1;
    }
}

#[test]
fn a_sink_need_not_take_the_text_of_comments() {
    let text = "*filter\n-A INPUT -m comment --comment \"a b\" -j DROP\nCOMMIT\n";
    let mut sink = Count(0);
    read_into(text.as_bytes(), Family::Ipv4, &mut sink).unwrap();
    assert_eq!(sink.0, 1);
    let text = text.replace(" --comment \"a b\"", "");
    assert!(read_into(text.as_bytes(), Family::Ipv4, &mut sink).is_err());
}

/// The fault of a stream as `code line:column`.
fn fault(input: impl BufRead) -> String {
    let error = stream(input, Family::Ipv4).unwrap_err();
    let (line, column) = error.place();
    let code = error.code().unwrap().to_string();
    if let ReadError::Line {
        column,
        text,
        cause,
        ..
    } = &error
    {
        assert_eq!(line_column(text, cause.span().offset()), (1, *column));
        assert_eq!(error.to_string(), cause.to_string());
        assert!(error.help().is_some());
    }
    format!("{} {line}:{column}", code.rsplit("::").next().unwrap())
}

#[test]
fn a_fault_has_its_line_and_column() {
    for (text, expected) in [
        ("-A INPUT", "outside_table 1:1"),
        ("*odd", "unknown_table 1:1"),
        ("\n *nat\n# cut", "missing_commit 2:2"),
        ("*nat\n:A - [0:0]\n*filter\nCOMMIT\n", "missing_commit 1:1"),
        ("*nat\nCOMMIT now\n", "unexpected_word 2:8"),
        (
            "*nat\n:A - [0:0]\n-A A -m comment --comment \"a",
            "unclosed_quote 3:27",
        ),
        ("*nat\n-A A\n", "unknown_chain 2:4"),
        ("*nat\n-P A DROP\n", "unknown_chain 2:4"),
        ("*nat\n:A\n", "missing_argument 2:1"),
        ("*nat\n:A DROP [0:0]\n", "bad_policy 2:4"),
        ("*nat\n:INPUT - [0:0]\n", "bad_policy 2:8"),
        ("*nat\n:A - [0;0]\n", "bad_counters 2:6"),
        (
            "*nat\n:a-name-of-twenty-nine-bytes-xx - [0:0]\n",
            "bad_chain_name 2:1",
        ),
        ("*nat\n-N A\n-N A\n", "chain_exists 3:4"),
        ("*nat\n-Z\n", "unknown_command 2:1"),
        ("*nat\n-A INPUT -j A\n:A - [0:0]\nCOMMIT\n", "link 2:13"),
        ("*nat\n-A INPUT -j OUTPUT\nCOMMIT\n", "link 2:13"),
        (
            "*nat\n-A INPUT -m comment --comment \u{ac00} --odd -s x\nCOMMIT\n",
            "bad_address 2:42",
        ),
        ("*nat\n-I INPUT\n", "edits_earlier 2:1"),
        ("*nat\n-F\n", "edits_earlier 2:1"),
        ("*nat\n-X\n", "edits_earlier 2:1"),
        ("*nat\n:A - [0:0]\n-A A\n:A - [0:0]\n", "edits_earlier 4:1"),
    ] {
        for capacity in [5, 8_192] {
            let input = BufReader::with_capacity(capacity, text.as_bytes());
            assert_eq!(fault(input), expected, "{text}");
        }
    }
}

/// Notes which chain each rule jumps to.
#[derive(Default)]
struct Jumps {
    names: Vec<String>,
    jumps: Vec<Option<ChainId>>,
}

impl Sink for Jumps {
    fn chain(&mut self, _: TableName, id: ChainId, name: &str, _: Option<Policy>) {
        assert_eq!(id.index(), self.names.len());
        self.names.push(name.into());
    }

    fn rule(&mut self, _: RuleId, _: &Rule, jump: Option<ChainId>) {
        self.jumps.push(jump);
    }
}

#[test]
fn jumps_find_their_chain_among_very_many_in_any_order() {
    const MANY: usize = 40_000;
    let name = |number: usize| format!("{}-{number:05}", ["A", "b"][number % 2]);
    let sorted: Vec<usize> = (0..MANY).step_by(2).chain((1..MANY).step_by(2)).collect();
    let spread: Vec<usize> = (0..MANY).map(|at| at * 7_919 % MANY).collect();
    for order in [sorted, spread] {
        let mut text = String::from("*filter\n");
        for &number in &order {
            text += &format!(":{} - [0:0]\n", name(number));
        }
        // Behind the first rules come more chains, one of them before all others by its name.
        let called = |rule: usize| rule * 104_729 % MANY;
        for rule in 0..MANY {
            let flag = ["-j", "-g"][rule % 2];
            text += &format!("-A {} {flag} {}\n", name(order[rule]), name(called(rule)));
            if rule == 100 {
                text += ":0-early - [0:0]\n:c-late - [0:0]\n-A 0-early -j c-late\n";
            }
        }
        let whole = format!("{text}COMMIT\n");
        for capacity in [100, 1 << 18] {
            let mut sink = Jumps::default();
            let input = BufReader::with_capacity(capacity, whole.as_bytes());
            read_into(input, Family::Ipv4, &mut sink).unwrap();
            let mut expected: Vec<String> = (0..MANY).map(|rule| name(called(rule))).collect();
            expected.insert(101, "c-late".into());
            let found = sink.jumps.iter().map(|to| &sink.names[to.unwrap().index()]);
            assert!(found.eq(&expected));
        }
        let line = text.lines().count() + 1;
        let wrong = format!("{text}-A A-00000 -j A-00001\nCOMMIT\n");
        assert_eq!(fault(wrong.as_bytes()), format!("link {line}:15"));
    }
}

#[test]
fn a_jump_to_no_chain_is_the_same_fault_as_of_the_whole_text() {
    let text = "*nat\n:A - [0:0]\n-A A\n-A A -g B\nCOMMIT\n";
    let streamed = stream(text.as_bytes(), Family::Ipv4).unwrap_err();
    let whole = parse(text, Family::Ipv4).unwrap_err();
    assert_eq!(streamed.to_string(), whole.to_string());
    assert_eq!(streamed.place(), line_column(text, whole.span().offset()));
}

#[test]
fn bytes_that_are_no_text_are_found_where_they_stand() {
    for capacity in [3, 8_192] {
        let read = |bytes: &'static [u8]| fault(BufReader::with_capacity(capacity, bytes));
        assert_eq!(read(b"*nat\n# \xea\xb0\x80 \xff\nCOMMIT\n"), "not_utf8 2:5");
        assert_eq!(read(b"*nat\n\xff"), "not_utf8 2:1");
        assert_eq!(read(b"*nat\n# cut \xea\xb0"), "not_utf8 2:7");
        // What stands before it is read first.
        assert_eq!(read(b"*nat\n-Z\n\xff\n"), "unknown_command 2:1");
    }
}

#[test]
fn a_line_is_not_longer_than_its_bound() {
    let longest = format!("*nat\n#{}\nCOMMIT\n", "x".repeat(MAX_LINE - 2));
    let longer = longest.replace('#', "##");
    for capacity in [1_000, MAX_LINE, 4 * MAX_LINE] {
        let input = |text| BufReader::with_capacity(capacity, io::Cursor::new(text));
        assert!(stream(input(longest.clone()), Family::Ipv4).is_ok());
        assert_eq!(fault(input(longer.clone())), "long_line 2:1");
    }
    // No end of it ever comes.
    let endless = BufReader::new(b"*nat\n".chain(io::repeat(b'x')));
    assert_eq!(fault(endless), "long_line 2:1");
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}

#[test]
fn an_input_that_breaks_is_an_error_with_its_line() {
    let input = BufReader::new(b"*nat\n:A - [0:0]\n".chain(Broken));
    assert_eq!(fault(input), "input 3:1");
}

#[test]
fn a_cut_file_is_an_error_wherever_it_was_cut() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernel");
    let text = fs::read(root.join("ipv6.ipv6.save.txt")).unwrap();
    let ends = text
        .split_inclusive(|&byte| byte == b'\n')
        .scan(0, |at, line| {
            *at += line.len();
            Some((*at, line.starts_with(b"COMMIT")))
        });
    let mut table_is_open = false;
    let mut from = 0;
    for (end, closes) in ends {
        table_is_open |= text[from..end].starts_with(b"*");
        for cut in [from + 1, from.midpoint(end), end - 1] {
            // Without its line end COMMIT still stands there whole.
            if table_is_open && !(closes && cut == end - 1) {
                assert!(stream(&text[..cut], Family::Ipv6).is_err(), "{cut}");
            }
        }
        table_is_open &= !closes;
        from = end;
    }
}
