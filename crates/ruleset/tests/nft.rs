//! nftables: texts of the real kube-proxy, what Linux lists after loading them, faults, and any text.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic as _;
use podwire_ruleset::iptables::line_column;
use podwire_ruleset::nft::{
    Parsed, Rule, RuleSet, Statement, Wording, call_graph, parse, parse_json, print, rule_text,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn read(text: &str) -> Parsed {
    parse(text).unwrap_or_else(|error| {
        let (line, column) = line_column(text, error.span().offset());
        panic!("{line}:{column}: {error}")
    })
}

/// Files of the golden cases whose names begin so.
fn golden(form: &str) -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/kube-proxy");
    let folders = fs::read_dir(cases)
        .unwrap()
        .map(|case| case.unwrap().path())
        .filter(|case| case.is_dir());
    let mut files: Vec<_> = folders
        .flat_map(|case| fs::read_dir(case).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|file| {
            file.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(form)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// What nft lists of a file with every word that podwire knows, and of some that it does not.
fn words() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nft/words.list");
    fs::read_to_string(file).unwrap()
}

#[test]
fn texts_of_kube_proxy_print_back_as_they_were() {
    for file in golden("nftables.") {
        let text = fs::read_to_string(&file).unwrap();
        let parsed = read(&text);
        assert_eq!(parsed.unknown, [], "{}", file.display());
        let printed = print(&parsed.rules, Wording::KubeProxy);
        // An address that a slice spells out is the same address.
        let spelled = text.replace("saddr 2001:0db8:0:0:0:0:0:9 ", "saddr 2001:db8::9 ");
        let spelled = spelled.replace("[2001:0db8:0:0:0:0:0:9]", "[2001:db8::9]");
        assert!(printed == spelled, "{}", file.display());
        assert_ne!(print(&parsed.rules, Wording::List), text);
    }
}

#[test]
fn listings_of_the_kernel_print_back_as_they_were() {
    for file in golden("nft-list.") {
        let text = fs::read_to_string(&file).unwrap();
        let parsed = read(&text);
        assert_eq!(parsed.unknown, [], "{}", file.display());
        assert!(
            print(&parsed.rules, Wording::List) == text,
            "{}",
            file.display()
        );
    }
}

/// Canonical rules by table and chain.
fn canonical(rules: &RuleSet) -> Vec<(String, Vec<Rule>)> {
    let chains = rules.tables.values().flat_map(|table| {
        table.chains.values().map(|chain| {
            let rules = chain.rules.iter().map(Rule::canonical).collect();
            (format!("{} {}", table.name, chain.name), rules)
        })
    });
    chains.collect()
}

#[test]
fn the_kernels_words_mean_what_kube_proxys_do() {
    let mut compared = 0;
    for listed in golden("nft-list.") {
        let name = listed.file_name().unwrap().to_str().unwrap();
        let written = listed.with_file_name(name.replace("nft-list", "nftables"));
        let (listed_text, written_text) = (
            fs::read_to_string(&listed).unwrap(),
            fs::read_to_string(&written).unwrap(),
        );
        assert_ne!(listed_text, written_text);
        let (listed, written) = (read(&listed_text).rules, read(&written_text).rules);
        assert_eq!(canonical(&listed), canonical(&written), "{name}");
        for (key, table) in &listed.tables {
            let other = &written.tables[key];
            assert_eq!(table.sets.len(), other.sets.len());
            for (name, set) in &table.sets {
                assert_eq!(set.elements, other.sets[name].elements, "{name}");
                assert_eq!(
                    (&set.key, &set.data),
                    (&other.sets[name].key, &other.sets[name].data)
                );
            }
        }
        compared += 1;
    }
    assert!(compared >= 8);
}

#[test]
fn every_word_prints_back_and_unknown_ones_are_kept() {
    let text = words();
    let parsed = read(&text);
    let unknown: Vec<&str> = parsed
        .unknown
        .iter()
        .map(|at| &text[at.offset()..at.offset() + at.len()])
        .collect();
    assert_eq!(
        unknown,
        [
            "limit rate 10 mbytes/second",
            "add @c { ip saddr . tcp dport counter }",
            "meta skuid 1000",
            "meta pkttype host",
            "ip ttl 3",
            "tcp flags syn / syn,ack",
            "tcp flags syn / syn,ack",
            "ether saddr 00:11:22:33:44:55",
        ]
    );
    // Comparisons are held as ranges.
    let as_ranges = text
        .replace("tcp dport > 1023", "tcp dport 1024-65535")
        .replace("mod 100 < 33", "mod 100 0-32");
    for (printed, line) in print(&parsed.rules, Wording::List)
        .lines()
        .zip(as_ranges.lines())
    {
        assert_eq!(printed, line);
    }
    let commands = print(&parsed.rules, Wording::KubeProxy);
    assert_eq!(canonical(&read(&commands).rules), canonical(&parsed.rules));
}

fn json(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nft");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Asserts that two rule sets have the same rules, but for those that podwire does not know all of, and
/// the same elements; gives how many rules were compared.
fn assert_same(a: &RuleSet, b: &RuleSet) -> usize {
    let mut compared = 0;
    for ((name, ours), (other, theirs)) in canonical(a).iter().zip(&canonical(b)) {
        assert_eq!(name, other);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours.has_unknown(), theirs.has_unknown(), "{ours:?}");
            if !ours.has_unknown() {
                assert_eq!(ours, theirs);
                compared += 1;
            }
        }
    }
    for (key, table) in &a.tables {
        for (name, set) in &table.sets {
            assert_eq!(set.elements, b.tables[key].sets[name].elements, "{name}");
        }
    }
    compared
}

#[test]
fn json_is_read_as_the_text_is() {
    let read_json = parse_json(&json("words.json")).unwrap();
    let text = read(&words());
    assert_eq!(read_json.unknown.len(), text.unknown.len());
    assert!(assert_same(&read_json.rules, &text.rules) > 50);

    let file = golden("nftables.").into_iter();
    let mut file = file.filter(|file| file.to_str().unwrap().contains("112-lb-everything"));
    let written = fs::read_to_string(file.next().unwrap()).unwrap();
    let text = read(&written);
    let read_json = parse_json(&json("lb-everything.json")).unwrap();
    assert_eq!(read_json.unknown, []);
    let rules = written.matches("add rule ").count();
    assert_eq!(assert_same(&read_json.rules, &text.rules), rules);
}

#[test]
fn faults_of_json_have_their_places() {
    for (text, expected) in [
        ("{", "json 1:1"),
        ("[]", "json 1:1"),
        ("{}", "json 1:1"),
        ("{\"nftables\": 5}", "json 1:14"),
        ("{\"nftables\": [\n {\"tabel\": {}}]}", "object 2:2"),
        (
            "{\"nftables\": [\n {\"table\": {\"family\": \"ip\"}}]}",
            "object 2:2",
        ),
        (
            "{\"nftables\": [{\"table\": {\"family\": \"ip\", \"name\": \"a; flush ruleset\"}}]}",
            "object 1:15",
        ),
        (
            "{\"nftables\": [{\"chain\": {\"family\": \"ip\", \"table\": \"t\", \"name\": \"c\"}}]}",
            "object 1:15",
        ),
    ] {
        let error = parse_json(text).unwrap_err();
        let (line, column) = line_column(text, error.span().offset());
        let code = error.code().unwrap().to_string();
        let code = code.rsplit("::").next().unwrap();
        assert_eq!(
            format!("{code} {line}:{column}"),
            expected,
            "{text}: {error}"
        );
    }
}

#[test]
fn a_transaction_is_run_in_order() {
    let parsed = read(
        "add table ip t\nflush ruleset\nadd table ip t { comment \"x\" ; }\n\
         add chain ip t a { type filter hook input priority 0 ; }\ndelete chain ip t a\n\
         add chain ip t a { type filter hook input priority filter - 10 ; policy drop ; }\n\
         add chain ip t b ; add rule ip t a jump b\nadd rule ip t b drop # handle 7\nflush chain ip t b\n\
         add set ip t s { type ipv4_addr ; flags timeout ; timeout 1m30s ; }\n\
         add element ip t s { 10.0.0.1 timeout 5s, 10.0.0.2 comment \"two\" }\n\
         destroy set ip t gone\nadd rule t a ip saddr @s accept comment \"last\"\n",
    );
    assert_eq!(
        print(&parsed.rules, Wording::List),
        "table ip t {\n\tcomment \"x\"\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags timeout\n\
         \t\ttimeout 1m30s\n\t\telements = { 10.0.0.1 timeout 5s, 10.0.0.2 comment \"two\" }\n\t}\n\n\
         \tchain a {\n\t\ttype filter hook input priority filter - 10; policy drop;\n\t\tjump b\n\
         \t\tip saddr @s accept comment \"last\"\n\t}\n\n\tchain b {\n\t}\n}\n"
    );
}

#[test]
fn a_rule_keeps_its_handle() {
    let parsed =
        read("table ip t { # handle 1\n\tchain a { # handle 2\n\t\tdrop # handle 3\n\t}\n}\n");
    let chain = &parsed.rules.tables[0].chains[0];
    assert_eq!(chain.rules[0].handle, Some(3));
}

#[test]
fn marks_are_held_as_the_kernel_holds_them() {
    for (written, listed) in [
        (
            "meta mark set mark or 0x4000",
            "meta mark set meta mark | 0x00004000",
        ),
        (
            "mark set mark xor 0x4000",
            "meta mark set meta mark ^ 0x00004000",
        ),
        (
            "mark set mark and 0xff",
            "meta mark set meta mark & 0x000000ff",
        ),
        ("mark set 7", "meta mark set 0x00000007"),
        ("ct mark set mark", "ct mark set meta mark"),
        (
            "mark set ct mark & 0xff | 0x100",
            "meta mark set ct mark & 0x000001ff | 0x00000100",
        ),
        (
            "mark and 0x80000000 == 0 return",
            "meta mark 0x00000000/1 return",
        ),
        (
            "mark & 0x4000 != 0x4000 drop",
            "meta mark & 0x00004000 != 0x00004000 drop",
        ),
    ] {
        let rules = read(&format!("table ip t {{ chain a {{ {written}; }}; }}")).rules;
        let rule = &rules.tables[0].chains[0].rules[0];
        assert_eq!(rule_text(rule, Wording::List), listed);
        assert!(!rule.has_unknown());
    }
}

#[test]
fn services_of_a_golden_table_lead_to_their_endpoints() {
    let file = &golden("nftables.")[0];
    let rules = read(&fs::read_to_string(file).unwrap()).rules;
    let table = &rules.tables[0];
    let graph = call_graph(table).unwrap();
    let order: Vec<&str> = graph
        .callees_first()
        .map(|id| table.chain(id).unwrap().name.as_str())
        .collect();
    let place = |name: &str| order.iter().position(|own| *own == name).unwrap();
    assert_eq!(order.len(), table.chains.len());
    assert!(place("services") < place("nat-prerouting"));
    assert!(place("mark-for-masquerade") < place("masquerading") || order.len() > 2);
}

/// Faulty texts, and what is said of each: code, line and column.
const FAULTS: &[(&str, &str)] = &[
    ("list ruleset", "unknown_command 1:1"),
    ("define x = 1", "unknown_command 1:1"),
    ("table ip t {", "unclosed_block 1:12"),
    ("table ip t {\n chain a {\n", "unclosed_block 2:10"),
    ("table ip 1t { }", "bad_name 1:10"),
    ("add chain ip t a", "missing 1:14"),
    ("add table ip t\nadd rule ip t a drop", "missing 2:15"),
    ("add table ip t\nadd element ip t s { 1 }", "missing 2:18"),
    ("add table ip t\ndelete chain ip t a", "missing 2:19"),
    (
        "add table t; add chain t a; add rule t a ip saddr 10.0.0.0/33",
        "bad_value 1:51",
    ),
    (
        "add table t; add chain t a; add rule t a ip saddr fd00::1",
        "bad_value 1:51",
    ),
    (
        "add table t; add chain t a; add rule t a tcp dport ssh",
        "bad_value 1:52",
    ),
    (
        "add table t; add chain t a; add rule t a tcp dport 9-1",
        "bad_value 1:52",
    ),
    (
        "add table t; add chain t a; add rule t a ip saddr $x",
        "bad_value 1:51",
    ),
    (
        "add table t; add chain t a; add rule t a numgen random mod 0 vmap { }",
        "bad_value 1:60",
    ),
    (
        "add table t; add chain t a; add rule t a dnat to ssh",
        "bad_value 1:50",
    ),
    (
        "add table t; add chain t a; add rule t a comment \"x",
        "unclosed_quote 1:50",
    ),
    (
        "add table t; add chain t a; add rule t a ip saddr { 10.0.0.1",
        "unclosed_block 1:51",
    ),
    (
        "add table t; add chain t a; add rule t a jump",
        "unexpected 1:46",
    ),
    (
        "table t { set s { type ipv4_addr; flags odd; }; }",
        "bad_value 1:41",
    ),
    (
        "table t { set s { type ipv4_addr; elements = { 10.0.0.1 : 5 }; }; }",
        "unexpected 1:57",
    ),
    (
        "table t { map m { type ipv4_addr : verdict; elements = { 10.0.0.1 }; }; }",
        "unexpected 1:67",
    ),
    (
        "table t { chain a { type filter hook here priority 0; }; }",
        "bad_value 1:38",
    ),
    (
        "table t { chain a { type filter hook input priority srcnat; }; }",
        "bad_value 1:53",
    ),
    ("table t { chain a { jump b; }; }", "link 1:7"),
    (
        "table t { chain a { jump b; }; chain b { goto a; }; }",
        "link 1:7",
    ),
    ("table t { chain a { ip saddr @s drop; }; }", "link 1:7"),
];

#[test]
fn every_fault_has_its_code_and_place() {
    for (text, expected) in FAULTS {
        let error = parse(text).unwrap_err();
        let (line, column) = line_column(text, error.span().offset());
        let code = error.code().unwrap().to_string();
        let code = code.rsplit("::").next().unwrap();
        assert_eq!(
            &format!("{code} {line}:{column}"),
            expected,
            "{text}: {error}"
        );
    }
}

#[test]
fn a_message_says_what_is_wrong_and_what_is_accepted() {
    let text = "table t { chain a { tcp dport ssh; }; }";
    assert_eq!(
        parse(text).unwrap_err().to_string(),
        "`ssh` is not a port's number or a range; names of services are not read"
    );
}

#[test]
fn a_large_table_takes_linear_work() {
    let mut text =
        String::from("table ip t {\n map m {\n type inet_service : verdict\n elements = { ");
    for port in 1..50_000 {
        text.push_str(&format!("{port} : goto c{port},\n"));
    }
    text.push_str("50000 : drop }\n }\n");
    for chain in 1..50_000 {
        text.push_str(&format!("chain c{chain} {{\n tcp dport vmap @n\n }}\n"));
    }
    text.push_str("map n {\n type inet_service : verdict\n elements = { ");
    for port in 1..50_000 {
        text.push_str(&format!("{port} : accept,\n"));
    }
    text.push_str("} }\n}\n");
    assert_eq!(read(&text).rules.tables[0].chains.len(), 49_999);
    let deletions = "add table t\ndelete table t\n".repeat(5_000);
    assert!(parse(&deletions).is_err());
}

/// Reads a text; what could be read is printed and read again.
fn read_and_print(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Err(error) => {
            let span = error.span();
            prop_assert!(span.offset() + span.len() <= text.len(), "{error:?}");
            let (line, column) = line_column(text, span.offset());
            prop_assert!(line >= 1 && column >= 1);
        }
        Ok(parsed) => {
            for wording in [Wording::List, Wording::KubeProxy] {
                let printed = print(&parsed.rules, wording);
                let again = parse(&printed);
                prop_assert!(again.is_ok(), "{text}\n{printed}\n{again:?}");
                let again = again.unwrap().rules;
                prop_assert_eq!(print(&again, wording), printed.clone(), "{}", text);
                if !has_unknown(&parsed.rules) {
                    prop_assert_eq!(canonical(&again), canonical(&parsed.rules), "{}", printed);
                }
            }
        }
    }
    Ok(())
}

