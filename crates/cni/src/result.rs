//! Results of ADD, in the form of each version of the specification.
//!
//! Inside, a result has the form of 1.0.0 and later. Source: pkg/types/{020,040,100}/types.go of
//! containernetworking/cni 1.3.0.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use podwire_packet::{Family, Prefix};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::CniError;
use crate::json::{self, decode};
use crate::version::PluginsVersion;

/// An address and the length of its network; unlike a [`Prefix`] it keeps the host's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network in bits.
    pub len: u8,
}

impl Cidr {
    /// Its network.
    #[must_use]
    pub fn network(self) -> Prefix {
        Prefix::new(self.ip, self.len)
    }

    /// Its family.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.ip)
    }

    /// Its mask as Go prints one: hexadecimal digits.
    pub(crate) fn mask_digits(self) -> String {
        match self.network().mask() {
            IpAddr::V4(mask) => format!("{:08x}", u32::from(mask)),
            IpAddr::V6(mask) => format!("{:032x}", u128::from(mask)),
        }
    }

    /// The address alone.
    pub(crate) const fn host(ip: IpAddr) -> Self {
        let len = Family::of(ip).bits();
        Self { ip, len }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (ip, len) = text.split_once('/')?;
            let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit());
            let ip: IpAddr = ip.parse().ok()?;
            let len: u8 = len.parse().ok().filter(|_| digits)?;
            (len <= Family::of(ip).bits()).then_some(Self { ip, len })
        };
        parse().ok_or_else(|| format!("invalid CIDR address: {text}"))
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::text::deserialize(deserializer)
    }
}

/// A device that a plugin made or found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Largest packet in bytes, where a plugin says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The namespace that it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// A socket that it is behind.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// Its PCI address.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address that a container got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Whose it is: a place in [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address.
    pub address: Cidr,
    /// The gateway of its network.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::address"
    )]
    pub gateway: Option<IpAddr>,
}

/// A route of a result or of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConf {
    /// Destinations.
    pub dst: Cidr,
    /// Next hop; the gateway of the address if there is none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::address"
    )]
    pub gw: Option<IpAddr>,
    /// Largest packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment that is announced, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope by its number: 0 universe, 253 link, 254 host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl RouteConf {
    /// A route with destinations and next hop only.
    #[must_use]
    pub const fn new(dst: Cidr, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// What the container's resolver should be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of resolv.conf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What ADD made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Devices.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes.
    pub routes: Vec<RouteConf>,
    /// The resolver.
    pub dns: Dns,
}

/// The forms that results have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// 0.1.0 and 0.2.0: one address of each family.
    V02,
    /// 0.3.0 to 0.4.0: addresses say their family.
    V04,
    /// 1.0.0 and later.
    V10,
}

impl Form {
    fn of(version: &str) -> Option<Self> {
        match version {
            "" | "0.1.0" | "0.2.0" => Some(Self::V02),
            "0.3.0" | "0.3.1" | "0.4.0" => Some(Self::V04),
            "1.0.0" | "1.1.0" => Some(Self::V10),
            _ => None,
        }
    }
}

/// The version that results are converted to: 0.1.0 if none is named.
const fn or_first(version: &str) -> &str {
    if version.is_empty() { "0.1.0" } else { version }
}

#[derive(Serialize, Deserialize)]
struct Result02 {
    #[serde(
        rename = "cniVersion",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip4: Option<Ip02>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip6: Option<Ip02>,
    #[serde(default)]
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct Ip02 {
    ip: Cidr,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::address"
    )]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteConf>,
}

#[derive(Serialize, Deserialize)]
struct Result04<Ip> {
    #[serde(
        rename = "cniVersion",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    version: String,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    ips: Vec<Ip>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteConf>,
    #[serde(default)]
    dns: Dns,
}

/// An address that says its family.
#[derive(Serialize)]
struct Ip04 {
    version: String,
    #[serde(flatten)]
    ip: IpConfig,
}

impl CniResult {
    /// A result as a plugin of that version gave it.
    ///
    /// # Errors
    /// When it has another form, or no version that is known.
    pub fn read(version: &str, value: &Value) -> Result<Self, String> {
        let Some(form) = Form::of(version) else {
            return Err(format!("unsupported CNI result version {version:?}"));
        };
        let value = &json::without_nulls(value.clone());
        let supported = match form {
            Form::V02 => "[ 0.1.0 0.2.0]",
            Form::V04 => "[0.3.0 0.3.1 0.4.0]",
            Form::V10 => "[1.0.0 1.1.0]",
        };
        let check = |told: &str| match Form::of(told) {
            Some(its) if its == form => Ok(()),
            _ => Err(format!(
                "result type supports {supported} but unmarshalled CNIVersion is {told:?}"
            )),
        };
        if form == Form::V02 {
            let read: Result02 = decode(value)?;
            check(&read.version)?;
            return Ok(Self::from_02(read));
        }
        // Whether an address says its family changes nothing.
        let read: Result04<IpConfig> = decode(value)?;
        check(&read.version)?;
        Ok(Self {
            interfaces: read.interfaces,
            ips: read.ips,
            routes: read.routes,
            dns: read.dns,
        })
    }

