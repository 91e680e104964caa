//! The cluster as a graph of namespaces, and the walk of a packet through it.
//!
//! A [`World`] is made of a cluster; [`World::trace`] sends the first packet of a flow from one
//! [`Place`] to another and walks the answer back. What happened on the way is a list of [`Step`]s.
//! [`World::trace_all`] does it for every choice that rules leave to chance, with exact
//! probabilities.
//!
//! # Map, in reading order
//! - [`World`]: namespaces and who owns which address; built as they are needed.
//! - [`Evaluator`]: who evaluates its rules: the reference, or what is compiled of them.
//! - [`Inspected`]: a namespace as it is, for tools to look at.
//! - [`Place`]: where packets come from and go to, as a person names it.
//! - `topology`: the petgraph graph of wires: veth pairs, node networks, the router.
//! - `walk`: from namespace to namespace until the packet ends.
//! - `proxied`: where kube-proxy takes a connection in userspace mode and opens its own.
//! - [`Requested`]: where an Ingress controller takes a request and passes it on.
//! - [`Trace`], [`Way`], [`Step`]: the answer.
//! - [`Timeline`]: a cluster that changes while packets are sent, and nodes that hear of it later.
//!
//! # Departures
//! - Hosts outside the cluster answer on every port, and reach what is not on their own network
//!   through one router, which also is the nodes' default gateway.
//! - Where plain routes connect the nodes, the router has them too, as a cloud's would; with flannel
//!   it knows no pod range.
//! - kube-proxy's dial in userspace mode succeeds once the endpoint got the packet, be its answer lost or
//!   not, and takes no time; the connection has the client's port number.
//! - An Ingress controller is a pod whose image is ingress-nginx's; it dials as kube-proxy does above, and the first of
//!   its endpoints is left to chance. It serves each scheme on each of its ports.
//! - In a [`Timeline`] weave-npc's sets follow the objects at once, and its rules come with kube-proxy's sync.
//! - In a [`Timeline`] kube-proxy's two families share one runner, every node is in sync at the start, a
//!   sync never fails, nobody flushes its chains, and its rules and its conntrack clean-up take effect at
//!   once, at the sync's end. Every packet of a probe looks like the first of its flow (a SYN, in TCP).
//!   In IPVS mode kube-proxy looks at real servers that drain each full minute since it started.

mod evaluator;
mod inspect;
mod place;
mod proxied;
mod requested;
mod rules;
mod timeline;
mod topology;
mod trace;
mod walk;
mod world;

pub use evaluator::Evaluator;
pub use inspect::{InspectError, Inspected};
pub use place::{Place, PlaceError, Target};
pub use requested::Requested;
pub use rules::{IpvsNode, NodeRules, ProxySockets, Refusal, RulesError};
pub use timeline::{
    Happening, RealServerOf, ServiceStates, SyncReport, Timeline, TimelineError, What,
};
pub use topology::NetnsId;
pub use trace::{Query, Step, Trace, TraceError, Way};
pub use world::{Options, World};
