//! The whole way of a first packet, and of its answer.

use std::net::IpAddr;
use std::rc::Rc;

use podwire_dataplane::{Disposition, Event, Netns, Route};
use podwire_ingress::Request;
use podwire_packet::{Family, FiveTuple, Headers, Prefix, Protocol};
use podwire_ruleset::{CERTAIN, Choose, Draw, Probability, outcomes};

use crate::evaluator::Evaluator;
use crate::place::{Place, PlaceError, Target};
use crate::requested::Requested;
use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::walk::{End, States, walk};
use crate::world::World;

/// What to send.
#[derive(Clone, Debug)]
pub struct Query {
    /// Who sends.
    pub from: Place,
    /// To whom.
    pub to: Target,
    /// The protocol; by default the Service port's, else TCP.
    pub protocol: Option<Protocol>,
    /// Source port, or identifier of an ICMP echo.
    pub sport: u16,
    /// Length of the IP packet in bytes; by default that of a first packet of the protocol.
    pub length: Option<u32>,
    /// The packet goes to that node first, and the sender's own node has no rules.
    pub via: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A place that does not exist.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A node's rules cannot be made.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The two ends have no family in common.
    #[error("an {from} sender cannot reach an {to} address")]
    Families {
        /// Of the sender.
        from: Family,
        /// Of the receiver.
        to: Family,
    },
    /// A node with no address to be sent to.
    #[error("node `{node}` has no {family} address to send a packet to")]
    Via {
        /// The node.
        node: String,
        /// The family.
        family: Family,
    },
}

/// One thing that happened, and in which namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The namespace.
    pub at: NetnsId,
    /// What happened.
    pub event: Event,
}

/// A packet's way to its end.
#[derive(Clone, Debug)]
pub struct Way {
    /// The namespace that it began in.
    pub from: NetnsId,
    /// The namespace that it ended in.
    pub at: NetnsId,
    /// What became of it.
    pub disposition: Disposition,
    /// As it was sent.
    pub sent: FiveTuple,
    /// As it was last.
    pub arrived: FiveTuple,
    /// Whether it reached the process that it was meant for; for an answer, the one that asked, with
    /// the addresses that it asked.
    pub answered: bool,
    /// All that happened.
    pub steps: Vec<Step>,
    /// What an Ingress controller did with the request, where one took it.
    pub requested: Option<Box<Requested>>,
}

/// One way that a first packet can go, and its answer.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Probability of the choices made on the way.
    pub probability: f64,
    /// The packet.
    pub forward: Way,
    /// The answer, where the packet was delivered.
    pub reply: Option<Way>,
}

impl Trace {
    /// Whether the packet was delivered, and the answer to whoever sent it; of a request, a good one.
    #[must_use]
    pub fn arrived(&self) -> bool {
        matches!(self.forward.disposition, Disposition::Delivered(_))
            && self.reply.as_ref().is_some_and(|way| way.answered)
            && self
                .forward
                .requested
                .as_ref()
                .is_none_or(|requested| requested.status < 400)
    }
}

/// Draws, and keeps the probability of what was drawn.
struct Weighed {
    draw: Draw,
    probability: f64,
}

impl Choose for Weighed {
    fn chance(&mut self, threshold: u32) -> bool {
        let taken = self.draw.chance(threshold);
        let yes = f64::from(threshold.min(Probability::ONE)) / f64::from(Probability::ONE);
        self.probability *= if taken { yes } else { 1.0 - yes };
        taken
    }

    fn one_of(&mut self, n: u32) -> u32 {
        self.probability /= f64::from(n.max(1));
        self.draw.one_of(n)
    }
}

/// A query with every name resolved.
struct Prepared {
    from: NetnsId,
    headers: Headers,
    /// The namespace that stands aside for the query's `via`.
    aside: Option<Aside>,
    /// What is sent once there is a connection.
    request: Option<Request>,
}

/// A namespace that another stands in for.
type Aside = (NetnsId, Rc<Netns<Evaluator>>);