    fn from_02(read: Result02) -> Self {
        let mut result = Self {
            dns: read.dns,
            ..Self::default()
        };
        for ip in [read.ip4, read.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                interface: None,
                address: ip.ip,
                gateway: ip.gateway,
            });
            result.routes.extend(ip.routes);
        }
        result
    }

    /// Its text in the form of a version, as plugins of that release print it.
    ///
    /// # Errors
    /// When the form has no place for it.
    pub fn write(&self, version: &str, plugins: PluginsVersion) -> Result<String, CniError> {
        let version = or_first(version);
        // From 1.2 on the library writes results of 1.0.0 and later by way of a map: keys sorted, and
        // nothing for an empty resolver.
        match Form::of(version) {
            Some(Form::V10) if plugins == PluginsVersion::V1_1_1 => {
                Ok(json::indented(&self.of_10(version)))
            }
            Some(Form::V02) => Ok(json::indented(&self.to_02(version)?)),
            Some(Form::V04) => Ok(json::indented(&self.to_04(version))),
            _ => Ok(json::indented(&self.to_value(version)?)),
        }
    }

    /// The same as a value, as the runtime's library passes it on.
    ///
    /// # Errors
    /// When the version is unknown, or its form has no place for it.
    pub fn to_value(&self, version: &str) -> Result<Value, CniError> {
        let version = or_first(version);
        let value = match Form::of(version) {
            Some(Form::V02) => serde_json::to_value(self.to_02(version)?),
            Some(Form::V04) => serde_json::to_value(self.to_04(version)),
            Some(Form::V10) => {
                let value = serde_json::to_value(self.of_10(version));
                value.map(|mut value| {
                    if self.dns.is_empty()
                        && let Some(members) = value.as_object_mut()
                    {
                        members.remove("dns");
                    }
                    value
                })
            }
            None => {
                let why = format!("unsupported CNI result version {version:?}");
                return Err(CniError::other(why));
            }
        };
        Ok(value.expect("a result has text keys"))
    }

    fn of_10(&self, version: &str) -> Result04<IpConfig> {
        Result04 {
            version: version.to_owned(),
            interfaces: self.interfaces.clone(),
            ips: self.ips.clone(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
        }
    }

    fn to_04(&self, version: &str) -> Result04<Ip04> {
        let ips = self.ips.iter().map(|ip| Ip04 {
            version: match ip.address.family() {
                Family::Ipv4 => "4".to_owned(),
                Family::Ipv6 => "6".to_owned(),
            },
            ip: ip.clone(),
        });
        Result04 {
            version: version.to_owned(),
            interfaces: self.interfaces.clone(),
            ips: ips.collect(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
        }
    }

    /// The first address of each family, with the routes of that family.
    fn to_02(&self, version: &str) -> Result<Result02, CniError> {
        let of = |family| {
            let mut all = self.ips.iter();
            let ip = all.find(|ip| ip.address.family() == family)?;
            let routes = self.routes.iter();
            let routes = routes.filter(|route| route.dst.family() == family);
            Some(Ip02 {
                ip: ip.address,
                gateway: ip.gateway,
                routes: routes.cloned().collect(),
            })
        };
        let (ip4, ip6) = (of(Family::Ipv4), of(Family::Ipv6));
        if ip4.is_none() && ip6.is_none() {
            return Err(CniError::other("cannot convert: no valid IP addresses"));
        }
        Ok(Result02 {
            version: version.to_owned(),
            ip4,
            ip6,
            dns: self.dns.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> CniResult {
        let ip = |text: &str, gateway: &str| IpConfig {
            interface: Some(0),
            address: text.parse().unwrap(),
            gateway: gateway.parse().ok(),
        };
        CniResult {
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                sandbox: "/var/run/netns/a".to_owned(),
                ..Interface::default()
            }],
            ips: vec![
                ip("10.22.0.2/24", "10.22.0.1"),
                ip("fd00:22::2/64", "fd00:22::1"),
            ],
            routes: vec![RouteConf::new("0.0.0.0/0".parse().unwrap(), None)],
            dns: Dns::default(),
        }
    }

    #[test]
    fn every_form_is_read_back() {
        for version in crate::SPEC_VERSIONS {
            let mut want = result();
            if version < "0.3.0" {
                want.interfaces.clear();
                want.ips.iter_mut().for_each(|ip| ip.interface = None);
            }
            let value = want.to_value(version).unwrap();
            assert_eq!(CniResult::read(version, &value), Ok(want), "{version}");
        }
    }

    #[test]
    fn a_result_of_another_form_is_refused() {
        let value = result().to_value("0.4.0").unwrap();
        let error = CniResult::read("1.0.0", &value).unwrap_err();
        assert!(error.contains("[1.0.0 1.1.0]"), "{error}");
        assert!(CniResult::read("2.0.0", &value).is_err());
    }

    #[test]
    fn an_address_of_no_length_is_none() {
        for wrong in [
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "10.0.0/8",
            "/8",
            "::/129",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert_eq!(
            "fd00::7/64".parse::<Cidr>().unwrap().to_string(),
            "fd00::7/64"
        );
    }
}
