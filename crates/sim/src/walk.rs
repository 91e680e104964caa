//! From namespace to namespace until the packet ends.

use indexmap::IndexMap;
use indexmap::map::Entry;
use podwire_controlplane::kube_proxy::LoadBalancer;
use podwire_dataplane::{
    Disposition, DropReason, Event, Frame, Netns, NetnsState, Outcome, Unroutable, Watch, receive,
    send,
};
use podwire_packet::{DeviceName, FiveTuple, Headers};
use podwire_ruleset::Choose;

use crate::evaluator::Evaluator;
use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::trace::Step;
use crate::world::{View, World};

/// How many namespaces a packet may cross. A packet between pods crosses four, one that leaves the
/// cluster five, and each that routes it takes one of its TTL, at most 255; more than this is a loop
/// that no TTL ends.
const MAX_NAMESPACES: usize = 512;

/// What is remembered during one walk and its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct States {
    /// By every namespace.
    pub(crate) netns: IndexMap<NetnsId, NetnsState>,
    /// By the kube-proxy of a node in userspace mode, for each service port by name.
    pub(crate) balancers: IndexMap<(NetnsId, Box<str>), LoadBalancer>,
}

/// Where and how a walk ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) at: NetnsId,
    pub(crate) disposition: Disposition,
    /// Source and destination as the packet had them last.
    pub(crate) flow: FiveTuple,
}

/// Notes what happens in one namespace.
struct Recorder<'s> {
    at: NetnsId,
    steps: &'s mut Vec<Step>,
    flow: &'s mut FiveTuple,
    /// How deep in tunnels the packet is: the outer packet's addresses are not the packet's.
    depth: &'s mut usize,
}

impl Watch for Recorder<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Sent { flow } | Event::Delivered { flow } => *self.flow = flow,
            Event::Translated { after, .. } if *self.depth == 0 => *self.flow = after,
            Event::Encapsulated { .. } => *self.depth += 1,
            Event::Decapsulated { .. } => *self.depth = self.depth.saturating_sub(1),
            Event::Received { .. }
            | Event::Tracked { .. }
            | Event::Rule { .. }
            | Event::Policy { .. }
            | Event::Uncertain { .. }
            | Event::Translated { .. }
            | Event::Scheduled { .. }
            | Event::Routed { .. }
            | Event::RoutedLocal { .. }
            | Event::Bridged { .. }
            | Event::Forwarded { .. }
            | Event::Proxied { .. }
            | Event::Transmitted { .. } => {}
        }
        self.steps.push(Step { at: self.at, event });
    }
}

/// Sends a packet from a process in a namespace and follows it to its end.
pub(crate) fn walk(
    world: &World<'_>,
    states: &mut States,
    from: NetnsId,
    headers: Headers,
    choose: &mut dyn Choose,
    steps: &mut Vec<Step>,
) -> Result<End, RulesError> {
    let mut flow = headers.five_tuple();
    let mut depth = 0;
    let mut at = from;
    let mut arriving: Option<(DeviceName, Frame)> = None;
    for _ in 0..MAX_NAMESPACES {
        let netns: &Netns<Evaluator> = &*world.netns(at)?;
        let state = match states.netns.entry(at) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(world.first_state(at)?),
        };
        let view = View::new(world, at);
        let mut watch = Recorder {
            at,
            steps: &mut *steps,
            flow: &mut flow,
            depth: &mut depth,
        };
        let outcome = match arriving.take() {
            None => send(netns, state, &view, headers, &mut &mut *choose, &mut watch),
            Some((device, frame)) => receive(
                netns,
                state,
                &view,
                device,
                frame,
                &mut &mut *choose,
                &mut watch,
            ),
        };
        view.check()?;
        match outcome {
            Outcome::Ended(disposition) => {
                let disposition = of_service_address(world, at, disposition, flow);
                return Ok(End {
                    at,
                    disposition,
                    flow,
                });
            }
            Outcome::Transmitted { device, frame } => match world.carry(at, device, frame.dst) {
                Some(end) => {
                    at = end.at;
                    arriving = Some((end.device, frame));
                }
                None => {
                    let disposition = Disposition::Dropped(DropReason::DeadDevice(device));
                    return Ok(End {
                        at,
                        disposition,
                        flow,
                    });
                }
            },
        }
    }
    let disposition = Disposition::Dropped(DropReason::Loop);
    Ok(End {
        at,
        disposition,
        flow,
    })
}

/// A packet that found nobody, and is still for a Service, was translated by no rule: that is what a
/// person wants to hear.
fn of_service_address(
    world: &World<'_>,
    at: NetnsId,
    disposition: Disposition,
    flow: FiveTuple,
) -> Disposition {
    // With a route for the address back to a node that did not translate it, it went in a circle.
    if matches!(disposition, Disposition::Ttl) && world.is_service_address(flow.dst) {
        return Disposition::Unroutable(Unroutable::ServiceAddress(flow.dst));
    }
    let Disposition::Unroutable(why) = disposition else {
        return disposition;
    };
    Disposition::Unroutable(match why {
        Unroutable::NoNeighbor { .. } if world.is_service_address(flow.dst) => {
            Unroutable::ServiceAddress(flow.dst)
        }
        // Somebody's whom the router, or this link, does not lead to.
        Unroutable::NoNeighbor { .. } if world.owner(flow.dst).is_some() => match at {
            NetnsId::Router => Unroutable::NoRoute,
            NetnsId::Node(_) | NetnsId::Pod(_) | NetnsId::Outside(_) => why,
        },
        Unroutable::NoNeighbor { next_hop, .. } if next_hop == flow.dst => {
            Unroutable::NoSuchHost(flow.dst)
        }
        Unroutable::NoRoute
        | Unroutable::RouteRefuses
        | Unroutable::NoNeighbor { .. }
        | Unroutable::ServiceAddress(_)
        | Unroutable::NoSuchHost(_) => why,
    })
}
