//! `ip`.

mod addr;
pub(crate) mod bridge;
mod link;
mod neigh;
mod route;

use podwire_packet::Family;

use crate::host::{Fault, Host};

const ANSWERED: &str = "ip [-4|-6|-br|-o] link, addr, route, neigh and rule, with show";

/// What stands between `ip` and the object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// `-4`, `-6`.
    pub(crate) family: Option<Family>,
    /// `-br`.
    pub(crate) brief: bool,
    /// `-o`.
    pub(crate) one_line: bool,
}

pub(crate) fn run(host: &Host, words: &[&str]) -> Result<String, Fault> {
    let mut options = Options::default();
    let mut rest = words;
    while let Some((&word, after)) = rest.split_first().filter(|(word, _)| word.starts_with('-')) {
        match word {
            "-4" => options.family = Some(Family::Ipv4),
            "-6" => options.family = Some(Family::Ipv6),
            "-br" | "-brief" => options.brief = true,
            "-o" | "-oneline" => options.one_line = true,
            "-c" | "-color" | "-color=never" | "-color=auto" | "-n" | "-N" => {}
            "-V" => return Ok("ip utility, iproute2-6.1.0\n".to_owned()),
            _ => return Err(not_modelled(words)),
        }
        rest = after;
    }
    let Some((&object, arguments)) = rest.split_first() else {
        return Err(not_modelled(words));
    };
    // Objects and verbs may be cut short, as iproute2 takes them.
    let names = |name: &str| name.starts_with(object) && !object.is_empty();
    if names("address") || object == "addr" {
        addr::run(host, options, arguments)
    } else if names("link") {
        let text = link::run(host, options, arguments)?;
        Ok(if options.one_line {
            text.replace("\n    ", "\\    ")
        } else {
            text
        })
    } else if names("route") {
        route::run(host, options, arguments)
    } else if names("neighbor") || names("neighbour") {
        neigh::run(host, options, arguments)
    } else if names("rule") && arguments.iter().all(|word| is_show(word)) {
        Ok(route::rules(options))
    } else {
        let known = ["rule", "netns", "tunnel", "maddress", "monitor"];
        if known.iter().any(|known| names(known)) {
            return Err(not_modelled(words));
        }
        let text = format!("Object \"{object}\" is unknown, try \"ip help\".");
        Err(Fault::tool(text, 1))
    }
}

fn not_modelled(words: &[&str]) -> Fault {
    let command: Vec<&str> = std::iter::once("ip").chain(words.iter().copied()).collect();
    Fault::not_modelled(&command, ANSWERED)
}

/// `show`, `list` and `lst`, cut short or not.
pub(crate) fn is_show(word: &str) -> bool {
    !word.is_empty()
        && ["show", "list", "lst"]
            .iter()
            .any(|verb| verb.starts_with(word))
}

/// What `show` is asked about: a device, a master, a type; and what else is said.
#[derive(Debug, Default)]
pub(crate) struct Shown<'w> {
    pub(crate) device: Option<&'w str>,
    pub(crate) master: Option<&'w str>,
    pub(crate) kind: Option<&'w str>,
    pub(crate) up: bool,
    /// Words that are none of these.
    pub(crate) rest: Vec<&'w str>,
}

impl<'w> Shown<'w> {
    /// Reads what stands behind an object.
    pub(crate) fn read(words: &[&'w str]) -> Self {
        let mut shown = Self::default();
        let mut words = words.iter().copied();
        if let Some(first) = words.clone().next()
            && is_show(first)
        {
            words.next();
        }
        while let Some(word) = words.next() {
            match word {
                "dev" => shown.device = words.next(),
                "master" => shown.master = words.next(),
                "type" => shown.kind = words.next(),
                "up" => shown.up = true,
                other => shown.rest.push(other),
            }
        }
        shown
    }
}

/// What `ip route` and `ip neigh` say of a device that is not there.
pub(crate) fn cannot_find(name: &str) -> Fault {
    Fault::tool(format!("Cannot find device \"{name}\""), 1)
}

/// What `ip link` and `ip addr` say of one.
pub(crate) fn no_device(name: &str) -> Fault {
    Fault::tool(format!("Device \"{name}\" does not exist."), 1)
}
