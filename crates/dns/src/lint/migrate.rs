//! What a Corefile becomes from release to release.
//!
//! Lines that a release refuses or reads over go, or become what is there instead; what a release's
//! default Corefile gained is added, as corefile-migration does.
//!
//! # Sources
//! migration/{plugins,versions}.go of coredns/corefile-migration: each step names its release there.
//!
//! # Departures
//! `policy first` of `proxy` becomes `policy sequential`; there it is kept, and refused by `forward`.
//! Options `no_reload` and `transfer` of `file` and `auto`, of which it knows nothing, are brought
//! along as the release notes of 1.5.0 and 1.8.0 say. Plugins are added in one order.

use super::outline::{Line, Outline};
use crate::version::Version;

/// One step: what to do from a release on.
type Step = fn(&mut Outline, &mut Vec<String>);

const STEPS: &[(Version, Step)] = &[
    (Version::new(1, 2, 1), |cf, _| {
        add_plugin(cf, "loop", &["forward", "proxy"]);
    }),
    (Version::new(1, 3, 1), |cf, _| {
        options(cf, &["kubernetes"], "endpoint", |mut option| {
            option.words.truncate(2);
            Some(option)
        });
    }),
    (Version::new(1, 4, 0), |cf, left| {
        options(cf, &["kubernetes"], "upstream", |_| None);
        proxy_to_forward(cf);
        stub_domains(cf, left);
    }),
    (Version::new(1, 5, 0), |cf, _| {
        options(cf, &["kubernetes"], "resyncperiod", |_| None);
        options(cf, &["file", "auto"], "no_reload", |_| {
            Some(Line::new(&["reload", "0"], None))
        });
        add_plugin(cf, "ready", &["kubernetes"]);
    }),
    (Version::new(1, 6, 5), |cf, _| {
        add_option(cf, "health", &["lameduck", "5s"]);
    }),
    (Version::new(1, 7, 0), |cf, left| {
        let mut plugins = cf.lines.iter().flat_map(Line::block);
        if plugins.any(|plugin| plugin.name() == "federation") {
            left.push(
                "federation left with 1.7.0; it is an external plugin since, coredns/federation"
                    .to_owned(),
            );
        }
        add_option(cf, "forward", &["max_concurrent", "1000"]);
    }),
    (Version::new(1, 8, 0), |cf, _| transfers(cf)),
];

/// Brings a Corefile from a release to a later one; says what is left to a person.
pub(super) fn migrate(mut cf: Outline, from: Version, to: Version) -> (Outline, Vec<String>) {
    let mut left = Vec::new();
    for (version, step) in STEPS {
        if from < *version && *version <= to {
            step(&mut cf, &mut left);
        }
    }
    (cf, left)
}

/// The plugins of every block.
fn plugins(cf: &mut Outline) -> impl Iterator<Item = &mut Line> {
    cf.lines
        .iter_mut()
        .filter_map(|line| line.block.as_mut())
        .flatten()
}

/// Does something to each option of that name.
fn options(cf: &mut Outline, of: &[&str], name: &str, change: fn(Line) -> Option<Line>) {
    for plugin in plugins(cf).filter(|plugin| of.contains(&plugin.name())) {
        let Some(block) = &mut plugin.block else {
            continue;
        };
        let lines = std::mem::take(block).into_iter();
        *block = lines
            .filter_map(|line| {
                if line.name() == name {
                    change(line)
                } else {
                    Some(line)
                }
            })
            .collect();
        if block.is_empty() {
            plugin.block = None;
        }
    }
}

/// Adds a plugin to the blocks that have one of these, and not it.
fn add_plugin(cf: &mut Outline, name: &str, with: &[&str]) {
    for block in cf.lines.iter_mut().filter_map(|line| line.block.as_mut()) {
        let has = |name: &str| block.iter().any(|plugin| plugin.name() == name);
        if !has(name) && with.iter().any(|with| has(with)) {
            block.push(Line::new(&[name], None));
        }
    }
}

