//! Which Corefiles CoreDNS 1.13.2 and 1.3.1 start with, and what they say of the others.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use podwire_dns::corefile::{Corefile, Nothing, Plugin, PodMode, Refusal, Surroundings, Transport};
use podwire_dns::version::Version;
use proptest::prelude::*;
use serde::Deserialize;

/// A Corefile, and what came of it.
#[derive(Deserialize)]
struct Load {
    name: String,
    corefile_text: String,
    loads: BTreeMap<String, bool>,
    error: BTreeMap<String, String>,
}

#[test]
fn corefiles_are_loaded_and_refused_as_by_coredns() {
    for line in include_str!("../data/corefile_load.jsonl").lines() {
        let case: Load = serde_json::from_str(line).unwrap();
        for (version, loads) in &case.loads {
            let read = load(&case.corefile_text, version.parse().unwrap());
            assert_eq!(read.is_ok(), *loads, "{} {version}: {read:?}", case.name);
            if let Err(refusal) = read {
                // The table has no lines.
                let mut told = refusal.to_string();
                if let Some(place) = refusal.place {
                    told = told.replace(&format!(":{} - ", place.line), ": ");
                }
                assert_eq!(told, case.error[version], "{} {version}", case.name);
            }
        }
    }
}

fn load(text: &str, version: Version) -> Result<Corefile, Refusal> {
    Corefile::load("Corefile", text, version, &Nothing)
}

fn newest(text: &str) -> Result<Corefile, Refusal> {
    load(text, Version::NEWEST)
}

/// What CoreDNS 1.13.2 would log.
fn refusal(text: &str) -> String {
    newest(text).unwrap_err().to_string()
}

/// A few files and one variable.
struct Files(BTreeMap<&'static str, &'static str>);

impl Surroundings for Files {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        text.map(|text| (*text).to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let folder = format!("{}/", folder.display());
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&*folder));
        Ok(names.map(str::to_owned).collect())
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "ZONE").then(|| "cluster.local".to_owned())
    }
}

#[test]
fn plugins_stand_in_the_order_in_which_they_are_asked() {
    let corefile =
        newest(".:53 {\n forward . 1.1.1.1\n kubernetes cluster.local\n errors\n cache\n}")
            .unwrap();
    assert!(matches!(
        &*corefile.servers[0].plugins,
        [
            Plugin::Errors,
            Plugin::Cache(_),
            Plugin::Kubernetes(_),
            Plugin::Forward(_)
        ]
    ));
}

