//! What targets print behind the columns.

use std::fmt::Write as _;

use podwire_packet::{Family, Mark};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{ConnmarkTarget, LogTarget, MssTarget, NatRange, NflogTarget, Rule, Target};

use super::names::Names;

/// The first column.
pub(super) fn name(target: &Target) -> &str {
    match target {
        Target::Accept => "ACCEPT",
        Target::Drop => "DROP",
        Target::Reject(_) => "REJECT",
        Target::Return => "RETURN",
        Target::Jump(chain) | Target::Goto(chain) => chain.as_str(),
        Target::Mark { .. } => "MARK",
        Target::Connmark(_) => "CONNMARK",
        Target::Dnat(_) => "DNAT",
        Target::Snat(_) => "SNAT",
        Target::Masquerade(_) => "MASQUERADE",
        Target::Redirect(_) => "REDIRECT",
        Target::Log(_) => "LOG",
        Target::Nflog(_) => "NFLOG",
        Target::Notrack => "CT",
        Target::Trace => "TRACE",
        Target::Checksum(_) => "CHECKSUM",
        Target::Tcpmss(_) => "TCPMSS",
        Target::Unknown(text) => text.split(' ').next().unwrap_or(text),
    }
}

/// What stands behind the matches.
pub(super) fn write(out: &mut String, target: &Target, names: &Names<'_>, family: Family) {
    match target {
        Target::Accept
        | Target::Drop
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Trace => {}
        Target::Reject(_) => {
            // `-j REJECT --reject-with icmp-port-unreachable`.
            let text = rule_text(&Rule::to(target.clone()), Wording::Save, family);
            let with = text.split_once("--reject-with ").map(|(_, with)| with);
            let _ = write!(out, " reject-with {}", with.unwrap_or_default());
        }
        Target::Mark { value, mask } => set_mark(out, "MARK", *value, *mask),
        Target::Connmark(own) => connmark(out, own),
        Target::Dnat(own) | Target::Snat(own) => {
            out.push_str(" to:");
            nat_range(out, own);
            nat_flags(out, own);
        }
        Target::Masquerade(own) | Target::Redirect(own) => {
            if let Some(ports) = &own.ports {
                let is_redirect = matches!(target, Target::Redirect(_));
                let name = if is_redirect {
                    "redir ports"
                } else {
                    "masq ports:"
                };
                let _ = write!(out, " {name} {}", ports.start());
                if ports.start() != ports.end() {
                    let _ = write!(out, "-{}", ports.end());
                }
            }
            nat_flags(out, own);
        }
        Target::Log(own) => log(out, own, names),
        Target::Nflog(own) => nflog(out, own),
        Target::Notrack => out.push_str(" CT notrack"),
        Target::Checksum(_) => out.push_str(" CHECKSUM fill"),
        Target::Tcpmss(MssTarget::Set(mss)) => drop(write!(out, " TCPMSS set {mss}")),
        Target::Tcpmss(MssTarget::ClampToPmtu) => out.push_str(" TCPMSS clamp to PMTU"),
        Target::Unknown(text) => {
            // What the target's own code would print is not known: its options.
            if let Some((_, options)) = text.split_once(' ') {
                let _ = write!(out, " {options}");
            }
        }
    }
}

/// A mark that is set, as the tool words it (`mark_tg_print`, extensions/libxt_MARK.c).
fn set_mark(out: &mut String, name: &str, value: Mark, mask: Mark) {
    let (value, mask) = (value.0, mask.0);
    let _ = if value == 0 {
        write!(out, " {name} and {:#x}", !mask)
    } else if value == mask {
        write!(out, " {name} or {value:#x}")
    } else if mask == 0 {
        write!(out, " {name} xor {value:#x}")
    } else if mask == u32::MAX {
        write!(out, " {name} set {value:#x}")
    } else {
        write!(out, " {name} xset {value:#x}/{mask:#x}")
    };
}

fn connmark(out: &mut String, own: &ConnmarkTarget) {
    let (verb, first, second, packet, connection) = match own {
        ConnmarkTarget::Set { value, mask } => return set_mark(out, "CONNMARK", *value, *mask),
        ConnmarkTarget::Save {
            packet_mask,
            connection_mask,
        } => ("save", "nfmask", "ctmask", packet_mask.0, connection_mask.0),
        ConnmarkTarget::Restore {
            packet_mask,
            connection_mask,
        } => (
            "restore",
            "ctmask",
            "nfmask",
            connection_mask.0,
            packet_mask.0,
        ),
    };
    let _ = write!(out, " CONNMARK {verb}");
    let _ = match (packet, connection) {
        (u32::MAX, u32::MAX) => Ok(()),
        (one, other) if one == other => write!(out, " mask {one:#x}"),
        (one, other) => write!(out, " {first} {one:#x} {second} ~{other:#x}"),
    };
}

fn nat_range(out: &mut String, own: &NatRange) {
    if let Some(addresses) = &own.addresses {
        let (first, last) = (addresses.start(), addresses.end());
        let has_ports = own.ports.is_some() && first.is_ipv6();
        let (open, close) = if has_ports { ("[", "]") } else { ("", "") };
        let _ = write!(out, "{open}{first}");
        if first != last {
            let _ = write!(out, "-{last}");
        }
        out.push_str(close);
    }
    if let Some(ports) = &own.ports {
        let _ = write!(out, ":{}", ports.start());
        if ports.start() != ports.end() {
            let _ = write!(out, "-{}", ports.end());
        }
        if let Some(base) = own.base_port {
            let _ = write!(out, "/{base}");
        }
    }
}

fn nat_flags(out: &mut String, own: &NatRange) {
    for (is_set, name) in [
        (own.random, " random"),
        (own.random_fully, " random-fully"),
        (own.persistent, " persistent"),
    ] {
        if is_set {
            out.push_str(name);
        }
    }
}

/// Flags of `LOG` by their bits.
const LOG_FLAGS: [&str; 5] = [
    " tcp-sequence",
    " tcp-options",
    " ip-options",
    " uid",
    " macdecode",
];

/// Levels of the kernel's log (`xtables_log_names`, libxtables/xtoptions.c).
const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug",
];

fn log(out: &mut String, own: &LogTarget, names: &Names<'_>) {
    let level = own.level.unwrap_or(4);
    out.push_str(" LOG");
    if names.numeric {
        let _ = write!(out, " flags {} level {level}", own.flags);
    } else {
        let _ = write!(out, " level {}", LEVELS[usize::from(level.min(7))]);
        for (bit, name) in LOG_FLAGS.iter().enumerate() {
            if own.flags & (1 << bit) != 0 {
                out.push_str(name);
            }
        }
    }
    if !own.prefix.is_empty() {
        let _ = write!(out, " prefix \"{}\"", own.prefix);
    }
}

fn nflog(out: &mut String, own: &NflogTarget) {
    if !own.prefix.is_empty() {
        let _ = write!(out, " nflog-prefix {}", own.prefix);
    }
    if own.group != 0 {
        let _ = write!(out, " nflog-group {}", own.group);
    }
    if let Some(size) = own.size {
        let _ = write!(out, " nflog-size {size}");
    } else if let Some(range) = own.range {
        let _ = write!(out, " nflog-range {range}");
    }
    if let Some(threshold) = own.threshold {
        let _ = write!(out, " nflog-threshold {threshold}");
    }
}
