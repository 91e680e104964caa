//! `podwire render`: what kube-proxy writes on a node.

use std::io::Write;

use podwire_cluster::{Cluster, KubeProxyConfiguration};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, ServicePorts, SideEffects, check_mode, side_effects_text,
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
    if matches!(args.form, Form::Config) {
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        out.write_all(config.to_yaml().as_bytes())?;
        return Ok(Answer::Yes);
    }
    let mode = cluster
        .kube_proxy
        .as_ref()
        .map(KubeProxyConfiguration::proxy_mode);
    if let Some(mode) = mode {
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
        Form::Restore | Form::Save | Form::Config => {
            synced(&states, args, &services(args.family.into()))?
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

/// What the last sync does besides rules.
fn misc(
    states: &[Cluster],
    args: &RenderArgs,
    services: &[Vec<ServicePorts<'_>>; 2],
) -> Result<String, Failure> {
    let last = states.last().expect("there is a first state");
    if states.len() == 1 {
        let services: Vec<ServicePorts<'_>> = services.iter().flatten().cloned().collect();
        return side_effects_text(last, &services, &args.node).map_err(Failure::input);
    }
    let mut text = String::new();
    for of_family in services {
        let [.., before, after] = of_family.as_slice() else {
            continue;
        };
        let effects = SideEffects::later(last, before, after, &args.node);
        text.push_str(&effects.map_err(Failure::input)?.to_string());
    }
    Ok(text)
}
