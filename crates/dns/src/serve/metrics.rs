//! What was asked and answered, in Prometheus' text.
//!
//! # Departures
//! Labels `server`, `zone` and `view` are left out: there is one server, and what it counts it counts
//! for all zones. Durations are not measured.
//!
//! # Sources
//! plugin/metrics/vars/{vars,report}.go; the text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::rr::RecordType;

use super::{GLANCE, Shared};
use crate::Server;
use crate::message::{Reply, Request, Transport};

/// Types that are counted apart. Source: `monitorType`, plugin/metrics/vars/monitor.go.
const TYPES: [(RecordType, &str); 10] = [
    (RecordType::A, "A"),
    (RecordType::AAAA, "AAAA"),
    (RecordType::CNAME, "CNAME"),
    (RecordType::MX, "MX"),
    (RecordType::NS, "NS"),
    (RecordType::PTR, "PTR"),
    (RecordType::SOA, "SOA"),
    (RecordType::SRV, "SRV"),
    (RecordType::TXT, "TXT"),
    (RecordType::ANY, "ANY"),
];
/// Rcodes that are counted apart, by number.
const RCODES: [&str; 6] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
];
/// The longest request of HTTP that is read, in bytes.
const LONGEST_REQUEST: usize = 4_096;

/// Counters of a listener.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By transport and type; the last type is any other.
    requests: [[AtomicU64; TYPES.len() + 1]; 2],
    /// By rcode; the last is any other.
    responses: [AtomicU64; RCODES.len() + 1],
    unanswered: AtomicU64,
    ignored: AtomicU64,
    address: OnceLock<SocketAddr>,
}

impl Metrics {
    pub(super) fn at(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    pub(super) fn ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.responses[1].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, request: &Request, reply: Option<&Reply>) {
        let transport = match request.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        };
        let kind = TYPES.iter().position(|(kind, _)| *kind == request.qtype);
        let kind = kind.unwrap_or(TYPES.len());
        self.requests[transport][kind].fetch_add(1, Ordering::Relaxed);
        match reply {
            Some(reply) => {
                let rcode = usize::from(u16::from(reply.rcode)).min(RCODES.len());
                self.responses[rcode].fetch_add(1, Ordering::Relaxed);
            }
            None => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many messages were answered, and how many were not.
    pub(super) fn totals(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered = self.responses.iter().map(load).sum();
        (answered, load(&self.unanswered) + load(&self.ignored))
    }

    pub(super) fn text(&self, server: &Server) -> String {
        let mut text = Prometheus::default();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let name = "coredns_dns_requests_total";
        text.head(
            name,
            "counter",
            "Counter of DNS requests made per zone, protocol and family.",
        );
        for (transport, counters) in ["udp", "tcp"].iter().zip(&self.requests) {
            let types = TYPES.iter().map(|(_, name)| *name).chain(["other"]);
            for (kind, counter) in types.zip(counters) {
                if load(counter) > 0 {
                    text.value(name, &[("proto", transport), ("type", kind)], load(counter));
                }
            }
        }
        let name = "coredns_dns_responses_total";
        text.head(name, "counter", "Counter of response status codes.");
        for (rcode, counter) in RCODES.iter().chain(&["other"]).zip(&self.responses) {
            if load(counter) > 0 {
                text.value(name, &[("rcode", rcode)], load(counter));
            }
        }
        for counter in server.counters() {
            text.counter(&counter);
        }
        text.out
    }
}

#[derive(Default)]
struct Prometheus {
    out: String,
    headed: Vec<&'static str>,
}

impl Prometheus {
    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        if self.headed.contains(&name) {
            return;
        }
        self.headed.push(name);
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("a String takes any text");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.out, "{name}{labels} {value}").expect("a String takes any text");
    }

    fn counter(&mut self, counter: &crate::chain::Counter) {
        let kind = if counter.name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        self.head(counter.name, kind, counter.help);
        self.value(counter.name, &counter.labels, counter.value);
    }
}

/// Tells the metrics to whoever asks for `/metrics`.
pub(super) fn serve(shared: &Shared, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.stops() {
            return;
        }
        if let Ok(stream) = stream {
            // One at a time: a scraper that hangs is cut off by the timeouts.
            let _ = respond(shared, stream);
        }
    }
}

fn respond(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(GLANCE))?;
    let mut request = [0; LONGEST_REQUEST];
    let length = stream.read(&mut request)?;
    let asks = request[..length].starts_with(b"GET /metrics");
    let (status, body) = if asks {
        ("200 OK", shared.metrics.text(&shared.server))
    } else {
        ("404 Not Found", "metrics are at /metrics\n".to_owned())
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
