//! Names that kube-proxy prints and hashes.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32;
use podwire_ruleset::ChainName;
use sha2::{Digest, Sha256};

/// The release whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubeProxyVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number, which only logs tell.
    pub patch: u16,
}

/// Why a text is not a [`KubeProxyVersion`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a release of kube-proxy such as `1.30` or `v1.18.2`")]
pub struct ParseVersionError {
    /// The text that was read.
    pub text: String,
}

impl KubeProxyVersion {
    /// 1.19, the first release in which an unnamed port's name ends without a colon.
    pub const V1_19: Self = Self {
        major: 1,
        minor: 19,
        patch: 0,
    };

    /// 1.26, the first release without userspace mode.
    pub const V1_26: Self = Self {
        major: 1,
        minor: 26,
        patch: 0,
    };
}

impl Default for KubeProxyVersion {
    /// 1.30, the release that is modelled.
    fn default() -> Self {
        Self {
            major: 1,
            minor: 30,
            patch: 0,
        }
    }
}

impl fmt::Display for KubeProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for KubeProxyVersion {
    type Err = ParseVersionError;

    /// Reads `1.30`, with or without a `v` before it and a patch number behind it.
    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let wrong = || ParseVersionError {
            text: text.to_owned(),
        };
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut number = || -> Option<u16> { numbers.next()?.parse().ok() };
        let major = number().ok_or_else(wrong)?;
        let minor = number().ok_or_else(wrong)?;
        let patch = numbers.next().map_or(Some(0), |text| {
            // A vendor's words may stand behind it: `v1.29.1-eks-61c0bbb`.
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            text[..digits].parse().ok()
        });
        let patch = patch.ok_or_else(wrong)?;
        Ok(Self {
            major,
            minor,
            patch,
        })
    }
}

/// A service port's name as rules' comments have it: `namespace/name:port`.
///
/// An unnamed port leaves the colon out, since 1.19 (`ServicePortName.String`, pkg/proxy/types.go).
pub(super) fn printed_name(
    version: KubeProxyVersion,
    namespace: &str,
    name: &str,
    port: &str,
) -> String {
    let mut text = String::with_capacity(namespace.len() + name.len() + port.len() + 2);
    text.push_str(namespace);
    text.push('/');
    text.push_str(name);
    if !port.is_empty() || version < KubeProxyVersion::V1_19 {
        text.push(':');
        text.push_str(port);
    }
    text
}

/// 16 characters that stand for a service port or an endpoint in the names of its chains: the first
/// ten bytes of SHA-256 in base32 (`portProtoHash` and `servicePortEndpointChainName`,
/// pkg/proxy/iptables/proxier.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainHash([u8; 16]);

impl ChainHash {
    /// Of a service port, by its printed name and its protocol in lower case.
    pub(super) fn of_service_port(name: &str, protocol: &str) -> Self {
        Self::of([name, protocol, ""])
    }

    /// Of an endpoint of that service port, by its text `ip:port`.
    pub(super) fn of_endpoint(name: &str, protocol: &str, endpoint: &str) -> Self {
        Self::of([name, protocol, endpoint])
    }

    fn of(parts: [&str; 3]) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        let digest = sha.finalize();
        let mut text = [0; 16];
        BASE32.encode_mut(&digest[..10], &mut text);
        Self(text)
    }

    /// Appends its 16 characters.
    pub(super) fn push_to(&self, text: &mut String) {
        text.push_str(std::str::from_utf8(&self.0).expect("base32 is a text"));
    }

    /// The name of a chain: the hash behind a prefix of at most nine bytes, such as `KUBE-SVC-`.
    pub(super) fn chain(&self, prefix: &str) -> ChainName {
        let mut text = [0; ChainName::MAX];
        let end = prefix.len() + self.0.len();
        text[..prefix.len()].copy_from_slice(prefix.as_bytes());
        text[prefix.len()..end].copy_from_slice(&self.0);
        std::str::from_utf8(&text[..end])
            .expect("base32 behind a text")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_hash(name: &str, protocol: &str) -> String {
        ChainHash::of_service_port(name, protocol)
            .chain("KUBE-SVC-")
            .to_string()
    }

    #[test]
    fn service_chains_have_their_known_names() {
        for (name, protocol, chain) in [
            ("default/kubernetes:https", "tcp", "NPX46M4PTMTKRN6Y"),
            ("kube-system/kube-dns:dns", "udp", "TCOU7JCQXEZGVUNU"),
            ("kube-system/kube-dns:dns-tcp", "tcp", "ERIFXISQEP7F7OF4"),
            ("kube-system/kube-dns:metrics", "tcp", "JD5MR3NA4I4DYORP"),
            ("ns1/svc1:p80", "tcp", "XPGD46QRK7WJZT7O"),
            ("ns2/svc2:p80", "tcp", "GNZBNJ2PO5MGZ6GT"),
            ("ns3/svc3:p80", "tcp", "X27LE4BHSL4DOUIK"),
        ] {
            assert_eq!(service_hash(name, protocol), format!("KUBE-SVC-{chain}"));
        }
    }

    #[test]
    fn an_unnamed_port_keeps_its_colon_before_1_19() {
        let old = "1.18".parse().unwrap();
        let name = printed_name(old, "payroll", "mysql", "");
        assert_eq!(name, "payroll/mysql:");
        assert_eq!(service_hash(&name, "tcp"), "KUBE-SVC-XA5OGUC7YRHOS3PU");
        let endpoint = ChainHash::of_endpoint(&name, "tcp", "10.38.0.1:3306");
        assert_eq!(
            endpoint.chain("KUBE-SEP-").as_str(),
            "KUBE-SEP-JBWCWHHQM57V2WN7"
        );

        let name = printed_name(KubeProxyVersion::V1_19, "payroll", "mysql", "");
        assert_eq!(name, "payroll/mysql");
        assert_eq!(service_hash(&name, "tcp"), "KUBE-SVC-PZ5WI4GJHZ2NOPXK");
    }

    #[test]
    fn an_endpoint_chain_hashes_the_endpoint_too() {
        let endpoint = ChainHash::of_endpoint("prod/open:http", "tcp", "10.244.1.4:8080");
        assert_eq!(
            endpoint.chain("KUBE-SEP-").as_str(),
            "KUBE-SEP-YHLU7QSFLCXA2RUF"
        );
    }

    #[test]
    fn releases_are_read_with_and_without_a_v() {
        let release = |patch| KubeProxyVersion {
            patch,
            ..KubeProxyVersion::default()
        };
        for (text, patch) in [
            ("1.30", 0),
            ("v1.30", 0),
            ("1.30.5", 5),
            ("v1.30.5-eks-61c0bbb", 5),
        ] {
            assert_eq!(text.parse(), Ok(release(patch)));
        }
        for text in ["", "1", "v", "latest", "1.x", "1.30.", "1.30.x"] {
            assert!(text.parse::<KubeProxyVersion>().is_err(), "{text}");
        }
    }
}
