//! A URL as the place that a packet goes to, and the request that follows.

use std::net::IpAddr;

use podwire_cluster::{Cluster, Pod};
use podwire_ingress::{Options, Request};
use podwire_sim::{Place, Target};

use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::ingress::request::of_url;

/// The request that `--to` asks for, if it is a URL.
pub(super) fn request(args: &TraceArgs) -> Result<Option<Request>, Failure> {
    if is_url(args) {
        return of_url(&args.to, &args.header).map(Some);
    }
    args.header.first().map_or(Ok(None), |header| {
        Err(Failure::input(format_args!(
            "--header {header}: only a request has headers, which goes --to a URL"
        )))
    })
}

fn is_url(args: &TraceArgs) -> bool {
    args.to.contains("://")
}

/// Requests are sent through a cluster that does not change.
pub(super) fn refuse_with_events(args: &TraceArgs) -> Result<(), Failure> {
    if is_url(args) || !args.header.is_empty() {
        return Err(Failure::input(
            "--events: a request to a URL is followed without; accepted is --to with a place",
        ));
    }
    Ok(())
}

/// Where a request to that URL connects to, and the node that a load balancer sends it to.
pub(super) fn target(url: &str, cluster: &Cluster) -> Result<(Target, Option<String>), Failure> {
    let request = of_url(url, &[])?;
    let authority = &request.host;
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (&**authority, None),
        },
    };
    let (place, node) = if let Ok(address) = host.parse() {
        let node = balancers(cluster).find(|(of_balancer, _)| *of_balancer == address);
        (Place::Address(address), node.map(|(_, node)| node))
    } else if cluster.nodes.contains_key(host) {
        (Place::Node(host.to_owned()), None)
    } else if let Some((address, node)) = balancers(cluster).next() {
        (Place::Address(address), Some(node))
    } else {
        return Err(Failure::input(format_args!(
            "--to {url}: `{host}` is no address and no node, and no Ingress controller has a load balancer; accepted is http://ADDRESS[:PORT]/PATH, and --header Host={host} beside it"
        )));
    };
    let port = port.map_or_else(|| request.scheme.port().to_string(), str::to_owned);
    let target = Target {
        place,
        port: Some(port),
    };
    Ok((target, node.map(str::to_owned)))
}

/// Load balancer addresses of Services that have a controller behind them, and a node of such a
/// controller: the one that a balancer would choose whatever the Service's policy.
fn balancers(cluster: &Cluster) -> impl Iterator<Item = (IpAddr, &str)> {
    cluster.services.values().flat_map(|service| {
        let is_behind = |pod: &&Pod| {
            let selected = |(key, value)| pod.meta.labels.get(key) == Some(value);
            pod.meta.name.namespace == service.meta.name.namespace
                && !service.selector.is_empty()
                && service.selector.iter().all(selected)
                && Options::of_pod(pod).is_some()
        };
        let behind = cluster.pods.values().find(is_behind);
        let node = behind.and_then(|pod| pod.node.as_deref());
        let addresses = service.load_balancer.iter();
        addresses.filter_map(move |ingress| Some((ingress.ip.parse().ok()?, node?)))
    })
}
