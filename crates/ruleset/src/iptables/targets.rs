//! Targets: their names and options.

use podwire_packet::{Family, Mark, Protocol};

use super::ParseError;
use super::matches::Module;
use super::options::{Arg, Opt, Words};
use crate::{
    ChecksumTarget, ConnmarkTarget, LogTarget, MssTarget, NatRange, NflogTarget, RejectWith, Target,
};

/// A target with options of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetKind {
    Reject,
    Mark,
    Connmark,
    Dnat,
    Snat,
    Masquerade,
    Redirect,
    Log,
    Nflog,
    Notrack,
    /// `CT`, of which only `--notrack` is evaluated.
    Ct,
    Trace,
    Checksum,
    Tcpmss,
}

/// Names of targets that iptables has and podwire does not evaluate.
const NOT_EVALUATED: [&str; 30] = [
    "AUDIT",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNSECMARK",
    "DNPT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "MIRROR",
    "NETMAP",
    "NFQUEUE",
    "QUEUE",
    "RATEEST",
    "SAME",
    "SECMARK",
    "SET",
    "SNPT",
    "SYNPROXY",
    "TARPIT",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TTL",
    "ULOG",
    "DELUDE",
    "ACCOUNT",
];

/// What a word behind `-j` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// ACCEPT, DROP, RETURN: no options.
    Verdict,
    /// A target with options.
    Kind(TargetKind),
    /// A target that podwire does not evaluate.
    NotEvaluated,
    /// Any other word: a chain.
    Chain,
}

impl Named {
    pub(super) fn of(name: &str) -> Self {
        let kind = match name {
            "ACCEPT" | "DROP" | "RETURN" => return Self::Verdict,
            "REJECT" => TargetKind::Reject,
            "MARK" => TargetKind::Mark,
            "CONNMARK" => TargetKind::Connmark,
            "DNAT" => TargetKind::Dnat,
            "SNAT" => TargetKind::Snat,
            "MASQUERADE" => TargetKind::Masquerade,
            "REDIRECT" => TargetKind::Redirect,
            "LOG" => TargetKind::Log,
            "NFLOG" => TargetKind::Nflog,
            "NOTRACK" => TargetKind::Notrack,
            "CT" => TargetKind::Ct,
            "TRACE" => TargetKind::Trace,
            "CHECKSUM" => TargetKind::Checksum,
            "TCPMSS" => TargetKind::Tcpmss,
            // No name of a target has a lower-case letter or a dash.
            _ if name.len() <= 11 && NOT_EVALUATED.contains(&name) => return Self::NotEvaluated,
            _ => return Self::Chain,
        };
        Self::Kind(kind)
    }
}

