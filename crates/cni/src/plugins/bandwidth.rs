//! bandwidth: limits what a container receives and sends, at the host's end of its veth pair.
//!
//! # Departures
//! - Queues are written down in the words of `tc`; no packet is delayed by them.
//!
//! Source: plugins/meta/bandwidth/{main,ifb_creator}.go of containernetworking/plugins; messages as there.

use podwire_packet::{MacAddr, made_up_bits};
use serde::Deserialize;

use super::common::{device, interface};
use crate::host::Host;
use crate::json::Embedding;
use crate::kernel::device::{Device, Kind};
use crate::kernel::{HOST, Kernel};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult};
use crate::rules::hashed;
use crate::{CniError, json};

/// The longest name of a device.
const LONGEST_NAME: usize = 15;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Limits {
    unshaped_subnets: Vec<String>,
    shaped_subnets: Vec<String>,
    /// Bits a second toward the container.
    ingress_rate: u64,
    /// Bits.
    ingress_burst: u64,
    /// Bits a second from the container.
    egress_rate: u64,
    /// Bits.
    egress_burst: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeConf {
    bandwidth: Option<Limits>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    runtime_config: RuntimeConf,
}

impl Limits {
    const fn is_zero(&self) -> bool {
        self.ingress_rate == 0
            && self.ingress_burst == 0
            && self.egress_rate == 0
            && self.egress_burst == 0
    }

    fn read(invocation: &Invocation<'_>) -> Result<Self, CniError> {
        let conf: Embedding<Conf, Self> = json::decode(&invocation.conf).map_err(|why| {
            CniError::other(format!("failed to parse network configuration: {why}"))
        })?;
        let told = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];
        let has_own = told
            .iter()
            .any(|key| json::member(&invocation.conf, key).is_some());
        let limits = match conf.own.runtime_config.bandwidth {
            Some(limits) if !has_own => limits,
            _ => conf.embedded,
        };
        let pairs = [
            (limits.ingress_rate, limits.ingress_burst),
            (limits.egress_rate, limits.egress_burst),
        ];
        for (rate, burst) in pairs {
            let why = match (rate, burst) {
                (1.., 0) => "if rate is set, burst must also be set",
                (0, 1..) => "if burst is set, rate must also be set",
                _ if burst / 8 >= u64::from(u32::MAX) => "burst cannot be more than 4GB",
                _ => continue,
            };
            return Err(CniError::other(why));
        }
        Ok(limits)
    }

    fn check_subnets(&self) -> Result<(), CniError> {
        if !self.unshaped_subnets.is_empty() && !self.shaped_subnets.is_empty() {
            let why = "unshapedSubnets and shapedSubnets cannot be both specified, one of them \
                       should be discarded";
            return Err(CniError::other(why));
        }
        for subnet in self.unshaped_subnets.iter().chain(&self.shaped_subnets) {
            if let Err(why) = subnet.parse::<Cidr>() {
                let why = format!("bad subnet {subnet:?} provided, details {why}");
                return Err(CniError::other(why));
            }
        }
        Ok(())
    }

    /// The queue of a rate and a burst in bits: a token bucket in 1.1.1, later two classes of which
    /// one is not limited.
    fn queue(&self, rate: u64, burst: u64, newer: bool) -> String {
        let burst = burst / 8;
        if !newer {
            return format!("tbf rate {rate}bit burst {burst}b lat 25ms");
        }
        let default = if self.shaped_subnets.is_empty() {
            30
        } else {
            1
        };
        format!("htb default {default} class 1:30 rate {rate}bit burst {burst}b")
    }
}

fn ifb_name(invocation: &Invocation<'_>) -> String {
    let (network, id) = (&invocation.net.name, &invocation.env.container_id);
    hashed(LONGEST_NAME, "bwp", network, id)
}

/// The host's end of the container's pair, which the result must tell.
fn host_end(
    kernel: &Kernel,
    invocation: &Invocation<'_>,
    result: &CniResult,
) -> Result<String, CniError> {
    let env = &invocation.env;
    if result.interfaces.is_empty() {
        return Err(CniError::other("no interfaces provided"));
    }
    let inside = kernel.get(&env.netns).link(&env.ifname);
    let Some(peer) = inside.and_then(Device::peer) else {
        let why = format!("container interface {} has no veth peer", env.ifname);
        return Err(CniError::other(why));
    };
    let is_peer = |own: &&crate::result::Interface| {
        own.sandbox.is_empty() && own.name == peer.name && peer.netns == HOST
    };
    let told = result.interfaces.iter().find(is_peer);
    told.map(|own| own.name.clone())
        .ok_or_else(|| CniError::other("no veth peer of container interface found in host ns"))
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let limits = Limits::read(invocation)?;
    let previous = invocation.net.previous()?;
    if limits.is_zero() {
        return Ok(previous.unwrap_or_default());
    }
    limits.check_subnets()?;
    let Some(mut result) = previous else {
        return Err(CniError::other("must be called as chained plugin"));
    };
    let env = &invocation.env;
    let newer = invocation.is_newer();
    let kernel = host.enter(&env.netns)?;
    let peer = host_end(kernel, invocation, &result)?;
    if limits.ingress_rate > 0 {
        let queue = limits.queue(limits.ingress_rate, limits.ingress_burst, newer);
        set_queue(kernel, &peer, "root", queue);
    }
    if limits.egress_rate > 0 {
        let ifb = ifb_name(invocation);
        let mtu = device(kernel, HOST, &peer)?.mtu;
        if kernel.host().link(&ifb).is_some() {
            return Err(CniError::other("adding link: file exists"));
        }
        let mac = MacAddr::of_bits(made_up_bits(&["ifb", &ifb]));
        let made = Device::new(&ifb, Kind::Ifb, mac, mtu);
        kernel.host_mut().add_link(made);
        kernel.host_mut().set_up(&ifb);
        result.interfaces.push(interface(kernel.host(), &ifb, ""));
        let redirect = format!("ingress u32 action mirred egress redirect dev {ifb}");
        set_queue(kernel, &peer, "ingress", redirect);
        let queue = limits.queue(limits.egress_rate, limits.egress_burst, newer);
        set_queue(kernel, &ifb, "root", queue);
    }
    Ok(result)
}

fn set_queue(kernel: &mut Kernel, name: &str, parent: &str, queue: String) {
    if let Some(device) = kernel.host_mut().link_mut(name) {
        device.qdiscs.insert(parent.to_owned(), queue);
    }
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let limits = Limits::read(invocation)?;
    let Some(previous) = invocation.net.previous()? else {
        return Err(CniError::other("must be called as a chained plugin"));
    };
    let kernel = host.enter(&invocation.env.netns)?;
    let peer = host_end(kernel, invocation, &previous)?;
    limits.check_subnets()?;
    let wanted = [
        (peer, limits.ingress_rate, limits.ingress_burst),
        (
            ifb_name(invocation),
            limits.egress_rate,
            limits.egress_burst,
        ),
    ];
    for (name, rate, burst) in wanted.into_iter().filter(|(_, rate, _)| *rate > 0) {
        let queue = device(kernel, HOST, &name)?.qdiscs.get("root");
        match queue {
            None => return Err(CniError::other("Failed to find qdisc")),
            Some(queue) if *queue != limits.queue(rate, burst, invocation.is_newer()) => {
                let why = format!("Rate does not match for the default class for device {name}");
                return Err(CniError::other(why));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    Limits::read(invocation)?;
    host.kernel()?.delete_link(HOST, &ifb_name(invocation));
    Ok(())
}
