//! IPVS: virtual servers at work.
//!
//! [`Ipvs::admit`] says what becomes of a packet for a virtual server: it belongs to a connection, or a
//! scheduler chooses a real server for a new one. `hook` does to the packet what follows from that.
//!
//! A namespace's virtual servers are configuration ([`Netns::virtual_servers`](crate::Netns)); what
//! schedulers remember of them is made when the first packet comes. How far a node that has run for
//! long got in its round, or in which order kube-proxy happened to add the real servers, is then left
//! to chance: round robins begin anywhere in their cycle, and the schedulers that count connections
//! ask the servers from any of them on. Those that hash leave nothing to chance. [`Ipvs::new`] makes
//! fresh virtual servers instead, as the kernel has them after `ipvsadm -A` and `-a`.
//!
//! # Map
//! - `service`: a virtual server, its destinations and the schedulers that count.
//! - `hashing`, `maglev`: the schedulers that hash.
//! - `connections`, `state`: the connection table, TCP's states and timeouts.
//! - `hook`: `ip_vs_in` and `ip_vs_out` on their hooks.
//!
//! # Departures
//! - Of forwarding methods masquerading alone is walked; a packet for a server of another is dropped.
//! - `lblc` and `lblcr` choose as `wlc` does, without their cache of destinations.
//! - ICMP errors about a connection's packets are not translated.
//! - SCTP counts as active when packets went both ways; its chunks are not looked at.
//! - `net.ipv4.vs.conntrack`, `expire_nodest_conn` and `expire_quiescent_template` are on, as
//!   kube-proxy sets them. A connection is not used again for a new one with the same port: a SYN is
//!   a packet of the connection that is there, also where its server has weight 0 (`is_new_conn`).
//! - A connection that expires leaves conntrack's entry of it alone.
//!
//! # Sources
//! Linux: net/netfilter/ipvs/ip_vs_{core,conn,ctl,xmit,nfct}.c, and the files of the schedulers.

mod connections;
mod hashing;
mod hook;
mod maglev;
mod service;
mod state;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use podwire_packet::{Headers, Prefix, Protocol, SimTime, TcpFlags};
use podwire_ruleset::Choose;
use podwire_ruleset::ipvs::{
    Change, Persistence, RealServer, Socket, VirtualAddress, VirtualServers,
};

use connections::{Connections, Gone, TemplateKey};
use service::{Destination, Service};

/// What IPVS makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is for no virtual server, or may not begin a connection: it goes its way.
    NotTaken,
    /// It goes to a real server.
    To {
        /// The virtual server that the packet is for.
        virtual_server: VirtualAddress,
        /// The real server.
        real: RealServer,
        /// Whether it was chosen for this packet.
        is_new: bool,
    },
    /// The virtual server has none that takes it (`ip_vs_leave`).
    NoDestination(VirtualAddress),
    /// It belonged to a connection whose real server is gone, and which is forgotten now (sysctl
    /// `expire_nodest_conn`). Asked again, it begins another one.
    Expired,
}

/// The virtual servers of a namespace as they are: counters, cursors, connections.
#[derive(Clone, Debug, Default)]
pub struct Ipvs {
    services: BTreeMap<VirtualAddress, Service>,
    connections: Connections,
    /// Real servers that are gone but have connections, which they keep if they come back
    /// (`dest_trash`).
    trash: BTreeMap<(VirtualAddress, Socket), Destination>,
}

impl Ipvs {
    /// Fresh virtual servers, whose real servers were added in their order.
    #[must_use]
    pub fn new(servers: &VirtualServers) -> Self {
        let services = servers
            .iter()
            .map(|(&address, server)| (address, Service::new(server)))
            .collect();
        Self {
            services,
            ..Self::default()
        }
    }