impl TargetKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Reject => "REJECT",
            Self::Mark => "MARK",
            Self::Connmark => "CONNMARK",
            Self::Dnat => "DNAT",
            Self::Snat => "SNAT",
            Self::Masquerade => "MASQUERADE",
            Self::Redirect => "REDIRECT",
            Self::Log => "LOG",
            Self::Nflog => "NFLOG",
            Self::Notrack => "NOTRACK",
            Self::Ct => "CT",
            Self::Trace => "TRACE",
            Self::Checksum => "CHECKSUM",
            Self::Tcpmss => "TCPMSS",
        }
    }

    /// What a rule holds as soon as `-j` named the target.
    pub(super) fn start(self) -> Target {
        match self {
            Self::Reject => Target::Reject(RejectWith::PortUnreachable),
            Self::Mark => Target::Mark {
                value: Mark(0),
                mask: Mark(0),
            },
            Self::Connmark => Target::Connmark(ConnmarkTarget::Set {
                value: Mark(0),
                mask: Mark(0),
            }),
            Self::Dnat => Target::Dnat(NatRange::default()),
            Self::Snat => Target::Snat(NatRange::default()),
            Self::Masquerade => Target::Masquerade(NatRange::default()),
            Self::Redirect => Target::Redirect(NatRange::default()),
            Self::Log => Target::Log(LogTarget::default()),
            Self::Nflog => Target::Nflog(NflogTarget::default()),
            Self::Notrack | Self::Ct => Target::Notrack,
            Self::Trace => Target::Trace,
            Self::Checksum => Target::Checksum(ChecksumTarget),
            Self::Tcpmss => Target::Tcpmss(MssTarget::ClampToPmtu),
        }
    }

    /// Takes an option and its value if it is one of this target's; false if it is not.
    pub(super) fn take<'w>(
        self,
        target: &mut Target,
        seen: &mut u32,
        option: &mut Opt<'w>,
        words: &mut Words<'w, '_>,
    ) -> Result<bool, ParseError> {
        match target {
            Target::Reject(with) => reject(with, seen, option, words),
            Target::Mark { value, mask } => {
                let Some((new_value, new_mask)) = set_mark(seen, option, words)? else {
                    return Ok(false);
                };
                (*value, *mask) = (new_value, new_mask);
                Ok(true)
            }
            Target::Connmark(own) => connmark(own, seen, option, words),
            Target::Dnat(range)
            | Target::Snat(range)
            | Target::Masquerade(range)
            | Target::Redirect(range) => nat(self, range, seen, option, words),
            Target::Log(own) => log(own, seen, option, words),
            Target::Nflog(own) => nflog(own, seen, option, words),
            Target::Notrack => {
                if self != Self::Ct || option.long() != "notrack" {
                    return Ok(false);
                }
                flag(seen, 1, option, words)
            }
            Target::Checksum(_) => {
                if option.long() != "checksum-fill" {
                    return Ok(false);
                }
                flag(seen, 1, option, words)
            }
            Target::Tcpmss(own) => mss(own, seen, option, words),
            Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Jump(_)
            | Target::Goto(_)
            | Target::Trace
            | Target::Unknown(_) => Ok(false),
        }
    }

    /// Checks that everything the target needs was given.
    pub(super) fn complete(
        self,
        module: &Module,
        target: &Target,
        protocol: Option<Protocol>,
    ) -> Result<(), ParseError> {
        let lacks = |needs| {
            Err(ParseError::MissingOption {
                module: self.name().into(),
                needs,
                at: module.at,
            })
        };
        let given = module.seen;
        match self {
            Self::Mark if given == 0 => lacks("--set-xmark or another of its options"),
            Self::Connmark if given & OPERATION == 0 => {
                lacks("--set-xmark, --save-mark, --restore-mark or another of its options")
            }
            Self::Dnat if given & TO == 0 => lacks("--to-destination"),
            Self::Snat if given & TO == 0 => lacks("--to-source"),
            Self::Checksum if given == 0 => lacks("--checksum-fill"),
            Self::Ct if given == 0 => lacks("--notrack or another of its options"),
            Self::Tcpmss if given == 0 => lacks("--set-mss or --clamp-mss-to-pmtu"),
            Self::Dnat | Self::Snat | Self::Masquerade | Self::Redirect => module.needs_protocol(
                "a range of ports",
                !target.has_ports() || protocol.is_some_and(Protocol::has_ports),
                "-p tcp, udp, udplite, dccp or sctp",
            ),
            Self::Tcpmss => {
                module.needs_protocol("TCPMSS", protocol == Some(Protocol::TCP), "-p tcp")
            }
            Self::Reject => module.needs_protocol(
                "REJECT --reject-with tcp-reset",
                *target != Target::Reject(RejectWith::TcpReset) || protocol == Some(Protocol::TCP),
                "-p tcp",
            ),
            Self::Mark
            | Self::Connmark
            | Self::Log
            | Self::Nflog
            | Self::Notrack
            | Self::Ct
            | Self::Trace
            | Self::Checksum => Ok(()),
        }
    }
}

impl Target {
    /// Whether it is a translation that names ports.
    const fn has_ports(&self) -> bool {
        if let Self::Dnat(range)
        | Self::Snat(range)
        | Self::Masquerade(range)
        | Self::Redirect(range) = self
        {
            range.ports.is_some()
        } else {
            false
        }
    }
}

