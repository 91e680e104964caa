//! The wires: which device's other end is where.

use std::net::IpAddr;

use indexmap::{IndexMap, IndexSet};
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;
use podwire_packet::{DeviceName, MacAddr, Prefix};

/// A namespace of the simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetnsId {
    /// A node's own, by its place in the cluster.
    Node(usize),
    /// A pod's, by its place in the world's list of pods.
    Pod(usize),
    /// The router that joins the node networks with the rest of the world.
    Router,
    /// A host outside the cluster, by its place in the world's list of them.
    Outside(usize),
}

/// A vertex of the graph of wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vertex {
    /// A namespace.
    Netns(NetnsId),
    /// A switched network, which carries a frame to the device with its Ethernet address.
    Segment(Prefix),
    /// What lies beyond the router.
    Beyond,
}

/// One end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: NetnsId,
    pub(crate) device: DeviceName,
    pub(crate) mac: MacAddr,
}

/// A wire between two namespaces, or between one and a segment.
#[derive(Clone, Copy, Debug)]
struct Wire {
    a: End,
    /// The other end, where that is a device.
    b: Option<End>,
}

/// The graph of wires.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    graph: UnGraph<Vertex, Wire>,
    vertices: IndexMap<Vertex, NodeIndex>,
    segments: IndexSet<Prefix>,
    /// Who has an Ethernet address on a segment.
    on_segment: IndexMap<(NodeIndex, MacAddr), End>,
}

impl Topology {
    fn vertex(&mut self, vertex: Vertex) -> NodeIndex {
        let graph = &mut self.graph;
        *self
            .vertices
            .entry(vertex)
            .or_insert_with(|| graph.add_node(vertex))
    }

    /// Puts a device on a shared network: a segment, or what lies beyond the router.
    pub(crate) fn attach(&mut self, end: End, to: Vertex) {
        if let Vertex::Segment(segment) = to {
            self.segments.insert(segment);
        }
        let shared = self.vertex(to);
        let netns = self.vertex(Vertex::Netns(end.at));
        self.graph.add_edge(netns, shared, Wire { a: end, b: None });
        self.on_segment.insert((shared, end.mac), end);
    }

    /// Joins two devices with a veth pair.
    pub(crate) fn pair(&mut self, a: End, b: End) {
        let (from, to) = (
            self.vertex(Vertex::Netns(a.at)),
            self.vertex(Vertex::Netns(b.at)),
        );
        self.graph.add_edge(from, to, Wire { a, b: Some(b) });
    }

    /// The shared network that a device is on.
    pub(crate) fn shared_network(&self, at: NetnsId, device: DeviceName) -> Option<Vertex> {
        let vertex = *self.vertices.get(&Vertex::Netns(at))?;
        let edge = self.graph.edges(vertex).find(|edge| {
            let Wire { a, b } = edge.weight();
            b.is_none() && a.device == device
        })?;
        let other = if edge.source() == vertex {
            edge.target()
        } else {
            edge.source()
        };
        Some(self.graph[other])
    }

    /// Where a frame goes that a device sends: to the other end of its pair, or to whoever on its
    /// shared network has the Ethernet address.
    pub(crate) fn carry(&self, from: NetnsId, device: DeviceName, to: MacAddr) -> Option<End> {
        let vertex = *self.vertices.get(&Vertex::Netns(from))?;
        self.graph.edges(vertex).find_map(|edge| {
            let Wire { a, b } = *edge.weight();
            let is_end = |end: End| end.at == from && end.device == device;
            match b {
                Some(b) if is_end(a) => Some(b),
                Some(b) if is_end(b) => Some(a),
                Some(_) => None,
                None if is_end(a) => {
                    let shared = if edge.source() == vertex {
                        edge.target()
                    } else {
                        edge.source()
                    };
                    self.on_segment.get(&(shared, to)).copied()
                }
                None => None,
            }
        })
    }

    /// The segment whose network holds an address.
    pub(crate) fn segment_of(&self, address: IpAddr) -> Option<Prefix> {
        self.segments
            .iter()
            .copied()
            .find(|segment| segment.contains(address))
    }
}
