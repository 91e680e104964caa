//! `rewrite`: questions are changed on their way in, answers on their way out.
//!
//! # Departures
//! - `edns0` rules change no answer, as no answer depends on the options that they set.
//! - `cname_target` looks the new target up once; CoreDNS does the same.
//!
//! # Sources
//! plugin/rewrite/{rewrite,name,reverter,type,class,ttl,rcode,cname_target}.go.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record};

use crate::chain::{Handler, Next, Outcome};
use crate::corefile::rewrite::{AnswerPart, NameMatch, NameRewrite, Rewrite as Rule, Then};
use crate::corefile::{Pattern, RewriteRule};
use crate::message::{Request, as_text, lower, name};

/// The rules, as written.
#[derive(Debug)]
pub(crate) struct Rewrite(pub(crate) Vec<RewriteRule>);

/// What is done to an answer because of what was done to its question.
#[derive(Debug)]
enum Revert<'r> {
    /// A name, or a name below it, becomes another.
    Name { from: String, to: String },
    /// The end of a name becomes another.
    Suffix { from: &'r str, to: &'r str },
    /// What an expression matches becomes this.
    Pattern {
        on: AnswerPart,
        from: &'r Pattern,
        to: &'r str,
    },
    /// TTLs are kept within bounds.
    Ttl(u32, u32),
    /// One rcode becomes another.
    Rcode(u16, u16),
}

impl Handler for Rewrite {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let mut rewritten = request.clone();
        let mut reverts = Vec::new();
        let mut targets = Vec::new();
        for rule in &self.0 {
            match apply(rule, &mut rewritten, &mut reverts, &mut targets) {
                Applied::No => {}
                Applied::Yes if rule.then == Then::Continue => {}
                Applied::Yes => break,
                Applied::NotAName => return Outcome::Unwritten(ResponseCode::ServFail),
            }
        }
        let outcome = next.serve(&rewritten);
        let Outcome::Written(mut reply) = outcome else {
            return outcome;
        };
        for (matching, to) in targets {
            lead_elsewhere(&mut reply.answers, matching, to, request, next);
        }
        for revert in &reverts {
            if let Revert::Rcode(from, to) = revert
                && u16::from(reply.rcode) == *from
            {
                reply.rcode = (*to).into();
            }
        }
        for record in reply.records_mut() {
            // What was done last is undone first.
            for revert in reverts.iter().rev() {
                revert.apply(record);
            }
        }
        Outcome::Written(reply)
    }
}

/// What a rule did.
enum Applied {
    No,
    Yes,
    /// The rewritten text cannot be a name.
    NotAName,
}

fn apply<'r>(
    rule: &'r RewriteRule,
    request: &mut Request,
    reverts: &mut Vec<Revert<'r>>,
    targets: &mut Vec<(&'r NameMatch, &'r str)>,
) -> Applied {
    let applied = match &rule.rewrite {
        Rule::Name(rewrite) => {
            let Some(text) = replaced(&rewrite.matching, &rewrite.to, &request.lower) else {
                return Applied::No;
            };
            let Some(name) = name(&text) else {
                return Applied::NotAName;
            };
            revert_name(rewrite, &request.lower, &name, reverts);
            *request = request.about(name, request.qtype);
            true
        }
        Rule::Type { from, to } => {
            let fits = request.qtype == *from;
            if fits {
                request.qtype = *to;
            }
            fits
        }
        Rule::Class { from, to } => {
            let fits = request.class == *from;
            if fits {
                request.class = *to;
            }
            fits
        }
        Rule::Ttl { matching, ttl } => {
            let fits = replaced(matching, "", &request.lower).is_some();
            if fits {
                reverts.push(Revert::Ttl(*ttl.start(), *ttl.end()));
            }
            fits
        }
        Rule::Rcode { matching, from, to } => {
            let fits = replaced(matching, "", &request.lower).is_some();
            if fits {
                reverts.push(Revert::Rcode(*from, *to));
            }
            fits
        }
        Rule::CnameTarget { matching, to } => {
            targets.push((matching, to));
            true
        }
        Rule::Edns0(_) => false,
    };
    if applied { Applied::Yes } else { Applied::No }
}

/// A name with the matched part replaced, if it matches.
fn replaced(matching: &NameMatch, to: &str, name: &str) -> Option<String> {
    match matching {
        NameMatch::Exact(from) => (name == from).then(|| to.to_owned()),
        NameMatch::Prefix(from) => name
            .strip_prefix(from.as_str())
            .map(|rest| format!("{to}{rest}")),
        NameMatch::Suffix(from) => name
            .strip_suffix(from.as_str())
            .map(|rest| format!("{rest}{to}")),
        NameMatch::Substring(from) => name
            .contains(from.as_str())
            .then(|| name.replace(from.as_str(), to)),
        NameMatch::Regex(pattern) => expanded(pattern, to, name),
    }
}