fn flag(
    seen: &mut u32,
    bit: u32,
    option: &Opt<'_>,
    words: &Words<'_, '_>,
) -> Result<bool, ParseError> {
    option.once(seen, bit)?;
    option.not_inverted()?;
    words.none(option)?;
    Ok(true)
}

impl RejectWith {
    /// Every answer of a family: its name, its short name and the answer (`reject_table`,
    /// extensions/libipt_REJECT.c and libip6t_REJECT.c).
    #[must_use]
    pub const fn names(family: Family) -> &'static [(&'static str, &'static str, Self)] {
        match family {
            Family::Ipv4 => &[
                ("icmp-net-unreachable", "net-unreach", Self::NetUnreachable),
                (
                    "icmp-host-unreachable",
                    "host-unreach",
                    Self::HostUnreachable,
                ),
                (
                    "icmp-proto-unreachable",
                    "proto-unreach",
                    Self::ProtoUnreachable,
                ),
                (
                    "icmp-port-unreachable",
                    "port-unreach",
                    Self::PortUnreachable,
                ),
                ("icmp-net-prohibited", "net-prohib", Self::NetProhibited),
                ("icmp-host-prohibited", "host-prohib", Self::HostProhibited),
                ("tcp-reset", "tcp-rst", Self::TcpReset),
                (
                    "icmp-admin-prohibited",
                    "admin-prohib",
                    Self::AdminProhibited,
                ),
            ],
            Family::Ipv6 => &[
                ("icmp6-no-route", "no-route", Self::NetUnreachable),
                (
                    "icmp6-adm-prohibited",
                    "adm-prohibited",
                    Self::AdminProhibited,
                ),
                (
                    "icmp6-addr-unreachable",
                    "addr-unreach",
                    Self::HostUnreachable,
                ),
                (
                    "icmp6-port-unreachable",
                    "port-unreach",
                    Self::PortUnreachable,
                ),
                ("tcp-reset", "tcp-reset", Self::TcpReset),
                ("icmp6-policy-fail", "policy-fail", Self::PolicyFail),
                ("icmp6-reject-route", "reject-route", Self::RejectRoute),
            ],
        }
    }
}

fn reject<'w>(
    own: &mut RejectWith,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    if option.long() != "reject-with" {
        return Ok(false);
    }
    option.once(seen, 1)?;
    let word = words.plain(option)?;
    let names = RejectWith::names(words.family);
    let found = names.iter().find(|(name, short, _)| {
        word.text.eq_ignore_ascii_case(name) || word.text.eq_ignore_ascii_case(short)
    });
    let Some(&(_, _, with)) = found else {
        return Err(option.bad_word(
            word,
            match words.family {
                Family::Ipv4 => {
                    "tcp-reset and icmp- with net-, host-, proto-, port-unreachable, net-, host-, admin-prohibited"
                }
                Family::Ipv6 => {
                    "tcp-reset and icmp6- with no-route, adm-prohibited, addr-unreachable, port-unreachable, policy-fail, reject-route"
                }
            },
        ));
    };
    *own = with;
    Ok(true)
}

/// The options of MARK and CONNMARK that change a mark, as value and mask of `--set-xmark`.
fn set_mark<'w>(
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<Option<(Mark, Mark)>, ParseError> {
    let name = option.long();
    if !matches!(
        name,
        "set-mark" | "set-xmark" | "and-mark" | "or-mark" | "xor-mark"
    ) {
        return Ok(None);
    }
    option.once(seen, OPERATION)?;
    let word = words.plain(option)?;
    Ok(Some(match name {
        "set-xmark" => word.mark_and_mask()?,
        "set-mark" => {
            let (value, mask) = word.mark_and_mask()?;
            (value, Mark(mask.0 | value.0))
        }
        "and-mark" => (Mark(0), Mark(!word.u32()?)),
        "or-mark" => {
            let bits = Mark(word.u32()?);
            (bits, bits)
        }
        _ => (Mark(word.u32()?), Mark(0)),
    }))
}

