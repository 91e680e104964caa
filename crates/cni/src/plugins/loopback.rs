//! loopback: brings a container's `lo` up.
//!
//! Source: plugins/main/loopback/loopback.go of containernetworking/plugins.

use crate::CniError;
use crate::host::Host;
use crate::protocol::Invocation;
use crate::result::{CniResult, IpConfig};

use super::common::interface;

const LO: &str = "lo";

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let previous = invocation.net.previous()?;
    let netns = &invocation.env.netns;
    let kernel = host.enter(netns).map_err(plain)?;
    kernel.get_mut(netns).set_up(LO);
    if let Some(previous) = previous {
        return Ok(previous);
    }
    let namespace = kernel.get(netns);
    let addresses = namespace.link(LO).into_iter().flat_map(|lo| &lo.addresses);
    let ips = addresses.map(|&address| IpConfig {
        interface: Some(0),
        address,
        gateway: None,
    });
    Ok(CniResult {
        ips: ips.collect(),
        interfaces: vec![interface(namespace, LO, netns)],
        ..CniResult::default()
    })
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let netns = &invocation.env.netns;
    let kernel = host.enter(netns).map_err(plain)?;
    let lo = kernel.get(netns).link(LO);
    if lo.is_some_and(|lo| lo.is_up) {
        return Ok(());
    }
    Err(CniError::other("loopback interface is down"))
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let netns = &invocation.env.netns;
    if let Some(kernel) = host.enter_if_there(netns)? {
        kernel.get_mut(netns).set_down(LO);
    }
    Ok(())
}

/// Without what other plugins put before.
fn plain(error: CniError) -> CniError {
    let text = error
        .msg
        .split_once("\": ")
        .map(|(_, rest)| rest.to_owned());
    CniError {
        msg: text.unwrap_or(error.msg),
        ..error
    }
}
