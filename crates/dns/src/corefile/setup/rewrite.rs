//! `rewrite [continue|stop] TYPE …`, on a line or as the words of a block.

use std::ops::RangeInclusive;
use std::sync::Arc;

use hickory_proto::rr::DNSClass;

use super::super::rewrite::{
    AnswerPart, AnswerRewrite, AnswerRule, NameMatch, NameRewrite, Rewrite, RewriteRule, Then,
};
use super::super::{Pattern, Refusal, ZoneName, go};
use super::Controller;
use super::template::{rcode, record_type};
use crate::version::Version;

type Words<'w> = &'w [Arc<str>];

pub(super) fn read(c: &mut Controller<'_>) -> Result<Vec<RewriteRule>, Refusal> {
    let mut rules = Vec::new();
    while c.next() {
        let mut args = c.remaining_args();
        if args.len() < 2 {
            while c.next_block() {
                args.push(c.word());
            }
        }
        let rule = rule(&args, c.version);
        rules.push(rule.map_err(|message| c.plain(message))?);
    }
    Ok(rules)
}

fn rule(args: Words<'_>, version: Version) -> Result<RewriteRule, String> {
    let first = args.first().ok_or("no rule type specified for rewrite")?;
    let (then, kind, rest) = match &*first.to_lowercase() {
        word @ ("continue" | "stop") => {
            let then = if word == "stop" {
                Then::Stop
            } else {
                Then::Continue
            };
            let kind = args.get(1).ok_or("no rule type specified for rewrite")?;
            (then, kind.to_lowercase(), &args[2..])
        }
        kind => (Then::Stop, kind.to_owned(), &args[1..]),
    };
    let two = || match rest {
        [from, to] => Ok((from, to)),
        _ => Err(format!("{kind} rules must have exactly two arguments")),
    };
    let rewrite = match &*kind {
        "answer" => return Err("response rewrites must begin with a name rule".to_owned()),
        "name" => Rewrite::Name(name(rest, version)?),
        "class" => {
            let (from, to) = two()?;
            let class = |word: &str| {
                let invalid = || format!("invalid class {:?}", word.to_uppercase());
                class(&word.to_uppercase()).ok_or_else(invalid)
            };
            let (from, to) = (class(from)?, class(to)?);
            Rewrite::Class { from, to }
        }
        "type" => {
            let (from, to) = two()?;
            let record_type = |word: &str| {
                let invalid = || format!("invalid type {:?}", word.to_uppercase());
                record_type(&word.to_uppercase()).ok_or_else(invalid)
            };
            let (from, to) = (record_type(from)?, record_type(to)?);
            Rewrite::Type { from, to }
        }
        "edns0" => edns0(rest, version)?,
        "ttl" if version.has_option("rewrite", "ttl") => ttl(rest)?,
        "cname" if version.has_option("rewrite", "cname") => cname(rest)?,
        "rcode" if version.has_option("rewrite", "rcode") => rewrite_rcode(rest)?,
        _ => return Err(format!("invalid rule type {first:?}")),
    };
    Ok(RewriteRule { then, rewrite })
}

/// `edns0 local|nsid|subnet append|replace|set …`.
fn edns0(args: Words<'_>, version: Version) -> Result<Rewrite, String> {
    let [kind, action, rest @ ..] = args else {
        return Err("too few arguments for an EDNS0 rule".to_owned());
    };
    let action = action.to_lowercase();
    let newer = version >= Version::new(1, 11, 4);
    match &*action {
        "append" | "replace" | "set" => {}
        "unset" if version >= Version::new(1, 12, 3) => {}
        _ => return Err(format!("invalid action: {action:?}")),
    }
    let revert = newer && rest.last().is_some_and(|word| &**word == "revert");
    let count = rest.len() - usize::from(revert);
    match &*kind.to_lowercase() {
        // What is unset has no value.
        _ if action == "unset" => {}
        "local" if count != 2 => {
            return Err("EDNS0 local rules require exactly three args".to_owned());
        }
        "nsid" if count != 0 => return Err("EDNS0 NSID rules do not accept args".to_owned()),
        "subnet" if count != 2 => {
            return Err("EDNS0 subnet rules require exactly three args".to_owned());
        }
        "local" | "nsid" | "subnet" => {}
        other => return Err(format!("invalid rule type {other:?}")),
    }
    Ok(Rewrite::Edns0(
        args.iter().map(|word| word.to_string()).collect(),
    ))
}

