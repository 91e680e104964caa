//! A server on a socket: the same answers for any real client, over UDP and TCP.
//!
//! Threads of the standard library: one for each core that answers datagrams, one for each
//! connection. Everything that a client can make the server hold has a limit.
//!
//! # Map
//! - [`Listener`]: sockets that answer until they are told to stop.
//! - `tcp`: connections, their number and their patience.
//! - [`metrics`]: what was asked and answered, in Prometheus' text.
//!
//! # Sources
//! `Server.Serve`, core/dnsserver/server.go; server.go of miekg/dns; RFC 1035 section 4.2, RFC 7766.

pub mod metrics;
mod tcp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Server;
use crate::message::Transport;
use crate::message::wire::{self, Received};

pub use metrics::Metrics;

/// The longest datagram that is read; what is longer is cut, and then a format error.
const DATAGRAM: usize = 4_096;
/// How soon a thread sees that it is to stop.
const GLANCE: Duration = Duration::from_millis(200);

/// Sockets that answer.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    local: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads have.
#[derive(Debug)]
struct Shared {
    server: Server,
    metrics: Metrics,
    started: Instant,
    stopping: AtomicBool,
    /// Connections that are open.
    connections: tcp::Seats,
}

impl Listener {
    /// Begins to answer at an address, over UDP and TCP; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn new(server: Server, at: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind(at)?;
        let local = udp.local_addr()?;
        udp.set_read_timeout(Some(GLANCE))?;
        let shared = Arc::new(Shared {
            server,
            metrics: Metrics::default(),
            started: now(),
            stopping: AtomicBool::new(false),
            connections: tcp::Seats::default(),
        });
        let mut threads = Vec::new();
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let (shared, udp) = (shared.clone(), udp.try_clone()?);
            threads.push(thread::spawn(move || shared.answer_datagrams(&udp)));
        }
        let of_tcp = shared.clone();
        threads.push(thread::spawn(move || tcp::accept(&of_tcp, &tcp)));
        Ok(Self {
            shared,
            local,
            threads,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Also tells metrics over HTTP at this address, as plugin `prometheus` does.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn tell_metrics(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(at)?;
        let local = listener.local_addr()?;
        let shared = self.shared.clone();
        self.threads
            .push(thread::spawn(move || metrics::serve(&shared, &listener)));
        // The thread waits for a connection, and learns by one that it is to stop.
        self.shared.metrics.at(local);
        Ok(local)
    }

    /// What was asked and answered, in Prometheus' text.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics.text(&self.shared.server)
    }

    /// How many questions were answered, and how many were not.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.shared.metrics.totals()
    }

    /// Stops, after what is being answered.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let metrics = self.shared.metrics.address();
        for waiting in [self.local].into_iter().chain(metrics) {
            // A refusal means that nobody waits there any more.
            let _ = TcpStream::connect_timeout(&reachable(waiting), GLANCE);
        }
        for thread in self.threads {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// The same port for both; a free one for UDP may be taken for TCP, so some are tried.
fn bind(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if at.port() == 0 { 16 } else { 1 };
    loop {
        let udp = UdpSocket::bind(at)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 1 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

/// An address that a connection can be made to: the loopback one where it listens on all.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The real time: clients are real, and so are their caches.
#[expect(
    clippy::disallowed_methods,
    reason = "a server on a socket answers in real time"
)]
fn now() -> Instant {
    Instant::now()
}

impl Shared {
    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn answer_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; DATAGRAM];
        while !self.stops() {
            // Errors here are timeouts, and what ICMP says of answers that did not arrive.
            let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            if let Some(answer) = self.answer(&buffer[..length], client, Transport::Udp) {
                // A client that is gone does not wait for it.
                let _ = socket.send_to(&answer, client);
            }
        }
    }

    /// The answer to a message, if it has one.
    fn answer(&self, bytes: &[u8], client: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let asked = match wire::receive(bytes, client, transport) {
            Received::Asked(asked) => asked,
            Received::Refused(answer) => {
                self.metrics.refused();
                return Some(answer);
            }
            Received::Ignored => {
                self.metrics.ignored();
                return None;
            }
        };
        let reply = self.server.answer(&asked.request, self.started.elapsed());
        self.metrics.answered(&asked.request, reply.as_ref());
        let answer = asked.bytes(reply?);
        (!answer.is_empty()).then_some(answer)
    }
}