impl World<'_> {
    /// Sends one packet; chance follows the seed, and the probability is that of its choices.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace(&mut self, query: &Query, seed: u64) -> Result<Trace, TraceError> {
        let prepared = self.prepare(query)?;
        self.run_drawn(&mut States::default(), prepared, true, seed)
    }

    /// Opens a connection and sends a request over it; an Ingress controller that gets it passes it on.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_request(
        &mut self,
        query: &Query,
        request: &Request,
        seed: u64,
    ) -> Result<Trace, TraceError> {
        let mut prepared = self.prepare(query)?;
        prepared.request = Some(request.clone());
        self.run_drawn(&mut States::default(), prepared, true, seed)
    }

    /// The same in every way that rules and the controller leave to chance. Probabilities sum to 1.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_request_all(
        &mut self,
        query: &Query,
        request: &Request,
    ) -> Result<Vec<Trace>, TraceError> {
        let mut prepared = self.prepare(query)?;
        prepared.request = Some(request.clone());
        self.run_all(&States::default(), prepared)
    }

    /// The same where namespaces remember earlier packets, and remember this one; `answered` says
    /// whether the receiver answers.
    pub(crate) fn trace_on(
        &mut self,
        states: &mut States,
        query: &Query,
        answered: bool,
        seed: u64,
    ) -> Result<Trace, TraceError> {
        let prepared = self.prepare(query)?;
        self.run_drawn(states, prepared, answered, seed)
    }

    /// Sends the packet in every way that rules leave to chance. Probabilities sum to 1.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_all(&mut self, query: &Query) -> Result<Vec<Trace>, TraceError> {
        self.trace_all_on(&States::default(), query)
    }

    /// Sends one packet as [`trace`](Self::trace) does, and then the client's next one, from the port
    /// behind, in every way that is left of it by what namespaces remember.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn trace_twice(
        &mut self,
        query: &Query,
        seed: u64,
    ) -> Result<(Trace, Vec<Trace>), TraceError> {
        let mut states = States::default();
        let first = self.trace_on(&mut states, query, true, seed)?;
        let next = Query {
            sport: query.sport.wrapping_add(1),
            ..query.clone()
        };
        Ok((first, self.trace_all_on(&states, &next)?))
    }

    /// The same where namespaces remember earlier packets.
    pub(crate) fn trace_all_on(
        &mut self,
        states: &States,
        query: &Query,
    ) -> Result<Vec<Trace>, TraceError> {
        let prepared = self.prepare(query)?;
        self.run_all(states, prepared)
    }

    fn run_drawn(
        &mut self,
        states: &mut States,
        prepared: Prepared,
        answered: bool,
        seed: u64,
    ) -> Result<Trace, TraceError> {
        let mut choose = Weighed {
            draw: Draw(seed),
            probability: CERTAIN,
        };
        let trace = self.run(states, &prepared, answered, &mut choose);
        self.restore(prepared);
        Ok(Trace {
            probability: choose.probability,
            ..trace?
        })
    }

    fn run_all(&mut self, states: &States, prepared: Prepared) -> Result<Vec<Trace>, TraceError> {
        let all = outcomes(|choose| self.run(&mut states.clone(), &prepared, true, choose));
        self.restore(prepared);
        let with_probability = |(probability, trace): (f64, Result<Trace, RulesError>)| {
            trace.map(|trace| Trace {
                probability,
                ..trace
            })
        };
        Ok(all
            .into_iter()
            .map(with_probability)
            .collect::<Result<_, _>>()?)
    }

    fn prepare(&mut self, query: &Query) -> Result<Prepared, TraceError> {
        for place in [&query.from, &query.to.place] {
            if let Place::Address(address) = place {
                if address.is_unspecified() {
                    return Err(PlaceError::NoOnesAddress { address: *address }.into());
                }
                self.settle(*address);
            }
        }
        let family = match query.from {
            Place::Address(address) => Some(Family::of(address)),
            // Where both ends have both families, IPv4 is tried first.
            Place::Pod(_) | Place::Node(_) | Place::Service(_) => {
                let has = |family| self.sender(&query.from, family).is_ok();
                match (has(Family::Ipv4), has(Family::Ipv6)) {
                    (true, false) => Some(Family::Ipv4),
                    (false, true) => Some(Family::Ipv6),
                    (true, true) | (false, false) => None,
                }
            }
        };
        let (dst, protocol, dport) = self.receiver(&query.to, family, query.protocol)?;
        let to = Family::of(dst);
        let (from, src) = self.sender(&query.from, to)?;
        if let Some(src) = src.filter(|&src| Family::of(src) != to) {
            return Err(TraceError::Families {
                from: Family::of(src),
                to,
            });
        }
        let aside = match &query.via {
            Some(via) => self.route_via(from, dst, via)?,
            None => None,
        };
        let protocol = if protocol == Protocol::ICMP {
            Protocol::icmp_of(to)
        } else {
            protocol
        };
        let mut headers = Headers::first_of_flow(
            src.unwrap_or(to.unspecified()),
            dst,
            protocol,
            query.sport,
            dport,
        );
        if let Some(length) = query.length {
            headers.length = length;
        }
        Ok(Prepared {
            from,
            headers,
            aside,
            request: None,
        })
    }

    /// Puts back what the query changed.
    fn restore(&mut self, prepared: Prepared) {
        if let Some((id, netns)) = prepared.aside {
            self.replace(id, netns);
        }
    }

    /// Makes the sender send to that node: its own node loses its rules and gets a route. Returns the
    /// namespace as it was.
    fn route_via(
        &mut self,
        from: NetnsId,
        dst: IpAddr,
        via: &str,
    ) -> Result<Option<Aside>, TraceError> {
        let family = Family::of(dst);
        let node = self.find_node(via)?;
        let next_hop = self.network.nodes()[node]
            .internal_ip(family)
            .ok_or_else(|| TraceError::Via {
                node: via.to_owned(),
                family,
            })?;
        let first = match from {
            NetnsId::Pod(pod) => NetnsId::Node(self.pods[pod].node),
            NetnsId::Outside(host) if self.outside[host].segment.is_none() => NetnsId::Router,
            NetnsId::Node(_) | NetnsId::Router | NetnsId::Outside(_) => from,
        };
        if first == NetnsId::Node(node) || dst == next_hop && !matches!(first, NetnsId::Node(_)) {
            return Ok(None);
        }
        let before = self.netns(first)?;
        let mut netns = (*before).clone();
        (netns.ipv4_rules, netns.ipv6_rules) = (None, None);
        let device = netns.links.values().find(|link| {
            link.networks()
                .any(|(_, network)| network.contains(next_hop))
        });
        if let Some(device) = device.map(|link| link.name).filter(|_| dst != next_hop) {
            netns.add_route(Route::via(Prefix::host(dst), device, next_hop));
        }
        self.replace(first, Rc::new(netns));
        Ok(Some((first, before)))
    }

    fn run(
        &self,
        states: &mut States,
        query: &Prepared,
        answered: bool,
        choose: &mut dyn Choose,
    ) -> Result<Trace, RulesError> {
        let request = query.request.as_ref();
        let (mut forward, hops) =
            self.forward(states, query.from, query.headers, request, choose)?;
        forward.answered = matches!(forward.disposition, Disposition::Delivered(_));
        let reply = match forward.disposition {
            Disposition::Delivered(delivery) if answered => {
                Some(self.answer(states, &forward, &hops, delivery, query.headers, choose)?)
            }
            Disposition::Delivered(_)
            | Disposition::Dropped(_)
            | Disposition::Rejected { .. }
            | Disposition::Refused
            | Disposition::Unroutable(_)
            | Disposition::Mtu { .. }
            | Disposition::Ttl => None,
        };
        Ok(Trace {
            probability: CERTAIN,
            forward,
            reply,
        })
    }

    pub(crate) fn way(
        &self,
        states: &mut States,
        from: NetnsId,
        headers: Headers,
        choose: &mut dyn Choose,
    ) -> Result<Way, RulesError> {
        let mut steps = Vec::new();
        let End {
            at,
            disposition,
            flow,
        } = walk(self, states, from, headers, choose, &mut steps)?;
        let sent = steps.iter().find_map(|step| {
            if let Event::Sent { flow } = step.event {
                Some(flow)
            } else {
                None
            }
        });
        Ok(Way {
            from,
            at,
            disposition,
            sent: sent.unwrap_or(headers.five_tuple()),
            arrived: flow,
            answered: false,
            steps,
            requested: None,
        })
    }
}