fn has_unknown(rules: &RuleSet) -> bool {
    let chains = rules
        .tables
        .values()
        .flat_map(|table| table.chains.values());
    chains
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.statements)
        .any(|statement| matches!(statement, Statement::Unknown(_)))
}

/// Lines of rules, of either wording.
fn rule_lines() -> Vec<String> {
    let written = golden("nftables.");
    let written = written.iter().step_by(7).flat_map(|file| {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("add rule"));
        let rules = lines.map(|line| line.splitn(6, ' ').nth(5).unwrap().to_owned());
        rules.collect::<Vec<_>>()
    });
    let text = words();
    let listed = text.lines().filter(|line| line.starts_with("\t\t"));
    let listed = listed.map(|line| line.trim().to_owned());
    written.chain(listed).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Cut(Index),
    Put(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let words = select(vec![
        "{",
        "}",
        ",",
        ";",
        ":",
        ".",
        "!=",
        "==",
        "<",
        ">=",
        "vmap",
        "map",
        "set",
        "mark",
        "and",
        "|",
        "@s",
        "@",
        "10.0.0.0/8",
        "0-1",
        "*",
        "\"",
        "accept",
        "jump",
        "x",
        "#",
        "\\",
        "65536",
        "0x",
        "comment",
        "timeout",
        "5s",
        "to",
        "random",
        "ip",
        "ct",
        "state",
        "new",
        "with",
        "[::1]:80",
        "-",
        "\u{ac00}",
        "ip6",
        "meta",
    ]);
    prop_oneof![
        any::<Index>().prop_map(Change::Drop),
        any::<Index>().prop_map(Change::Double),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), words).prop_map(|(at, word)| Change::Put(at, word)),
    ]
}

