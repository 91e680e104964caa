//! Who sees what happens to a packet.

use std::net::IpAddr;

use podwire_packet::{DeviceName, FiveTuple, MacAddr};
use podwire_ruleset::ipvs::VirtualAddress;
use podwire_ruleset::{BaseChainRef, CtState, Hook, Origin, RuleRef, nft};

use crate::Route;

/// One thing that happened to a packet inside a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame came in.
    Received {
        /// By that device.
        device: DeviceName,
    },
    /// A local process sent it.
    Sent {
        /// Source and destination.
        flow: FiveTuple,
    },
    /// Connection tracking looked at it.
    Tracked {
        /// Its state.
        state: CtState,
    },
    /// A rule matched.
    Rule {
        /// Where.
        hook: Hook,
        /// Device it came in by.
        input: Option<DeviceName>,
        /// Device it leaves by.
        output: Option<DeviceName>,
        /// Which.
        rule: RuleRef,
        /// What a rule of nftables found in a named map, if it looked into one.
        found: Option<nft::ElementId>,
    },
    /// A base chain ended without a verdict.
    Policy {
        /// Which.
        chain: BaseChainRef,
    },
    /// A rule could not be evaluated; it was passed over.
    Uncertain {
        /// Which.
        rule: RuleRef,
    },
    /// Its addresses or ports were translated.
    Translated {
        /// Where.
        hook: Hook,
        /// Before.
        before: FiveTuple,
        /// After.
        after: FiveTuple,
    },
    /// IPVS chose a real server for a new connection.
    Scheduled {
        /// Where.
        hook: Hook,
        /// The virtual server.
        virtual_server: VirtualAddress,
        /// The real server's address and port.
        real: (IpAddr, u16),
    },
    /// The FIB said where it goes.
    Routed {
        /// Destination.
        to: IpAddr,
        /// By that route.
        route: Route,
    },
    /// The FIB said that it is for this host.
    RoutedLocal {
        /// Destination.
        to: IpAddr,
    },
    /// A bridge sent it from port to port, or from the host to a port.
    Bridged {
        /// The bridge.
        bridge: DeviceName,
        /// Port it came in by; none for the host.
        from: Option<DeviceName>,
        /// Port it leaves by; none for the host.
        to: Option<DeviceName>,
    },
    /// Its TTL was lowered.
    Forwarded {
        /// The TTL now.
        ttl: u8,
    },
    /// It was packed into VXLAN.
    Encapsulated {
        /// By that device.
        device: DeviceName,
        /// Outer source and destination.
        outer: FiveTuple,
        /// The network.
        vni: u32,
    },
    /// It was unpacked from VXLAN.
    Decapsulated {
        /// By that device.
        device: DeviceName,
        /// The network.
        vni: u32,
    },
    /// A device sent the frame.
    Transmitted {
        /// The device.
        device: DeviceName,
        /// Ethernet address it is for.
        to: MacAddr,
    },
    /// A socket got it.
    Delivered {
        /// Source and destination as the socket sees them.
        flow: FiveTuple,
    },
    /// The process behind the socket passes it on, by a connection of its own.
    Proxied {
        /// Source and destination as the socket sees them.
        flow: FiveTuple,
        /// Where that connection goes.
        to: (IpAddr, u16),
        /// Who asks for it, where a rule's object does.
        origin: Option<Origin>,
    },
}

/// Who sees what happens. The unit type sees nothing and costs nothing.
pub trait Watch {
    /// Something happened.
    fn event(&mut self, event: Event);
}

impl Watch for () {
    fn event(&mut self, _: Event) {}
}

impl Watch for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }
}

impl<W: Watch + ?Sized> Watch for &mut W {
    fn event(&mut self, event: Event) {
        (**self).event(event);
    }
}
