//! `acl [ZONES…] { ACTION [type …] [net …] [file …] }`.

use std::path::Path;
use std::sync::Arc;

use super::super::Refusal;
use super::super::plugin::{AclAction, AclPolicy, AclRule};
use super::Controller;
use super::template::record_type;
use crate::version::Version;

pub(super) fn read(c: &mut Controller<'_>) -> Result<Vec<AclRule>, Refusal> {
    let mut rules = Vec::new();
    while c.next() {
        let args = c.remaining_args();
        let mut rule = AclRule {
            zones: c.zones(&args),
            policies: Vec::new(),
        };
        while let Some(option) = c.next_option() {
            rule.policies.push(policy(c, &option)?);
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn policy(c: &mut Controller<'_>, action: &str) -> Result<AclPolicy, Refusal> {
    let newer = |minor, patch| c.version >= Version::new(1, minor, patch);
    let action = match &*action.to_lowercase() {
        "allow" => AclAction::Allow,
        "block" => AclAction::Block,
        "filter" if newer(8, 3) => AclAction::Filter,
        "drop" if newer(10, 1) => AclAction::Drop,
        _ => {
            let val = c.val();
            let expected = match (newer(8, 3), newer(10, 1)) {
                (_, true) => "'allow', 'block', 'filter' or 'drop'",
                (true, false) => "'allow', 'block' or 'filter'",
                (false, false) => "'allow' or 'block'",
            };
            return Err(c.err(format!("unexpected token '{val}'; expect {expected}")));
        }
    };
    let mut policy = AclPolicy {
        action,
        qtypes: Vec::new(),
        sources: Vec::new(),
    };
    let (mut any_type, mut any_source) = (false, false);
    let mut section = c.next_arg().then(|| c.word());
    while let Some(name) = section.take() {
        let mut words: Vec<Arc<str>> = Vec::new();
        while c.next_arg() {
            let word = c.word();
            if matches!(&*word.to_lowercase(), "type" | "net" | "file") {
                section = Some(word);
                break;
            }
            words.push(word);
        }
        let name = name.to_lowercase();
        if words.is_empty() {
            return Err(c.err(format!("no token specified in '{name}' section")));
        }
        match &*name {
            "type" => {
                for word in words {
                    if &*word == "*" {
                        any_type = true;
                        break;
                    }
                    let kind = record_type(&word);
                    let illegal =
                        || c.err(format!("unexpected token '{word}'; expect legal QTYPE"));
                    policy.qtypes.push(kind.ok_or_else(illegal)?);
                }
            }
            "net" => {
                for word in words {
                    any_source |= source(c, &word, &mut policy)?;
                }
            }
            "file" => {
                for file in words {
                    let text = c.around.read(Path::new(&*file)).map_err(|error| {
                        c.err(format!("unable to load networks from local file: {error}"))
                    })?;
                    for line in text.lines() {
                        let line = line.split('#').next().unwrap_or("").trim();
                        if !line.is_empty() {
                            any_source |= source(c, line, &mut policy)?;
                        }
                    }
                }
            }
            _ => {
                let val = c.val();
                let message = format!("unexpected token '{val}'; expect 'type | net | file'");
                return Err(c.err(message));
            }
        }
    }
    if any_type {
        policy.qtypes.clear();
    }
    if any_source {
        policy.sources.clear();
    }
    Ok(policy)
}

/// Adds a network; says whether it is every address.
fn source(c: &Controller<'_>, word: &str, policy: &mut AclPolicy) -> Result<bool, Refusal> {
    if word == "*" {
        return Ok(true);
    }
    let network = match word.contains('/') {
        true => word.to_owned(),
        false if word.contains(':') => format!("{word}/128"),
        false => format!("{word}/32"),
    };
    let illegal = || c.err(format!("illegal CIDR notation '{network}'"));
    policy.sources.push(network.parse().map_err(|_| illegal())?);
    Ok(false)
}
