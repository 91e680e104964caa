//! A URL as the place that a packet goes to, and the request that follows.

use std::net::IpAddr;

use podwire_cluster::Cluster;
use podwire_ingress::{Options, Request};
use podwire_sim::{Place, Target};

use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::ingress::request::of_url;

/// The request that `--to` asks for, if it is a URL.
pub(super) fn request(args: &TraceArgs) -> Result<Option<Request>, Failure> {
    if !args.to.contains("://") {
        return match args.header.first() {
            None => Ok(None),
            Some(header) => Err(Failure::input(format_args!(
                "--header {header}: only a request has headers, which goes --to a URL"
            ))),
        };
    }
    if args.events.is_some() {
        return Err(Failure::input(format_args!(
            "--to {}: with --events accepted is a place, not a URL",
            args.to
        )));
    }
    of_url(&args.to, &args.header).map(Some)
}

/// Where a request to that URL connects to.
pub(super) fn target(url: &str, cluster: &Cluster) -> Result<Target, Failure> {
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
    let place = if let Ok(address) = host.parse() {
        Place::Address(address)
    } else if cluster.nodes.contains_key(host) {
        Place::Node(host.to_owned())
    } else if let Some(address) = balancer(cluster) {
        Place::Address(address)
    } else {
        return Err(Failure::input(format_args!(
            "--to {url}: `{host}` is no address and no node, and no Ingress controller has a load balancer; accepted is http://ADDRESS[:PORT]/PATH, and --header Host={host} beside it"
        )));
    };
    let port = port.map_or_else(|| request.scheme.port().to_string(), str::to_owned);
    Ok(Target {
        place,
        port: Some(port),
    })
}

/// The first load balancer address of a Service that has a controller behind it.
fn balancer(cluster: &Cluster) -> Option<IpAddr> {
    let controllers = || {
        cluster
            .pods
            .values()
            .filter(|pod| Options::of_pod(pod).is_some())
    };
    let is_before = |service: &&podwire_cluster::Service| {
        !service.selector.is_empty()
            && controllers().any(|pod| {
                let labels = &pod.meta.labels;
                let selected = |(key, value)| labels.get(key) == Some(value);
                pod.meta.name.namespace == service.meta.name.namespace
                    && service.selector.iter().all(selected)
            })
    };
    let mut services = cluster.services.values().filter(is_before);
    services.find_map(|service| {
        let mut balancers = service.load_balancer.iter();
        balancers.find_map(|ingress| ingress.ip.parse().ok())
    })
}
