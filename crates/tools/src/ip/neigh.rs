//! `ip neigh`.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_packet::Family;

use super::{Options, Shown, cannot_find, not_modelled};
use crate::host::{Fault, Host};

pub(super) fn run(host: &Host, options: Options, words: &[&str]) -> Result<String, Fault> {
    let shown = Shown::read(words);
    let mut rest = shown.rest.iter().filter(|word| **word != "to");
    let address = match (rest.next().map(|word| word.parse()), rest.next()) {
        (None, _) => None,
        (Some(Ok(address)), None) => Some(address),
        _ => return Err(not_modelled(words)),
    };
    if let Some(name) = shown.device.filter(|name| host.device(name).is_none()) {
        return Err(cannot_find(name));
    }
    let mut out = String::new();
    for neighbor in &host.neighbors {
        let of_family = options
            .family
            .is_none_or(|family| Family::of(neighbor.address) == family);
        let of_device = shown
            .device
            .is_none_or(|name| neighbor.device.as_str() == name);
        let is_meant = address.is_none_or(|address: IpAddr| address == neighbor.address);
        if !of_family || !of_device || !is_meant {
            continue;
        }
        let _ = write!(out, "{} ", neighbor.address);
        if shown.device.is_none() {
            let _ = write!(out, "dev {} ", neighbor.device);
        }
        let state = if neighbor.permanent {
            "PERMANENT"
        } else {
            "REACHABLE"
        };
        let _ = writeln!(out, "lladdr {} {state} ", neighbor.mac);
    }
    Ok(out)
}
