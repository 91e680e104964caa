//! Who else writes rules on a node, as far as names of chains tell.

/// Nobody whose names are known.
pub(super) const UNKNOWN: &str = "unknown";

/// What names begin with, and who writes them. The first that fits counts.
const OWNERS: [(&str, &str); 32] = [
    ("KUBE-KUBELET-CANARY", "kubelet"),
    ("KUBE-IPTABLES-HINT", "kubelet"),
    ("KUBE-FIREWALL", "kubelet"),
    ("KUBE-MARK-DROP", "kubelet"),
    ("KUBE-HOSTPORTS", "kubelet"),
    ("KUBE-HP-", "kubelet"),
    ("KUBE-ROUTER-", "kube-router"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-NWPLCY-", "kube-router"),
    ("CNI-", "CNI plugins"),
    ("FLANNEL-", "flannel"),
    ("WEAVE", "Weave Net"),
    ("cali", "Calico"),
    ("felix-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("OLD_CILIUM_", "Cilium"),
    ("ANTREA-", "Antrea"),
    ("AWS-", "AWS VPC CNI"),
    ("OVN-KUBE-", "OVN-Kubernetes"),
    ("IP-MASQ", "ip-masq-agent"),
    ("ISTIO_", "Istio"),
    ("NODE-LOCAL-DNS", "node-local-dns"),
    ("DOCKER", "Docker"),
    ("NETAVARK", "Podman"),
    ("LIBVIRT_", "libvirt"),
    ("ufw-", "ufw"),
    ("ufw6-", "ufw"),
    ("f2b-", "fail2ban"),
    ("TS-", "Tailscale"),
    ("ts-", "Tailscale"),
    ("IN_", "firewalld"),
    ("firewalld", "firewalld"),
];

/// Whose a chain, or table, is.
pub(super) fn owner(name: &str) -> &'static str {
    let found = OWNERS.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or(UNKNOWN, |(_, owner)| owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_known_by_their_first_letters() {
        for (name, whose) in [
            ("CNI-HOSTPORT-DNAT", "CNI plugins"),
            ("cali-PREROUTING", "Calico"),
            ("DOCKER-USER", "Docker"),
            ("KUBE-KUBELET-CANARY", "kubelet"),
            ("LOGDROP", UNKNOWN),
        ] {
            assert_eq!(owner(name), whose);
        }
    }
}
