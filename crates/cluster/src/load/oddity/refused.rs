//! What an API server refuses, and so no cluster has; kube-proxy, and podwire, take it as it is.
//!
//! Sources: `ValidateService`, `validateServicePort`, `ValidateLoadBalancerStatus` and `ValidateNonSpecialIP`
//! in pkg/apis/core/validation/validation.go; `ValidateEndpointSlice` in pkg/apis/discovery/validation.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use podwire_packet::{Family, Prefix};

use crate::{AddressKind, Cluster, EndpointSlice, Service, ServicePort, ServiceType, Warning};

/// All that is, a warning each.
pub(super) fn warnings(cluster: &Cluster) -> Vec<Warning> {
    let mut found = Found::default();
    for service in cluster.services.values() {
        check_service(service, &mut found);
    }
    for slice in cluster.endpoint_slices.values() {
        check_slice(slice, &mut found);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Warning>);

impl Found {
    fn service(&mut self, of: &Service, what: fmt::Arguments<'_>) {
        let text = format!("no API server takes service `{}`: {what}", of.meta.name);
        let source = of.meta.source;
        self.0.push(Warning { source, text });
    }

    fn slice(&mut self, of: &EndpointSlice, what: fmt::Arguments<'_>) {
        let text = format!(
            "no API server takes endpoint slice `{}`: {what}",
            of.meta.name
        );
        let source = of.meta.source;
        self.0.push(Warning { source, text });
    }
}

fn check_service(service: &Service, found: &mut Found) {
    let name = &service.meta.name.name;
    if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        found.service(
            service,
            format_args!("its name has other than 1 to 63 of a-z, 0-9 and `-`, from a letter to a letter or digit"),
        );
    }
    check_ports(service, found);
    for ip in &service.external_ips {
        match ip.parse::<IpAddr>() {
            Err(_) => found.service(
                service,
                format_args!("`{ip}` in `externalIPs` is no address"),
            ),
            Ok(ip) if is_special(ip) => found.service(
                service,
                format_args!(
                    "`{ip}` in `externalIPs` is a loopback, link-local or unspecified address"
                ),
            ),
            Ok(_) => {}
        }
    }
    let has_address = !matches!(&*service.cluster_ips, [none] if &**none == "None");
    for ip in service
        .cluster_ips
        .iter()
        .filter(|ip| has_address && !ip.is_empty())
    {
        if ip.parse::<IpAddr>().is_err() {
            found.service(
                service,
                format_args!("`{ip}` in `clusterIPs` is no address"),
            );
        }
    }
    for ip in service.load_balancer.iter().map(|ingress| &ingress.ip) {
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            found.service(
                service,
                format_args!("`{ip}` in `status.loadBalancer.ingress` is no address"),
            );
        }
    }
    let ranges = &service.load_balancer_source_ranges;
    if !ranges.is_empty() && service.kind != ServiceType::LoadBalancer {
        found.service(
            service,
            format_args!("`loadBalancerSourceRanges` is for type LoadBalancer only"),
        );
    }
    for range in ranges {
        let is_range = range.contains('/') && range.trim().parse::<Prefix>().is_ok();
        if !is_range {
            found.service(
                service,
                format_args!(
                    "`{range}` in `loadBalancerSourceRanges` is no range such as 203.0.113.0/24"
                ),
            );
        }
    }
}

fn check_ports(service: &Service, found: &mut Found) {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let several = service.ports.len() > 1;
    for ServicePort {
        name,
        protocol,
        port,
        ..
    } in &service.ports
    {
        if name.is_empty() {
            if several {
                found.service(
                    service,
                    format_args!("port {port} has no name, which each of several needs"),
                );
            }
        } else if !is_label(name) {
            found.service(
                service,
                format_args!(
                    "the name `{name}` of a port has other than 1 to 63 of a-z, 0-9 and `-`, from letter or digit to letter or digit"
                ),
            );
        } else if !names.insert(name) {
            found.service(service, format_args!("two ports have the name `{name}`"));
        }
        if !numbers.insert((*protocol, *port)) {
            found.service(
                service,
                format_args!("port {port} of {protocol} stands twice"),
            );
        }
    }
}

fn check_slice(slice: &EndpointSlice, found: &mut Found) {
    let family = match slice.address_type {
        AddressKind::Ipv4 => Family::Ipv4,
        AddressKind::Ipv6 => Family::Ipv6,
        AddressKind::Fqdn => return,
    };
    for text in slice
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
    {
        match text.parse::<IpAddr>() {
            Ok(ip) if Family::of(ip) != family => {
                found.slice(slice, format_args!("`{text}` is no {family} address"));
            }
            Ok(ip) if is_special(ip) => found.slice(
                slice,
                format_args!("`{text}` is a loopback, link-local or unspecified address"),
            ),
            Ok(_) => {}
            Err(_) => found.slice(slice, format_args!("`{text}` is no address")),
        }
    }
}

/// Whether a text is a label of a DNS name (`IsDNS1123Label`).
fn is_label(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_special(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] == 0xff02,
    };
    is_link_local || ip.is_loopback() || ip.is_unspecified()
}
