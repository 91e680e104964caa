//! `loadbalance`: the order of A, AAAA and MX records.
//!
//! # Departures
//! `weighted` shuffles as `round_robin` does: the file of weights is not read.
//!
//! # Sources
//! `randomShuffle`, `roundRobin`, `roundRobinShuffle`, plugin/loadbalance/loadbalance.go.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};

use crate::chain::{Handler, Next, Outcome, Turn};
use crate::message::Request;

/// The plugin.
#[derive(Debug)]
pub(crate) struct Loadbalance;

impl Handler for Loadbalance {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let outcome = next.serve(request);
        let Outcome::Written(mut reply) = outcome else {
            return outcome;
        };
        if reply.rcode == ResponseCode::NoError {
            shuffle(&mut reply.answers, next.turn());
            shuffle(&mut reply.authorities, next.turn());
            shuffle(&mut reply.additionals, next.turn());
        }
        Outcome::Written(reply)
    }
}

/// CNAMEs first, then what is left in place, then addresses and MX records in any order.
fn shuffle(section: &mut [Record], turn: Turn<'_>) {
    if section.len() < 2 {
        return;
    }
    let rank = |record: &Record| match record.record_type() {
        RecordType::CNAME => 0,
        RecordType::A | RecordType::AAAA => 2,
        RecordType::MX => 3,
        _ => 1,
    };
    section.sort_by_key(rank);
    for of_rank in section.chunk_by_mut(|a, b| rank(a) == rank(b)) {
        if of_rank.first().is_none_or(|record| rank(record) < 2) {
            continue;
        }
        for at in 0..of_rank.len() - 1 {
            let left = of_rank.len() - at;
            let step = usize::try_from(turn.draw() % left as u64).expect("below a length");
            of_rank.swap(at, at + step);
        }
    }
}
