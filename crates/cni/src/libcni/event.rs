//! What kubelet tells of a container that was not attached: reason and text of its pod's event.
//!
//! Source: `RunPodSandbox` of containerd 1.7; docker_sandbox.go and network/cni/cni.go under
//! pkg/kubelet/dockershim of kubernetes 1.20.

use super::{Action, NetworkList, Runtime, run};
use crate::{CniError, Options, args};

/// Which runtime kubelet talks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shim {
    /// containerd.
    #[default]
    Containerd,
    /// kubelet's own way to Docker, up to Kubernetes 1.23. It calls DEL when ADD has failed, and tells
    /// both.
    Dockershim,
}

/// The event of a failed ADD. The pod is who `CNI_ARGS` says.
#[must_use]
pub fn sandbox_event(
    list: &NetworkList,
    runtime: &Runtime,
    options: &Options,
    error: &CniError,
) -> String {
    let id = &runtime.container_id;
    let why = match runtime.shim {
        Shim::Containerd => format!("failed to setup network for sandbox {id:?}: {error}"),
        Shim::Dockershim => dockershim(list, runtime, options, error),
    };
    format!(
        "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = {why}"
    )
}

fn dockershim(
    list: &NetworkList,
    runtime: &Runtime,
    options: &Options,
    error: &CniError,
) -> String {
    let id = &runtime.container_id;
    let known = ["K8S_POD_NAME", "K8S_POD_NAMESPACE"];
    let args = format!("{};IgnoreUnknown=1", runtime.args);
    let args = args::load(args.trim_start_matches(';'), &known).unwrap_or_default();
    let [pod, namespace] = known.map(|key| args.get(key).map(String::as_str));
    let (pod, namespace) = (pod.unwrap_or(id), namespace.unwrap_or("default"));
    let told = |outer: &str, inner: &str, error: &CniError| {
        format!(
            "failed to {outer} sandbox container {id:?} network for pod {pod:?}: \
             networkPlugin cni failed to {inner} pod \"{pod}_{namespace}\" network: {error}"
        )
    };
    let up = told("set up", "set up", error);
    let reply = run(Action::Del, list, runtime, options);
    if !reply.failed {
        return up;
    }
    let error = serde_json::from_str(&reply.stdout).unwrap_or_default();
    format!("[{up}, {}]", told("clean up", "teardown", &error))
}
