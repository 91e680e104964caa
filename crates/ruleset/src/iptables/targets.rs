//! Targets: their names and options.

mod log;
mod mark;
mod nat;

use podwire_packet::{Family, Mark, Protocol};

use super::ParseError;
use super::matches::Module;
use super::options::{Opt, Words};
pub(super) use log::LOG_FLAGS;

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
                let Some((new_value, new_mask)) = mark::set_mark(seen, option, words)? else {
                    return Ok(false);
                };
                (*value, *mask) = (new_value, new_mask);
                Ok(true)
            }
            Target::Connmark(own) => mark::connmark(own, seen, option, words),
            Target::Dnat(range)
            | Target::Snat(range)
            | Target::Masquerade(range)
            | Target::Redirect(range) => nat::nat(self, range, seen, option, words),
            Target::Log(own) => log::log(own, seen, option, words),
            Target::Nflog(own) => log::nflog(own, seen, option, words),
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
            Self::Connmark if given & mark::OPERATION == 0 => {
                lacks("--set-xmark, --save-mark, --restore-mark or another of its options")
            }
            Self::Dnat if given & nat::TO == 0 => lacks("--to-destination"),
            Self::Snat if given & nat::TO == 0 => lacks("--to-source"),
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
