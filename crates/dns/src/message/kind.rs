//! What sort of answer a reply is.
//!
//! # Sources
//! `Typify`, plugin/pkg/response/typify.go; `MinimalTTL`, plugin/pkg/dnsutil/ttl.go.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::{Reply, Request};

/// A sort of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There are records.
    Yes,
    /// The name does not exist.
    NameError,
    /// The name has no such records.
    NoData,
    /// Other servers know.
    Delegation,
    /// SERVFAIL or NOTIMP.
    ServerError,
    /// A transfer.
    Transfer,
    /// Another error.
    OtherError,
}

impl Kind {
    /// The sort of a reply to a question.
    #[must_use]
    pub fn of(reply: &Reply, request: &Request) -> Self {
        if matches!(request.qtype, RecordType::AXFR | RecordType::IXFR) {
            return Self::Transfer;
        }
        let is_success = reply.rcode == ResponseCode::NoError;
        if is_success && !reply.answers.is_empty() {
            return Self::Yes;
        }
        let authorities = || reply.authorities.iter().map(|record| record.record_type());
        if authorities().any(|kind| kind == RecordType::SOA) {
            match reply.rcode {
                ResponseCode::NoError => return Self::NoData,
                ResponseCode::NXDomain => return Self::NameError,
                _ => {}
            }
        }
        match reply.rcode {
            ResponseCode::ServFail | ResponseCode::NotImp => Self::ServerError,
            ResponseCode::NoError if authorities().any(|kind| kind == RecordType::NS) => {
                Self::Delegation
            }
            ResponseCode::NoError => Self::Yes,
            _ => Self::OtherError,
        }
    }
}

/// What a reply without records, or of an odd sort, counts as.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// The longest that counts.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The shortest TTL among a reply's records.
#[must_use]
pub fn shortest_ttl(reply: &Reply, kind: Kind) -> Duration {
    if !matches!(kind, Kind::Yes | Kind::NameError | Kind::NoData) {
        return SHORTEST;
    }
    let ttls = reply.records().map(|record| record.ttl);
    ttls.min()
        .map_or(SHORTEST, |ttl| Duration::from_secs(ttl.into()).min(LONGEST))
}