    /// Makes a change to virtual servers. One that was not asked yet has nothing to change: it is made
    /// as it is configured when the first packet comes.
    ///
    /// - A real server that comes back finds the connections that it had (`ip_vs_add_dest`).
    /// - One with weight 0 is quiescent: it keeps its connections and gets no more (`ip_vs_edit_dest`).
    /// - The connections of one that goes, alone or with its virtual server, end with their next packet
    ///   (`ip_vs_del_dest`, `ip_vs_del_service`).
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::AddServer(..) => {}
            Change::EditServer(of, server) => {
                if let Some(service) = self.services.get_mut(of) {
                    service.edit(server);
                }
            }
            Change::DeleteServer(of) => {
                let gone = self.services.remove(of);
                for destination in gone.into_iter().flat_map(Service::into_destinations) {
                    self.discard(*of, destination);
                }
            }
            Change::AddReal(of, real) => {
                if let Some(service) = self.services.get_mut(of) {
                    service.add(*real, self.trash.remove(&(*of, real.socket())));
                }
            }
            Change::SetWeight(of, real, weight) => {
                if let Some(service) = self.services.get_mut(of) {
                    service.set_weight(*real, *weight);
                }
            }
            Change::DeleteReal(of, real) => {
                let service = self.services.get_mut(of);
                if let Some(gone) = service.and_then(|service| service.remove(*real)) {
                    self.discard(*of, gone);
                }
            }
        }
    }

    /// Keeps a real server that is gone as long as it has connections (`__ip_vs_del_dest`).
    fn discard(&mut self, of: VirtualAddress, gone: Destination) {
        if gone.counts() != (0, 0) {
            self.trash.insert((of, gone.real.socket()), gone);
        }
    }

    /// Active and inactive connections of a real server.
    #[must_use]
    pub fn counts(&self, of: &VirtualAddress, real: Socket) -> (u32, u32) {
        let service = self.services.get(of);
        service.map_or((0, 0), |service| service.counts(real))
    }

    /// How many connections a real server has.
    #[must_use]
    pub fn connection_count(&self, of: &VirtualAddress, real: Socket) -> u32 {
        let (active, inactive) = self.counts(of, real);
        active + inactive
    }

    /// Forgets connections whose time is over.
    pub fn expire(&mut self, now: SimTime) {
        while let Some(gone) = self.connections.pop_expired(now) {
            self.uncount(&gone);
        }
    }

    /// A connection is over (`ip_vs_unbind_dest`).
    fn uncount(&mut self, gone: &Gone) {
        let service = self.services.get_mut(&gone.virtual_server);
        if let Some(service) = service
            && service.real_server(gone.real).is_some()
        {
            service.uncount(gone.real, gone.is_active);
        } else if let Entry::Occupied(mut place) =
            self.trash.entry((gone.virtual_server, gone.real))
        {
            place.get_mut().uncount(gone.is_active);
            if place.get().counts() == (0, 0) {
                place.remove();
            }
        }
    }

    /// What becomes of a packet from a client (`ip_vs_in_hook`, `ip_vs_schedule`). Virtual servers
    /// that are `configured` and were not asked yet are made now.
    pub fn admit(
        &mut self,
        configured: Option<&VirtualServers>,
        headers: &Headers,
        now: SimTime,
        choose: &mut impl Choose,
    ) -> Admission {
        self.expire(now);
        let client = (headers.src, headers.sport);
        let asked = VirtualAddress {
            protocol: headers.protocol,
            address: headers.dst,
            port: headers.dport,
        };
        if !matches!(
            headers.protocol,
            Protocol::TCP | Protocol::UDP | Protocol::SCTP
        ) {
            return Admission::NotTaken;
        }
        if let Some(known) = self.connections.find(client, &asked) {
            let service = self.service(configured, &known.service, choose);
            if let Some(service) = service
                && let Some(real) = service.real_server(known.real)
            {
                let was_active = known.is_active;
                let is_active = self.connections.seen(client, &asked, headers, true, now);
                if let Some(service) = self.services.get_mut(&known.service) {
                    service.recount(known.real, was_active, is_active);
                }
                return Admission::To {
                    virtual_server: asked,
                    real,
                    is_new: false,
                };
            }
            if let Some(gone) = self.connections.remove(client, &asked) {
                self.uncount(&gone);
            }
            return Admission::Expired;
        }
        if headers.protocol == Protocol::TCP && !begins(headers) {
            return Admission::NotTaken;
        }
        let Some(address) = self.find_service(configured, &asked, choose) else {
            return Admission::NotTaken;
        };
        self.schedule(address, asked, headers, now, choose)
    }

    /// A packet back from a real server: the virtual address and port that it is to come from
    /// (`ip_vs_out_hook`, `handle_response`).
    pub fn answer(&mut self, headers: &Headers, now: SimTime) -> Option<Socket> {
        self.expire(now);
        let real = (headers.src, headers.sport);
        let client = (headers.dst, headers.dport);
        let virtual_server = self
            .connections
            .find_answered(headers.protocol, real, client)?;
        let known = self.connections.find(client, &virtual_server)?;
        let is_active = self
            .connections
            .seen(client, &virtual_server, headers, false, now);
        if let Some(service) = self.services.get_mut(&known.service) {
            service.recount(known.real, known.is_active, is_active);
        }
        Some((virtual_server.address, virtual_server.port))
    }

    /// The virtual server of a packet, made if need be: with its port, else with port 0
    /// (`ip_vs_service_find`).
    fn find_service(
        &mut self,
        configured: Option<&VirtualServers>,
        asked: &VirtualAddress,
        choose: &mut impl Choose,
    ) -> Option<VirtualAddress> {
        let every_port = VirtualAddress { port: 0, ..*asked };
        [*asked, every_port]
            .into_iter()
            .find(|address| self.service(configured, address, choose).is_some())
    }

    /// The virtual server with that address, made if need be.
    fn service(
        &mut self,
        configured: Option<&VirtualServers>,
        address: &VirtualAddress,
        choose: &mut impl Choose,
    ) -> Option<&mut Service> {
        if !self.services.contains_key(address) {
            let server = configured?.get(address)?;
            let mut service = Service::new(server);
            service.begin_anywhere(choose);
            for real in &server.real_servers {
                if let Some(before) = self.trash.remove(&(*address, real.socket())) {
                    service.revive(&before);
                }
            }
            self.services.insert(*address, service);
        }
        self.services.get_mut(address)
    }

    fn schedule(
        &mut self,
        address: VirtualAddress,
        asked: VirtualAddress,
        headers: &Headers,
        now: SimTime,
        choose: &mut impl Choose,
    ) -> Admission {
        let service = self.services.get_mut(&address).expect("it was found");
        let template = service
            .persistence()
            .map(|persistence| template_key(persistence, headers, address));
        let remembered = template
            .as_ref()
            .and_then(|key| self.connections.template(key))
            // sysctl expire_quiescent_template: a server with weight 0 gets none of its old clients.
            .and_then(|real| service.real_server(real))
            .filter(|real| real.weight > 0);
        let chosen = remembered.or_else(|| service.schedule(headers, choose));
        let Some(real) = chosen else {
            return Admission::NoDestination(asked);
        };
        // A virtual server of every port keeps the port (`ip_vs_schedule`).
        let to = RealServer {
            port: if address.port == 0 {
                asked.port
            } else {
                real.port
            },
            ..real
        };
        if let (Some(key), Some(persistence)) = (&template, service.persistence()) {
            let seconds = persistence.timeout_seconds;
            self.connections
                .remember(*key, (real.address, real.port), seconds, now);
        }
        if !(service.is_one_packet() && headers.protocol == Protocol::UDP) {
            let client = (headers.src, headers.sport);
            let real = (real.address, real.port);
            let out = (to.address, to.port);
            let is_active = self.connections.insert(
                client,
                asked,
                address,
                (real, out),
                template,
                headers,
                now,
            );
            service.count(real, is_active);
        }
        Admission::To {
            virtual_server: asked,
            real: to,
            is_new: true,
        }
    }
}

/// Whether a TCP packet may begin a connection (`tcp_conn_schedule`).
const fn begins(headers: &Headers) -> bool {
    headers.tcp_flags.contains(TcpFlags::SYN) && !headers.tcp_flags.contains(TcpFlags::RST)
}

fn template_key(
    persistence: Persistence,
    headers: &Headers,
    address: VirtualAddress,
) -> TemplateKey {
    let network = Prefix::new(headers.src, persistence.mask_bits).address();
    (network, address)
}

#[cfg(test)]
mod tests;
