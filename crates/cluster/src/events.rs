//! Events: what happens to a cluster, when, and which packets are sent meanwhile, as a file of RON says it.
//!
//! ```text
//! Events(
//!     cluster: ["statsd.ron"],                     // files of the cluster at 0s, unless others are given
//!     watch_delay: "20ms",                         // from a change to every kube-proxy; 10ms unless said
//!     sync_takes: "50ms",                          // from a sync's begin to its rules; 40ms unless said
//!     nodes: {"node-b": (watch_delay: "2s")},      // where a node differs
//!     events: [
//!         (at: "5s", delete: ["pod/apps/statsd"], endpoints: {"apps/statsd": []}),
//!         (at: "9s", apply: ["later.yaml"]),       // objects of files
//!         (at: "9s", objects: "apiVersion: v1 …"), // objects of a text
//!     ],
//!     probes: [
//!         (name: "metrics", at: "1s", from: "pod/default/app", to: "svc/apps/statsd:8125",
//!             protocol: UDP, sport: 40000, every: "1s", until: "30s", one_way: true),
//!     ],
//! )
//! ```
//!
//! - `endpoints` makes addresses, or pods, the ready endpoints of a Service; those that it had stay as
//!   they are. `delete` takes `KIND/NAMESPACE/NAME` of a pod, Service or EndpointSlice, `node/NAME`, or
//!   the address of a pod that is no object. A pod that is no object is there until then, whether or not a
//!   slice still lists it, and again when one lists it anew.
//! - Nothing follows from an event that the file does not say: a deleted pod stays in its slices until
//!   another event takes it out, as it does until the EndpointSlice controller has seen it.
//! - A probe without `sport` sends each packet from a port of its own, from 40000 on: new flows. With one
//!   all are of one flow. `one_way` is for what nobody answers.
//! - Times are durations since the start, as Go writes them. Events of one time are one change.
//!
//! - Applied objects add to those that are there. A model numbers what it makes by itself: one whose
//!   addresses somebody else has is refused. A kube-proxy that runs does not read its configuration again.
//!
//! `schema` is the file, `apply` makes the states, `merge` adds objects to one.

mod apply;
mod merge;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use podwire_packet::Protocol;

use crate::load::{LoadError, LoadErrors, Place, Problem};
use crate::model::at::{At, Reader, content, document, place_of};
use crate::{Cluster, load, read_inputs};
use schema::{EventsModel, ProbeModel, Time};

/// Packets of one probe, at most.
const MOST_PACKETS: u64 = 100_000;

/// How long kube-proxy takes on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a change of an object until kube-proxy has heard of it.
    pub watch_delay: Duration,
    /// From the begin of a sync until its rules hold.
    pub sync_takes: Duration,
}

impl Default for Timing {
    /// What small clusters show in kube-proxy's own log: `SyncProxyRules complete` after 40 ms.
    fn default() -> Self {
        Self {
            watch_delay: Duration::from_millis(10),
            sync_takes: Duration::from_millis(40),
        }
    }
}

/// A change of objects.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Duration,
    /// What changes, a line each.
    pub what: Vec<String>,
    /// The cluster from then on.
    pub cluster: Cluster,
    /// Addresses of pods that were deleted, whatever slices still say of them.
    pub absent: BTreeSet<IpAddr>,
}

/// Packets of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it is called.
    pub name: String,
    /// Who sends, as a place.
    pub from: String,
    /// To whom, as a place.
    pub to: String,
    /// The protocol, if it is said.
    pub protocol: Option<Protocol>,
    /// The source port of every packet; without one each packet begins a flow of its own, from ports
    /// that follow one another.
    pub sport: Option<u16>,
    /// When the first is sent.
    pub at: Duration,
    /// Time between two packets.
    pub every: Duration,
    /// How many are sent.
    pub count: u64,
    /// Whether nobody answers.
    pub one_way: bool,
    /// Where it is asked for.
    pub place: Place,
}

/// All that happens.
#[derive(Clone, Debug)]
pub struct Events {
    /// Times of nodes that are not named.
    pub timing: Timing,
    /// Times of the others.
    pub nodes: BTreeMap<String, Timing>,
    /// The states of the cluster, the first at 0 s, in order of time.
    pub changes: Vec<Change>,
    /// What is sent.
    pub probes: Vec<Probe>,
    /// What of applied objects changes nothing, a line each with its place.
    pub unused: Vec<String>,
}

