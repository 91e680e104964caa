//! Which endpoint a connection gets: pkg/proxy/userspace/roundrobin.go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{Protocol, SimTime};
use podwire_ruleset::Choose;

use super::ProxySocket;

/// Seconds of affinity where a Service asks for none in particular (`newServiceInternal`): 3 hours.
const AFFINITY_SECONDS: u32 = 10_800;

/// How long a UDP client's connection to an endpoint is kept without a packet: flag `--udp-timeout`.
const UDP_IDLE: Duration = Duration::from_millis(250);

/// How long a client was last served, and by whom.
#[derive(Clone, Copy, Debug)]
struct Affinity {
    endpoint: (IpAddr, u16),
    used: SimTime,
}

/// The round robin of one service port, and its clients.
///
/// kube-proxy shuffles the endpoints whenever they change. Here the order is drawn as far as somebody
/// asks for it, so that every way the shuffle may go can be asked about.
#[derive(Clone, Debug, Default)]
pub struct LoadBalancer {
    /// The first of these, as many as were drawn, are in the order of the round robin.
    endpoints: Vec<(IpAddr, u16)>,
    drawn: usize,
    index: usize,
    clients: BTreeMap<IpAddr, Affinity>,
    /// Connections that UDP clients have, whatever became of the endpoint (`ClientCache`).
    udp: BTreeMap<(IpAddr, u16), Affinity>,
}

impl LoadBalancer {
    /// Takes over a socket's endpoints. Where they are others than before, the order is drawn anew, and
    /// clients of those that came or went are forgotten (`OnEndpointsUpdate`, `updateAffinityMap`).
    pub fn update(&mut self, endpoints: &[(IpAddr, u16)]) {
        let sorted = |of: &[(IpAddr, u16)]| {
            let mut sorted = of.to_vec();
            sorted.sort_unstable();
            sorted
        };
        let (before, after) = (sorted(&self.endpoints), sorted(endpoints));
        if before == after {
            return;
        }
        let is_in = |of: &[_], endpoint: &_| of.binary_search(endpoint).is_ok();
        self.clients.retain(|_, client| {
            is_in(&before, &client.endpoint) && is_in(&after, &client.endpoint)
        });
        self.endpoints = endpoints.to_vec();
        (self.drawn, self.index) = (0, 0);
    }

    /// The dials for a connection of a client (`TryConnectEndpoints`). Of UDP, where it has one already
    /// (`getBackendConn`), that is the endpoint of before.
    pub fn dials<'l>(
        &'l mut self,
        socket: &ProxySocket,
        client: (IpAddr, u16),
        now: SimTime,
    ) -> Dials<'l> {
        let affinity = socket.affinity_seconds.map(|seconds| {
            let seconds = if seconds == 0 {
                AFFINITY_SECONDS
            } else {
                seconds
            };
            Duration::from_secs(seconds.into())
        });
        Dials {
            // To dial with UDP is to send nothing: it does not fail.
            left: if socket.protocol == Protocol::TCP {
                Dials::TIMEOUTS.len()
            } else {
                1
            },
            balancer: self,
            affinity,
            is_udp: socket.protocol == Protocol::UDP,
            client,
            now,
            is_first: true,
        }
    }

    /// The endpoint whose turn it is.
    fn take_turn(&mut self, choose: &mut (impl Choose + ?Sized)) -> Option<(IpAddr, u16)> {
        let count = self.endpoints.len();
        if self.index == self.drawn && self.drawn < count {
            let others = u32::try_from(count - self.drawn).unwrap_or(u32::MAX);
            let chosen = if others == 1 {
                0
            } else {
                choose.one_of(others)
            };
            self.endpoints
                .swap(self.drawn, self.drawn + chosen as usize);
            self.drawn += 1;
        }
        let endpoint = self.endpoints.get(self.index).copied()?;
        self.index = (self.index + 1) % count;
        Some(endpoint)
    }
}

/// The endpoints that kube-proxy tries for one connection, one after the other.
#[derive(Debug)]
pub struct Dials<'l> {
    balancer: &'l mut LoadBalancer,
    affinity: Option<Duration>,
    is_udp: bool,
    client: (IpAddr, u16),
    now: SimTime,
    left: usize,
    is_first: bool,
}

impl Dials<'_> {
    /// How long each dial waits (`EndpointDialTimeouts`, pkg/proxy/userspace/proxysocket.go).
    pub const TIMEOUTS: [Duration; 4] = [
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(2),
    ];

    /// The next endpoint; none if there is none, or after the last dial. A client's
    /// endpoint comes first, and once it did not answer is no longer the client's.
    pub fn next(&mut self, choose: &mut (impl Choose + ?Sized)) -> Option<(IpAddr, u16)> {
        self.left = self.left.checked_sub(1)?;
        let used = self.now;
        if self.is_udp
            && let Some(known) = self.balancer.udp.get_mut(&self.client)
            && used - known.used < UDP_IDLE
        {
            known.used = used;
            return Some(known.endpoint);
        }
        let endpoint = self.next_endpoint(choose)?;
        if self.is_udp {
            self.balancer
                .udp
                .retain(|_, known| used - known.used < UDP_IDLE);
            let opened = Affinity { endpoint, used };
            self.balancer.udp.insert(self.client, opened);
        }
        Some(endpoint)
    }

    /// `NextEndpoint`.
    fn next_endpoint(&mut self, choose: &mut (impl Choose + ?Sized)) -> Option<(IpAddr, u16)> {
        let is_first = std::mem::take(&mut self.is_first);
        let Self { balancer, now, .. } = self;
        let Some(timeout) = self.affinity else {
            return balancer.take_turn(choose);
        };
        let ip = self.client.0;
        if is_first && let Some(client) = balancer.clients.get_mut(&ip) {
            // Whole seconds are compared, which for whole seconds of affinity is the same.
            if *now - client.used < timeout {
                client.used = *now;
                return Some(client.endpoint);
            }
        }
        let endpoint = balancer.take_turn(choose)?;
        let used = *now;
        balancer.clients.insert(ip, Affinity { endpoint, used });
        Some(endpoint)
    }
}
