//! The way of a request through an Ingress controller: its client's connection ends there, and the
//! controller opens one of its own to an endpoint.
//!
//! # Sources
//! ingress-nginx: rootfs/etc/nginx/lua/balancer/round_robin.lua (it goes to endpoints' addresses, not to the
//! Service's); `proxy_next_upstream error timeout` and `proxy_next_upstream_tries 3`, its defaults.

use std::net::IpAddr;
use std::rc::Rc;

use podwire_cluster::{ObjectName, Pod};
use podwire_dataplane::{Disposition, Event};
use podwire_ingress::{Options, Request, Router};
use podwire_packet::{Family, FiveTuple, Headers};
use podwire_ruleset::Choose;

use crate::proxied::Hop;
use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::trace::{Step, Way};
use crate::walk::States;
use crate::world::World;

/// Endpoints that are tried for one request.
const TRIES: usize = 3;

/// What a controller did with a request.
#[derive(Clone, Debug)]
pub struct Requested {
    /// The request, as the controller got it.
    pub request: Request,
    /// How many of the way's steps there were before it.
    pub step: usize,
    /// The controller's namespace.
    pub at: NetnsId,
    /// The controller.
    pub controller: ObjectName,
    /// The status that the client gets; 200 where an endpoint answers.
    pub status: u16,
    /// The Ingress that decided.
    pub ingress: Option<ObjectName>,
    /// The Service that gets it, and its port.
    pub service: Option<(ObjectName, u16)>,
    /// Path and arguments that the endpoint sees.
    pub path: Option<String>,
    /// Where the client is sent.
    pub redirect: Option<String>,
    /// How the controller decided, a line for each step.
    pub why: Vec<String>,
}

impl World<'_> {
    /// The controller that listens in a namespace on a port, if one does.
    fn controller_at(&self, at: NetnsId, port: u16) -> Option<(&Pod, Options)> {
        let listens =
            |pod: &&Pod| pod.ports.is_empty() || pod.ports.iter().any(|of_pod| of_pod.port == port);
        let pod = match at {
            NetnsId::Pod(index) => self.cluster.pods.get(self.pods[index].name.as_ref()?),
            NetnsId::Node(node) => {
                let name = &self.network.nodes()[node].name;
                self.cluster.pods.values().find(|pod| {
                    pod.host_network
                        && pod.node.as_deref() == Some(name)
                        && listens(pod)
                        && Options::of_pod(pod).is_some()
                })
            }
            NetnsId::Router | NetnsId::Outside(_) => None,
        };
        let pod = pod.filter(listens)?;
        Some((pod, Options::of_pod(pod)?))
    }

    /// The decisions of a controller that runs with these options; made once.
    fn decisions(&self, options: &Options) -> Rc<Router> {
        let mut routers = self.routers.borrow_mut();
        let known = routers.iter().find(|(of, _)| of == options);
        if let Some((_, router)) = known {
            return Rc::clone(router);
        }
        let router = Rc::new(Router::new(self.cluster, options));
        routers.push((options.clone(), Rc::clone(&router)));
        router
    }

    /// The controller takes the request of a connection that arrived, if a controller is there, and passes
    /// it on or answers it.
    pub(crate) fn request_hop(
        &self,
        states: &mut States,
        way: &mut Way,
        request: &Request,
        client: Headers,
        choose: &mut dyn Choose,
    ) -> Result<Option<Hop>, RulesError> {
        let (at, taken) = (way.at, way.arrived);
        let Some((controller, options)) = self.controller_at(at, taken.dport) else {
            return Ok(None);
        };
        let router = self.decisions(&options);
        let answer = router.route(request);
        let mut requested = Requested {
            request: request.clone(),
            step: way.steps.len(),
            at,
            controller: controller.meta.name.clone(),
            status: answer.status,
            ingress: answer.ingress.cloned(),
            service: answer.service().cloned().zip(answer.port()),
            path: answer.path.clone(),
            redirect: answer.redirect.clone(),
            why: answer.why.to_string().lines().map(str::to_owned).collect(),
        };
        let endpoints = answer
            .backend
            .filter(|_| answer.status == 200)
            .map_or(&[][..], |backend| &backend.endpoints);
        let mut hop = None;
        if answer.status == 200 {
            // Nobody answers for a name outside, which only its resolver knows.
            requested.status = 502;
            let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            let first = if count > 1 { choose.one_of(count) } else { 0 } as usize;
            let in_turn = endpoints.iter().cycle().skip(first);
            for endpoint in in_turn.take(endpoints.len().min(TRIES)) {
                let to = (endpoint.ip(), endpoint.port());
                let leg = self.dial(states, way, (at, taken), to, client, choose)?;
                if matches!(leg.disposition, Disposition::Delivered(_)) {
                    requested.status = 200;
                    (way.at, way.disposition, way.arrived) = (leg.at, leg.disposition, leg.arrived);
                    hop = Some(Hop {
                        node: at,
                        taken,
                        opened: leg.sent,
                    });
                    break;
                }
                let is_refused = matches!(
                    leg.disposition,
                    Disposition::Refused | Disposition::Rejected { .. }
                );
                requested.status = if is_refused { 502 } else { 504 };
            }
        }
        way.requested = Some(Box::new(requested));
        Ok(hop)
    }

    /// A connection of the controller's own. It gets the port number that its client has.
    fn dial(
        &self,
        states: &mut States,
        way: &mut Way,
        (at, taken): (NetnsId, FiveTuple),
        to: (IpAddr, u16),
        client: Headers,
        choose: &mut dyn Choose,
    ) -> Result<Way, RulesError> {
        let event = Event::Proxied {
            flow: taken,
            to,
            origin: None,
        };
        way.steps.push(Step { at, event });
        let unbound = Family::of(to.0).unspecified();
        let headers = Headers {
            length: client.length,
            ..Headers::first_of_flow(unbound, to.0, taken.protocol, taken.sport, to.1)
        };
        let mut leg = self.way(states, at, headers, choose)?;
        way.steps.append(&mut leg.steps);
        Ok(leg)
    }
}