/// The replacement with `{N}` set to the expression's N-th group, if it matches.
fn expanded(pattern: &Pattern, to: &str, text: &str) -> Option<String> {
    let groups = pattern.regex().captures(text)?;
    let mut out = to.to_owned();
    for (index, group) in groups.iter().enumerate() {
        let group = group.map_or("", |group| group.as_str());
        out = out.replace(&format!("{{{index}}}"), group);
    }
    Some(out)
}

/// What must be done to the answer after a name was rewritten.
fn revert_name<'r>(
    rewrite: &'r NameRewrite,
    asked: &str,
    became: &Name,
    reverts: &mut Vec<Revert<'r>>,
) {
    let auto = rewrite.answer.auto;
    match &rewrite.matching {
        // The end is put back as it stands in the rule, whatever was before it.
        NameMatch::Suffix(from) if auto => reverts.push(Revert::Suffix {
            from: &rewrite.to,
            to: from,
        }),
        NameMatch::Suffix(_) => {}
        NameMatch::Exact(_) => reverts.push(Revert::Name {
            from: lower(became),
            to: asked.to_owned(),
        }),
        NameMatch::Prefix(_) | NameMatch::Substring(_) | NameMatch::Regex(_) if auto => {
            reverts.push(Revert::Name {
                from: lower(became),
                to: asked.to_owned(),
            });
        }
        NameMatch::Prefix(_) | NameMatch::Substring(_) | NameMatch::Regex(_) => {}
    }
    reverts.extend(rewrite.answer.rules.iter().map(|rule| Revert::Pattern {
        on: rule.on,
        from: &rule.from,
        to: &rule.to,
    }));
}

impl Revert<'_> {
    fn apply(&self, record: &mut Record) {
        match self {
            Self::Ttl(least, most) => record.ttl = record.ttl.clamp(*least, *most),
            Self::Rcode(..) => {}
            Self::Pattern {
                on: AnswerPart::Name,
                ..
            } => self.change(&mut record.name),
            Self::Pattern {
                on: AnswerPart::Value,
                ..
            } => self.change_value(&mut record.data),
            Self::Name { .. } | Self::Suffix { .. } => {
                self.change(&mut record.name);
                self.change_value(&mut record.data);
            }
        }
    }

    fn change(&self, of: &mut Name) {
        let text = as_text(of);
        let changed = match self {
            Self::Name { from, to } => {
                let rest = text.strip_suffix(from.as_str());
                let rest = rest.filter(|rest| rest.is_empty() || rest.ends_with('.'));
                rest.map(|rest| format!("{rest}{to}"))
            }
            Self::Suffix { from, to } => text.strip_suffix(from).map(|rest| format!("{rest}{to}")),
            Self::Pattern { from, to, .. } => expanded(from, to, &text),
            Self::Ttl(..) | Self::Rcode(..) => None,
        };
        if let Some(name) = changed.and_then(|text| name(&text)) {
            *of = name;
        }
    }

    /// Changes the name in a record's data.
    ///
    /// Source: `getRecordValueForRewrite`, plugin/rewrite/reverter.go.
    fn change_value(&self, data: &mut RData) {
        match data {
            RData::SRV(srv) => self.change(&mut srv.target),
            RData::MX(mx) => self.change(&mut mx.exchange),
            RData::CNAME(target) => self.change(&mut target.0),
            RData::NS(target) => self.change(&mut target.0),
            RData::PTR(target) => self.change(&mut target.0),
            RData::SOA(soa) => self.change(&mut soa.mname),
            _ => {}
        }
    }
}

/// Gives a CNAME another target, and puts what that leads to in the place of what followed.
///
/// Source: `RewriteResponse`, plugin/rewrite/cname_target.go.
fn lead_elsewhere(
    answers: &mut Vec<Record>,
    matching: &NameMatch,
    to: &str,
    request: &Request,
    next: Next<'_>,
) {
    let found = answers.iter().enumerate().find_map(|(at, record)| {
        let RData::CNAME(target) = &record.data else {
            return None;
        };
        Some((at, name(&replaced(matching, to, &lower(&target.0))?)?))
    });
    let Some((at, target)) = found else {
        return;
    };
    if let RData::CNAME(old) = &mut answers[at].data {
        old.0 = target.clone();
    }
    answers.truncate(at + 1);
    if let Some(reply) = next.turn().look_up(request, target, request.qtype) {
        answers.extend(reply.answers);
    }
}
