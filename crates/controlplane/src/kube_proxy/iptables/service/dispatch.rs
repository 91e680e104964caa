//! Rules in common chains that find a service port by address and port, and those for traffic that
//! finds no endpoint.

use std::net::IpAddr;

use podwire_ruleset::{ChainName, L4, Target};

use super::{PortRules, PortWriter};
use crate::kube_proxy::tables::Placed;
use crate::kube_proxy::words::{comment, destination_is_local, destination_port, protocol};

impl PortWriter<'_> {
    /// Writes them in kube-proxy's order: ClusterIP, externalIPs, load balancer addresses, node port,
    /// health check.
    pub(super) fn write_addresses(&self, rules: &mut PortRules) {
        let addresses = &self.port.addresses;
        let services = &self.proxier.chains.services;
        if self.on_node.has_internal {
            let placed = self.to_chain(addresses.cluster_ip, "cluster IP", self.internal_chain());
            rules.dispatch.push(placed);
        } else {
            rules
                .filter
                .push(self.refuse(services, addresses.cluster_ip));
        }
        for &ip in &addresses.external_ips {
            if self.on_node.choice.has_endpoints {
                let placed = self.to_chain(ip, "external IP", &self.chains.ext);
                rules.dispatch.push(placed);
            }
            if !self.on_node.has_external {
                rules.filter.push(self.refuse_external(ip));
            }
        }
        self.write_vips(rules);
        if self.port.node_port != 0 {
            self.write_node_port(rules);
        }
        if addresses.health_check_node_port != 0 {
            rules.filter.push(self.accept_health_check());
        }
    }

    fn write_vips(&self, rules: &mut PortRules) {
        let vips = &self.port.addresses.vips;
        let chain = self.chains.firewall.as_ref().unwrap_or(&self.chains.ext);
        for &ip in vips {
            if self.on_node.choice.has_endpoints {
                let placed = self.to_chain(ip, "loadbalancer IP", chain);
                rules.dispatch.push(placed);
            }
            if let Some(firewall) = &self.chains.firewall {
                let name = &self.port.name;
                let matches = self.at(ip, format!("{name} traffic not accepted by {firewall}"));
                let chain = &self.proxier.chains.proxy_firewall;
                rules.filter.push(self.placed(chain, matches, Target::Drop));
            }
        }
        if !self.on_node.has_external {
            let refused = vips.iter().map(|&ip| self.refuse_external(ip));
            rules.filter.extend(refused);
        }
    }

    fn write_node_port(&self, rules: &mut PortRules) {
        let common = &self.proxier.chains;
        let l4 = self.port.l4;
        let [module, is_protocol] = protocol(l4);
        let port = destination_port(l4, self.port.node_port);
        if self.on_node.choice.has_endpoints {
            let matches = vec![
                comment(self.port.name.clone()),
                module.clone(),
                is_protocol.clone(),
                port.clone(),
            ];
            let target = Target::Jump(self.chains.ext.clone());
            let placed = self.placed(&common.node_ports, matches, target);
            rules.dispatch.push(placed);
        }
        if !self.on_node.has_external {
            let matches = vec![
                comment(self.why_none()),
                destination_is_local(),
                module,
                is_protocol,
                port,
            ];
            let placed = self.placed(&common.external_services, matches, self.refusal());
            rules.filter.push(placed);
        }
    }

    /// The balancer asks by HTTP, whatever the service port's own protocol.
    fn accept_health_check(&self) -> Placed {
        let [module, is_tcp] = protocol(L4::Tcp);
        let matches = vec![
            comment(format!("{} health check node port", self.port.name)),
            module,
            is_tcp,
            destination_port(L4::Tcp, self.port.addresses.health_check_node_port),
        ];
        self.placed(&self.proxier.chains.node_ports, matches, Target::Accept)
    }

    fn to_chain(&self, ip: IpAddr, what: &str, chain: &ChainName) -> Placed {
        let matches = self.at(ip, format!("{} {what}", self.port.name));
        let target = Target::Jump(chain.clone());
        self.placed(&self.proxier.chains.services, matches, target)
    }

    fn refuse_external(&self, ip: IpAddr) -> Placed {
        self.refuse(&self.proxier.chains.external_services, ip)
    }

    fn refuse(&self, chain: &ChainName, ip: IpAddr) -> Placed {
        self.placed(chain, self.at(ip, self.why_none()), self.refusal())
    }
}
