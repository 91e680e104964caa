//! `autopath`: the server walks the search list of the pod that asks.
//!
//! # Sources
//! plugin/autopath/{autopath,cname}.go, plugin/kubernetes/autopath.go.

use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{RData, Record};

use super::kubernetes::Kubernetes;
use crate::chain::{Handler, Next, Outcome};
use crate::corefile::ZoneName;
use crate::corefile::zone::longest;
use crate::message::{Reply, Request, lower, name};

/// The plugin.
#[derive(Debug)]
pub(crate) struct Autopath {
    pub(crate) zones: Vec<ZoneName>,
    pub(crate) search: Search,
}

/// Where the search list is from.
#[derive(Debug)]
pub(crate) enum Search {
    /// A resolv.conf: domains in lower case, with their final dots.
    List(Vec<String>),
    /// The plugin that knows pods.
    Kubernetes(Arc<Kubernetes>),
}

impl Search {
    /// The domains to try in turn, the empty one last; `None` if nothing is known of the asker.
    fn domains(&self, request: &Request) -> Option<Vec<String>> {
        match self {
            Self::List(domains) => Some(domains.clone()),
            Self::Kubernetes(kubernetes) => kubernetes.search_list(request),
        }
        .filter(|domains| !domains.is_empty())
        .map(|mut domains| {
            domains.push(String::new());
            domains
        })
    }
}

impl Handler for Autopath {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        if longest(&self.zones, &request.lower).is_none() {
            return next.serve(request);
        }
        let Some(domains) = self.search.domains(request) else {
            return next.serve(request);
        };
        let first = &domains[0];
        let base = request.lower.strip_suffix(first.as_str());
        // What is asked about the domain itself has no name before it to go on with.
        let Some(base) = base.and_then(|base| base.strip_suffix('.')) else {
            return next.serve(request);
        };
        let mut first_outcome = None;
        for domain in &domains {
            let Some(name) = name(&format!("{base}.{domain}")) else {
                continue;
            };
            let outcome = next.serve(&request.about(name, request.qtype));
            match outcome {
                Outcome::Written(mut reply) if reply.rcode != ResponseCode::NXDomain => {
                    lead_there(&mut reply, request);
                    return Outcome::Written(reply);
                }
                other => first_outcome = first_outcome.or(Some(other)),
            }
        }
        first_outcome.unwrap_or(Outcome::Unwritten(ResponseCode::ServFail))
    }
}

/// Puts a CNAME from the name that was asked for before the first record of another name.
fn lead_there(reply: &mut Reply, request: &Request) {
    let other = |record: &&Record| lower(&record.name) != *request.lower;
    let Some(record) = reply.answers.iter().find(other) else {
        return;
    };
    let target = RData::CNAME(CNAME(record.name.clone()));
    let alias = Record::from_rdata(request.name.clone(), record.ttl, target);
    reply.answers.insert(0, alias);
}
