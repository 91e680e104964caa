//! dhcp: a lease for a container's device.
//!
//! # Departures
//! - There is no daemon and no packet: a simulated server on the network of the host's card leases
//!   192.0.2.100 to 192.0.2.199, with 192.0.2.1 as router, and remembers them in `DIR/dhcp/leases`.
//! - Leases do not end; options that are asked for or provided are passed over.
//!
//! Source: plugins/ipam/dhcp/{main,daemon,lease}.go of containernetworking/plugins: the result, and the
//! words of errors.

use std::net::IpAddr;

use serde_json::json;

use super::host_local;
use crate::CniError;
use crate::host::Host;
use crate::kernel::namespace::LINK_NOT_FOUND;
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, RouteConf};

/// The router of the emulated network.
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// The server's own configuration: host-local with one range.
fn server<'i>(invocation: &Invocation<'i>) -> Result<Invocation<'i>, CniError> {
    let client = &invocation.net.name;
    let mut of_server = invocation.with(json!({
        "cniVersion": invocation.net.cni_version,
        "name": "leases",
        "ipam": {
            "type": "host-local",
            "dataDir": invocation.options.state.join("dhcp"),
            "subnet": "192.0.2.0/24",
            "rangeStart": "192.0.2.100",
            "rangeEnd": "192.0.2.199",
            "gateway": ROUTER,
        },
    }))?;
    // A client is known by container, network and device.
    of_server.env.ifname = format!("{client}/{}", invocation.env.ifname);
    of_server.env.args.clear();
    Ok(of_server)
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let env = &invocation.env;
    let failed = |why: &str| CniError::other(format!("error calling DHCP.Allocate: {why}"));
    let kernel = host.enter(&env.netns).map_err(|error| failed(&error.msg))?;
    let namespace = kernel.get_mut(&env.netns);
    if namespace.link(&env.ifname).is_none() {
        let name = &env.ifname;
        return Err(failed(&format!(
            "error looking up {name:?}: {LINK_NOT_FOUND}"
        )));
    }
    namespace.set_up(&env.ifname);
    let leased = host_local::add(&server(invocation)?, host);
    let mut result = leased.map_err(|_| failed("no more tries"))?;
    let everything = Cidr {
        ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
        len: 0,
    };
    result.routes = vec![RouteConf::new(everything, Some(ROUTER))];
    Ok(result)
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let checked = host_local::check(&server(invocation)?, host);
    checked.map_err(|_| CniError::other("error calling DHCP.Allocate: no more tries"))
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    host_local::del(&server(invocation)?, host)
}
