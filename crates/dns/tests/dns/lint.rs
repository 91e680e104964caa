//! What becomes of Corefiles from release to release.

use podwire_dns::corefile::Machine;
use podwire_dns::lint::{Lint, lint};
use podwire_dns::version::Version;

const CLASSIC: &str = ".:53 {
    errors
    health
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        upstream
        fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    proxy . /etc/resolv.conf
    cache 30
    reload
}
";

fn newest(text: &str) -> Lint {
    lint("Corefile", text, Version::NEWEST, &Machine::default())
}

fn migrated(text: &str) -> String {
    newest(text).migrated.unwrap().text
}

#[test]
fn the_classic_corefile_gains_what_later_defaults_have() {
    let lint = newest(CLASSIC);
    assert!(lint.loaded.is_err());
    let notes: Vec<_> = lint.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "Corefile:6:9: option upstream of kubernetes: does nothing since 1.4.0, is refused since 1.7.0",
            "Corefile:10:5: plugin proxy: is refused since 1.5.0; instead: forward",
        ]
    );
    let migrated = lint.migrated.unwrap();
    assert_eq!((migrated.from, migrated.refusal), (Version::OLDEST, None));
    assert_eq!(
        migrated.text,
        ".:53 {
    errors
    health {
        lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    reload
    loop
    ready
}
"
    );
    // What was brought along needs nothing more.
    assert_eq!(newest(&migrated.text).migrated, None);
}

#[test]
fn stub_domains_of_proxy_become_blocks() {
    let text = ".:53 {\n proxy stub.example 10.0.0.1 {\n  policy first\n  protocol dns force_tcp\n }\n proxy . 10.0.0.2\n}";
    let now = migrated(text);
    let stub = "stub.example {\n    forward . 10.0.0.1 {\n        policy sequential\n        force_tcp\n        max_concurrent 1000\n    }\n    loop\n    errors\n    cache 30\n}\n";
    assert!(now.ends_with(stub), "{now}");
}

#[test]
fn transfers_become_a_plugin() {
    let text = ".:53 {\n kubernetes cluster.local {\n  transfer to * 10.0.0.1\n }\n}";
    let now = migrated(text);
    assert!(
        now.contains("    transfer {\n        to * 10.0.0.1\n    }\n"),
        "{now}"
    );
}

#[test]
fn what_an_old_release_does_not_have_yet_is_named() {
    let text = ".:53 {\n ready\n forward . 1.1.1.1 {\n  max_concurrent 9\n }\n}";
    let found = lint("Corefile", text, Version::new(1, 3, 1), &Machine::default());
    let notes: Vec<_> = found.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "Corefile:2:2: plugin ready: came with 1.5.0",
            "Corefile:4:3: option max_concurrent of forward: came with 1.6.9",
        ]
    );
    assert_eq!(found.migrated, None);
}

#[test]
fn what_the_latest_releases_brought_is_refused_before_them() {
    let kubernetes = ". {\n kubernetes cluster.local {\n startup_timeout 1s\n }\n }";
    let forward = ". {\n forward . 192.0.2.53 {\n max_connect_attempts 2\n }\n }";
    let file = ". {\n file db.test test {\n fallthrough\n }\n }";
    for (text, before, since) in [
        (". {\n nomad\n }", "1.12.4", "1.13.0"),
        (". {\n quic {\n max_streams 2\n }\n }", "1.12.1", "1.12.2"),
        (file, "1.12.1", "1.12.2"),
        (kubernetes, "1.12.2", "1.12.3"),
        (forward, "1.13.1", "1.13.2"),
        (
            ". {\n rewrite edns0 local unset 0xffee\n }",
            "1.12.2",
            "1.12.3",
        ),
    ] {
        let loads = |version: &str| {
            let version: Version = version.parse().unwrap();
            lint("Corefile", text, version, &Machine::default()).loaded
        };
        assert!(loads(before).is_err(), "{before}: {text}");
        let loaded = loads(since);
        assert!(loaded.is_ok(), "{since}: {text}: {loaded:?}");
    }
}
