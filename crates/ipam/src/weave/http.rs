//! What a peer's HTTP interface answers about addresses: the CNI plugin's way to it.

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{MacAddr, Prefix};

use super::mesh::{AllocateError, Mesh};
use super::span::Span;

/// An answer of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    fn ok(body: impl Into<String>) -> Self {
        let (status, body) = (200, body.into());
        Self { status, body }
    }

    const fn no_content() -> Self {
        let body = String::new();
        Self { status: 204, body }
    }

    /// Text behind which `http.Error` of Go puts a line break.
    fn bad(why: impl std::fmt::Display) -> Self {
        let (status, body) = (400, format!("{why}\n"));
        Self { status, body }
    }

    fn not_found() -> Self {
        let (status, body) = (404, "404 page not found\n".to_owned());
        Self { status, body }
    }
}

/// Why a text of the path is no prefix, as Go's `net.ParseCIDR` words it.
fn invalid_cidr(text: &str) -> HttpAnswer {
    HttpAnswer::bad(format_args!("invalid CIDR address: {text}"))
}

fn parse_cidr(address: &str, length: &str) -> Result<(Ipv4Addr, u8), HttpAnswer> {
    let text = format!("{address}/{length}");
    let length = length.parse::<u8>().ok();
    match (address.parse(), length) {
        (Ok(IpAddr::V4(address)), Some(length @ 0..=32)) => Ok((address, length)),
        (Ok(IpAddr::V6(_)), Some(0..=128)) => Err(HttpAnswer::bad(format_args!(
            "invalid Non-IPv4 address not supported: {text}"
        ))),
        _ => Err(invalid_cidr(&text)),
    }
}

fn parse_subnet(address: &str, length: &str) -> Result<Prefix, HttpAnswer> {
    let (address, length) = parse_cidr(address, length)?;
    let subnet = Prefix::new(address.into(), length);
    if length > 30 {
        return Err(HttpAnswer::bad(format_args!(
            "invalid subnet - smaller than minimum size 4: {address}/{length}"
        )));
    }
    if subnet.address() != IpAddr::V4(address) {
        return Err(HttpAnswer::bad(format_args!(
            "invalid subnet - bits after network prefix are not all zero: {address}/{length}"
        )));
    }
    Ok(subnet)
}

impl Mesh {
    /// What a peer answers to a request of its HTTP interface: `POST /ip/ID` gives an address, `GET`
    /// tells it, `DELETE` takes it back, `PUT /ip/ID/IP/LENGTH` claims one. `None` where the real one does
    /// not answer at all: it waits until a peer has an address free. `draw` as for [`Mesh::allocate`].
    pub fn http(
        &mut self,
        peer: MacAddr,
        method: &str,
        path: &str,
        draw: impl FnMut() -> f64,
    ) -> Option<HttpAnswer> {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let universe = self.ring().universe();
        let answer = match (method, parts.as_slice()) {
            ("GET", ["ipinfo", "defaultsubnet"]) => HttpAnswer::ok(universe.to_string()),
            ("GET", ["ring"]) => HttpAnswer::ok(""),
            ("GET", ["ip"]) => HttpAnswer::ok(self.owned_json(peer)),
            ("GET", ["ip", id]) => HttpAnswer::ok(self.owned_text(peer, id, universe)),
            ("GET", ["ip", id, address, length]) => match parse_subnet(address, length) {
                Ok(subnet) => HttpAnswer::ok(self.owned_text(peer, id, subnet)),
                Err(answer) => answer,
            },
            ("POST", ["ip", id]) => self.post(peer, id, universe, draw)?,
            ("POST", ["ip", id, address, length]) => match parse_subnet(address, length) {
                Ok(subnet) => self.post(peer, id, subnet, draw)?,
                Err(answer) => answer,
            },
            ("PUT", ["ip", id, address, length]) => match parse_cidr(address, length) {
                Ok((address, length)) => match self.claim_for(peer, id, address, length) {
                    Ok(()) => HttpAnswer::no_content(),
                    Err(error) => HttpAnswer::bad(format_args!("Unable to claim: {error}")),
                },
                Err(answer) => answer,
            },
            ("DELETE", ["ip", id]) => match self.delete(peer, id) {
                0 => HttpAnswer::bad(format_args!("Delete: no addresses for {id}")),
                _ => HttpAnswer::no_content(),
            },
            ("DELETE", ["ip", id, address]) => self.delete_one(peer, id, address),
            _ => HttpAnswer::not_found(),
        };
        Some(answer)
    }

    fn post(
        &mut self,
        peer: MacAddr,
        id: &str,
        subnet: Prefix,
        draw: impl FnMut() -> f64,
    ) -> Option<HttpAnswer> {
        match self.allocate(peer, id, subnet, draw) {
            Ok(address) => Some(HttpAnswer::ok(format!("{address}/{}", subnet.len()))),
            Err(error @ AllocateError::OutOfBounds { .. }) => Some(HttpAnswer::bad(error)),
            Err(AllocateError::Waiting { .. }) => None,
        }
    }

    fn delete_one(&mut self, peer: MacAddr, id: &str, address: &str) -> HttpAnswer {
        let Ok(ip) = address.parse::<Ipv4Addr>() else {
            return HttpAnswer::bad(format_args!("invalid IP Address: {address}"));
        };
        if self.free_of(peer, id, ip) {
            HttpAnswer::no_content()
        } else {
            HttpAnswer::bad(format_args!(
                "Unable to free: Free: address {ip} not found for {id}"
            ))
        }
    }

    fn owned_text(&mut self, peer: MacAddr, id: &str, subnet: Prefix) -> String {
        let hosts = Span::hosts_of(subnet);
        let owned = self.peer(peer).owned.get(id).map_or(&[][..], Vec::as_slice);
        let inside = owned.iter().filter(|(ip, _)| hosts.contains(*ip));
        let texts: Vec<String> = inside
            .map(|(ip, length)| format!("{ip}/{length}"))
            .collect();
        texts.join(" ")
    }

    fn owned_json(&mut self, peer: MacAddr) -> String {
        let owned = self.peer(peer).owned.iter().map(|(id, addresses)| {
            let addresses = addresses.iter();
            let addresses: Vec<String> = addresses.map(|(ip, n)| format!("{ip}/{n}")).collect();
            serde_json::json!({ "containerid": id, "addrs": addresses })
        });
        let owned: Vec<serde_json::Value> = owned.collect();
        let owned = if owned.is_empty() {
            serde_json::Value::Null
        } else {
            owned.into()
        };
        format!("{}\n", serde_json::json!({ "owned": owned }))
    }
}
