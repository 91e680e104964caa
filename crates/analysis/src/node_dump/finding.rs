//! The answer.

use std::fmt;
use std::path::PathBuf;

use podwire_cluster::ProxyMode;
use podwire_controlplane::kube_proxy::Object;

/// What kind of finding it is; its name is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The dump shows another mode than the configuration says.
    OtherMode,
    /// Rules of a mode that is not in use any more.
    LeftoverMode,
    /// Nothing in the dump is for a service port.
    MissingService,
    /// Rules for a service port that no object calls for.
    StaleService,
    /// An endpoint that gets no new connections.
    MissingEndpoint,
    /// An endpoint that no object calls for.
    StaleEndpoint,
    /// Rules that the dump lacks.
    MissingRules,
    /// Rules in kube-proxy's form that no object calls for.
    StaleRules,
    /// Other rules than the objects call for, or another order.
    DifferentRules,
    /// Rules of others in kube-proxy's chains.
    ForeignRule,
    /// Rules of others that can end a packet before it comes to kube-proxy's.
    ForeignFirst,
}

impl Code {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherMode => "other-mode",
            Self::LeftoverMode => "leftover-mode",
            Self::MissingService => "missing-service",
            Self::StaleService => "stale-service",
            Self::MissingEndpoint => "missing-endpoint",
            Self::StaleEndpoint => "stale-endpoint",
            Self::MissingRules => "missing-rules",
            Self::StaleRules => "stale-rules",
            Self::DifferentRules => "different-rules",
            Self::ForeignRule => "foreign-rule",
            Self::ForeignFirst => "foreign-first",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Traffic does not go as the objects say.
    Error,
    /// It may not.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A place in a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, where the file has lines.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    /// Writes `path:line`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// Something that shows a finding: what one side has and the other has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where in the dump: the line, or that of the chain which lacks something.
    pub place: Option<Place>,
    /// The chain, set or virtual server: `nat KUBE-SERVICES`.
    pub block: Box<str>,
    /// What the dump has.
    pub dump: Option<Box<str>>,
    /// What the objects call for.
    pub expected: Option<Box<str>>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a service port, an endpoint of one, a chain.
    pub subject: Box<str>,
    /// What it does to traffic, in a sentence.
    pub effect: Box<str>,
    /// The object that calls for something else, if there is one.
    pub object: Option<Object>,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// Chains of somebody else, which are none of kube-proxy's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChains {
    /// Whose they are, as far as names tell.
    pub owner: &'static str,
    /// How many chains.
    pub chains: usize,
    /// How many rules in them, and in built-in chains.
    pub rules: usize,
}

/// What was found out about a dump.
#[derive(Clone, Debug)]
pub struct Report {
    /// The node.
    pub node: Box<str>,
    /// The mode whose rules were compared.
    pub mode: ProxyMode,
    /// What the mode was recognised by; `None` if nothing of kube-proxy's is in the dump.
    pub recognised_by: Option<Box<str>>,
    /// What was compared: files, and how many entries of kube-proxy's.
    pub compared: Vec<Box<str>>,
    /// What was not, and why.
    pub not_compared: Vec<Box<str>>,
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// Other chains, by owner.
    pub foreign: Vec<ForeignChains>,
}

impl Report {
    /// Whether the node has what the objects call for: there are notes at most.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.severity == Severity::Note)
    }
}
