//! Names of the chains of service ports and endpoints.

use data_encoding::BASE32;
use podwire_ruleset::L4;
use podwire_ruleset::nft::Name;
use sha2::{Digest, Sha256};

use crate::kube_proxy::endpoint_text::ip_and_port;
use crate::kube_proxy::endpoints::ProxiedEndpoint;
use crate::kube_proxy::service_ports::ProxiedPort;

/// The longest that a name may be without its prefix (`chainNameBaseLengthMax`): the kernel takes 255
/// bytes, and prefixes may grow.
const MAX: usize = 240;

/// What all chains of a service port are named by: `HASH-namespace/name/protocol/port`.
#[derive(Clone, Debug)]
pub(in crate::kube_proxy) struct PortName {
    /// Its last part.
    text: String,
    hashed: String,
}

impl PortName {
    /// The name of a service port (`servicePortChainNameBase`).
    pub(in crate::kube_proxy) fn of(port: &ProxiedPort<'_>) -> Self {
        let service = port.service;
        let protocol = match port.l4 {
            L4::Tcp => "tcp",
            L4::Udp => "udp",
            L4::Sctp => "sctp",
            L4::Icmp | L4::Icmp6 => "icmp",
        };
        let parts = [
            &*service.namespace,
            "/",
            &*service.name,
            "/",
            protocol,
            "/",
            port.port_name,
        ];
        let text: String = parts.concat();
        let mut hashed = String::with_capacity(text.len() + 9);
        push_hashed(&mut hashed, &text);
        Self { text, hashed }
    }

    /// The name of one of its chains.
    pub(in crate::kube_proxy) fn chain(&self, prefix: &str) -> Name {
        Name::literal(&[prefix, &self.hashed].concat())
    }

    /// What they have behind their prefix.
    pub(super) fn hashed(&self) -> &str {
        &self.hashed
    }

    /// Calls `each` with the name of every endpoint's chain (`servicePortEndpointChainNameBase`), the
    /// endpoint and its text.
    pub(in crate::kube_proxy) fn for_endpoints<'e, 'a: 'e>(
        &self,
        endpoints: impl Iterator<Item = &'e ProxiedEndpoint<'a>>,
        mut each: impl FnMut(&str, &'e ProxiedEndpoint<'a>, &str),
    ) {
        let mut hashed = self.text.clone();
        hashed.push_str("__");
        let port_end = hashed.len();
        let mut name = String::from("endpoint-");
        let prefix_end = name.len();
        for endpoint in endpoints {
            let text = &*endpoint.text;
            let (ip, port) = ip_and_port(text);
            hashed.truncate(port_end);
            if ip.contains(':') {
                hashed.push_str(&ip.replace(':', "."));
            } else {
                hashed.push_str(ip);
            }
            hashed.push('/');
            hashed.push_str(port);
            name.truncate(prefix_end);
            push_hashed(&mut name, &hashed);
            each(&name, endpoint, text);
        }
    }
}

/// The set that remembers the clients of an endpoint, by the name of the endpoint's chain.
pub(super) fn affinity_set(chain: &str) -> Name {
    let own = chain.strip_prefix("endpoint-").unwrap_or(chain);
    Name::literal(&["affinity-", own].concat())
}

/// Appends eight characters of a text's hash and the text, cut to what a name may hold
/// (`hashAndTruncate`).
fn push_hashed(name: &mut String, text: &str) {
    let mut hash = [0; 8];
    BASE32.encode_mut(&Sha256::digest(text)[..5], &mut hash);
    let start = name.len();
    name.push_str(std::str::from_utf8(&hash).expect("base32 is a text"));
    name.push('-');
    name.push_str(text);
    if name.len() - start > MAX {
        name.truncate(name.floor_char_boundary(start + MAX - 3));
        name.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_to_240_bytes() {
        let mut name = String::from("endpoint-");
        push_hashed(&mut name, &"a".repeat(231));
        assert_eq!(name.len() - "endpoint-".len(), 240);
        assert!(name.ends_with('a'));
        name.clear();
        push_hashed(&mut name, &"a".repeat(232));
        assert_eq!(name.len(), 240);
        assert!(name.ends_with("a..."));
    }
}
