//! Text out.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Protocol};

use crate::digits::{push_address, push_number};

use super::{
    Forwarding, RealServer, Scheduler, SchedulerFlags, VirtualAddress, VirtualServer,
    VirtualServers,
};

impl SchedulerFlags {
    /// Each flag.
    pub(super) const ALL: [Self; 3] = [Self::FALLBACK, Self::PORT, Self::THIRD];

    /// A flag's word for a scheduler.
    pub(super) const fn name(self, scheduler: Scheduler) -> &'static str {
        match (scheduler, self) {
            (Scheduler::SourceHashing, Self::FALLBACK) => "sh-fallback",
            (Scheduler::SourceHashing, Self::PORT) => "sh-port",
            (Scheduler::MaglevHashing, Self::FALLBACK) => "mh-fallback",
            (Scheduler::MaglevHashing, Self::PORT) => "mh-port",
            (_, Self::FALLBACK) => "flag-1",
            (_, Self::PORT) => "flag-2",
            _ => "flag-3",
        }
    }
}

impl fmt::Display for VirtualAddress {
    /// Writes it as an option of `ipvsadm`: `-t 10.96.0.1:443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::UDP => "-u ",
            Protocol::SCTP => "--sctp-service ",
            _ => "-t ",
        })?;
        let mut socket = String::new();
        write_socket(&mut socket, self.address, self.port);
        f.write_str(&socket)
    }
}

/// The text of `ipvsadm-save -n`.
#[must_use]
pub fn print(servers: &VirtualServers) -> String {
    const LINE: usize = 64;
    let lines: usize = servers.values().map(|s| 1 + s.real_servers.len()).sum();
    let mut out = String::with_capacity(lines * LINE);
    let mut option = String::new();
    for (address, server) in servers {
        option.clear();
        put(&mut option, format_args!("{address}"));
        write_virtual_server(&mut out, &option, address, server);
        for real in &server.real_servers {
            out.push_str("-a ");
            out.push_str(&option);
            write_real_server(&mut out, real);
        }
    }
    out
}

fn write_virtual_server(
    out: &mut String,
    option: &str,
    address: &VirtualAddress,
    server: &VirtualServer,
) {
    out.push_str("-A ");
    out.push_str(option);
    out.push_str(" -s ");
    out.push_str(server.scheduler.name());
    let flags = SchedulerFlags::ALL.into_iter();
    for (place, flag) in flags
        .filter(|&flag| server.flags.contains(flag))
        .enumerate()
    {
        out.push_str(if place == 0 { " -b " } else { "," });
        out.push_str(flag.name(server.scheduler));
    }
    if let Some(persistence) = server.persistence {
        put(out, format_args!(" -p {}", persistence.timeout_seconds));
        let bits = persistence.mask_bits;
        match Family::of(address.address) {
            family if bits >= family.bits() => {}
            Family::Ipv4 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                put(out, format_args!(" -M {}", Ipv4Addr::from_bits(mask)));
            }
            Family::Ipv6 => put(out, format_args!(" -M {bits}")),
        }
    }
    if server.one_packet {
        out.push_str(" -o");
    }
    out.push('\n');
}

fn write_real_server(out: &mut String, real: &RealServer) {
    out.push_str(" -r ");
    write_socket(out, real.address, real.port);
    out.push_str(match real.forwarding {
        Forwarding::Masquerading => " -m",
        Forwarding::DirectRouting => " -g",
        Forwarding::Tunneling => " -i",
    });
    out.push_str(" -w ");
    push_number(out, real.weight.into());
    if real.upper_threshold != 0 {
        put(out, format_args!(" -x {}", real.upper_threshold));
    }
    if real.lower_threshold != 0 {
        put(out, format_args!(" -y {}", real.lower_threshold));
    }
    out.push('\n');
}

fn write_socket(out: &mut String, address: IpAddr, port: u16) {
    match address {
        IpAddr::V4(_) => push_address(out, address),
        IpAddr::V6(_) => {
            out.push('[');
            push_address(out, address);
            out.push(']');
        }
    }
    out.push(':');
    push_number(out, port.into());
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}