/// Adds an option to each plugin of that name that lacks it.
fn add_option(cf: &mut Outline, of: &str, words: &[&str]) {
    for plugin in plugins(cf).filter(|plugin| plugin.name() == of) {
        if plugin
            .block()
            .iter()
            .all(|option| option.name() != words[0])
        {
            let option = Line::new(words, None);
            plugin.block.get_or_insert_default().push(option);
        }
    }
}

fn proxy_to_forward(cf: &mut Outline) {
    for plugin in plugins(cf).filter(|plugin| plugin.name() == "proxy") {
        plugin.set_word(0, "forward");
    }
    for name in ["fail_timeout", "max_fails", "health_check", "spray"] {
        options_of_proxy(cf, name, |_| None);
    }
    options_of_proxy(cf, "policy", |mut option| match option.word(1) {
        "least_conn" => Some(Line::new(&["force_tcp"], None)),
        "first" => {
            option.set_word(1, "sequential");
            Some(option)
        }
        _ => Some(option),
    });
    options_of_proxy(cf, "protocol", |option| {
        let tcp = option.words.iter().any(|word| &*word.text == "force_tcp");
        tcp.then(|| Line::new(&["force_tcp"], None))
    });
}

/// Options that only `proxy` has, or that mean the same to `forward`, once it is one.
fn options_of_proxy(cf: &mut Outline, name: &str, change: fn(Line) -> Option<Line>) {
    options(cf, &["forward"], name, change);
}

/// `forward` was once in a block: those for other zones than the root get blocks of their own.
fn stub_domains(cf: &mut Outline, left: &mut Vec<String>) {
    let mut blocks = Vec::new();
    for server in &mut cf.lines {
        let default = matches!(&*server.words, [key] if matches!(&*key.text, "." | ".:53"));
        let Some(block) = &mut server.block else {
            continue;
        };
        let is_stub = |plugin: &Line| plugin.name() == "forward" && plugin.word(1) != ".";
        if !default {
            if block
                .iter()
                .filter(|plugin| plugin.name() == "forward")
                .count()
                > 1
            {
                left.push("forward may stand once in a block until 1.9.4; where keys are not just .:53, that is left".to_owned());
            }
            continue;
        }
        let (stubs, rest) = std::mem::take(block).into_iter().partition(is_stub);
        *block = rest;
        for mut stub in stubs {
            let zone = stub.word(1).to_owned();
            stub.set_word(1, ".");
            let mut lines = vec![stub];
            lines.extend(
                [&["loop"][..], &["errors"], &["cache", "30"]].map(|words| Line::new(words, None)),
            );
            blocks.push(Line::new(&[&zone], Some(lines)));
        }
    }
    cf.lines.extend(blocks);
}

/// `transfer to ADDRESS…` of plugins becomes a plugin of its own.
fn transfers(cf: &mut Outline) {
    for block in cf.lines.iter_mut().filter_map(|line| line.block.as_mut()) {
        let mut addresses: Vec<String> = Vec::new();
        for plugin in block.iter_mut() {
            if !matches!(plugin.name(), "kubernetes" | "file" | "auto" | "secondary") {
                continue;
            }
            let Some(options) = &mut plugin.block else {
                continue;
            };
            let (old, rest): (Vec<_>, Vec<_>) = std::mem::take(options)
                .into_iter()
                .partition(|o| o.name() == "transfer");
            plugin.block = (!rest.is_empty()).then_some(rest);
            let to = old.iter().filter(|option| option.word(1) == "to");
            for word in to.flat_map(|option| option.words.iter().skip(2)) {
                if addresses.iter().all(|known| **known != *word.text) {
                    addresses.push(word.text.to_string());
                }
            }
        }
        if !addresses.is_empty() && block.iter().all(|plugin| plugin.name() != "transfer") {
            let mut words = vec!["to"];
            words.extend(addresses.iter().map(String::as_str));
            let to = Line::new(&words, None);
            block.push(Line::new(&["transfer"], Some(vec![to])));
        }
    }
}
