//! The plugins of a server block, each with what it is told.
//!
//! # Sources
//! plugin/*/setup.go.

use std::time::Duration;

use hickory_proto::rr::{DNSClass, RecordType};
use podwire_packet::Prefix;

use super::{CacheConfig, Fallthrough, Forward, Kubernetes, Pattern, Place, RewriteRule, ZoneName};

/// A plugin with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Plugin {
    /// `errors`: errors are logged.
    Errors,
    /// `log`: queries are.
    Log,
    /// `debug`: a crash is not caught.
    Debug,
    /// `health`: an HTTP server that says whether the process lives.
    Health {
        /// Where it listens.
        listen: String,
        /// How long the server goes on after it has been told to stop.
        lameduck: Duration,
    },
    /// `ready`: an HTTP server that says whether every plugin is ready.
    Ready {
        /// Where it listens.
        listen: String,
    },
    /// `prometheus`: an HTTP server of metrics.
    Prometheus {
        /// Where it listens.
        listen: String,
    },
    /// `reload`: the Corefile is read again when it changes.
    Reload {
        /// How often it is looked at.
        interval: Duration,
        /// How much that varies.
        jitter: Duration,
    },
    /// `loadbalance`: the order of A, AAAA and MX records of an answer.
    Loadbalance(Loadbalance),
    /// `cache`.
    Cache(CacheConfig),
    /// `rewrite`: the rules, as written.
    Rewrite(Vec<RewriteRule>),
    /// `template`: the templates, as written.
    Template(Vec<Template>),
    /// `hosts`.
    Hosts(Hosts),
    /// `file`: zones from master files.
    File(Vec<ZoneFile>),
    /// `auto`: zones from the master files of a folder.
    Auto(Vec<Auto>),
    /// `autopath`: the search list is walked by the server.
    Autopath(Autopath),
    /// `kubernetes`.
    Kubernetes(Kubernetes),
    /// `forward`: each, as written.
    Forward(Vec<Forward>),
    /// `proxy`, before 1.5.0: each, as written.
    Proxy(Vec<Forward>),
    /// `loop`: the process ends if its own queries come back.
    Loop,
    /// `acl`: who may ask.
    Acl(Vec<AclRule>),
    /// `whoami`: tells who asks.
    Whoami,
    /// `any`: ANY is answered with a HINFO.
    Any,
    /// `minimal`: no more sections in an answer than it needs.
    Minimal,
    /// `local`: names of localhost are answered.
    Local,
    /// `bind`: addresses that the server listens on.
    Bind(Vec<String>),
    /// `bufsize`: the largest UDP answer that is offered upstream, in bytes.
    Bufsize(u16),
    /// `chaos`: version and authors in class CH.
    Chaos {
        /// The version told.
        version: String,
        /// The authors.
        authors: Vec<String>,
    },
    /// Another plugin, whose settings were passed over: podwire's answers are as if it were not there.
    Other {
        /// Its name.
        name: String,
        /// Where it stands.
        place: Option<Place>,
    },
}

/// The order of the records of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Loadbalance {
    /// Shuffled.
    #[default]
    RoundRobin,
    /// One address first, by weights from a file.
    Weighted {
        /// The file.
        file: String,
        /// How often it is read again.
        reload: Duration,
    },
}

/// One `template`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Where it stands.
    pub place: Option<Place>,
    /// The class that it answers.
    pub class: DNSClass,
    /// The type.
    pub qtype: RecordType,
    /// The zones.
    pub zones: Vec<ZoneName>,
    /// Names that it answers: those that any of these matches.
    pub matching: Vec<Pattern>,
    /// Records of the answer, in Go's template language.
    pub answer: Vec<String>,
    /// Of the additional section.
    pub additional: Vec<String>,
    /// Of the authority section.
    pub authority: Vec<String>,
    /// The rcode, by number.
    pub rcode: u16,
    /// The extended error, and its text as a template.
    pub ederror: Option<(u16, String)>,
    /// Names that are asked of the next plugin if no expression matches.
    pub fallthrough: Fallthrough,
}

/// Settings of `hosts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hosts {
    /// The file.
    pub path: String,
    /// What it says; nothing if it is not there.
    pub text: String,
    /// Lines between the braces, in the form of the file.
    pub inline: Vec<String>,
    /// The zones that it answers for.
    pub zones: Vec<ZoneName>,
    /// Of every record, in seconds.
    pub ttl: u32,
    /// Whether addresses have names.
    pub reverse: bool,
    /// How often the file is looked at; 0: never again.
    pub reload: Duration,
    /// Which names are asked of the next plugin.
    pub fallthrough: Fallthrough,
}

/// One `file`.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneFile {
    /// The master file.
    pub path: String,
    /// What it says; `None` while it cannot be read.
    pub text: Option<String>,
    /// The zones that it is the file of.
    pub zones: Vec<ZoneName>,
    /// How often it is looked at; 0: never again.
    pub reload: Duration,
    /// Which names are asked of the next plugin.
    pub fallthrough: Fallthrough,
}

/// One `auto`.
#[derive(Clone, Debug, PartialEq)]
pub struct Auto {
    /// The folder.
    pub directory: String,
    /// Which files in it.
    pub matching: Pattern,
    /// The zone of a file; `{N}` is the expression's N-th group.
    pub origin: String,
    /// The zones that it answers for.
    pub zones: Vec<ZoneName>,
    /// Which names are asked of the next plugin.
    pub fallthrough: Fallthrough,
}

/// Settings of `autopath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopath {
    /// The zones whose search lists are walked.
    pub zones: Vec<ZoneName>,
    /// Where the search list comes from.
    pub search: SearchFrom,
}

/// Where `autopath` has the search list from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchFrom {
    /// A plugin that knows the pod that asks (`@kubernetes`).
    Plugin(String),
    /// A resolv.conf, whose list this is.
    List(Vec<ZoneName>),
}

/// One rule of `acl`; the first that fits a query decides.
#[derive(Clone, Debug, PartialEq)]
pub struct AclRule {
    /// The zones that it is about.
    pub zones: Vec<ZoneName>,
    /// The policies, as written.
    pub policies: Vec<AclPolicy>,
}

/// One policy of an `acl`.
#[derive(Clone, Debug, PartialEq)]
pub struct AclPolicy {
    /// What becomes of the query.
    pub action: AclAction,
    /// The types; empty: any.
    pub qtypes: Vec<RecordType>,
    /// Who asks; empty: anyone.
    pub sources: Vec<Prefix>,
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAction {
    /// The next plugin is asked.
    Allow,
    /// REFUSED.
    Block,
    /// NOERROR without an answer.
    Filter,
    /// No answer at all.
    Drop,
}
