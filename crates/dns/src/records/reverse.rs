//! The names of an address.
//!
//! # Sources
//! `ExtractAddressFromReverse`, plugin/pkg/dnsutil/reverse.go; `serviceRecordForIP`,
//! plugin/kubernetes/reverse.go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::find::Endpoint;
use super::{EndpointRef, Records, Service};

/// What has an address.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'r> {
    /// A service, as one of its cluster IPs.
    Service(&'r Service),
    /// An endpoint.
    Endpoint(Endpoint<'r>),
}

impl Records {
    /// Who has this address: the service whose cluster IP it is, else every endpoint.
    #[must_use]
    pub fn owners(&self, ip: IpAddr) -> Vec<Owner<'_>> {
        // Only `namespaces` hides an address, `namespace_labels` does not.
        let shown = |service: &Service| {
            let namespace = &*service.name.namespace;
            self.configured.is_none() || self.exposes(namespace)
        };
        let service = self.by_cluster_ip.get(&ip);
        let service = service.map(|&at| &self.services[at as usize]);
        if let Some(service) = service.filter(|service| shown(service)) {
            return vec![Owner::Service(service)];
        }
        let endpoints = self.endpoints_at(ip).filter(|e| shown(e.service));
        endpoints.map(Owner::Endpoint).collect()
    }

    /// The endpoints that have this address.
    pub fn endpoints_at(&self, ip: IpAddr) -> impl Iterator<Item = Endpoint<'_>> {
        let found = self.by_endpoint.get(&ip).into_iter().flatten();
        found.map(|endpoint| self.endpoint(*endpoint))
    }

    fn endpoint(&self, at: EndpointRef) -> Endpoint<'_> {
        let service = &self.services[at.service as usize];
        let group = &service.endpoints[at.group as usize];
        Endpoint {
            service,
            address: &group.addresses[at.address as usize],
        }
    }

    /// The namespace of the pod that has this address, where pods are looked at.
    #[must_use]
    pub fn namespace_of_pod(&self, ip: IpAddr) -> Option<&str> {
        let namespaces = self.pods.get(&ip)?;
        namespaces.first().map(|namespace| &**namespace)
    }
}

/// The address that a name below `in-addr.arpa.` or `ip6.arpa.` means (lower case, final dot).
#[must_use]
pub fn address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa.") {
        let labels: Vec<_> = labels.split('.').rev().collect();
        let ip: Ipv4Addr = labels.join(".").parse().ok()?;
        return Some(ip.into());
    }
    let labels = name.strip_suffix(".ip6.arpa.")?;
    let digits: Vec<_> = labels.split('.').rev().collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let groups: Vec<_> = digits.chunks(4).map(<[&str]>::concat).collect();
    let ip: Ipv6Addr = groups.join(":").parse().ok()?;
    Some(ip.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_backwards() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(address("10.0.96.10.in-addr.arpa."), ip("10.96.0.10"));
        assert_eq!(address("0.96.10.in-addr.arpa."), None);
        let six = format!("1.{}d.f.ip6.arpa.", "0.".repeat(29));
        assert_eq!(address(&six), ip("fd00::1"));
        assert_eq!(address("x.ip6.arpa."), None);
    }
}
