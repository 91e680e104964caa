//! What can be wrong with an input, and how it is said.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use miette::Diagnostic;
use podwire_ipam::NodeCidrError;
use podwire_packet::{Family, Prefix};
use thiserror::Error;

use crate::{InvalidField, ObjectName, SetError};

/// The language of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kubernetes YAML.
    Yaml,
    /// Kubernetes JSON.
    Json,
    /// A model in RON.
    Ron,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Ron => "RON",
        })
    }
}

/// A place in a text; both numbers from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One thing that is wrong, where, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("{}:{}:{}: {problem}", file.display(), place.line, place.column)]
pub struct LoadError {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// The place in it.
    pub place: Place,
    /// What is wrong.
    #[diagnostic(transparent)]
    #[diagnostic_source]
    pub problem: Problem,
}

/// What is wrong at a place of an input.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not of its language.
    #[error("not {format}: {reason}")]
    #[diagnostic(
        code(podwire::cluster::syntax),
        help("accepted: Kubernetes YAML or JSON as kubectl prints it, or a podwire model in RON")
    )]
    Syntax {
        /// The language.
        format: Format,
        /// What its reader said.
        reason: String,
    },
    /// The text ends too early.
    #[error("the {format} text ends before the object does")]
    #[diagnostic(
        code(podwire::cluster::cut_off),
        help("the file seems to be cut off: write it again")
    )]
    CutOff {
        /// The language.
        format: Format,
    },
    /// A document expands to far more than its text.
    #[error("aliases, or nesting, make this document too large")]
    #[diagnostic(
        code(podwire::cluster::too_much),
        help("write the values out where `*` repeats them; at most 128 levels are accepted")
    )]
    TooMuch,
    /// A document is not an object.
    #[error("found {found} where a Kubernetes object was expected")]
    #[diagnostic(
        code(podwire::cluster::not_an_object),
        help("an object has `apiVersion`, `kind` and `metadata`")
    )]
    NotAnObject {
        /// What is there.
        found: String,
    },
    /// A field holds a value of another type.
    #[error("`{field}` is {found}")]
    #[diagnostic(code(podwire::cluster::wrong_type), help("accepted: {accepted}"))]
    WrongType {
        /// The field's path in the object.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        accepted: String,
    },
    /// A field holds a value out of range.
    #[error("`{field}` is {found}")]
    #[diagnostic(code(podwire::cluster::wrong_value), help("accepted: {accepted}"))]
    WrongValue {
        /// The field's path in the object.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        accepted: String,
    },
    /// A field that every such object has is not there.
    #[error("`{field}` is missing")]
    #[diagnostic(
        code(podwire::cluster::missing_field),
        help("every object of this kind has it")
    )]
    MissingField {
        /// The field's path in the object.
        field: String,
    },
    /// Something is wrong in the text that a ConfigMap holds.
    #[error("in `{key}`, line {}, column {}: {problem}", place.line, place.column)]
    #[diagnostic(forward(problem))]
    InConfigMap {
        /// The key whose text it is.
        key: &'static str,
        /// The place in that text.
        place: Place,
        /// What is wrong there.
        problem: Box<Self>,
    },
    /// A key stands twice.
    #[error("`{field}` stands twice")]
    #[diagnostic(code(podwire::cluster::duplicate_field), help("keep one of the two"))]
    DuplicateField {
        /// The field's path in the object.
        field: String,
    },
    /// Another input is a model already.
    #[error("a second model: {} is one already", first.display())]
    #[diagnostic(
        code(podwire::cluster::second_model),
        help(
            "a model is a whole cluster; Kubernetes objects may stand beside it, another model may not"
        )
    )]
    SecondModel {
        /// The file of the first.
        first: PathBuf,
    },
    /// A field that a model does not have.
    #[error("there is no field `{field}` here")]
    #[diagnostic(code(podwire::cluster::unknown_field), help("accepted: {accepted}"))]
    UnknownField {
        /// The field.
        field: String,
        /// The fields there are.
        accepted: String,
    },
    /// A word that a model does not know.
    #[error("`{word}` is not known here")]
    #[diagnostic(code(podwire::cluster::unknown_word), help("accepted: {accepted}"))]
    UnknownWord {
        /// The word.
        word: String,
        /// The words there are.
        accepted: String,
    },
    /// A value of a model is of another type.
    #[error("this is something else than is accepted here")]
    #[diagnostic(code(podwire::cluster::unexpected), help("accepted: {wanted}"))]
    Unexpected {
        /// What may be there.
        wanted: &'static str,
    },
    /// A workload is to be on a node that there is not.
    #[error("there is no node `{node}`")]
    #[diagnostic(code(podwire::cluster::unknown_node), help("nodes: {known}"))]
    UnknownNode {
        /// The node.
        node: String,
        /// The nodes there are, the first twenty.
        known: String,
    },
    /// Two ranges share addresses.
    #[error("{prefix} overlaps {other}")]
    #[diagnostic(
        code(podwire::cluster::overlap),
        help("pod ranges, service ranges and node networks must share no address")
    )]
    Overlap {
        /// The range.
        prefix: Prefix,
        /// The one that it overlaps.
        other: Prefix,
    },
    /// An address or range that another object has.
    #[error("{what} is {by} then")]
    #[diagnostic(
        code(podwire::cluster::taken),
        help(
            "a model numbers its nodes, pods and Services by itself: say `pod_cidrs` and addresses in it, or apply Kubernetes objects"
        )
    )]
    Taken {
        /// Whose it is to be.
        what: String,
        /// It, and whose it is.
        by: String,
    },
    /// A name stands twice.
    #[error("{kind} `{name}` stands twice")]
    #[diagnostic(
        code(podwire::cluster::duplicate_name),
        help("give one of the two another name, or put `{{n}}` into a repeated one")
    )]
    DuplicateName {
        /// Kind of the objects.
        kind: &'static str,
        /// Their name.
        name: String,
    },
    /// A fixed ClusterIP is another service's.
    #[error("{ip} is the address of service `{owner}`")]
    #[diagnostic(
        code(podwire::cluster::address_taken),
        help("choose another address, or none to have one chosen")
    )]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// The service that has it.
        owner: ObjectName,
    },
    /// A fixed node port is another service's.
    #[error("node port {port} is service `{owner}`'s")]
    #[diagnostic(
        code(podwire::cluster::node_port_taken),
        help("choose another port, or none to have one chosen")
    )]
    NodePortTaken {
        /// The port.
        port: u16,
        /// The service that has it.
        owner: ObjectName,
    },
    /// A service wants an address of a family that has no range.
    #[error("there is no {family} service range")]
    #[diagnostic(
        code(podwire::cluster::no_service_range),
        help("add one to `service_cidrs`")
    )]
    NoServiceRange {
        /// The family.
        family: Family,
    },
    /// A service range is used up.
    #[error("no address of {range} is left for this service")]
    #[diagnostic(
        code(podwire::cluster::no_service_address),
        help("a larger range in `service_cidrs`, or fewer services")
    )]
    NoServiceAddress {
        /// The range.
        range: Prefix,
    },
    /// All node ports are used up.
    #[error("no node port is left for this service")]
    #[diagnostic(
        code(podwire::cluster::no_node_port),
        help("30000 to 32767 are 2,768 ports; `allocate_node_ports: false` needs none")
    )]
    NoNodePort,
    /// A pod gets no address.
    #[error("pod `{pod}` gets no address on node `{node}`: {reason}")]
    #[diagnostic(
        code(podwire::cluster::no_pod_address),
        help("more nodes, or larger parts of the pod range: `node_cidr_mask`")
    )]
    NoPodAddress {
        /// The pod.
        pod: ObjectName,
        /// The node.
        node: Arc<str>,
        /// What host-local says.
        reason: String,
    },
    /// A generated node finds no address in the node network.
    #[error("{network} has no address left for this node")]
    #[diagnostic(
        code(podwire::cluster::no_node_address),
        help("a larger `node_network`, or fewer nodes")
    )]
    NoNodeAddress {
        /// The node network.
        network: Prefix,
    },
    /// A node gets no pod CIDR.
    #[error("{error}")]
    #[diagnostic(
        code(podwire::cluster::no_pod_cidr),
        help("a larger range in `pod_cidrs`, or another `node_cidr_mask`")
    )]
    NodeCidr {
        /// What node IPAM says.
        error: NodeCidrError,
    },
    /// There are workloads but nothing to run them.
    #[error("this workload has no node to run on")]
    #[diagnostic(
        code(podwire::cluster::no_nodes),
        help("add `nodes: [(name: \"node-1\")]` or `node_count: 1`")
    )]
    NoNodes,
    /// An event is about an object that there is not.
    #[error("there is no {object} then")]
    #[diagnostic(code(podwire::cluster::unknown_object), help("{known}"))]
    UnknownObject {
        /// The object, as it was named.
        object: String,
        /// The objects of its kind there are, the first twenty; or what may be named.
        known: String,
    },
    /// A probe is sent too often.
    #[error("these are {count} packets")]
    #[diagnostic(
        code(podwire::cluster::too_many_packets),
        help("at most {most} of a probe are sent: make `every` longer or `until` earlier")
    )]
    TooManyPackets {
        /// How many.
        count: u64,
        /// How many may be.
        most: u64,
    },
    /// A probe ends without a second packet that could be the last.
    #[error("`until` says when a probe ends that {why}")]
    #[diagnostic(
        code(podwire::cluster::until),
        help("accepted: a time from `at` on, with `every` longer than 0s")
    )]
    Until {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two probes cannot be told apart.
    #[error("there is a probe `{name}` already")]
    #[diagnostic(
        code(podwire::cluster::same_probe),
        help("give each a `name` of its own")
    )]
    SameProbe {
        /// What both are called.
        name: String,
    },
    /// A file that another names cannot be read.
    #[error("{reason}")]
    #[diagnostic(
        code(podwire::cluster::unreadable_file),
        help("paths are relative to the file that names them")
    )]
    UnreadableFile {
        /// The file, and what the system said.
        reason: String,
    },
    /// kube-proxy takes no such setting.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Setting {
        /// Why.
        error: SetError,
    },
}

impl From<InvalidField> for Problem {
    fn from(invalid: InvalidField) -> Self {
        Self::WrongValue {
            found: format!("{:?}", invalid.value),
            field: invalid.field,
            accepted: invalid.accepted.to_owned(),
        }
    }
}

impl LoadError {
    /// What to do, or what is accepted.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Diagnostic::help(&self.problem).map(|help| help.to_string())
    }

    /// The stable name of this kind of error, such as `podwire::cluster::wrong_type`.
    #[must_use]
    pub fn code(&self) -> String {
        Diagnostic::code(&self.problem).map_or_else(String::new, |code| code.to_string())
    }
}

/// All that is wrong with the inputs, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[diagnostic(code(podwire::cluster::load))]
pub struct LoadErrors {
    /// The errors; at least one.
    #[related]
    pub errors: Vec<LoadError>,
}

impl fmt::Display for LoadErrors {
    /// Writes `file:line:column: message` of each, and its help on a line below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            if let Some(help) = error.help() {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}
