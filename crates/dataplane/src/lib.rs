//! The kernel of one network namespace: what Linux does with a packet between the device it comes in
//! by and the device or socket it leaves by.
//!
//! A [`Netns`] says what a namespace is: links, routes, neighbours, sysctls, sockets and rules. A
//! [`NetnsState`] is what it remembers: connections, and what rules keep in mind. [`receive`] takes a
//! frame, [`send`] a packet of a local process; both return what became of it as an [`Outcome`], and
//! tell a [`Watch`] each thing that happened on the way. Carrying frames between namespaces is the
//! business of `podwire-sim`.
//!
//! # Map, in reading order
//! - [`receive`], [`send`]: **the packet path**, in `path`: the functions of net/ipv4/ip_input.c,
//!   ip_forward.c and ip_output.c in their order.
//! - `hooks`: the tables of one hook in order, nftables' base chains, connection tracking and NAT among
//!   them.
//! - `bridge`: a bridge and its ports, with what br_netfilter adds.
//! - `vxlan`: encapsulation.
//! - [`Conntrack`], `nat`: connections and their translation.
//! - [`Ipvs`]: virtual servers.
//! - [`Fib`], [`Link`], [`Netns`]: what a namespace is made of.
//! - [`Event`], [`Disposition`], [`DropReason`]: the words for what happened.
//!
//! # Departures
//! - Neighbours are not asked with packets: ARP and ND are answered by [`Surroundings::resolve`] at
//!   once, so a first packet never waits.
//! - A bridge does not flood: a frame for an address that no port leads to is dropped, where Linux
//!   would send it to every port and every host there would ignore it.
//! - A packet that is too large and may be fragmented goes on whole, where Linux would cut it.
//! - TCP is tracked as one-way or two-way, not through each of its states; sequence numbers are not
//!   looked at.
//! - A full connection table takes nobody; Linux looks first for an unanswered connection nearby that
//!   it can drop early.
//! - Tables of iptables count as older than nftables' chains; that matters where two have one priority.
//!   A namespace with any rules tracks connections; Linux begins to with the first rule that needs it.
//! - A chain of nftables' type route does not route again what it marked: no route here asks for marks.
//! - An ICMP echo is tracked by its identifier alone, so that two hosts that ping each other with the
//!   same one share a connection.
//!
//! # Sources
//! Linux: net/ipv4/{ip_input,ip_forward,ip_output,route,fib_frontend}.c, net/netfilter/
//! {core,nf_conntrack_core,nf_nat_core,nf_nat_masquerade}.c, net/bridge/{br_input,br_forward,
//! br_netfilter_hooks}.c, drivers/net/vxlan/vxlan_core.c; ip-sysctl.rst.

mod bridge;
mod conntrack;
mod disposition;
mod fib;
mod hooks;
mod ipvs;
mod link;
mod nat;
mod netns;
mod path;
mod skb;
mod vxlan;
mod watch;

pub use conntrack::{
    Connection, ConnectionId, Conntrack, ConntrackFull, Direction, Entry, Timeouts,
};
pub use disposition::{Delivery, Disposition, DropReason, Unroutable};
pub use fib::{Fib, Lookup, Route, RouteKind};
pub use ipvs::{Admission, Ipvs};
pub use link::{BridgePort, Link, LinkKind, VxlanLink};
pub use nat::Manip;
pub use netns::{Listeners, Netns, NetnsState, Surroundings, Sysctls, select_address};
pub use path::{Outcome, receive, send};
pub use skb::{Frame, Payload};
pub use watch::{Event, Watch};

#[cfg(test)]
mod tests;
