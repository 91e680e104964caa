//! `forward`, and `proxy` before it: other name servers are asked.
//!
//! # Departures
//! - Every upstream, whatever its address, is the one world that stands behind the server, so
//!   `policy` chooses among equals, health checks are not sent, and `force_tcp`, `prefer_udp`,
//!   `expire` and TLS change nothing.
//! - `max_concurrent` is counted over the threads that answer: one after another never reaches it.
//!
//! # Sources
//! plugin/forward/forward.go; plugin/proxy/proxy.go of 1.4.0.

use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;

use crate::chain::{Counter, Handler, Next, Outcome};
use crate::corefile::Forward as Config;
use crate::message::Request;

/// The plugin: each `forward` of the block, as written.
#[derive(Debug)]
pub(crate) struct Forward {
    configs: Vec<Config>,
    /// Queries under way, by `forward`.
    under_way: Vec<AtomicU64>,
    requests: AtomicU64,
    rejected: AtomicU64,
}

impl Forward {
    pub(crate) fn new(configs: Vec<Config>) -> Self {
        Self {
            under_way: configs.iter().map(|_| AtomicU64::new(0)).collect(),
            configs,
            requests: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Asks the world, as one of these.
    fn ask(&self, index: usize, request: &Request, next: Next<'_>) -> Outcome {
        let limit = self.configs[index].max_concurrent;
        let under_way = &self.under_way[index];
        let count = under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let outcome = if limit > 0 && count > limit {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            Outcome::Unwritten(ResponseCode::Refused)
        } else {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match next.turn().world().ask(request) {
                Some(reply) => Outcome::Written(reply),
                None => Outcome::Unwritten(ResponseCode::ServFail),
            }
        };
        under_way.fetch_sub(1, Ordering::Relaxed);
        outcome
    }
}

impl Handler for Forward {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let mut fitting = self.configs.iter().enumerate().filter(|(_, config)| {
            let name = &*request.lower;
            let is_apex = name == config.from.as_str();
            let excepted = config.except.iter().any(|zone| zone.contains(name));
            config.from.contains(name) && (is_apex || !excepted)
        });
        let mut fitting_next = fitting.next();
        while let Some((index, config)) = fitting_next {
            let outcome = self.ask(index, request, next);
            let passed_on = match &outcome {
                Outcome::Written(reply) => config.next_on.contains(&u16::from(reply.rcode)),
                Outcome::Unwritten(_) | Outcome::Dropped => false,
            };
            fitting_next = fitting.next();
            if !passed_on || fitting_next.is_none() {
                return outcome;
            }
        }
        next.serve(request)
    }

    fn count(&self, counters: &mut Vec<Counter>) {
        for (name, help, value) in [
            (
                "coredns_proxy_requests_total",
                "Counter of requests made per upstream.",
                &self.requests,
            ),
            (
                "coredns_forward_max_concurrent_rejects_total",
                "Counter of the number of queries rejected because the concurrent queries were at maximum.",
                &self.rejected,
            ),
        ] {
            counters.push(Counter {
                name,
                labels: Vec::new(),
                help,
                value: value.load(Ordering::Relaxed),
            });
        }
    }
}
