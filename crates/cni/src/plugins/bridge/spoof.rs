//! `macspoofchk`: a port may send from its container's Ethernet address only.
//!
//! Source: pkg/link/spoofcheck.go of containernetworking/plugins: chains of nftables' table
//! `bridge nat`, kept here in the words of `nft add rule`.

use crate::kernel::namespace::Namespace;
use crate::protocol::Invocation;

fn id(invocation: &Invocation<'_>) -> String {
    let env = &invocation.env;
    format!("{}-{}", env.container_id, env.ifname)
}

/// Drops what comes by a port from another address.
pub(super) fn set_up(host: &mut Namespace, port: &str, mac: &str, invocation: &Invocation<'_>) {
    let id = id(invocation);
    let chain = format!("cni-br-iface-{id}");
    let comment = format!("comment \"macspoofchk-{id}\"");
    let rules = vec![
        format!("PREROUTING iifname \"{port}\" jump {chain} {comment}"),
        format!("{chain} jump {chain}-mac"),
        format!("{chain}-mac ether saddr {mac} return {comment}"),
        format!("{chain}-mac drop {comment}"),
    ];
    host.bridge_rules.insert(id, rules);
}

/// Takes the rules back.
pub(super) fn tear_down(host: &mut Namespace, invocation: &Invocation<'_>) {
    host.bridge_rules.remove(&id(invocation));
}
