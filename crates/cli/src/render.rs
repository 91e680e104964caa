//! `podwire render`: what kube-proxy, or weave-npc, writes on a node.

use std::io::Write;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, IpvsHistory, IpvsProxier, NftablesForm, NftablesHistory,
    NftablesProxier, ServicePorts, SideEffects, UserspaceHistory, UserspaceProxier, check_mode,
    side_effects_text,
};
use podwire_controlplane::network_policy::WeaveNpc;
use podwire_packet::Family;

use crate::args::{Component, Form, Global, RenderArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster, read_state};

/// Modes that `render` knows.
const MODES: &[ProxyMode] = &[
    ProxyMode::Iptables,
    ProxyMode::Nftables,
    ProxyMode::Ipvs,
    ProxyMode::Userspace,
];

pub(crate) fn run(
    global: &Global,
    args: &RenderArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    match args.component {
        Component::KubeProxy if args.node.is_none() => {
            return Err(Failure::input("--node NAME says whose rules to print"));
        }
        Component::KubeProxy => {}
        Component::WeaveNpc if Family::from(args.family) == Family::Ipv6 => {
            return Err(Failure::input(
                "--family ipv6: weave-npc has no IPv6 rules; it writes ipsets and rules of IPv4 alone",
            ));
        }
        Component::WeaveNpc => return weave_npc(global, &cluster, out),
    }
    if matches!(args.form, Form::Config) {
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        out.write_all(config.to_yaml().as_bytes())?;
        return Ok(Answer::Yes);
    }
    let config = cluster.kube_proxy.as_ref();
    let mode = config.map_or(ProxyMode::Iptables, KubeProxyConfiguration::proxy_mode);
    check_mode(mode, MODES).map_err(Failure::input)?;
    let version = options(&args.cluster)?.kube_proxy_version;
    let mut states = vec![cluster];
    for path in &args.then {
        states.push(read_state(global, path, &states[0])?);
    }
    let services = |family: Family| -> Vec<ServicePorts<'_>> {
        states
            .iter()
            .map(|state| ServicePorts::new(state, family, version))
            .collect()
    };
    if args.form == Form::Misc && mode != ProxyMode::Userspace {
        let services = [services(Family::Ipv4), services(Family::Ipv6)];
        out.write_all(misc(&states, args, &services)?.as_bytes())?;
        return Ok(Answer::Yes);
    }
    let services = services(args.family.into());
    match mode {
        ProxyMode::Nftables => nftables(&states, args, &services, out)?,
        ProxyMode::Ipvs => out.write_all(ipvs(&states, args, &services)?.as_bytes())?,
        ProxyMode::Userspace => out.write_all(userspace(&states, args, &services)?.as_bytes())?,
        ProxyMode::Iptables | ProxyMode::Kernelspace => {
            out.write_all(iptables(&states, args, &services)?.as_bytes())?;
        }
    }
    Ok(Answer::Yes)
}

/// The ipsets and rules of weave-npc, which every node has.
fn weave_npc(global: &Global, cluster: &Cluster, out: &mut impl Write) -> Result<Answer, Failure> {
    let npc = WeaveNpc::new(cluster);
    if !global.quiet {
        for refused in npc.refused() {
            // The answer is the same if nobody hears this.
            let _ = writeln!(anstream::stderr(), "warning: {refused}");
        }
    }
    out.write_all(npc.save_text().as_bytes())?;
    Ok(Answer::Yes)
}

/// The table of nftables mode after the last sync.
fn nftables(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        NftablesProxier::new(state, services, args.node()).map_err(Failure::input)
    });
    let first = proxiers.next().expect("there is a first state")?;
    let mut history = NftablesHistory::first(first);
    for proxier in proxiers {
        history.then(proxier?);
    }
    let form = match args.form {
        Form::Save => NftablesForm::Listing,
        Form::Restore | Form::Misc | Form::Config => NftablesForm::Commands,
    };
    Ok(history.write_to(form, out)?)
}

/// The text of the last sync in iptables mode, or the tables after it.
fn iptables(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
) -> Result<String, Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        IptablesProxier::new(state, services, args.node()).map_err(Failure::input)
    });
    let first = proxiers.next().expect("there is a first state")?;
    if states.len() == 1 {
        return Ok(match args.form {
            Form::Save => first.save_text(),
            Form::Restore | Form::Misc | Form::Config => first.restore_text(),
        });
    }
    let mut history = IptablesHistory::first(first);
    for proxier in proxiers {
        history.then(proxier?);
    }
    Ok(match args.form {
        Form::Save => history.save_text(),
        Form::Restore | Form::Misc | Form::Config => history.restore_text().to_owned(),
    })
}

/// The sections of the last sync in IPVS mode, or of what it left.
fn ipvs(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
) -> Result<String, Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        IpvsProxier::new(state, services, args.node()).map_err(Failure::input)
    });
    let mut history = IpvsHistory::first(&proxiers.next().expect("there is a first state")?);
    for proxier in proxiers {
        history.then(&proxier?);
    }
    let program = history.program();
    Ok(match args.form {
        Form::Save => program.save_text(),
        Form::Restore | Form::Misc | Form::Config => program.text(),
    })
}

/// The rules of the portals that are open after the last sync, or what else that sync did.
fn userspace(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
) -> Result<String, Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        UserspaceProxier::new(state, services, args.node()).map_err(Failure::input)
    });
    let first = proxiers.next().expect("there is a first state")?;
    let mut history = UserspaceHistory::first(first);
    for proxier in proxiers {
        history.then(proxier?);
    }
    Ok(match args.form {
        Form::Save => history.save_text(),
        Form::Misc => history.side_effects().to_string(),
        Form::Restore | Form::Config => history.restore_text(),
    })
}

/// What the last sync does besides rules.
fn misc(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[Vec<ServicePorts<'_>>; 2],
) -> Result<String, Failure> {
    let last = states.last().expect("there is a first state");
    if states.len() == 1 {
        let services: Vec<ServicePorts<'_>> = services.iter().flatten().cloned().collect();
        return side_effects_text(last, &services, args.node()).map_err(Failure::input);
    }
    let mut text = String::new();
    for of_family in services {
        let [.., before, after] = of_family.as_slice() else {
            continue;
        };
        let effects = SideEffects::later(last, before, after, args.node());
        text.push_str(&effects.map_err(Failure::input)?.to_string());
    }
    Ok(text)
}
