//! `podwire render`: what kube-proxy writes on a node.

use std::io::Write;

use podwire_cluster::KubeProxyConfiguration;
use podwire_controlplane::kube_proxy::{IptablesProxier, ServicePorts, SideEffects, check_mode};

use crate::args::{Form, Global, RenderArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster};

pub(crate) fn run(
    global: &Global,
    args: &RenderArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    let version = options(&args.cluster)?.kube_proxy_version;
    let mode = cluster
        .kube_proxy
        .as_ref()
        .map(KubeProxyConfiguration::proxy_mode);
    if let Some(mode) = mode {
        check_mode(mode).map_err(Failure::input)?;
    }
    let services = ServicePorts::new(&cluster, args.family.into(), version);
    let proxier = IptablesProxier::new(&cluster, &services, &args.node).map_err(Failure::input)?;
    let text = match args.form {
        Form::Restore => proxier.restore_text(),
        Form::Save => proxier.save_text(),
        Form::Misc => SideEffects::new(&cluster, &services, &args.node)
            .map_err(Failure::input)?
            .to_string(),
    };
    out.write_all(text.as_bytes())?;
    Ok(Answer::Yes)
}
