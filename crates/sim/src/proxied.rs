//! The way of a packet and of its answer where a proxy on a node takes connections and opens its own.
//!
//! In userspace mode kube-proxy is such a proxy: the packet ends at its socket, and another one goes
//! from the node to an endpoint. The answer comes back to the proxy, which answers its client. In other
//! modes there is no hop and the packet that arrives is the one that was sent.

use podwire_controlplane::kube_proxy::ProxySocket;
use podwire_dataplane::{Delivery, Disposition, DropReason, Event};
use podwire_ingress::Request;
use podwire_packet::{Family, FiveTuple, Headers, Protocol};
use podwire_ruleset::Choose;

use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::trace::{Step, Way};
use crate::walk::States;
use crate::world::World;

/// How many proxies may pass a packet on. An endpoint that is again an address of a Service takes two;
/// more than this is a circle.
const MAX_HOPS: usize = 8;

/// A proxy on a packet's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    /// The namespace that it runs in.
    pub(crate) node: NetnsId,
    /// The connection that it took, as its socket sees it.
    pub(crate) taken: FiveTuple,
    /// The connection that it opened, as it was sent.
    pub(crate) opened: FiveTuple,
}

impl World<'_> {
    /// Sends a packet and follows it, through proxies, to its end. With a request, an Ingress controller that
    /// it comes to is such a proxy.
    pub(crate) fn forward(
        &self,
        states: &mut States,
        from: NetnsId,
        headers: Headers,
        mut request: Option<&Request>,
        choose: &mut dyn Choose,
    ) -> Result<(Way, Vec<Hop>), RulesError> {
        let mut way = self.way(states, from, headers, choose)?;
        let mut hops = Vec::new();
        while let Disposition::Delivered(delivery) = way.disposition {
            if let NetnsId::Node(node) = way.at {
                let sockets = self.rules(node)?.proxy_sockets;
                if let Some(socket) = sockets.of(delivery.flow) {
                    if hops.len() == MAX_HOPS {
                        way.disposition = Disposition::Dropped(DropReason::Loop);
                        break;
                    }
                    hops.extend(self.hop(states, &mut way, socket, headers, choose)?);
                    continue;
                }
            }
            let Some(request) = request.take() else { break };
            hops.extend(self.request_hop(states, &mut way, request, headers, choose)?);
        }
        Ok((way, hops))
    }

    /// kube-proxy dials endpoints until one takes the connection (`TryConnectEndpoints`,
    /// pkg/proxy/userspace/proxysocket.go). What it opens gets the port number that its client has; the
    /// real one's is any that is free.
    fn hop(
        &self,
        states: &mut States,
        way: &mut Way,
        socket: &ProxySocket,
        client: Headers,
        choose: &mut dyn Choose,
    ) -> Result<Option<Hop>, RulesError> {
        let (node, taken) = (way.at, way.arrived);
        let key = (node, socket.name.clone());
        // It is put back below: while it is away, packets may change all other memories.
        let mut balancer = states.balancers.swap_remove(&key).unwrap_or_default();
        balancer.update(&socket.endpoints);
        let mut dials = balancer.dials(socket, (taken.src, taken.sport), self.now);
        let mut hop = None;
        let mut end = DropReason::NoEndpoint;
        while let Some((address, port)) = dials.next(choose) {
            let event = Event::Proxied {
                flow: taken,
                to: (address, port),
                origin: Some(socket.origin),
            };
            way.steps.push(Step { at: node, event });
            let unbound = Family::of(address).unspecified();
            let headers = Headers {
                length: client.length,
                ..Headers::first_of_flow(unbound, address, taken.protocol, taken.sport, port)
            };
            let leg = self.way(states, node, headers, choose)?;
            let is_taken = matches!(leg.disposition, Disposition::Delivered(_));
            way.steps.extend(leg.steps);
            if is_taken || socket.protocol != Protocol::TCP {
                (way.at, way.disposition, way.arrived) = (leg.at, leg.disposition, leg.arrived);
                hop = Some(Hop {
                    node,
                    taken,
                    opened: leg.sent,
                });
                break;
            }
            end = DropReason::NoEndpointAnswers;
        }
        states.balancers.insert(key, balancer);
        if hop.is_none() {
            way.disposition = Disposition::Dropped(end);
        }
        Ok(hop)
    }

    /// The receiver answers: through the proxies, the last first, to the process that asked.
    pub(crate) fn answer(
        &self,
        states: &mut States,
        forward: &Way,
        hops: &[Hop],
        delivery: Delivery,
        asked: Headers,
        choose: &mut dyn Choose,
    ) -> Result<Way, RulesError> {
        // Who waits for an answer, and on which connection as it was sent; who answers, and on which
        // connection as the receiver sees it.
        let clients = std::iter::once((forward.from, forward.sent))
            .chain(hops.iter().map(|hop| (hop.node, hop.opened)));
        let servers = hops
            .iter()
            .map(|hop| (hop.node, hop.taken))
            .chain([(forward.at, delivery.flow)]);
        let legs: Vec<_> = clients.zip(servers).collect();
        let mut answer: Option<Way> = None;
        for &((client, sent), (server, seen)) in legs.iter().rev() {
            let headers = Headers {
                src: seen.src,
                dst: seen.dst,
                sport: seen.sport,
                dport: seen.dport,
                icmp_id: delivery.icmp_id,
                ..asked
            };
            let headers = headers.first_of_reply();
            let leg = self.answer_leg(states, (server, headers), (client, sent), choose)?;
            let is_heard = leg.answered;
            answer = Some(match answer {
                None => leg,
                Some(before) => Way {
                    from: before.from,
                    sent: before.sent,
                    steps: [before.steps, leg.steps].concat(),
                    ..leg
                },
            });
            if !is_heard {
                break;
            }
        }
        Ok(answer.expect("there is a leg more than there are hops"))
    }

    /// One connection's answer: the process that asked waits for it from the address that it asked.
    fn answer_leg(
        &self,
        states: &mut States,
        (server, headers): (NetnsId, Headers),
        (client, sent): (NetnsId, FiveTuple),
        choose: &mut dyn Choose,
    ) -> Result<Way, RulesError> {
        let expected = sent.reversed();
        let connected = &mut states.netns.entry(client).or_default().connected;
        if !connected.contains(&expected) {
            connected.push(expected);
        }
        let mut reply = self.way(states, server, headers, choose)?;
        reply.answered = matches!(reply.disposition, Disposition::Delivered(d) if d.flow == expected)
            && reply.at == client;
        if !reply.answered && matches!(reply.disposition, Disposition::Delivered(_)) {
            // A socket that was connected elsewhere does not take it.
            reply.disposition = Disposition::Refused;
        }
        Ok(reply)
    }
}