/// Reads events. The cluster at first is the one given, or that of the files which the events name.
///
/// # Errors
/// All that is wrong in the file; in files that it names, what is wrong in the first of them.
pub fn read_events(path: &Path, text: &str, given: Option<Cluster>) -> Result<Events, LoadErrors> {
    let error = |(place, problem)| LoadError {
        file: path.to_owned(),
        place,
        problem,
    };
    let text = text.trim_start_matches('\u{feff}');
    let content = content(text);
    if !content.starts_with("Events") && !content.starts_with('(') {
        let wanted = "events: `Events( … )`; a cluster is given with -f, or named by them";
        let place = place_of(text, text.len() - content.len());
        return Err(LoadErrors {
            errors: vec![error((place, Problem::Unexpected { wanted }))],
        });
    }
    let model: EventsModel = document(text).map_err(|problem| LoadErrors {
        errors: vec![error(problem)],
    })?;
    let mut reader = Reader::new(text);
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let first = match given {
        Some(cluster) => cluster,
        None => named_files(&mut reader, folder, &model.cluster)?,
    };
    let timing = timing(
        &mut reader,
        &model.watch_delay,
        &model.sync_takes,
        Timing::default(),
    );
    let mut nodes = BTreeMap::new();
    for (name, at) in &model.nodes {
        let Some(said) = reader.get(at, "nodes") else {
            continue;
        };
        if !first.nodes.contains_key(&**name) {
            let problem = unknown(&format!("node `{name}`"), first.nodes.keys());
            reader.fault(at, problem);
        }
        let of_node = self::timing(&mut reader, &said.watch_delay, &said.sync_takes, timing);
        nodes.insert(name.clone(), of_node);
    }
    let mut names = BTreeSet::new();
    let probes = model
        .probes
        .iter()
        .enumerate()
        .filter_map(|(number, at)| {
            let said = reader.get(at, "probes")?;
            let place = reader.place(at);
            let probe = probe(&mut reader, number, place, said)?;
            if !names.insert(probe.name.clone()) {
                let name = probe.name.clone();
                reader.fault(at, Problem::SameProbe { name });
            }
            Some(probe)
        })
        .collect();
    let (changes, unused) = apply::changes(&mut reader, path, folder, first, &model.events)?;
    if reader.problems.is_empty() {
        return Ok(Events {
            timing,
            nodes,
            changes,
            probes,
            unused,
        });
    }
    reader.problems.sort_by_key(|(place, _)| *place);
    Err(LoadErrors {
        errors: reader.problems.into_iter().map(error).collect(),
    })
}

/// The cluster of files that the events name.
fn named_files(
    reader: &mut Reader<'_>,
    folder: &Path,
    files: &[At<String>],
) -> Result<Cluster, LoadErrors> {
    let mut paths = Vec::new();
    for at in files {
        let Some(file) = reader.get(at, "cluster") else {
            continue;
        };
        let path = folder.join(file);
        if path.exists() {
            paths.push(path);
        } else {
            let reason = format!("there is no file {}", path.display());
            reader.fault(at, Problem::UnreadableFile { reason });
        }
    }
    match read_inputs(&paths) {
        Ok(inputs) => load(inputs),
        Err(error) => {
            if let Some(at) = files.first() {
                let reason = error.to_string();
                reader.fault(at, Problem::UnreadableFile { reason });
            }
            Ok(Cluster::default())
        }
    }
}

fn time(reader: &mut Reader<'_>, at: &At<Time>, field: &str) -> Option<Duration> {
    reader.get(at, field).map(|time| time.0)
}

fn timing(
    reader: &mut Reader<'_>,
    watch_delay: &Option<At<Time>>,
    sync_takes: &Option<At<Time>>,
    unless: Timing,
) -> Timing {
    let mut said = |at: &Option<At<Time>>, field| time(reader, at.as_ref()?, field);
    Timing {
        watch_delay: said(watch_delay, "watch_delay").unwrap_or(unless.watch_delay),
        sync_takes: said(sync_takes, "sync_takes").unwrap_or(unless.sync_takes),
    }
}

fn probe(reader: &mut Reader<'_>, number: usize, place: Place, said: &ProbeModel) -> Option<Probe> {
    let at = time(reader, &said.at, "at")?;
    let every = match &said.every {
        Some(every) => time(reader, every, "every")?,
        None => Duration::ZERO,
    };
    let until = match &said.until {
        Some(said) => {
            let until = time(reader, said, "until")?;
            if every.is_zero() {
                let why = "is sent once";
                reader.fault(said, Problem::Until { why });
            } else if until < at {
                let why = "begins later";
                reader.fault(said, Problem::Until { why });
            }
            until
        }
        None => at,
    };
    let nanos = until.saturating_sub(at).as_nanos();
    let count = match every.as_nanos() {
        0 => 1,
        every => u64::try_from(nanos / every + 1).unwrap_or(u64::MAX),
    };
    if count > MOST_PACKETS {
        let most = MOST_PACKETS;
        let problem = Problem::TooManyPackets { count, most };
        reader.fault(said.until.as_ref().unwrap_or(&said.at), problem);
        return None;
    }
    Some(Probe {
        name: said
            .name
            .clone()
            .unwrap_or_else(|| format!("probe {}", number + 1)),
        from: said.from.clone(),
        to: said.to.clone(),
        protocol: said.protocol.map(Into::into),
        sport: said.sport,
        at,
        every,
        count,
        one_way: said.one_way,
        place,
    })
}

/// That something is not there, and what is.
fn unknown<N: AsRef<str>>(object: &str, known: impl Iterator<Item = N>) -> Problem {
    const TOLD: usize = 20;
    let names: Vec<String> = known
        .take(TOLD + 1)
        .map(|name| name.as_ref().to_owned())
        .collect();
    let more = if names.len() > TOLD { ", …" } else { "" };
    let known = match names.len() {
        0 => "there is none at all".to_owned(),
        count => format!("there are {}{more}", names[..count.min(TOLD)].join(", ")),
    };
    Problem::UnknownObject {
        object: object.to_owned(),
        known,
    }
}
