//! What `rewrite` is told.
//!
//! # Sources
//! plugin/rewrite/{rewrite,name,type,class,ttl,rcode,cname_target,edns0}.go.

use std::ops::RangeInclusive;

use hickory_proto::rr::{DNSClass, RecordType};

use super::Pattern;

/// One rule of `rewrite`.
#[derive(Clone, Debug, PartialEq)]
pub struct RewriteRule {
    /// Whether the rules after one that applied are asked too.
    pub then: Then,
    /// What is rewritten.
    pub rewrite: Rewrite,
}

/// What follows a rule that applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The next plugin.
    #[default]
    Stop,
    /// The next rule.
    Continue,
}

/// What a rule rewrites.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// The name asked for.
    Name(NameRewrite),
    /// The type asked for.
    Type {
        /// What is asked.
        from: RecordType,
        /// What is asked instead.
        to: RecordType,
    },
    /// The class asked for.
    Class {
        /// What is asked.
        from: DNSClass,
        /// What is asked instead.
        to: DNSClass,
    },
    /// The TTL of the answers.
    Ttl {
        /// The names whose answers it is.
        matching: NameMatch,
        /// Below this a TTL is raised, above that it is lowered; in seconds.
        ttl: RangeInclusive<u32>,
    },
    /// The rcode of the answer.
    Rcode {
        /// The names whose answers it is.
        matching: NameMatch,
        /// What was answered, by number.
        from: u16,
        /// What is answered instead.
        to: u16,
    },
    /// Where a CNAME of the answer leads; what it leads to is looked up again.
    CnameTarget {
        /// The targets.
        matching: NameMatch,
        /// What they become.
        to: String,
    },
    /// An EDNS option of the question, of a kind that podwire's answers do not depend on.
    Edns0(Vec<String>),
}

/// A rule on the name asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NameRewrite {
    /// Which names.
    pub matching: NameMatch,
    /// What the matched part becomes. For a regular expression, `{N}` is its N-th group.
    pub to: String,
    /// What is done to the names of the answer.
    pub answer: AnswerRewrite,
}

/// Which names a rule is about. Names are in lower case with their final dot.
#[derive(Clone, Debug, PartialEq)]
pub enum NameMatch {
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that end so.
    Suffix(String),
    /// Those that have this in them.
    Substring(String),
    /// Those that the expression matches.
    Regex(Pattern),
}

/// What is done to names of an answer whose question was rewritten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerRewrite {
    /// `answer auto`: what the question's rule did is undone.
    pub auto: bool,
    /// `answer name` and `answer value`, as written.
    pub rules: Vec<AnswerRule>,
}

/// One `answer` rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRule {
    /// What it is about.
    pub on: AnswerPart,
    /// Which names.
    pub from: Pattern,
    /// What they become; `{N}` is the expression's N-th group.
    pub to: String,
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPart {
    /// The owner's name.
    Name,
    /// The name in its data (of CNAME, MX, SRV, …).
    Value,
}
