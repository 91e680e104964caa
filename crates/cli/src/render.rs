//! `podwire render`: what kube-proxy writes on a node.

use std::io::Write;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, NftablesForm, NftablesHistory, NftablesProxier, ServicePorts,
    check_mode, side_effects_text,
};
use podwire_packet::Family;

use crate::args::{Form, Global, RenderArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster, read_state};

/// Modes that `render` knows.
const MODES: &[ProxyMode] = &[ProxyMode::Iptables, ProxyMode::Nftables];

pub(crate) fn run(
    global: &Global,
    args: &RenderArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
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
    if args.form == Form::Misc {
        let services = [services(Family::Ipv4), services(Family::Ipv6)];
        out.write_all(misc(&states, args, &services)?.as_bytes())?;
        return Ok(Answer::Yes);
    }
    let services = services(args.family.into());
    if mode == ProxyMode::Nftables {
        nftables(&states, args, &services, out)?;
    } else {
        out.write_all(iptables(&states, args, &services)?.as_bytes())?;
    }
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
        NftablesProxier::new(state, services, &args.node).map_err(Failure::input)
    });
    let first = proxiers.next().expect("there is a first state")?;
    let mut history = NftablesHistory::first(first);
    for proxier in proxiers {
        history.then(proxier?);
    }
    let form = match args.form {
        Form::Save => NftablesForm::Listing,
        Form::Restore | Form::Misc => NftablesForm::Commands,
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

/// What the first sync does besides rules.
fn misc(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[Vec<ServicePorts<'_>>; 2],
) -> Result<String, Failure> {
    if states.len() > 1 {
        return Err(Failure::input(
            "--form misc is that of the first sync; it takes no --then",
        ));
    }
    let services: Vec<ServicePorts<'_>> = services.iter().flatten().cloned().collect();
    side_effects_text(&states[0], &services, &args.node).map_err(Failure::input)
}
