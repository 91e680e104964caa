//! The real kernel as the oracle: namespaces, raw packets, the rule trace and connections.
//!
//! [`lane`] says whether this machine can; where it cannot, a test says so and passes, unless
//! `PODWIRE_KERNEL=require` is set. A [`Namespace`] has no name and no file: it is gone with the
//! process, however that ends. Nothing outside of such namespaces is touched.
//!
//! # Map
//! - [`Lane`], [`Skip`]: whether it can be done here.
//! - [`Namespace`]: runs commands and writes sysctls inside a namespace of its own.
//! - [`FrameSocket`], [`PacketSocket`]: send bytes by a device, or as a local process.
//! - [`Monitor`]: what `xtables-monitor --trace` or `nft -a monitor trace` says, packet by packet;
//!   [`Numbers`] maps the kernel's rule handles to rule numbers.
//! - [`Connections`]: what `conntrack -E` says.

mod connections;
mod lines;
mod namespace;
mod numbers;
mod socket;
mod trace;

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};

pub use connections::{Connections, Tracked};
pub use namespace::Namespace;
pub use numbers::Numbers;
pub use socket::{FrameSocket, PacketSocket};
pub use trace::{Marker, Monitor, PacketLine, TraceLine, Tracer, stay_on_one_cpu};

/// Why there is no kernel to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Skip {
    /// Namespaces and raw sockets want root.
    #[error("not root")]
    NotRoot,
    /// A program is not installed.
    #[error("no {0}")]
    NoProgram(&'static str),
    /// The module br_netfilter is not loaded.
    #[error("no br_netfilter")]
    NoBridgeNetfilter,
    /// This process may not make namespaces.
    #[error("no network namespaces: {0}")]
    NoNamespaces(nix::Error),
}

/// What went wrong while asking the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// A command failed.
    #[error("`{command}`: {status}: {stderr}")]
    Command {
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// No device of that name in the namespace.
    #[error("there is no device `{0}` in the namespace")]
    NoDevice(String),
    /// A program that should go on telling stopped.
    #[error("{program} ended: {stderr}")]
    Ended {
        /// The program.
        program: &'static str,
        /// What it said last.
        stderr: String,
    },
    /// A program tells nothing though there is something to tell.
    #[error("{program} does not tell of packets that were sent for it")]
    Silent {
        /// The program.
        program: &'static str,
    },
    /// A bridge's ports stay closed.
    #[error("a bridge port does not begin to forward: {0}")]
    PortClosed(String),
    /// Only IPv4 packets are sent as a local process.
    #[error("only an IPv4 packet can be sent as a local process")]
    NotIpv4,
}

impl LaneError {
    fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    fn errno(what: &'static str) -> impl Fn(nix::Error) -> Self {
        move |errno| Self::System {
            what,
            source: errno.into(),
        }
    }
}

/// Proof that the kernel can be asked here.
#[derive(Clone, Copy, Debug)]
pub struct Lane(());

/// The programs that the lane runs, each with what makes it end at once. Debian has them in iptables,
/// nftables, ipset, conntrack and iproute2.
const PROGRAMS: [(&str, &str); 7] = [
    ("iptables-nft-restore", "--version"),
    ("xtables-monitor", "--version"),
    ("conntrack", "--version"),
    ("nft", "--version"),
    ("ipset", "--version"),
    ("ip", "-Version"),
    ("bridge", "-Version"),
];

/// Whether the kernel can be asked here.
///
/// # Errors
/// [`Skip`], which says what is missing.
pub fn available() -> Result<Lane, Skip> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Skip::NotRoot);
    }
    for (program, version) in PROGRAMS {
        // What it says does not matter: only whether it is there.
        Command::new(program)
            .arg(version)
            .output()
            .map_err(|_| Skip::NoProgram(program))?;
    }
    if !Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        return Err(Skip::NoBridgeNetfilter);
    }
    let unshare = || nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
    let tried = std::thread::spawn(unshare)
        .join()
        .unwrap_or(Err(nix::Error::UnknownErrno));
    tried.map_err(Skip::NoNamespaces)?;
    Ok(Lane(()))
}

/// [`available`] for a test: where the kernel cannot be asked, says so and answers `None`.
///
/// # Panics
/// If the kernel cannot be asked and the environment says `PODWIRE_KERNEL=require`.
#[must_use]
pub fn lane() -> Option<Lane> {
    or_skip(available())
}

/// [`lane`] for a test that needs one more program, by its path.
///
/// # Panics
/// As [`lane`], also if that program is not there.
#[must_use]
pub fn lane_with(program: &'static str) -> Option<Lane> {
    let with_it = |lane| {
        let is_there = Path::new(program).exists();
        is_there.then_some(lane).ok_or(Skip::NoProgram(program))
    };
    or_skip(available().and_then(with_it))
}

#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
fn or_skip(lane: Result<Lane, Skip>) -> Option<Lane> {
    match lane {
        Ok(lane) => Some(lane),
        Err(skip) => {
            let required =
                std::env::var_os("PODWIRE_KERNEL").is_some_and(|value| value == "require");
            assert!(!required, "kernel lane: {skip}, and PODWIRE_KERNEL=require");
            println!("kernel lane: skipped ({skip})");
            None
        }
    }
}
