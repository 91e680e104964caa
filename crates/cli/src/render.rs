//! `podwire render`: what kube-proxy writes on a node.

use std::io::Write;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, IpvsHistory, IpvsProxier, ServicePorts, check_mode,
    side_effects_text,
};
use podwire_packet::Family;

use crate::args::{Form, Global, RenderArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster, read_state};

pub(crate) fn run(
    global: &Global,
    args: &RenderArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    let mode = cluster
        .kube_proxy
        .as_ref()
        .map_or(ProxyMode::Iptables, KubeProxyConfiguration::proxy_mode);
    if mode != ProxyMode::Ipvs {
        check_mode(mode).map_err(Failure::input)?;
    }
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
    let text = match args.form {
        Form::Misc => misc(
            &states,
            args,
            &[services(Family::Ipv4), services(Family::Ipv6)],
        )?,
        Form::Restore | Form::Save => {
            let services = services(args.family.into());
            match mode {
                ProxyMode::Ipvs => ipvs_synced(&states, args, &services)?,
                ProxyMode::Iptables
                | ProxyMode::Nftables
                | ProxyMode::Userspace
                | ProxyMode::Kernelspace => synced(&states, args, &services)?,
            }
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(Answer::Yes)
}

/// The text of the last sync, or the tables after it.
fn synced(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
) -> Result<String, Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        IptablesProxier::new(state, services, &args.node).map_err(Failure::input)
    });
    let first = proxiers.next().expect("there is a first state")?;
    if states.len() == 1 {
        return Ok(match args.form {
            Form::Save => first.save_text(),
            Form::Restore | Form::Misc => first.restore_text(),
        });
    }
    let mut history = IptablesHistory::first(first);
    for proxier in proxiers {
        history.then(proxier?);
    }
    Ok(match args.form {
        Form::Save => history.save_text(),
        Form::Restore | Form::Misc => history.restore_text().to_owned(),
    })
}

/// The sections of the last sync in IPVS mode, or of what it left.
fn ipvs_synced(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[ServicePorts<'_>],
) -> Result<String, Failure> {
    let mut proxiers = states.iter().zip(services).map(|(state, services)| {
        IpvsProxier::new(state, services, &args.node).map_err(Failure::input)
    });
    let mut history = IpvsHistory::first(&proxiers.next().expect("there is a first state")?);
    for proxier in proxiers {
        history.then(&proxier?);
    }
    let program = history.program();
    Ok(match args.form {
        Form::Save => program.save_text(),
        Form::Restore | Form::Misc => program.text(),
    })
}

/// What the last sync does besides rules.
fn misc(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[Vec<ServicePorts<'_>>; 2],
) -> Result<String, Failure> {
    let last = states.len() - 1;
    let of_state = |state: usize| -> Vec<ServicePorts<'_>> {
        let families = services.iter();
        families.map(|states| states[state].clone()).collect()
    };
    let earlier = last.checked_sub(1).map(of_state).unwrap_or_default();
    side_effects_text(&earlier, &states[last], &of_state(last), &args.node).map_err(Failure::input)
}
