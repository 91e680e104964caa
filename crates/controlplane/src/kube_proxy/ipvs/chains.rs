//! Chains that every node has.

use podwire_ruleset::{ChainName, Hook, TableName};

use crate::kube_proxy::tables::Jump;

/// Names of the chains.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    pub(super) services: ChainName,
    pub(super) postrouting: ChainName,
    /// In nat it marks what goes to node ports; in filter it lets health checks in.
    pub(super) node_port: ChainName,
    pub(super) load_balancer: ChainName,
    pub(super) mark_masq: ChainName,
    pub(super) forward: ChainName,
    pub(super) proxy_firewall: ChainName,
    pub(super) source_ranges_firewall: ChainName,
    /// Keeps packets from the node's own ports under addresses of `kube-ipvs0`.
    pub(super) ipvs_filter: ChainName,
    pub(super) ipvs_out_filter: ChainName,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self {
            services: "KUBE-SERVICES".into(),
            postrouting: "KUBE-POSTROUTING".into(),
            node_port: "KUBE-NODE-PORT".into(),
            load_balancer: "KUBE-LOAD-BALANCER".into(),
            mark_masq: "KUBE-MARK-MASQ".into(),
            forward: "KUBE-FORWARD".into(),
            proxy_firewall: "KUBE-PROXY-FIREWALL".into(),
            source_ranges_firewall: "KUBE-SOURCE-RANGES-FIREWALL".into(),
            ipvs_filter: "KUBE-IPVS-FILTER".into(),
            ipvs_out_filter: "KUBE-IPVS-OUT-FILTER".into(),
        }
    }

    /// The chains of nat, in the order of their lines (`iptablesChains`).
    pub(super) const fn nat(&self) -> [&ChainName; 5] {
        [
            &self.services,
            &self.postrouting,
            &self.node_port,
            &self.load_balancer,
            &self.mark_masq,
        ]
    }

    /// The same of filter.
    pub(super) const fn filter(&self) -> [&ChainName; 6] {
        [
            &self.forward,
            &self.node_port,
            &self.proxy_firewall,
            &self.source_ranges_firewall,
            &self.ipvs_filter,
            &self.ipvs_out_filter,
        ]
    }

    /// The jumps that lead from built-in chains here, in the order in which they are made sure of
    /// (`iptablesJumpChain`).
    pub(super) fn jumps(&self) -> [Jump<'_>; 9] {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        use TableName::{Filter, Nat};
        const PORTALS: &str = "kubernetes service portals";
        const POSTROUTING: &str = "kubernetes postrouting rules";
        const FORWARDING: &str = "kubernetes forwarding rules";
        const HEALTH: &str = "kubernetes health check rules";
        const FIREWALL: &str = "kube-proxy firewall rules";
        const ACCESS: &str = "kubernetes ipvs access filter";
        let jump = |table, from, to, comment| Jump {
            table,
            from,
            to,
            comment,
            only_new: false,
        };
        [
            jump(Nat, Output, &self.services, PORTALS),
            jump(Nat, Prerouting, &self.services, PORTALS),
            jump(Nat, Postrouting, &self.postrouting, POSTROUTING),
            jump(Filter, Forward, &self.forward, FORWARDING),
            jump(Filter, Input, &self.node_port, HEALTH),
            jump(Filter, Input, &self.proxy_firewall, FIREWALL),
            jump(Filter, Forward, &self.proxy_firewall, FIREWALL),
            jump(Filter, Input, &self.ipvs_filter, ACCESS),
            jump(Filter, Output, &self.ipvs_out_filter, ACCESS),
        ]
    }
}
