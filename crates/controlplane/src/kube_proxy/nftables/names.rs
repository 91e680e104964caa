//! Names of the chains of service ports and endpoints.

use data_encoding::BASE32;
use podwire_ruleset::L4;
use podwire_ruleset::nft::Name;
use sha2::{Digest, Sha256};

use crate::kube_proxy::endpoints::ProxiedEndpoint;
use crate::kube_proxy::service_ports::ProxiedPort;

/// The longest that a name may be without its prefix (`chainNameBaseLengthMax`): the kernel takes 255
/// bytes, and prefixes may grow.
const MAX: usize = 240;

/// What all chains of a service port are named by: `HASH-namespace/name/protocol/port`.
#[derive(Clone, Debug)]
pub(super) struct PortName {
    /// Its last part.
    text: String,
    hashed: String,
}

impl PortName {
    /// The name of a service port (`servicePortChainNameBase`).
    pub(super) fn of(port: &ProxiedPort<'_>) -> Self {
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
    pub(super) fn chain(&self, prefix: &str) -> Name {
        Name::literal(&[prefix, &self.hashed].concat())
    }

    /// Names of endpoints' chains (`servicePortEndpointChainNameBase`).
    pub(super) fn endpoints<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e ProxiedEndpoint<'e>>,
    ) -> Vec<Name> {
        let mut text = self.text.clone();
        text.push_str("__");
        let port_end = text.len();
        let mut name = String::new();
        let named = endpoints.map(|endpoint| {
            text.truncate(port_end);
            let (ip, port) = endpoint
                .text
                .rsplit_once(':')
                .expect("an endpoint's text has a port");
            let ip = ip.trim_start_matches('[').trim_end_matches(']');
            text.extend(ip.chars().map(|c| if c == ':' { '.' } else { c }));
            text.push('/');
            text.push_str(port);
            name.clear();
            name.push_str("endpoint-");
            push_hashed(&mut name, &text);
            Name::literal(&name)
        });
        named.collect()
    }
}

/// The set that remembers the clients of an endpoint, by the name of the endpoint's chain.
pub(super) fn affinity_set(chain: &Name) -> Name {
    let chain = chain.as_str();
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
