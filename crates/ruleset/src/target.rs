//! What a rule does with a packet.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::Mark;

use crate::{ChainName, RejectWith};

/// What `--to-destination`, `--to-source` and `--to-ports` name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatRange {
    /// Addresses to choose from; `None` leaves the address.
    pub addresses: Option<RangeInclusive<IpAddr>>,
    /// Ports to choose from; `None` leaves the port if it can.
    pub ports: Option<RangeInclusive<u16>>,
    /// First port that `ports` stand for: the third number of `DNAT --to-destination IP:lo-hi/base`.
    pub base_port: Option<u16>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
    /// `--persistent`.
    pub persistent: bool,
}

impl NatRange {
    /// One address, and one port if given.
    #[must_use]
    pub fn to(address: IpAddr, port: Option<u16>) -> Self {
        Self {
            addresses: Some(address..=address),
            ports: port.map(|port| port..=port),
            ..Self::default()
        }
    }
}

/// What `-j CONNMARK` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnmarkTarget {
    /// `--set-xmark VALUE/MASK`: clear the mask's bits, then flip the value's.
    Set {
        /// Bits to flip.
        value: Mark,
        /// Bits to clear before.
        mask: Mark,
    },
    /// `--save-mark`: the connection gets the packet's mark.
    Save {
        /// Bits of the packet's mark to take (`--nfmask`).
        packet_mask: Mark,
        /// Bits of the connection's mark to clear before (`--ctmask`).
        connection_mask: Mark,
    },
    /// `--restore-mark`: the packet gets the connection's mark.
    Restore {
        /// Bits of the packet's mark to clear before (`--nfmask`).
        packet_mask: Mark,
        /// Bits of the connection's mark to take (`--ctmask`).
        connection_mask: Mark,
    },
}

/// `-j LOG`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogTarget {
    /// `--log-level`, 0 to 7; 4 (warning) if not said.
    pub level: Option<u8>,
    /// `--log-prefix`.
    pub prefix: Box<str>,
    /// `--log-tcp-sequence` and its like, a bit for each (`XT_LOG_*`,
    /// include/uapi/linux/netfilter/xt_LOG.h).
    pub flags: u8,
}

/// `-j NFLOG`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NflogTarget {
    /// `--nflog-group`.
    pub group: u16,
    /// `--nflog-prefix`.
    pub prefix: Box<str>,
    /// `--nflog-size`, bytes.
    pub size: Option<u32>,
    /// `--nflog-range`, bytes; the old word.
    pub range: Option<u32>,
    /// `--nflog-threshold`, packets.
    pub threshold: Option<u16>,
}

/// `-j CHECKSUM --checksum-fill`, the only option it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChecksumTarget;

/// `-j TCPMSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MssTarget {
    /// `--set-mss`.
    Set(u16),
    /// `--clamp-mss-to-pmtu`.
    ClampToPmtu,
}

/// What a rule does with a packet for which every match holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The table is done with it; it goes on.
    Accept,
    /// It is gone without a word.
    Drop,
    /// It is gone, and the sender is told.
    Reject(RejectWith),
    /// Back to the rule behind the jump; in a built-in chain, the policy.
    Return,
    /// `-j CHAIN`: through that chain, then back here.
    Jump(ChainName),
    /// `-g CHAIN`: through that chain, then back to where this chain was called from.
    Goto(ChainName),
    /// `-j MARK --set-xmark VALUE/MASK`: clear the mask's bits of the mark, then flip the value's.
    Mark {
        /// Bits to flip.
        value: Mark,
        /// Bits to clear before.
        mask: Mark,
    },
    /// `-j CONNMARK`.
    Connmark(ConnmarkTarget),
    /// New destination.
    Dnat(NatRange),
    /// New source.
    Snat(NatRange),
    /// New source: an address of the device that the packet leaves by. Only ports are given.
    Masquerade(NatRange),
    /// New destination: an address of this host. Only ports are given.
    Redirect(NatRange),
    /// A line in the kernel's log.
    Log(LogTarget),
    /// A message to a netlink group.
    Nflog(NflogTarget),
    /// `-j NOTRACK`, or `-j CT --notrack`: no connection tracking.
    Notrack,
    /// Trace the packet from here on.
    Trace,
    /// Fill in the checksum.
    Checksum(ChecksumTarget),
    /// Change the maximum segment size in a SYN.
    Tcpmss(MssTarget),
    /// A target that podwire does not evaluate: its name and options as they were written.
    /// An answer that depends on it says so.
    Unknown(Box<str>),
}