/// A class by its name.
pub(super) fn class(name: &str) -> Option<DNSClass> {
    match name {
        "IN" => Some(DNSClass::IN),
        "CH" => Some(DNSClass::CH),
        "HS" => Some(DNSClass::HS),
        "NONE" => Some(DNSClass::NONE),
        "ANY" => Some(DNSClass::ANY),
        "CS" => Some(DNSClass::Unknown(2)),
        _ => None,
    }
}

fn normal(name: &str) -> String {
    ZoneName::new(name).as_str().to_owned()
}

/// `name [exact|prefix|suffix|substring|regex] FROM TO [answer …]`.
fn name(args: Words<'_>, version: Version) -> Result<NameRewrite, String> {
    let (kind, from, to, answer) = match args {
        [] | [_] => return Err("too few arguments for a name rule".to_owned()),
        [from, to] => ("exact".to_owned(), from, to, &[][..]),
        [kind, from, to, answer @ ..] => (kind.to_lowercase(), from, to, answer),
    };
    let answer = if version < Version::new(1, 8, 4) {
        old_answer(&kind, args.len(), answer, version)?
    } else if answer.is_empty() {
        AnswerRewrite::default()
    } else {
        answer_rules(&kind, answer)?
    };
    let matching = match &*kind {
        "exact" => {
            pattern(&normal(to), &normal(from))?;
            NameMatch::Exact(normal(from))
        }
        "prefix" => NameMatch::Prefix(normal(from)),
        "suffix" => NameMatch::Suffix(normal(from)),
        "substring" => NameMatch::Substring(normal(from)),
        "regex" => NameMatch::Regex(pattern(from, to)?),
        other => {
            return Err(format!(
                "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: {other}"
            ));
        }
    };
    let to = normal(to);
    Ok(NameRewrite {
        matching,
        to,
        answer,
    })
}

/// `answer name FROM TO` as it was until 1.8.4.
fn old_answer(
    kind: &str,
    words: usize,
    answer: Words<'_>,
    version: Version,
) -> Result<AnswerRewrite, String> {
    let with_question = words == 5 && version >= Version::new(1, 5, 0);
    if words > 3 && words != 7 && !with_question {
        return Err("response rewrites must consist only of a name rule with 3 arguments and an answer rule with 3 arguments".to_owned());
    }
    if words < 5 {
        return Ok(AnswerRewrite::default());
    }
    if kind != "regex" {
        return Err("the rewrite of response is supported only for name regex rule".to_owned());
    }
    let words: Vec<&str> = answer.iter().map(|word| &**word).collect();
    match &*words {
        ["answer", what, from, to] if what.eq_ignore_ascii_case("name") => {
            let rules = vec![answer_rule(AnswerPart::Name, from, to)?];
            Ok(AnswerRewrite { auto: false, rules })
        }
        // The names of the answer become the one asked for.
        ["answer", what] if what.eq_ignore_ascii_case("question") => Ok(AnswerRewrite {
            auto: true,
            rules: Vec::new(),
        }),
        _ => Err("exceeded the number of arguments for a regex name rule".to_owned()),
    }
}

/// `answer auto`, `answer name FROM TO` and `answer value FROM TO`, of which there may be several.
fn answer_rules(kind: &str, args: Words<'_>) -> Result<AnswerRewrite, String> {
    if args.len() < 2 {
        return Err(format!("invalid arguments for {kind} rule"));
    }
    let mut found = AnswerRewrite::default();
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        if &**word == "answer" {
            rest = after;
        } else if rest.len() == args.len() {
            return Err(format!(
                "exceeded the number of arguments for a non-answer rule argument for {kind} rule"
            ));
        }
        let Some((what, after)) = rest.split_first() else {
            return Err(format!("type missing for answer rule for {kind} rule"));
        };
        rest = after;
        let part = match &**what {
            "auto" => {
                found.auto = true;
                continue;
            }
            "name" => AnswerPart::Name,
            "value" => AnswerPart::Value,
            other => {
                return Err(format!(
                    "invalid type {other:?} for answer rule for {kind} rule"
                ));
            }
        };
        let [from, to, after @ ..] = rest else {
            return Err(format!(
                "{what} answer rule for {kind} rule: 2 arguments required"
            ));
        };
        let rule = answer_rule(part, from, to);
        found
            .rules
            .push(rule.map_err(|why| format!("{what} answer rule for {kind} rule: {why}"))?);
        rest = after;
    }
    if found.auto && found.rules.iter().any(|rule| rule.on == AnswerPart::Name) {
        // CoreDNS spells it so.
        return Err(
            "auto name answer rule cannot be combined with explicit name anwer rules".to_owned(),
        );
    }
    Ok(found)
}

fn answer_rule(on: AnswerPart, from: &str, to: &str) -> Result<AnswerRule, String> {
    Ok(AnswerRule {
        on,
        from: pattern(from, to)?,
        to: normal(to),
    })
}

