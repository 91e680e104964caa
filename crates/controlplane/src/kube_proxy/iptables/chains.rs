//! Chains that every node has.

use podwire_ruleset::{ChainName, Hook, TableName};

use crate::kube_proxy::tables::Jump;

/// Names of the chains that do not depend on services.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    pub(super) services: ChainName,
    pub(super) external_services: ChainName,
    pub(super) forward: ChainName,
    pub(super) node_ports: ChainName,
    pub(super) proxy_firewall: ChainName,
    pub(super) postrouting: ChainName,
    pub(super) mark_masq: ChainName,
    /// kubelet's chain too; kube-proxy makes it in case kubelet did not.
    pub(super) firewall: ChainName,
    /// Empty; kube-proxy looks whether it is still there to notice that someone flushed the tables.
    pub(super) canary: ChainName,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self {
            services: "KUBE-SERVICES".into(),
            external_services: "KUBE-EXTERNAL-SERVICES".into(),
            forward: "KUBE-FORWARD".into(),
            node_ports: "KUBE-NODEPORTS".into(),
            proxy_firewall: "KUBE-PROXY-FIREWALL".into(),
            postrouting: "KUBE-POSTROUTING".into(),
            mark_masq: "KUBE-MARK-MASQ".into(),
            firewall: "KUBE-FIREWALL".into(),
            canary: "KUBE-PROXY-CANARY".into(),
        }
    }

    /// The chains of filter that every sync writes, in the order of their lines.
    pub(super) const fn filter(&self) -> [&ChainName; 5] {
        [
            &self.services,
            &self.external_services,
            &self.forward,
            &self.node_ports,
            &self.proxy_firewall,
        ]
    }

    /// The same of nat.
    pub(super) const fn nat(&self) -> [&ChainName; 4] {
        [
            &self.services,
            &self.node_ports,
            &self.postrouting,
            &self.mark_masq,
        ]
    }

    /// The jumps that lead from built-in chains here, in the order in which a full sync makes sure of
    /// them (`iptablesJumpChains` and `iptablesKubeletJumpChains`, pkg/proxy/iptables/proxier.go).
    pub(super) fn jumps(&self) -> [Jump<'_>; 14] {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        use TableName::{Filter, Nat};
        const EXTERNAL: &str = "kubernetes externally-visible service portals";
        const HEALTH: &str = "kubernetes health check service ports";
        const PORTALS: &str = "kubernetes service portals";
        const FORWARDING: &str = "kubernetes forwarding rules";
        const BALANCER: &str = "kubernetes load balancer firewall";
        const POSTROUTING: &str = "kubernetes postrouting rules";
        let jump = |table, from, to, comment, only_new| Jump {
            table,
            from,
            to,
            comment,
            only_new,
        };
        [
            jump(Filter, Input, &self.external_services, EXTERNAL, true),
            jump(Filter, Forward, &self.external_services, EXTERNAL, true),
            jump(Filter, Input, &self.node_ports, HEALTH, false),
            jump(Filter, Forward, &self.services, PORTALS, true),
            jump(Filter, Output, &self.services, PORTALS, true),
            jump(Filter, Forward, &self.forward, FORWARDING, false),
            jump(Filter, Input, &self.proxy_firewall, BALANCER, true),
            jump(Filter, Output, &self.proxy_firewall, BALANCER, true),
            jump(Filter, Forward, &self.proxy_firewall, BALANCER, true),
            jump(Nat, Output, &self.services, PORTALS, false),
            jump(Nat, Prerouting, &self.services, PORTALS, false),
            jump(Nat, Postrouting, &self.postrouting, POSTROUTING, false),
            jump(Filter, Input, &self.firewall, "", false),
            jump(Filter, Output, &self.firewall, "", false),
        ]
    }
}
