//! Rules that every node has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{Family, Prefix};
use podwire_ruleset::{AddressMatch, ChainName, CtStates, Inv, Match, Target};

use super::IptablesProxier;
use crate::kube_proxy::marks::{forwarding, masquerading};
use crate::kube_proxy::settings::NodePortAddresses;
use crate::kube_proxy::tables::Placed;
use crate::kube_proxy::words::{
    comment, ctstate, destination, destination_is_local, not_destination, rule,
};

const NODE_PORTS: &str =
    "kubernetes service nodeports; NOTE: this must be the last rule in this chain";

impl IptablesProxier<'_> {
    /// Rules of filter that stand before those of services: the block of what `route_localnet` would
    /// let in (CVE-2020-8558).
    pub(super) fn filter_head(&self) -> Option<Placed> {
        if !self.settings.localhost_node_ports {
            return None;
        }
        let localhost = Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
        let expected = CtStates::RELATED
            .union(CtStates::ESTABLISHED)
            .union(CtStates::DNAT);
        let matches = vec![
            comment("block incoming localnet connections"),
            destination(localhost),
            Match::Source(Inv::not(AddressMatch::Prefix(localhost))),
            ctstate(Inv::not(expected)),
        ];
        Some(self.base(&self.chains.firewall, matches, Target::Drop))
    }

    /// Rules of filter behind those of services.
    pub(super) fn filter_tail(&self) -> Vec<Placed> {
        let chain = &self.chains.forward;
        let mut rules = Vec::with_capacity(3);
        if !self.settings.conntrack_tcp_be_liberal {
            // Packets that conntrack cannot place are not translated back; the peer would answer
            // them with a reset (kubernetes/kubernetes#74840).
            let invalid = vec![ctstate(Inv::is(CtStates::INVALID))];
            rules.push(self.base(chain, invalid, Target::Drop));
        }
        rules.extend(forwarding(&self.settings, chain, self.services.base_origin));
        rules
    }

    /// Rules of nat that stand before those of services: masquerading of what is marked, and the
    /// chain that marks.
    pub(super) fn nat_head(&self) -> [Placed; 4] {
        let chains = &self.chains;
        masquerading(
            &self.settings,
            &chains.postrouting,
            &chains.mark_masq,
            self.services.base_origin,
        )
    }

    /// Rules of nat behind those of services: the way to node ports.
    pub(super) fn nat_tail(&self) -> Vec<Placed> {
        let to_node_ports = |conditions: &[Match]| {
            let mut matches = vec![comment(NODE_PORTS)];
            matches.extend_from_slice(conditions);
            let target = Target::Jump(self.chains.node_ports.clone());
            self.base(&self.chains.services, matches, target)
        };
        match (&self.settings.node_port_addresses, self.services.family) {
            (NodePortAddresses::Some(addresses), _) => addresses
                .iter()
                .map(|&ip| to_node_ports(&[destination(Prefix::host(ip))]))
                .collect(),
            (NodePortAddresses::All, Family::Ipv6) => {
                let localhost = Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST));
                let mut placed =
                    to_node_ports(&[destination_is_local(), not_destination(localhost)]);
                placed.rule.host_lengths = true;
                vec![placed]
            }
            (NodePortAddresses::All, Family::Ipv4) if self.settings.localhost_node_ports => {
                vec![to_node_ports(&[destination_is_local()])]
            }
            (NodePortAddresses::All, Family::Ipv4) => {
                let localhost = Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
                vec![to_node_ports(&[
                    destination_is_local(),
                    not_destination(localhost),
                ])]
            }
        }
    }

    fn base(&self, chain: &ChainName, matches: Vec<Match>, target: Target) -> Placed {
        Placed {
            chain: chain.clone(),
            rule: rule(matches, target, self.services.base_origin),
        }
    }
}
