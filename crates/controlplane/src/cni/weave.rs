//! Weave Net's bridge.
//!
//! Source: net/bridge.go and net/veth.go of weaveworks/weave; the plugin (plugin/net/cni.go) names the
//! host's end of a pod's veth pair after the container.
//!
//! # Departures
//! Only the bridge is Weave's. Between nodes there are plain routes to the pods instead of Weave's
//! datapath, so packets from other nodes come in by the node's card and not by `vethwe-bridge`; the rules
//! of weave-npc decide the same for them, as they look at the pod behind the bridge. Masquerading
//! (chain WEAVE in nat) is not done.

use podwire_packet::DeviceName;

/// The bridge.
pub(super) const BRIDGE: DeviceName = DeviceName::literal("weave");
/// What the name of a pod's port begins with (`vethPrefix` and `pl`, net/veth.go).
pub(super) const PORT_PREFIX: &str = "vethwepl";
/// Largest packet of the bridge and its ports, in bytes: what fits into VXLAN with encryption on Ethernet
/// (`MTU`, net/bridge.go).
pub(super) const MTU: u32 = 1_376;
