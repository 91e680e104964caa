//! The connection table.
//!
//! Source: net/netfilter/ipvs/ip_vs_conn.c. Connections are found by the packets of their clients, and
//! by those of their servers; templates, which keep a client with its server, by client and virtual
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{Headers, Protocol, SimTime};
use podwire_ruleset::ipvs::{Socket, VirtualAddress};

use super::state::State;

/// A client's network, and the virtual server.
pub(super) type TemplateKey = (IpAddr, VirtualAddress);

/// A client's socket, and the virtual address that it talks to.
type Key = (Socket, VirtualAddress);

/// How long a template waits for its connections to end before it looks again.
const TEMPLATE_WAITS: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Connection {
    service: VirtualAddress,
    /// The destination that it counts for.
    real: Socket,
    /// Where its packets go.
    out: Socket,
    state: State,
    template: Option<TemplateKey>,
    expires: SimTime,
}

/// What others may know of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) service: VirtualAddress,
    pub(super) real: Socket,
    pub(super) is_active: bool,
}

/// A connection that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) virtual_server: VirtualAddress,
    pub(super) real: Socket,
    pub(super) is_active: bool,
}

#[derive(Clone, Debug)]
struct Template {
    real: Socket,
    timeout: Duration,
    expires: SimTime,
    /// Connections that it controls.
    connections: u32,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    by_client: BTreeMap<Key, Connection>,
    by_server: BTreeMap<(Protocol, Socket, Socket), VirtualAddress>,
    templates: BTreeMap<TemplateKey, Template>,
    expiry: BTreeSet<(SimTime, Key)>,
    template_expiry: BTreeSet<(SimTime, TemplateKey)>,
}

impl Connections {
    pub(super) fn find(&self, client: Socket, asked: &VirtualAddress) -> Option<Known> {
        let connection = self.by_client.get(&(client, *asked))?;
        Some(Known {
            service: connection.service,
            real: connection.real,
            is_active: connection.state.is_active(asked.protocol),
        })
    }

    /// The virtual address behind which a server answers a client (`ip_vs_conn_out_get`).
    pub(super) fn find_answered(
        &self,
        protocol: Protocol,
        real: Socket,
        client: Socket,
    ) -> Option<VirtualAddress> {
        self.by_server.get(&(protocol, real, client)).copied()
    }

    /// Takes note of a packet of a connection; returns whether that is active now.
    pub(super) fn seen(
        &mut self,
        client: Socket,
        asked: &VirtualAddress,
        headers: &Headers,
        from_client: bool,
        now: SimTime,
    ) -> bool {
        let key = (client, *asked);
        let Some(connection) = self.by_client.get_mut(&key) else {
            return false;
        };
        connection.state = connection.state.after(headers, from_client);
        let expires = now + connection.state.timeout(asked.protocol);
        let before = std::mem::replace(&mut connection.expires, expires);
        self.expiry.remove(&(before, key));
        self.expiry.insert((expires, key));
        connection.state.is_active(asked.protocol)
    }

    /// Enters a connection for its first packet; returns whether it is active.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that a connection is made of"
    )]
    pub(super) fn insert(
        &mut self,
        client: Socket,
        asked: VirtualAddress,
        service: VirtualAddress,
        (real, out): (Socket, Socket),
        template: Option<TemplateKey>,
        headers: &Headers,
        now: SimTime,
    ) -> bool {
        let key = (client, asked);
        let state = State::default().after(headers, true);
        let expires = now + state.timeout(asked.protocol);
        let controlling = template.and_then(|template| self.templates.get_mut(&template));
        if let Some(template) = controlling {
            template.connections += 1;
        }
        let connection = Connection {
            service,
            real,
            out,
            state,
            template,
            expires,
        };
        self.by_client.insert(key, connection);
        self.by_server.insert((asked.protocol, out, client), asked);
        self.expiry.insert((expires, key));
        state.is_active(asked.protocol)
    }

    pub(super) fn remove(&mut self, client: Socket, asked: &VirtualAddress) -> Option<Gone> {
        let key = (client, *asked);
        let gone = self.by_client.remove(&key)?;
        self.expiry.remove(&(gone.expires, key));
        let answers = (asked.protocol, gone.out, client);
        if self.by_server.get(&answers) == Some(asked) {
            self.by_server.remove(&answers);
        }
        let template = gone.template.and_then(|key| self.templates.get_mut(&key));
        if let Some(template) = template {
            template.connections = template.connections.saturating_sub(1);
        }
        Some(Gone {
            virtual_server: gone.service,
            real: gone.real,
            is_active: gone.state.is_active(asked.protocol),
        })
    }

    /// Takes out a connection whose time is over. Templates go too, but for those whose connections
    /// live: they look again later (`ip_vs_conn_expire`).
    pub(super) fn pop_expired(&mut self, now: SimTime) -> Option<Gone> {
        loop {
            let connection = self.expiry.first().filter(|(at, _)| *at <= now).copied();
            let template = self.template_expiry.first().copied();
            let template = template.filter(|(at, _)| {
                *at <= now && connection.is_none_or(|(of_connection, _)| *at < of_connection)
            });
            let Some((expires, key)) = template else {
                let (_, (client, asked)) = connection?;
                return self.remove(client, &asked);
            };
            self.template_expiry.remove(&(expires, key));
            if let Some(template) = self.templates.get_mut(&key) {
                if template.connections > 0 {
                    template.expires = expires + TEMPLATE_WAITS;
                    self.template_expiry.insert((template.expires, key));
                } else {
                    self.templates.remove(&key);
                }
            }
        }
    }

    /// The server that a client stays with.
    pub(super) fn template(&self, key: &TemplateKey) -> Option<Socket> {
        Some(self.templates.get(key)?.real)
    }

    /// Keeps a client with a server, from now on for so many seconds.
    pub(super) fn remember(&mut self, key: TemplateKey, real: Socket, seconds: u32, now: SimTime) {
        let timeout = Duration::from_secs(seconds.into());
        let template = self.templates.entry(key).or_insert(Template {
            real,
            timeout,
            expires: now,
            connections: 0,
        });
        if template.real != real {
            // The old template was invalidated, and what it controls controls nothing any more.
            template.real = real;
            template.connections = 0;
        }
        self.template_expiry.remove(&(template.expires, key));
        template.expires = now + template.timeout;
        self.template_expiry.insert((template.expires, key));
    }
}