#[test]
fn a_block_is_a_server_for_each_port_and_transport_of_its_keys() {
    let corefile = newest("a.org:53 B.org, 10.0.0.0/24 tls://. {\n whoami\n}").unwrap();
    let servers: Vec<_> = corefile
        .servers
        .iter()
        .map(|s| {
            (
                s.transport,
                s.port,
                s.zones.iter().map(|z| z.as_str()).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        servers,
        [
            (
                Transport::Dns,
                53,
                vec!["a.org.", "b.org.", "0.0.10.in-addr.arpa."]
            ),
            (Transport::Tls, 853, vec!["."]),
        ]
    );
}

#[test]
fn options_of_kubernetes_are_read() {
    let text = ".:53 {\n kubernetes Cluster.Local 10.96.0.0/12 {\n pods verified\n namespaces a b\n ttl 30\n labels tier in (db, front)\n fallthrough in-addr.arpa\n ignore empty_service\n }\n}";
    let corefile = newest(text).unwrap();
    let [Plugin::Kubernetes(kubernetes)] = &*corefile.servers[0].plugins else {
        panic!("{corefile:?}");
    };
    assert_eq!(kubernetes.zones.len(), 17);
    assert_eq!(
        kubernetes.zones[kubernetes.primary].as_str(),
        "cluster.local."
    );
    assert_eq!((kubernetes.pods, kubernetes.ttl), (PodMode::Verified, 30));
    assert!(kubernetes.ignore_empty_service && kubernetes.namespaces.contains("b"));
    assert!(kubernetes.fallthrough.through("1.2.in-addr.arpa."));
    let labels = kubernetes.labels.as_ref().unwrap();
    assert!(labels.matches(|key| (key == "tier").then_some("db")));
}

#[test]
fn variables_snippets_and_files_are_put_in_place() {
    let files = Files(BTreeMap::from([
        ("conf/Corefile", ""),
        ("conf/a.conf", "errors\nimport more"),
        ("conf/b.conf", "cache 7"),
        (
            "conf/resolv",
            "nameserver 9.9.9.9 # first\nsearch x\nnameserver ::1",
        ),
    ]));
    let text =
        "(more) {\n kubernetes {$ZONE}\n}\n.:53 {\n import *.conf\n forward . conf/resolv\n}";
    let corefile = Corefile::load("conf/Corefile", text, Version::NEWEST, &files).unwrap();
    let plugins = &corefile.servers[0].plugins;
    assert!(matches!(&plugins[0], Plugin::Errors));
    assert!(matches!(&plugins[1], Plugin::Cache(cache) if cache.success.max_ttl.as_secs() == 7));
    assert!(
        matches!(&plugins[2], Plugin::Kubernetes(k) if k.zones[0].as_str() == "cluster.local.")
    );
    let Plugin::Forward(forward) = &plugins[3] else {
        panic!("{plugins:?}");
    };
    let to: Vec<_> = forward[0].to.iter().map(|to| to.addr.to_string()).collect();
    assert_eq!(to, ["9.9.9.9:53", "[::1]:53"]);
}

#[test]
fn imports_that_lead_nowhere_or_round_are_refused() {
    assert_eq!(
        refusal(".:53 {\n import nosuch\n}"),
        "Corefile:2 - Error during parsing: File to import not found: nosuch"
    );
    assert_eq!(
        refusal("(a) {\n import a\n}\n.:53 {\n import a\n}"),
        "Corefile:3 - Error during parsing: maximum snippet import depth (1000) exceeded"
    );
    assert_eq!(
        refusal("(a) {\n import b\n}\n(b) {\n import a\n}\n.:53 {\n import a\n}"),
        "Corefile:5 - Error during parsing: maximum snippet import depth (1000) exceeded"
    );
    let round = Files(BTreeMap::from([("loop", "import loop")]));
    let read = Corefile::load(
        "Corefile",
        ".:53 {\n import loop\n}",
        Version::NEWEST,
        &round,
    );
    let told = read.unwrap_err().to_string();
    assert!(
        told.ends_with("maximum file import depth (1000) exceeded"),
        "{told}"
    );
}

#[test]
fn a_zone_is_served_once_at_a_port() {
    assert_eq!(
        refusal("a.org {\n whoami\n}\nA.ORG:53 {\n whoami\n}"),
        "cannot serve dns://a.org.:53 - it is already defined"
    );
    assert_eq!(
        refusal("a.org {\n bind 127.0.0.1\n}\na.org {\n whoami\n}"),
        "cannot serve dns://a.org.:53 - zone overlap listener capacity with dns://a.org.:53 on 127.0.0.1"
    );
    assert!(newest("a.org {\n bind 127.0.0.1\n}\na.org {\n bind 127.0.0.2\n}").is_ok());
}

#[test]
fn the_first_refusal_is_that_of_the_first_plugin_in_order() {
    let text = ".:53 {\n forward .\n cache x y\n}\nb:53 {\n cache {\n  nosuch 1\n }\n}";
    assert_eq!(
        refusal(text),
        "plugin/cache: Corefile:7 - Error during parsing: Wrong argument count or unexpected line ending after 'nosuch'"
    );
}

#[test]
fn plugins_refuse_in_the_words_of_their_set_ups() {
    let parsing = "Corefile:2 - Error during parsing";
    for (line, told) in [
        ("errors x", format!("plugin/errors: {parsing}: invalid log file: x")),
        ("log {\n class x\n }", "plugin/log: invalid Class: x".to_owned()),
        ("health 8080", "plugin/health: address 8080: missing port in address".to_owned()),
        ("loop x", format!("plugin/loop: {parsing}: Wrong argument count or unexpected line ending after 'x'")),
        ("cache 5 {\n prefetch 1 1m 5\n }", "plugin/cache: last character of percentage should be `%`, but is: '5'".to_owned()),
        ("rewrite edns0 nsid set x", "plugin/rewrite: EDNS0 NSID rules do not accept args".to_owned()),
        ("rewrite type A", "plugin/rewrite: type rules must have exactly two arguments".to_owned()),
        ("rewrite name regex (a {1}", "plugin/rewrite: invalid regex matching pattern: (a".to_owned()),
        ("rewrite name regex a {1}", "plugin/rewrite: the rewrite regex pattern ({1}) uses more subexpressions than its corresponding matching regex pattern (a)".to_owned()),
        ("template IN A {\n match (\n }", "plugin/template: Corefile:3 - Error during parsing: could not parse regex: (, error parsing regexp: missing closing ): `(`".to_owned()),
        ("forward . https://1.1.1.1", "plugin/forward: 'https' is not supported as a destination protocol in forward: https://1.1.1.1:443".to_owned()),
        ("forward . 1.1.1.1 {\n health_check 1\n }", "plugin/forward: time: missing unit in duration \"1\"".to_owned()),
        ("kubernetes 10.0.0.0/24", "plugin/kubernetes: non-reverse zone name must be used".to_owned()),
        ("autopath /no", "plugin/autopath: failed to parse \"/no\": open /no: no such file or directory".to_owned()),
        ("hosts {\n ttl 0\n }", "plugin/hosts: Corefile:3 - Error during parsing: ttl provided is invalid".to_owned()),
    ] {
        assert_eq!(refusal(&format!(".:53 {{\n {line}\n}}")), told);
    }
}

#[test]
fn options_come_and_go_with_releases() {
    let with = |plugin: &str, option: &str| format!(".:53 {{\n {plugin} {{\n  {option}\n }}\n}}");
    for (plugin, option, without, having) in [
        ("cache", "serve_stale", "1.6.5", "1.6.6"),
        ("cache", "keepttl", "1.10.0", "1.10.1"),
        ("forward . 1.1.1.1", "max_concurrent 5", "1.6.8", "1.6.9"),
        ("forward . 1.1.1.1", "next NXDOMAIN", "1.11.3", "1.11.4"),
        ("kubernetes a.b", "upstream", "1.7.0", "1.6.9"),
    ] {
        let text = with(plugin, option);
        assert!(
            load(&text, without.parse().unwrap()).is_err(),
            "{option} {without}"
        );
        assert!(
            load(&text, having.parse().unwrap()).is_ok(),
            "{option} {having}"
        );
    }
}

/// Words that Corefiles are made of, and some that they are not.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "{",
        "}",
        ".:53",
        "import",
        "(a)",
        "a",
        "errors",
        "cache",
        "forward",
        ".",
        "1.1.1.1",
        "kubernetes",
        "cluster.local",
        "rewrite",
        "name",
        "regex",
        "template",
        "IN",
        "A",
        "\"",
        "{$X}",
        "stop",
        "answer",
        "auto",
        "ttl",
        "10.0.0.0/7",
        "fd00::/61",
        "log",
        "class",
        "hosts",
        "\n",
        "\n",
        "\n",
        "acl",
        "allow",
        "net",
        "prefetch",
        "success",
        "5",
        "-",
        "10%",
        "match",
        "labels",
        "in",
        "(",
        "health",
        "lameduck",
        "5s",
        "proxy",
        "policy",
        "file",
        "auto",
        "directory",
        "reload",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    /// Nor does a release panic on it, or take more than a moment.
    #[test]
    fn any_text_is_a_corefile_or_refused(words in prop::collection::vec(word(), 0..60)) {
        let text = words.join(" ");
        for version in [Version::NEWEST, Version::new(1, 3, 1)] {
            let _ = load(&text, version);
        }
        let _ = podwire_dns::lint::lint("Corefile", &text, Version::NEWEST, &Nothing);
    }

    /// A refusal's place is one of the text.
    #[test]
    fn a_refusal_stands_in_the_text(words in prop::collection::vec(word(), 0..40)) {
        let text = words.join(" ");
        if let Err(Refusal { place: Some(place), .. }) = newest(&text) {
            prop_assert!(place.line >= 1 && place.line as usize <= text.split('\n').count().max(1));
            prop_assert!(place.column >= 1);
        }
    }
}
