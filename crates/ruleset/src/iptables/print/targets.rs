//! Text of targets.

use podwire_packet::{Family, Mark};

use super::matches::{ports as port_range, saved_string};
use super::{Wording, put};
use crate::digits::push_address;
use crate::iptables::targets::LOG_FLAGS;
use crate::{ConnmarkTarget, LogTarget, MssTarget, NatRange, NflogTarget, RejectWith, Target};

pub(super) fn write(out: &mut String, target: &Target, wording: Wording, family: Family) {
    let save = wording == Wording::Save;
    match target {
        Target::Accept => out.push_str(" -j ACCEPT"),
        Target::Drop => out.push_str(" -j DROP"),
        Target::Return => out.push_str(" -j RETURN"),
        Target::Jump(chain) => {
            out.push_str(" -j ");
            out.push_str(chain.as_str());
        }
        Target::Goto(chain) => put(out, format_args!(" -g {chain}")),
        Target::Reject(with) => {
            out.push_str(" -j REJECT");
            if save || *with != RejectWith::PortUnreachable {
                reject_with(out, *with, family);
            }
        }
        Target::Mark { value, mask } => {
            out.push_str(" -j MARK");
            set_mark(out, *value, *mask, save);
        }
        Target::Connmark(own) => connmark(out, own, save),
        Target::Dnat(own) => {
            out.push_str(" -j DNAT --to-destination ");
            nat_range(out, own);
            nat_flags(out, own);
        }
        Target::Snat(own) => {
            out.push_str(" -j SNAT --to-source ");
            nat_range(out, own);
            nat_flags(out, own);
        }
        Target::Masquerade(own) => {
            out.push_str(" -j MASQUERADE");
            to_ports(out, own);
        }
        Target::Redirect(own) => {
            out.push_str(" -j REDIRECT");
            to_ports(out, own);
        }
        Target::Log(own) => log(out, own),
        Target::Nflog(own) => nflog(out, own),
        Target::Notrack => out.push_str(" -j CT --notrack"),
        Target::Trace => out.push_str(" -j TRACE"),
        Target::Checksum(_) => out.push_str(" -j CHECKSUM --checksum-fill"),
        Target::Tcpmss(MssTarget::Set(mss)) => put(out, format_args!(" -j TCPMSS --set-mss {mss}")),
        Target::Tcpmss(MssTarget::ClampToPmtu) => out.push_str(" -j TCPMSS --clamp-mss-to-pmtu"),
        Target::Unknown(text) => {
            out.push_str(" -j ");
            out.push_str(text);
        }
    }
}

fn reject_with(out: &mut String, with: RejectWith, family: Family) {
    let named = RejectWith::names(family)
        .iter()
        .find(|(_, _, own)| *own == with);
    // An answer that the family does not have is the default one.
    let name = match (named, family) {
        (Some((name, ..)), _) => name,
        (None, Family::Ipv4) => "icmp-port-unreachable",
        (None, Family::Ipv6) => "icmp6-port-unreachable",
    };
    out.push_str(" --reject-with ");
    out.push_str(name);
}

fn set_mark(out: &mut String, value: Mark, mask: Mark, save: bool) {
    if save {
        put(out, format_args!(" --set-xmark {value}/{mask}"));
    } else if mask == value {
        put(out, format_args!(" --or-mark {:#010x}", value.0));
    } else if mask == Mark(0) {
        put(out, format_args!(" --xor-mark {:#010x}", value.0));
    } else {
        put(
            out,
            format_args!(" --set-xmark {:#010x}/{:#010x}", value.0, mask.0),
        );
    }
}

fn connmark(out: &mut String, own: &ConnmarkTarget, save: bool) {
    out.push_str(" -j CONNMARK");
    match *own {
        ConnmarkTarget::Set { value, mask } => set_mark(out, value, mask, save),
        ConnmarkTarget::Save {
            packet_mask,
            connection_mask,
        } => put(
            out,
            format_args!(" --save-mark --nfmask {packet_mask} --ctmask {connection_mask}"),
        ),
        ConnmarkTarget::Restore {
            packet_mask,
            connection_mask,
        } => put(
            out,
            format_args!(" --restore-mark --nfmask {packet_mask} --ctmask {connection_mask}"),
        ),
    }
}

/// Addresses and ports; with ports, IPv6 addresses stand in brackets, both in one pair.
fn nat_range(out: &mut String, own: &NatRange) {
    if let Some(addresses) = &own.addresses {
        let brackets = own.ports.is_some() && addresses.start().is_ipv6();
        if brackets {
            out.push('[');
        }
        push_address(out, *addresses.start());
        if addresses.start() != addresses.end() {
            out.push('-');
            push_address(out, *addresses.end());
        }
        if brackets {
            out.push(']');
        }
    }
    if let Some(ports) = &own.ports {
        out.push(':');
        port_range(out, ports, '-');
        if let Some(base) = own.base_port {
            put(out, format_args!("/{base}"));
        }
    }
}

fn to_ports(out: &mut String, own: &NatRange) {
    if let Some(ports) = &own.ports {
        out.push_str(" --to-ports ");
        port_range(out, ports, '-');
    }
    nat_flags(out, own);
}

fn nat_flags(out: &mut String, own: &NatRange) {
    for (given, name) in [
        (own.random, " --random"),
        (own.random_fully, " --random-fully"),
        (own.persistent, " --persistent"),
    ] {
        if given {
            out.push_str(name);
        }
    }
}

fn log(out: &mut String, own: &LogTarget) {
    /// What `--log-level` is if it is not said: warning.
    const DEFAULT_LEVEL: u8 = 4;
    out.push_str(" -j LOG");
    if !own.prefix.is_empty() {
        out.push_str(" --log-prefix ");
        saved_string(out, &own.prefix);
    }
    if let Some(level) = own.level.filter(|&level| level != DEFAULT_LEVEL) {
        put(out, format_args!(" --log-level {level}"));
    }
    for (name, bit) in LOG_FLAGS {
        if own.flags & bit != 0 {
            put(out, format_args!(" {name}"));
        }
    }
}

/// `--nflog-range` is left out: nf_tables does not keep it, and it never had an effect
/// (iptables-extensions(8)).
fn nflog(out: &mut String, own: &NflogTarget) {
    out.push_str(" -j NFLOG");
    if !own.prefix.is_empty() {
        out.push_str(" --nflog-prefix ");
        saved_string(out, &own.prefix);
    }
    if own.group != 0 {
        put(out, format_args!(" --nflog-group {}", own.group));
    }
    if let Some(size) = own.size {
        put(out, format_args!(" --nflog-size {size}"));
    }
    if let Some(threshold) = own.threshold {
        put(out, format_args!(" --nflog-threshold {threshold}"));
    }
}