fn changed(line: &str, changes: &[Change]) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for change in changes {
        let len = words.len();
        if len == 0 {
            break;
        }
        match change {
            Change::Drop(at) => drop(words.remove(at.index(len))),
            Change::Double(at) => words.insert(at.index(len), words[at.index(len)].clone()),
            Change::Swap(a, b) => words.swap(a.index(len), b.index(len)),
            Change::Cut(at) => {
                words[at.index(len)].pop();
            }
            Change::Put(at, word) => words.insert(at.index(len), (*word).to_owned()),
        }
    }
    words.join(" ")
}

/// A table with what the rules of the golden files name.
fn in_a_table(rule: &str) -> String {
    format!(
        "table ip t {{\n set s {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/8 }}; }}\n \
         map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}\n \
         chain x {{ }}\n chain mark-for-masquerade {{ }}\n chain a {{\n {rule}\n }}\n}}\n"
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC*") {
        read_and_print(&text)?;
        read_and_print(&in_a_table(&text))?;
    }

    #[test]
    fn any_bytes_of_the_grammar_are_read_or_refused(text in "[-a-f:!@0-9 \"\\\\{}=,;./\n#\\[\\]*]{0,100}") {
        read_and_print(&text)?;
        read_and_print(&in_a_table(&text))?;
        read_and_print(&format!("table ip t {{\n{text}"))?;
        read_and_print(&in_a_table(&format!("ip saddr {text}")))?;
    }

    #[test]
    fn any_json_is_read_or_refused(
        cut in any::<Index>(),
        put in select(vec!["", "null", "[]", "{}", "\"x\"", "5", "{\"set\": []}", "\\", "\u{ac00}"]),
        length in 0..40usize,
    ) {
        let text = json("words.json");
        let start = cut.index(text.len());
        let end = (start + length).min(text.len());
        let changed = [&text[..start], put, &text[end..]].concat();
        match parse_json(&changed) {
            Ok(parsed) => read_and_print(&print(&parsed.rules, Wording::List))?,
            Err(error) => {
                let span = error.span();
                prop_assert!(span.offset() + span.len() <= changed.len(), "{error:?}");
            }
        }
    }

    #[test]
    fn changed_rules_are_read_or_refused(
        line in select(rule_lines()),
        changes in prop::collection::vec(change(), 0..5),
    ) {
        read_and_print(&in_a_table(&changed(&line, &changes)))?;
    }
}