/// An expression that has the groups which its replacement names.
fn pattern(from: &str, to: &str) -> Result<Pattern, String> {
    let invalid = |_| format!("invalid regex matching pattern: {from}");
    let pattern = Pattern::new(from).map_err(invalid)?;
    let used = (0..=100)
        .filter(|n| to.contains(&format!("{{{n}}}")))
        .count();
    // The whole match is a group for the library, and none for CoreDNS.
    if used >= pattern.regex().captures_len() {
        return Err(format!(
            "the rewrite regex pattern ({to}) uses more subexpressions than its corresponding matching regex pattern ({from})"
        ));
    }
    Ok(pattern)
}

/// `[exact|…] NAME` of the rules that are not about names.
fn matching(kind: Option<&str>, name: &str, rule: &str) -> Result<NameMatch, String> {
    Ok(match kind.map(str::to_lowercase).as_deref() {
        None | Some("exact") => NameMatch::Exact(normal(name)),
        Some("prefix") => NameMatch::Prefix(normal(name)),
        Some("suffix") => NameMatch::Suffix(normal(name)),
        Some("substring") => NameMatch::Substring(normal(name)),
        Some("regex") => {
            let invalid = |_| format!("invalid regex pattern in a {rule} rule: {name}");
            NameMatch::Regex(Pattern::new(name).map_err(invalid)?)
        }
        Some(_) => {
            return Err(format!(
                "{rule} rule supports only exact, prefix, suffix, substring, and regex name matching"
            ));
        }
    })
}

/// `ttl [exact|…] NAME TTL|MIN-MAX`.
fn ttl(args: Words<'_>) -> Result<Rewrite, String> {
    let (kind, name, text) = match args {
        [] | [_] => return Err(format!("too few ({}) arguments for a ttl rule", args.len())),
        [name, ttl] => (None, name, ttl),
        [kind, name, ttl] => (Some(&**kind), name, ttl),
        _ => return Err("invalid TTL '' for a ttl rule".to_owned()),
    };
    let ttl = ttl_range(text).ok_or_else(|| format!("invalid TTL '{text}' for a ttl rule"))?;
    let matching = matching(kind, name, "ttl")?;
    Ok(Rewrite::Ttl { matching, ttl })
}

fn ttl_range(text: &str) -> Option<RangeInclusive<u32>> {
    let number = |text: &str| go::parse_uint::<u32>(text).ok();
    match text.split_once('-') {
        None => number(text).map(|ttl| ttl..=ttl),
        Some(("", "")) => None,
        Some((least, most)) => {
            let least = if least.is_empty() { 0 } else { number(least)? };
            let most = if most.is_empty() {
                i32::MAX.unsigned_abs()
            } else {
                number(most)?
            };
            (least <= most).then_some(least..=most)
        }
    }
}

/// `cname [exact|…] TARGET TARGET`.
fn cname(args: Words<'_>) -> Result<Rewrite, String> {
    let (kind, from, to) = match args {
        [from, to] => (None, from, to),
        [kind, from, to] => (Some(&**kind), from, to),
        _ => {
            let count = args.len();
            return Err(format!(
                "too few (or many) arguments for a cname rule: {count}"
            ));
        }
    };
    let matching = match kind.map(str::to_lowercase).as_deref() {
        Some("regex") => NameMatch::Regex(pattern(from, to)?),
        kind => self::matching(kind, from, "cname")?,
    };
    let to = normal(to);
    Ok(Rewrite::CnameTarget { matching, to })
}

/// `rcode [exact|…] NAME FROM TO`.
fn rewrite_rcode(args: Words<'_>) -> Result<Rewrite, String> {
    let (kind, name, from, to) = match args {
        [name, from, to] => (None, name, from, to),
        [kind, name, from, to] => (Some(&**kind), name, from, to),
        _ if args.len() < 3 => {
            return Err(format!(
                "too few ({}) arguments for a rcode rule",
                args.len()
            ));
        }
        _ => return Err("invalid matching RCODE '' for a rcode rule".to_owned()),
    };
    let code = |word: &str, what: &str| {
        let number = go::parse_uint::<u16>(word).ok().filter(|code| *code <= 23);
        let code = number.or_else(|| rcode(&word.to_uppercase()));
        code.ok_or_else(|| format!("invalid {what} RCODE '{word}' for a rcode rule"))
    };
    let (from, to) = (code(from, "matching")?, code(to, "replacement")?);
    let matching = matching(kind, name, "rcode")?;
    Ok(Rewrite::Rcode { matching, from, to })
}
