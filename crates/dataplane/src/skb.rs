//! Packets and frames on their way.

use podwire_packet::{DeviceName, Headers, MacAddr, Mark};

use crate::conntrack::Direction;
use crate::path::WayOut;
use crate::{ConnectionId, Route};
use podwire_ruleset::{CtState, IpvsInfo};

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Something that no rule looks at.
    Data,
    /// A frame of another network.
    Vxlan {
        /// That network.
        vni: u32,
        /// The frame.
        inner: Box<Frame>,
    },
}

/// An Ethernet frame with an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Sender.
    pub src: MacAddr,
    /// Receiver.
    pub dst: MacAddr,
    /// The IP packet's headers.
    pub headers: Headers,
    /// What it carries.
    pub payload: Payload,
}

/// A packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub(crate) state: CtState,
    /// The connection; none for an invalid or untracked packet.
    pub(crate) connection: Option<(ConnectionId, Direction)>,
}

/// A packet inside a kernel, with what the kernel keeps beside it: `struct sk_buff`.
#[derive(Clone, Debug)]
pub(crate) struct Skb {
    pub(crate) headers: Headers,
    pub(crate) payload: Payload,
    pub(crate) mark: Mark,
    /// `None` until connection tracking has looked at it.
    pub(crate) tracked: Option<Tracked>,
    /// Device it came in by; none for what was made here.
    pub(crate) input: Option<DeviceName>,
    /// Where it goes, if that was looked up before its IP path began: by which route, or to this host.
    pub(crate) routed: Option<Option<Route>>,
    /// Bridge port it came in by, where br_netfilter is on.
    pub(crate) physdev_in: Option<DeviceName>,
    /// What IPVS did with it (`skb->ipvs_property`).
    pub(crate) ipvs: IpvsInfo,
    /// Where it goes if IPVS took it from its hook.
    pub(crate) leaves_by: Option<WayOut>,
}

impl Skb {
    pub(crate) const fn new(headers: Headers, payload: Payload) -> Self {
        Self {
            headers,
            payload,
            mark: Mark(0),
            tracked: None,
            input: None,
            routed: None,
            physdev_in: None,
            ipvs: IpvsInfo::Untouched,
            leaves_by: None,
        }
    }

    pub(crate) fn into_frame(self, src: MacAddr, dst: MacAddr) -> Frame {
        Frame {
            src,
            dst,
            headers: self.headers,
            payload: self.payload,
        }
    }
}
