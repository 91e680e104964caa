//! Text in.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Protocol};

use super::{
    Forwarding, ParseError, Persistence, RealServer, Scheduler, SchedulerFlags, VirtualAddress,
    VirtualServer, VirtualServers,
};
use crate::iptables::lex::{Word, split};

/// Seconds that `-p` means where it names none (`IP_VS_TEMPLATE_TIMEOUT`, ipvsadm.c).
const PERSISTENCE_SECONDS: u32 = 300;

/// The real servers of each virtual server.
type RealServers = BTreeSet<(VirtualAddress, IpAddr, u16)>;

/// Reads the text of `ipvsadm-save -n`.
///
/// # Errors
/// The first [`ParseError`] in the order of the text.
pub fn parse(text: &str) -> Result<VirtualServers, ParseError> {
    let mut servers = VirtualServers::new();
    let mut real_servers = RealServers::new();
    let mut words = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\n', '\r']);
        split(body, start, &mut words).map_err(|at| ParseError::UnclosedQuote { at })?;
        start += line.len();
        let Some((command, rest)) = words.split_first() else {
            continue;
        };
        let mut line = Line {
            command,
            last: command,
            rest: rest.iter(),
        };
        match &*command.text {
            "-A" | "--add-service" => add_virtual_server(&mut servers, &mut line)?,
            "-a" | "--add-server" => add_real_server(&mut servers, &mut real_servers, &mut line)?,
            text if text.starts_with('#') => {}
            text => {
                return Err(ParseError::UnknownCommand {
                    text: text.into(),
                    at: command.span(),
                });
            }
        }
    }
    Ok(servers)
}

/// The words of a line that are left.
struct Line<'w, 't> {
    command: &'w Word<'t>,
    last: &'w Word<'t>,
    rest: std::slice::Iter<'w, Word<'t>>,
}

impl<'w, 't> Line<'w, 't> {
    fn next(&mut self) -> Option<&'w Word<'t>> {
        let word = self.rest.next()?;
        self.last = word;
        Some(word)
    }

    /// The value of an option.
    fn value(
        &mut self,
        option: &Word<'_>,
        needs: &'static str,
    ) -> Result<&'w Word<'t>, ParseError> {
        self.next().ok_or_else(|| ParseError::MissingWord {
            command: option.text.as_ref().into(),
            needs,
            at: option.span(),
        })
    }

    fn number<T: std::str::FromStr>(
        &mut self,
        option: &Word<'_>,
        expected: &'static str,
    ) -> Result<T, ParseError> {
        let word = self.value(option, expected)?;
        word.text.parse().map_err(|_| bad(word, expected))
    }

    fn unknown(&self, option: &Word<'_>) -> ParseError {
        ParseError::UnknownOption {
            text: option.text.as_ref().into(),
            command: self.command.text.as_ref().into(),
            at: option.span(),
        }
    }

    fn missing(&self, needs: &'static str) -> ParseError {
        ParseError::MissingWord {
            command: self.command.text.as_ref().into(),
            needs,
            at: self.last.span(),
        }
    }
}

fn bad(word: &Word<'_>, expected: &'static str) -> ParseError {
    ParseError::BadValue {
        text: word.text.as_ref().into(),
        expected,
        at: word.span(),
    }
}

/// The protocol that `-t` and its like name.
fn protocol_option(option: &str) -> Option<Protocol> {
    match option {
        "-t" | "--tcp-service" => Some(Protocol::TCP),
        "-u" | "--udp-service" => Some(Protocol::UDP),
        "--sctp-service" => Some(Protocol::SCTP),
        _ => None,
    }
}

fn add_virtual_server<'w>(
    servers: &mut VirtualServers,
    line: &mut Line<'w, '_>,
) -> Result<(), ParseError> {
    let mut found: Option<(VirtualAddress, &'w Word<'_>)> = None;
    let mut flags: Option<&Word<'_>> = None;
    let mut mask: Option<&Word<'_>> = None;
    let mut timeout = None;
    let mut server = VirtualServer::default();
    while let Some(option) = line.next() {
        match &*option.text {
            name if protocol_option(name).is_some() => {
                let word = line.value(option, "a virtual address and port")?;
                found = Some((virtual_address(option, word)?, word));
            }
            "-s" | "--scheduler" => {
                let word = line.value(option, "a scheduler")?;
                server.scheduler = word.text.parse().map_err(|_| {
                    bad(
                        word,
                        "a scheduler: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh or twos",
                    )
                })?;
            }
            "-b" | "--sched-flags" => flags = Some(line.value(option, "flags of a scheduler")?),
            "-p" | "--persistent" => {
                timeout = Some(PERSISTENCE_SECONDS);
                // The number is optional.
                if let Some(word) = line.rest.as_slice().first()
                    && !word.text.starts_with('-')
                {
                    timeout = Some(line.number(option, "seconds of persistence")?);
                }
            }
            "-M" | "--netmask" => mask = Some(line.value(option, "a mask of source addresses")?),
            "-o" | "--ops" => server.one_packet = true,
            _ => return Err(line.unknown(option)),
        }
    }
    let Some((address, word)) = found else {
        return Err(line.missing("a virtual address and port behind -t, -u or --sctp-service"));
    };
    if let Some(word) = flags {
        server.flags = scheduler_flags(word, server.scheduler)?;
    }
    let family = Family::of(address.address);
    if let Some(timeout_seconds) = timeout {
        server.persistence = Some(Persistence {
            timeout_seconds,
            mask_bits: match mask {
                Some(word) => mask_bits(word, family)?,
                None => family.bits(),
            },
        });
    }
    match servers.entry(address) {
        Entry::Vacant(place) => {
            place.insert(server);
            Ok(())
        }
        Entry::Occupied(_) => Err(ParseError::ServerExists {
            text: word.text.as_ref().into(),
            at: word.span(),
        }),
    }
}