const OPERATION: u32 = 1;
const NFMASK: u32 = 1 << 1;
const CTMASK: u32 = 1 << 2;

fn connmark<'w>(
    own: &mut ConnmarkTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        name @ ("save-mark" | "restore-mark") => {
            flag(seen, OPERATION, option, words)?;
            let (packet_mask, connection_mask) = (Mark(u32::MAX), Mark(u32::MAX));
            *own = if name == "save-mark" {
                ConnmarkTarget::Save {
                    packet_mask,
                    connection_mask,
                }
            } else {
                ConnmarkTarget::Restore {
                    packet_mask,
                    connection_mask,
                }
            };
        }
        name @ ("nfmask" | "ctmask" | "mask") => {
            let (ConnmarkTarget::Save {
                packet_mask,
                connection_mask,
            }
            | ConnmarkTarget::Restore {
                packet_mask,
                connection_mask,
            }) = own
            else {
                return Ok(false);
            };
            let bits = match name {
                "nfmask" => NFMASK,
                "ctmask" => CTMASK,
                _ => NFMASK | CTMASK,
            };
            option.once(seen, bits)?;
            let mask = Mark(words.plain(option)?.u32()?);
            if bits & NFMASK != 0 {
                *packet_mask = mask;
            }
            if bits & CTMASK != 0 {
                *connection_mask = mask;
            }
        }
        _ => {
            let Some((value, mask)) = set_mark(seen, option, words)? else {
                return Ok(false);
            };
            *own = ConnmarkTarget::Set { value, mask };
        }
    }
    Ok(true)
}

const TO: u32 = 1;
const RANDOM: u32 = 1 << 1;
const RANDOM_FULLY: u32 = 1 << 2;
const PERSISTENT: u32 = 1 << 3;

