//! `file` and `auto`: zones from master files.
//!
//! # Departures
//! Files are read once, at the start. Transfers are refused.
//!
//! # Sources
//! plugin/file/file.go, plugin/auto/auto.go.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::chain::{Handler, Next, Outcome};
use crate::corefile::Fallthrough;
use crate::message::Request;
use crate::zone::Zone;

/// A `file` or an `auto`.
#[derive(Debug)]
pub(crate) struct File {
    /// Its zones, each with what falls through it.
    pub(crate) zones: Vec<(Zone, Fallthrough)>,
    /// What it says of a name in none of them; `None`: the next plugin does.
    pub(crate) otherwise: Option<ResponseCode>,
}

impl Handler for File {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let holding = self
            .zones
            .iter()
            .filter(|(z, _)| z.contains(&request.lower));
        let Some((zone, fallthrough)) = holding.max_by_key(|(zone, _)| zone.origin().len()) else {
            return match self.otherwise {
                Some(rcode) => Outcome::Unwritten(rcode),
                None => next.serve(request),
            };
        };
        if matches!(request.qtype, RecordType::AXFR | RecordType::IXFR) {
            return Outcome::Unwritten(ResponseCode::Refused);
        }
        let turn = next.turn();
        let reply = zone.lookup(request, &mut |name, qtype| {
            turn.look_up(request, name.clone(), qtype)
        });
        if reply.rcode == ResponseCode::NXDomain && fallthrough.through(&request.lower) {
            return next.serve(request);
        }
        if reply.rcode == ResponseCode::ServFail && reply.answers.is_empty() {
            return Outcome::Unwritten(ResponseCode::ServFail);
        }
        Outcome::Written(reply)
    }
}