fn add_real_server(
    servers: &mut VirtualServers,
    known: &mut RealServers,
    line: &mut Line<'_, '_>,
) -> Result<(), ParseError> {
    let mut of = None;
    let mut real = None;
    let mut shape = RealServer::masquerading(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, 1);
    while let Some(option) = line.next() {
        match &*option.text {
            name if protocol_option(name).is_some() => {
                let word = line.value(option, "a virtual address and port")?;
                of = Some((virtual_address(option, word)?, word));
            }
            "-r" | "--real-server" => {
                let word = line.value(option, "an address and port")?;
                real = Some((socket(word)?, word));
            }
            "-m" | "--masquerading" => shape.forwarding = Forwarding::Masquerading,
            "-g" | "--gatewaying" => shape.forwarding = Forwarding::DirectRouting,
            "-i" | "--ipip" => shape.forwarding = Forwarding::Tunneling,
            "-w" | "--weight" => shape.weight = line.number(option, "a weight from 0 to 65535")?,
            "-x" | "--u-threshold" => {
                shape.upper_threshold = line.number(option, "a number of connections")?;
            }
            "-y" | "--l-threshold" => {
                shape.lower_threshold = line.number(option, "a number of connections")?;
            }
            _ => return Err(line.unknown(option)),
        }
    }
    let Some((address, word)) = of else {
        return Err(line.missing("a virtual address and port behind -t, -u or --sctp-service"));
    };
    let Some(((ip, port), real_word)) = real else {
        return Err(line.missing("a real server behind -r"));
    };
    let Some(server) = servers.get_mut(&address) else {
        return Err(ParseError::UnknownServer {
            text: word.text.as_ref().into(),
            at: word.span(),
        });
    };
    if !known.insert((address, ip, port)) {
        return Err(ParseError::ServerExists {
            text: real_word.text.as_ref().into(),
            at: real_word.span(),
        });
    }
    server.real_servers.push(RealServer {
        address: ip,
        port,
        ..shape
    });
    Ok(())
}

fn virtual_address(option: &Word<'_>, word: &Word<'_>) -> Result<VirtualAddress, ParseError> {
    let (address, port) = socket(word)?;
    Ok(VirtualAddress {
        protocol: protocol_option(&option.text).unwrap_or(Protocol::TCP),
        address,
        port,
    })
}

/// `ADDRESS:PORT`, the address in brackets if it is IPv6.
fn socket(word: &Word<'_>) -> Result<(IpAddr, u16), ParseError> {
    let parsed = || -> Option<(IpAddr, u16)> {
        let (address, port) = word.text.rsplit_once(':')?;
        let address = match address.strip_prefix('[') {
            Some(rest) => IpAddr::V6(rest.strip_suffix(']')?.parse().ok()?),
            None => IpAddr::V4(address.parse().ok()?),
        };
        Some((address, port.parse().ok()?))
    };
    parsed().ok_or_else(|| {
        bad(
            word,
            "an address and port, as 10.96.0.1:443 or [fd00::1]:443",
        )
    })
}

fn scheduler_flags(word: &Word<'_>, scheduler: Scheduler) -> Result<SchedulerFlags, ParseError> {
    let mut flags = SchedulerFlags::none();
    for name in word.text.split(',') {
        let flag = SchedulerFlags::ALL
            .into_iter()
            .find(|&flag| flag.name(scheduler) == name || flag.name(Scheduler::RoundRobin) == name);
        let flag = flag.ok_or_else(|| {
            bad(
                word,
                "flags of the scheduler: flag-1, flag-2, flag-3; sh-fallback, sh-port; mh-fallback, mh-port",
            )
        })?;
        flags = flags.union(flag);
    }
    Ok(flags)
}

/// A dotted mask, or for IPv6 a number of bits.
fn mask_bits(word: &Word<'_>, family: Family) -> Result<u8, ParseError> {
    let bits = match family {
        Family::Ipv4 => word.text.parse::<Ipv4Addr>().ok().and_then(|mask| {
            let mask = mask.to_bits();
            let ones = mask.leading_ones();
            (mask.checked_shl(ones).unwrap_or(0) == 0).then_some(ones)
        }),
        Family::Ipv6 => word.text.parse().ok().filter(|&bits| bits <= 128),
    };
    bits.and_then(|bits| u8::try_from(bits).ok())
        .filter(|&bits| bits > 0)
        .ok_or_else(|| {
            bad(
                word,
                "a mask, as 255.255.255.0, or a number of bits for IPv6",
            )
        })
}
