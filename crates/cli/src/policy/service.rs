//! The endpoints of a Service, which are what policies see of it.

use std::net::IpAddr;

use podwire_cluster::{Cluster, EndpointSlice, IpMode, ObjectName, Service, ServicePort};
use podwire_packet::Family;

use super::probe::Probe;

/// The Service that takes what is sent to an address.
///
/// A cluster IP is its Service's whatever the port; an external IP or a load balancer's may be a node's as
/// well, and is the Service's at its ports alone.
pub(super) fn at(cluster: &Cluster, ip: IpAddr, probe: &Probe) -> Option<ObjectName> {
    let is_ip = |text: &str| text.parse() == Ok(ip);
    let outside = |service: &Service| {
        let mut balancers = service.load_balancer.iter();
        service.external_ips.iter().any(|text| is_ip(text))
            || balancers.any(|one| one.ip_mode == IpMode::Vip && is_ip(&one.ip))
    };
    let mut services = cluster.services.values();
    let by_cluster_ip = services.find(|service| service.cluster_ips.iter().any(|text| is_ip(text)));
    let mut services = cluster.services.values();
    let found = by_cluster_ip
        .or_else(|| services.find(|service| outside(service) && port(service, probe).is_ok()));
    found.map(|service| service.meta.name.clone())
}

/// A question for each ready endpoint of the Service that a question is about, or why there is none.
pub(super) fn behind(
    cluster: &Cluster,
    name: &ObjectName,
    probe: &Probe,
) -> Result<Vec<Probe>, String> {
    let service = cluster.services.get(name);
    let service = service.ok_or_else(|| format!("there is no service `{name}`"))?;
    let port = port(service, probe)?;
    let slices = cluster.endpoint_slices.values();
    let slices = slices.filter(|slice| slice.service().as_ref() == Some(name));
    // An address of the Service leads to endpoints of its own family.
    let family = probe.to.parse().ok().map(Family::of);
    let probes: Vec<Probe> = slices
        .flat_map(|slice| of_slice(cluster, slice, port, probe))
        .filter(|own| family.is_none_or(|family| own.to_ip.map(Family::of) == Some(family)))
        .collect();
    if probes.is_empty() {
        return Err(format!(
            "service `{name}` has no ready endpoint at that port"
        ));
    }
    Ok(probes)
}

/// The port of the Service, by its number or name.
fn port<'s>(service: &'s Service, probe: &Probe) -> Result<&'s ServicePort, String> {
    let is_meant = |port: &&ServicePort| {
        let by_number = probe.port.parse() == Ok(port.port);
        port.protocol == probe.protocol && (by_number || *port.name == *probe.port)
    };
    service.ports.iter().find(is_meant).ok_or_else(|| {
        let known = service.ports.iter();
        let known = known.map(|port| format!("{}/{}", port.port, port.protocol));
        format!(
            "service `{}` has no port {}/{}; it has {}",
            service.meta.name,
            probe.port,
            probe.protocol,
            known.collect::<Vec<_>>().join(", ")
        )
    })
}

fn of_slice(
    cluster: &Cluster,
    slice: &EndpointSlice,
    port: &ServicePort,
    probe: &Probe,
) -> Vec<Probe> {
    let mut ports = slice.ports.iter();
    let own = ports.find(|own| {
        own.name.as_deref().unwrap_or_default() == &*port.name && own.protocol == port.protocol
    });
    let Some(number) = own.and_then(|own| own.port) else {
        return Vec::new();
    };
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    let ends = ready.filter_map(|endpoint| {
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let pod = endpoint.target.as_ref();
        Some((ip, pod.filter(|pod| cluster.pods.contains_key(*pod))))
    });
    ends.map(|(ip, pod)| Probe {
        to: pod.map_or_else(|| ip.to_string(), |pod| format!("pod/{pod}")),
        to_ip: Some(ip),
        port: number.to_string(),
        ..probe.clone()
    })
    .collect()
}
