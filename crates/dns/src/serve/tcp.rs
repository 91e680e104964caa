//! Connections, their number and their patience.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{GLANCE, Shared, now};
use crate::message::Transport;

/// Connections at once; another one is closed as soon as it is made.
const CONNECTIONS: usize = 256;
/// Questions on one connection. Source: `maxTCPQueries`, server.go of miekg/dns.
const QUESTIONS: usize = 128;
/// How long a connection may be idle between two questions. Source: `tcpIdleTimeout`.
const IDLE: Duration = Duration::from_secs(8);
/// How long a question may take to come, and an answer to go. Source: `dnsTimeout`.
const TRANSFER: Duration = Duration::from_secs(2);

/// Room for connections.
#[derive(Debug, Default)]
pub(super) struct Seats(AtomicUsize);

impl Seats {
    fn take(&self) -> bool {
        let free = |taken| (taken < CONNECTIONS).then_some(taken + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections until the listener stops, then waits for those that are open.
pub(super) fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stops() {
            break;
        }
        threads.retain(|thread: &thread::JoinHandle<()>| !thread.is_finished());
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely: wait for some to be closed.
            thread::sleep(GLANCE);
            continue;
        };
        if !shared.connections.take() {
            continue;
        }
        let of_stream = shared.clone();
        threads.push(thread::spawn(move || {
            // What ends a connection early is the client's doing, and the client knows.
            let _ = converse(&of_stream, stream);
            of_stream.connections.leave();
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Answers what comes on a connection.
fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    let client = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(TRANSFER))?;
    let mut message = Vec::new();
    for _ in 0..QUESTIONS {
        let mut length = [0; 2];
        if !read_all(shared, &mut stream, &mut length, IDLE)? {
            return Ok(());
        }
        message.resize(usize::from(u16::from_be_bytes(length)), 0);
        if !read_all(shared, &mut stream, &mut message, TRANSFER)? {
            return Ok(());
        }
        answer(shared, &mut stream, &message, client)?;
    }
    Ok(())
}

fn answer(
    shared: &Shared,
    stream: &mut TcpStream,
    message: &[u8],
    client: SocketAddr,
) -> io::Result<()> {
    let Some(answer) = shared.answer(message, client, Transport::Tcp) else {
        return Ok(());
    };
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
}

/// Fills a buffer; `false` if the client is gone, too slow, or the listener stops.
fn read_all(
    shared: &Shared,
    stream: &mut TcpStream,
    buffer: &mut [u8],
    patience: Duration,
) -> io::Result<bool> {
    let begun = now();
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        if filled < buffer.len() && (shared.stops() || begun.elapsed() > patience) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