fn nat<'w>(
    kind: TargetKind,
    own: &mut NatRange,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let has_address = matches!(kind, TargetKind::Dnat | TargetKind::Snat);
    match (kind, option.long()) {
        (TargetKind::Dnat, "to-destination" | "to") | (TargetKind::Snat, "to-source" | "to") => {
            option.once(seen, TO)?;
            let word = words.plain(option)?;
            nat_range(own, word, words.family, kind == TargetKind::Dnat)?;
        }
        (TargetKind::Masquerade | TargetKind::Redirect, "to-ports" | "to-port" | "to") => {
            option.once(seen, TO)?;
            own.ports = Some(words.plain(option)?.ports('-', false)?);
        }
        (_, "random") => own.random = flag(seen, RANDOM, option, words)?,
        (TargetKind::Snat | TargetKind::Masquerade, "random-fully") => {
            own.random_fully = flag(seen, RANDOM_FULLY, option, words)?;
        }
        (_, "persistent") if has_address => {
            own.persistent = flag(seen, PERSISTENT, option, words)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads `ADDRESS[-ADDRESS][:PORT[-PORT[/BASE]]]`; with a port, an IPv6 address stands in brackets.
fn nat_range(
    own: &mut NatRange,
    word: Arg<'_>,
    family: Family,
    has_base: bool,
) -> Result<(), ParseError> {
    let whole = 0..word.text.len();
    let (addresses, ports) = match family {
        Family::Ipv4 => match word.text.find(':') {
            Some(colon) => (0..colon, Some(colon + 1..whole.end)),
            None => (whole, None),
        },
        Family::Ipv6 => match word.text.rfind("]:") {
            Some(bracket) => (0..bracket + 1, Some(bracket + 2..whole.end)),
            // `:80` is a port alone; no address begins with one colon.
            None if word.text.starts_with(':') && !word.text.starts_with("::") => {
                (0..0, Some(1..whole.end))
            }
            None => (whole, None),
        },
    };
    if !addresses.is_empty() {
        own.addresses = Some(nat_addresses(word.slice(addresses), family)?);
    } else if ports.is_none() {
        return Err(ParseError::BadAddress {
            text: word.text.into(),
            family,
            at: word.at,
        });
    }
    if let Some(ports) = ports {
        let ports = word.slice(ports);
        let slash = if has_base { ports.text.find('/') } else { None };
        if let Some(slash) = slash {
            own.base_port = Some(ports.slice(slash + 1..ports.text.len()).port()?);
        }
        own.ports = Some(
            ports
                .slice(0..slash.unwrap_or(ports.text.len()))
                .ports('-', false)?,
        );
    }
    Ok(())
}

fn nat_addresses(
    word: Arg<'_>,
    family: Family,
) -> Result<std::ops::RangeInclusive<std::net::IpAddr>, ParseError> {
    let one = |word: Arg<'_>| {
        let bare = word
            .text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .filter(|_| family == Family::Ipv6);
        match bare {
            Some(bare) => word.slice(1..1 + bare.len()).address(family),
            None => word.address(family),
        }
    };
    let Some(dash) = word.text.find('-') else {
        let address = one(word)?;
        return Ok(address..=address);
    };
    let first = one(word.slice(0..dash))?;
    let last = one(word.slice(dash + 1..word.text.len()))?;
    if first > last {
        return Err(ParseError::BadAddress {
            text: word.text.into(),
            family,
            at: word.at,
        });
    }
    Ok(first..=last)
}

/// Flags of LOG with their bits, in the order of `iptables-save` (include/uapi/linux/netfilter/xt_LOG.h).
pub(super) const LOG_FLAGS: [(&str, u8); 5] = [
    ("--log-tcp-sequence", 1),
    ("--log-tcp-options", 1 << 1),
    ("--log-ip-options", 1 << 2),
    ("--log-uid", 1 << 3),
    ("--log-macdecode", 1 << 5),
];

/// syslog(3)'s levels by number; some have two names.
const LOG_LEVELS: [(&str, u8); 11] = [
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

const LEVEL: u32 = 1 << 8;
const PREFIX: u32 = 1 << 9;

fn log<'w>(
    own: &mut LogTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.written {
        "--log-level" => {
            option.once(seen, LEVEL)?;
            let word = words.plain(option)?;
            let named = LOG_LEVELS
                .iter()
                .find(|(name, _)| word.text.eq_ignore_ascii_case(name));
            own.level = Some(match named {
                Some(&(_, level)) => level,
                None => word.u8().ok().filter(|&level| level <= 7).ok_or_else(|| {
                    option.bad_word(
                        word,
                        "0 to 7, emerg, alert, crit, error, warning, notice, info and debug",
                    )
                })?,
            });
        }
        "--log-prefix" => {
            option.once(seen, PREFIX)?;
            own.prefix = words.plain(option)?.text.into();
        }
        name => {
            let Some(&(_, bit)) = LOG_FLAGS.iter().find(|(flag, _)| *flag == name) else {
                return Ok(false);
            };
            flag(seen, u32::from(bit), option, words)?;
            own.flags |= bit;
        }
    }
    Ok(true)
}

fn nflog<'w>(
    own: &mut NflogTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "nflog-group" => {
            option.once(seen, 1)?;
            own.group = words.plain(option)?.u16()?;
        }
        "nflog-prefix" => {
            option.once(seen, 1 << 1)?;
            own.prefix = words.plain(option)?.text.into();
        }
        "nflog-size" => {
            option.once(seen, 1 << 2)?;
            own.size = Some(words.plain(option)?.u32()?);
        }
        "nflog-range" => {
            option.once(seen, 1 << 3)?;
            own.range = Some(words.plain(option)?.u32()?);
        }
        "nflog-threshold" => {
            option.once(seen, 1 << 4)?;
            own.threshold = Some(words.plain(option)?.u16()?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn mss<'w>(
    own: &mut MssTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "set-mss" => {
            option.once(seen, 1)?;
            *own = MssTarget::Set(words.plain(option)?.u16()?);
        }
        "clamp-mss-to-pmtu" => {
            flag(seen, 1, option, words)?;
            *own = MssTarget::ClampToPmtu;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
