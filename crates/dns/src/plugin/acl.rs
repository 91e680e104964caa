//! `acl`: who may ask.
//!
//! # Sources
//! plugin/acl/acl.go.

use hickory_proto::op::ResponseCode;

use crate::chain::{Handler, Next, Outcome};
use crate::corefile::plugin::{AclAction, AclPolicy, AclRule};
use crate::corefile::zone::longest;
use crate::message::{Reply, Request};

/// The rules, as written.
#[derive(Debug)]
pub(crate) struct Acl(pub(crate) Vec<AclRule>);

impl Handler for Acl {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let about = |rule: &&AclRule| longest(&rule.zones, &request.lower).is_some();
        let mut policies = self.0.iter().filter(about).map(|rule| {
            let mut policies = rule.policies.iter();
            policies.find(|policy| fits(policy, request))
        });
        // The first policy of the first rule in which any fits.
        match policies.find_map(|policy| policy.map(|policy| policy.action)) {
            Some(AclAction::Block) => Outcome::Written(Reply::empty(ResponseCode::Refused)),
            Some(AclAction::Filter) => Outcome::Written(Reply::empty(ResponseCode::NoError)),
            Some(AclAction::Drop) => Outcome::Dropped,
            Some(AclAction::Allow) | None => next.serve(request),
        }
    }
}

fn fits(policy: &AclPolicy, request: &Request) -> bool {
    let type_fits = policy.qtypes.is_empty() || policy.qtypes.contains(&request.qtype);
    let of_client = |prefix: &podwire_packet::Prefix| prefix.contains(request.client);
    type_fits && (policy.sources.is_empty() || policy.sources.iter().any(of_client))
}
