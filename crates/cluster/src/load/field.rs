//! Fields with a range, and what null means.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use podwire_packet::{Family, Prefix, Protocol};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use crate::{
    AddressKind, IpMode, Labels, NodeAddressKind, ServiceType, TargetPort, Timestamp, TrafficPolicy,
};

/// A field's default where it is null: what the API server reads it as.
pub(crate) fn nullable<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// Labels; a null value is empty text.
pub(super) fn labels<'de, D: Deserializer<'de>>(d: D) -> Result<Labels, D::Error> {
    struct LabelsVisitor;
    impl<'de> Visitor<'de> for LabelsVisitor {
        type Value = Labels;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping of text to text")
        }

        fn visit_unit<E>(self) -> Result<Labels, E> {
            Ok(Labels::new())
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
            let mut labels = Labels::new();
            while let Some((key, value)) = map.next_entry::<Box<str>, Option<Box<str>>>()? {
                labels.insert(key, value.unwrap_or_default());
            }
            Ok(labels)
        }
    }
    d.deserialize_any(LabelsVisitor)
}

/// A whole number from `LOW` to 65535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port<const LOW: u16>(pub(crate) u16);

impl<'de, const LOW: u16> Deserialize<'de> for Port<LOW> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct PortVisitor<const LOW: u16>;
        impl<const LOW: u16> Visitor<'_> for PortVisitor<LOW> {
            type Value = Port<LOW>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a port number from {LOW} to 65535")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Port<LOW>, E> {
                u16::try_from(n)
                    .ok()
                    .filter(|&n| n >= LOW)
                    .map(Port)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(n), &self))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Port<LOW>, E> {
                Err(E::invalid_value(Unexpected::Signed(n), &self))
            }
        }
        d.deserialize_any(PortVisitor)
    }
}

/// A `targetPort`: a number or a name; `None` for 0 and the empty name.
#[derive(Debug, Default)]
pub(crate) struct Target(pub(crate) Option<TargetPort>);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct TargetVisitor;
        impl Visitor<'_> for TargetVisitor {
            type Value = Target;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number from 1 to 65535, or the name of a container port")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Target, E> {
                let port = u16::try_from(n)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(n), &self))?;
                Ok(Target((port != 0).then_some(TargetPort::Number(port))))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Target, E> {
                Err(E::invalid_value(Unexpected::Signed(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
                Ok(Target(
                    (!text.is_empty()).then(|| TargetPort::Name(text.into())),
                ))
            }
        }
        d.deserialize_any(TargetVisitor)
    }
}

/// A text that stands for one of a few values.
pub(super) trait Word: Sized {
    /// What people may write.
    const ACCEPTED: &'static str;

    /// The value of a word.
    fn of(word: &str) -> Option<Self>;
}

/// A field that holds a [`Word`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Worded<T>(pub(super) T);

impl<'de, T: Word> Deserialize<'de> for Worded<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct WordVisitor<T>(std::marker::PhantomData<T>);
        impl<T: Word> Visitor<'_> for WordVisitor<T> {
            type Value = Worded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::ACCEPTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Worded<T>, E> {
                T::of(text)
                    .map(Worded)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        d.deserialize_str(WordVisitor(std::marker::PhantomData))
    }
}

/// The protocol of a port: TCP unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortProtocol(pub(super) Protocol);

impl Default for PortProtocol {
    fn default() -> Self {
        Self(Protocol::TCP)
    }
}

impl Word for PortProtocol {
    const ACCEPTED: &'static str = "TCP, UDP or SCTP";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "TCP" | "" => Self(Protocol::TCP),
            "UDP" => Self(Protocol::UDP),
            "SCTP" => Self(Protocol::SCTP),
            _ => return None,
        })
    }
}

impl Word for ServiceType {
    const ACCEPTED: &'static str = "ClusterIP, NodePort, LoadBalancer or ExternalName";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "ClusterIP" | "" => Self::ClusterIp,
            "NodePort" => Self::NodePort,
            "LoadBalancer" => Self::LoadBalancer,
            "ExternalName" => Self::ExternalName,
            _ => return None,
        })
    }
}

impl Word for TrafficPolicy {
    const ACCEPTED: &'static str = "Cluster or Local";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Cluster" | "" => Self::Cluster,
            "Local" => Self::Local,
            _ => return None,
        })
    }
}

/// `sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Affinity {
    #[default]
    None,
    ClientIp,
}

impl Word for Affinity {
    const ACCEPTED: &'static str = "None or ClientIP";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "None" | "" => Self::None,
            "ClientIP" => Self::ClientIp,
            _ => return None,
        })
    }
}

impl Word for IpMode {
    const ACCEPTED: &'static str = "VIP or Proxy";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "VIP" | "" => Self::Vip,
            "Proxy" => Self::Proxy,
            _ => return None,
        })
    }
}

impl Word for Family {
    const ACCEPTED: &'static str = "IPv4 or IPv6";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "IPv4" => Self::Ipv4,
            "IPv6" => Self::Ipv6,
            _ => return None,
        })
    }
}

impl Word for AddressKind {
    const ACCEPTED: &'static str = "IPv4, IPv6 or FQDN";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "IPv4" => Self::Ipv4,
            "IPv6" => Self::Ipv6,
            "FQDN" => Self::Fqdn,
            _ => return None,
        })
    }
}

impl Word for NodeAddressKind {
    const ACCEPTED: &'static str = "InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "InternalIP" => Self::InternalIp,
            "ExternalIP" => Self::ExternalIp,
            "Hostname" | "InternalDNS" | "ExternalDNS" => Self::Name,
            _ => return None,
        })
    }
}

/// A text that is parsed; the empty one is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<T>(pub(crate) Option<T>);

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// What a parsed text may be.
pub(crate) trait Accepted: FromStr {
    const ACCEPTED: &'static str;
}

impl Accepted for IpAddr {
    const ACCEPTED: &'static str = "an IPv4 or IPv6 address";
}

impl Accepted for Prefix {
    const ACCEPTED: &'static str = "an address prefix such as `10.244.1.0/24`";
}

impl Accepted for Timestamp {
    const ACCEPTED: &'static str = "a time such as `2024-03-20T23:44:55Z`";
}

/// `status.capacity.cpu`: cores, or thousandths of them (`1500m`), rounded up to whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores(pub(super) u32);

impl FromStr for Cores {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, scale) = text
            .strip_suffix('m')
            .map_or((text, 1.0), |text| (text, 1e-3));
        let cores = number.parse::<f64>().map_err(drop)? * scale;
        // As many as a Node can have, and then some.
        if !(0.0..=65_536.0).contains(&cores) {
            return Err(());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is in range"
        )]
        Ok(Self(cores.ceil() as u32))
    }
}

impl Accepted for Cores {
    const ACCEPTED: &'static str = "a number of cores such as `4` or `1500m`";
}

impl<'de, T: Accepted> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ParsedVisitor<T>(std::marker::PhantomData<T>);
        impl<T: Accepted> Visitor<'_> for ParsedVisitor<T> {
            type Value = Parsed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::ACCEPTED)
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Parsed<T>, E> {
                // A quantity may stand without quotes.
                n.to_string()
                    .parse()
                    .map(|parsed| Parsed(Some(parsed)))
                    .map_err(|_| E::invalid_type(Unexpected::Unsigned(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
                if text.is_empty() {
                    return Ok(Parsed(None));
                }
                text.parse()
                    .map(|parsed| Parsed(Some(parsed)))
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(ParsedVisitor(std::marker::PhantomData))
    }
}
