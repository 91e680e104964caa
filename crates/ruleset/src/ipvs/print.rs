//! Text out.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Protocol};

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
        write_socket(f, self.address, self.port)
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
    write_socket(out, real.address, real.port).expect("a String takes any text");
    out.push_str(match real.forwarding {
        Forwarding::Masquerading => " -m",
        Forwarding::DirectRouting => " -g",
        Forwarding::Tunneling => " -i",
    });
    out.push_str(" -w ");
    write_number(out, real.weight).expect("a String takes any text");
    if real.upper_threshold != 0 {
        put(out, format_args!(" -x {}", real.upper_threshold));
    }
    if real.lower_threshold != 0 {
        put(out, format_args!(" -y {}", real.lower_threshold));
    }
    out.push('\n');
}

/// Numbers are written digit by digit: a node has as many lines as its Services have endpoints, and the
/// formatter takes most of the time.
fn write_socket(out: &mut impl fmt::Write, address: IpAddr, port: u16) -> fmt::Result {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.write_char('.')?;
                }
                write_number(out, octet.into())?;
            }
            out.write_char(':')?;
        }
        IpAddr::V6(address) => write!(out, "[{address}]:")?,
    }
    write_number(out, port)
}

fn write_number(out: &mut impl fmt::Write, number: u16) -> fmt::Result {
    let mut digits = [0; 5];
    let mut first = digits.len();
    let mut rest = number;
    while first == digits.len() || rest > 0 {
        first -= 1;
        digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.write_str(std::str::from_utf8(&digits[first..]).unwrap_or_default())
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}
