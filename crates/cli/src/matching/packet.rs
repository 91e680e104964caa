//! A packet as a JSON line.

use std::net::IpAddr;

use podwire_packet::{DeviceName, Family, Headers, Mark, Protocol, TcpFlags};
use podwire_ruleset::{CtState, Hook};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A packet and where it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PacketLine {
    /// Given back with the answer.
    #[serde(default)]
    pub(super) id: Value,
    #[serde(deserialize_with = "hook")]
    pub(super) hook: Hook,
    #[serde(default, rename = "in", deserialize_with = "device")]
    pub(super) input: Option<DeviceName>,
    #[serde(default, rename = "out", deserialize_with = "device")]
    pub(super) output: Option<DeviceName>,
    #[serde(default, deserialize_with = "device")]
    pub(super) physdev_in: Option<DeviceName>,
    #[serde(default, deserialize_with = "device")]
    pub(super) physdev_out: Option<DeviceName>,
    #[serde(deserialize_with = "address")]
    src: IpAddr,
    #[serde(deserialize_with = "address")]
    dst: IpAddr,
    #[serde(deserialize_with = "protocol")]
    proto: Protocol,
    #[serde(default)]
    sport: u16,
    #[serde(default)]
    dport: u16,
    #[serde(default = "new_state", deserialize_with = "ctstate")]
    pub(super) ctstate: CtState,
    #[serde(default, deserialize_with = "mark")]
    pub(super) mark: Mark,
    #[serde(default, deserialize_with = "tcp_flags")]
    tcp_flags: Option<TcpFlags>,
    #[serde(default, deserialize_with = "icmp_type")]
    icmp_type: Option<(u8, u8)>,
    /// Addresses of this host.
    #[serde(default, deserialize_with = "addresses")]
    pub(super) local: Vec<IpAddr>,
}

impl PacketLine {
    pub(super) const fn family(&self) -> Family {
        Family::of(self.dst)
    }

    pub(super) const fn is_of_one_family(&self) -> bool {
        self.src.is_ipv4() == self.dst.is_ipv4()
    }

    /// Its headers; what is not said is as in the first packet of a flow.
    pub(super) fn headers(&self) -> Headers {
        let mut headers =
            Headers::first_of_flow(self.src, self.dst, self.proto, self.sport, self.dport);
        if let Some(flags) = self.tcp_flags {
            headers.tcp_flags = flags;
        }
        if let Some((icmp_type, code)) = self.icmp_type {
            (headers.icmp_type, headers.icmp_code) = (icmp_type, code);
        }
        headers
    }
}

const fn new_state() -> CtState {
    CtState::New
}

fn address<'de, D: Deserializer<'de>>(d: D) -> Result<IpAddr, D::Error> {
    parse_address(&String::deserialize(d)?)
}

fn addresses<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpAddr>, D::Error> {
    let list = Vec::<String>::deserialize(d)?;
    list.iter().map(|text| parse_address(text)).collect()
}

fn parse_address<E: serde::de::Error>(text: &str) -> Result<IpAddr, E> {
    text.parse().map_err(|_| {
        E::custom(format_args!(
            "`{text}` is not an address: accepted is one of IPv4 or IPv6, as 192.0.2.1 or 2001:db8::1"
        ))
    })
}

fn hook<'de, D: Deserializer<'de>>(d: D) -> Result<Hook, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(|()| {
        D::Error::custom(format_args!(
            "hook `{text}`: accepted are PREROUTING, INPUT, FORWARD, OUTPUT and POSTROUTING"
        ))
    })
}

fn device<'de, D: Deserializer<'de>>(d: D) -> Result<Option<DeviceName>, D::Error> {
    let text = Option::<String>::deserialize(d)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(D::Error::custom))
        .transpose()
}

/// A text, or a number as text.
fn word<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    match Value::deserialize(d)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(
            D::Error::custom(format_args!("`{other}`: accepted is a text or a number")),
        ),
    }
}

fn protocol<'de, D: Deserializer<'de>>(d: D) -> Result<Protocol, D::Error> {
    word(d)?.parse().map_err(D::Error::custom)
}

fn ctstate<'de, D: Deserializer<'de>>(d: D) -> Result<CtState, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)? else {
        return Ok(CtState::New);
    };
    match text.to_ascii_uppercase().as_str() {
        "NEW" => Ok(CtState::New),
        "ESTABLISHED" => Ok(CtState::Established),
        "RELATED" => Ok(CtState::Related),
        "INVALID" => Ok(CtState::Invalid),
        "UNTRACKED" => Ok(CtState::Untracked),
        _ => Err(D::Error::custom(format_args!(
            "ctstate `{text}`: accepted are NEW, ESTABLISHED, RELATED, INVALID and UNTRACKED"
        ))),
    }
}

fn mark<'de, D: Deserializer<'de>>(d: D) -> Result<Mark, D::Error> {
    let text = word(d)?;
    let number = text
        .strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    let wrong = |_| {
        D::Error::custom(format_args!(
            "mark `{text}`: accepted is a number of 32 bits, as 16384 or \"0x4000\""
        ))
    };
    number.map(Mark).map_err(wrong)
}

/// `"SYN,ACK"`, a list of names, or the byte as a number.
fn tcp_flags<'de, D: Deserializer<'de>>(d: D) -> Result<Option<TcpFlags>, D::Error> {
    let named = |name: &str| {
        let found = TcpFlags::NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, flag)| *flag).ok_or_else(|| {
            D::Error::custom(format_args!(
                "TCP flag `{name}`: accepted are FIN, SYN, RST, PSH, ACK and URG"
            ))
        })
    };
    let all = |names: Vec<&str>| {
        names
            .into_iter()
            .try_fold(TcpFlags::default(), |flags, name| {
                Ok(flags.union(named(name)?))
            })
    };
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let byte = number.as_u64().and_then(|byte| u8::try_from(byte).ok());
            let wrong =
                || D::Error::custom(format_args!("TCP flags `{number}`: accepted is a byte"));
            byte.map(|byte| Some(TcpFlags(byte))).ok_or_else(wrong)
        }
        Value::String(text) => {
            let names = text
                .split([',', '|', ' '])
                .filter(|name| !name.is_empty() && *name != "NONE");
            all(names.collect()).map(Some)
        }
        Value::Array(list) => all(list.iter().filter_map(Value::as_str).collect()).map(Some),
        other @ (Value::Bool(_) | Value::Object(_)) => Err(D::Error::custom(format_args!(
            "TCP flags `{other}`: accepted is \"SYN,ACK\""
        ))),
    }
}

/// `8`, `"8"` or `"8/0"`.
fn icmp_type<'de, D: Deserializer<'de>>(d: D) -> Result<Option<(u8, u8)>, D::Error> {
    let text = word(d)?;
    let (icmp_type, code) = text.split_once('/').unwrap_or((&text, "0"));
    let wrong = |_| {
        D::Error::custom(format_args!(
            "ICMP type `{text}`: accepted is TYPE or \"TYPE/CODE\""
        ))
    };
    Ok(Some((
        icmp_type.parse().map_err(wrong)?,
        code.parse().map_err(wrong)?,
    )))
}
