//! Weave's daemon, as the plugin meets it: a bridge, and HTTP on 127.0.0.1:6784.
//!
//! # Departures
//! - It runs if `DIR/weave/range` holds the range that it shares out, as `10.32.0.0/12`; else nobody
//!   listens. It is the network's only peer.
//! - Of its devices there is the bridge, which has an address from the beginning; of its rules none.
//! - Containers' addresses are in `DIR/weave/owned`, as `GET /ip` prints them.
//!
//! Source: api/common.go of weaveworks/weave 2.8, and the words of Go's HTTP client.

use podwire_ipam::weave::Mesh;
use podwire_packet::{MacAddr, Prefix, made_up_bits};
use serde::Deserialize;

use super::EXPOSED;
use crate::host::Host;
use crate::kernel::device::{Device, Kind};

use crate::protocol::Options;
use crate::result::Cidr;
use crate::state::Locked;
use crate::{CniError, StateError};

/// The bridge that the daemon makes.
pub(super) const BRIDGE: &str = "weave";

/// What the fast datapath leaves of an Ethernet packet, in bytes.
const MTU: u32 = 1_376;

const LISTENS_ON: &str = "127.0.0.1:6784";
const FOLDER: &str = "weave";
const RANGE: &str = "range";
const OWNED: &str = "owned";

/// What `GET /ip` answers.
#[derive(Debug, Default, Deserialize)]
struct Owned {
    owned: Option<Vec<Container>>,
}

#[derive(Debug, Deserialize)]
struct Container {
    containerid: String,
    addrs: Vec<Cidr>,
}

/// Makes the daemon's bridge if the daemon runs and has none.
pub(super) fn launch(options: &Options, host: &mut Host<'_>) -> Result<(), CniError> {
    if !is_running(options) || host.kernel()?.host().link(BRIDGE).is_some() {
        return Ok(());
    }
    let given = request(options, "POST", &format!("/ip/{EXPOSED}"))?;
    let namespace = host.kernel()?.host_mut();
    let kind = Kind::Bridge {
        vlan_filtering: false,
        mac_set: true,
    };
    namespace.add_link(Device::new(BRIDGE, kind, peer(), MTU));
    namespace.set_up(BRIDGE);
    if let Ok(address) = given.parse() {
        namespace
            .add_address(BRIDGE, address)
            .map_err(|why| CniError::other(format!("weave: {why}")))?;
    }
    Ok(())
}

fn is_running(options: &Options) -> bool {
    options.state.join(FOLDER).join(RANGE).is_file()
}

/// The peer's name, which is its bridge's Ethernet address.
fn peer() -> MacAddr {
    MacAddr::of_bits(made_up_bits(&[BRIDGE]))
}

/// Sends a request; the answer's body without the white space around it.
pub(super) fn request(options: &Options, method: &str, path: &str) -> Result<String, CniError> {
    let failed = |why: &str| {
        let verb = match method {
            "POST" => "Post",
            _ => "Delete",
        };
        CniError::other(format!("{verb} \"http://{LISTENS_ON}{path}\": {why}"))
    };
    if !is_running(options) {
        let why = format!("dial tcp {LISTENS_ON}: connect: connection refused");
        return Err(failed(&why));
    }
    let files = Locked::open(&options.state.join(FOLDER), "lock")?;
    let mut mesh = load(&files)?;
    // It has no other peer to draw from.
    let Some(answer) = mesh.http(peer(), method, path, || 0.0) else {
        return Err(failed(
            "no address is free, and no container gives one back",
        ));
    };
    if answer.status >= 400 {
        let reason = if answer.status == 404 {
            "Not Found"
        } else {
            "Bad Request"
        };
        let (status, body) = (answer.status, answer.body);
        return Err(CniError::other(format!("{status} {reason}: {body}")));
    }
    if let Some(owned) = mesh.http(peer(), "GET", "/ip", || 0.0) {
        files.write(OWNED, &owned.body)?;
    }
    Ok(answer.body.trim().to_owned())
}

/// The daemon's memory.
fn load(files: &Locked) -> Result<Mesh, StateError> {
    let wrong = |name: &str, why: String| StateError::Content {
        path: files.dir().join(name).display().to_string(),
        why,
    };
    let range = files.read(RANGE)?.unwrap_or_default();
    let range: Prefix = range
        .trim()
        .parse()
        .map_err(|_| wrong(RANGE, format!("{:?} is no prefix", range.trim())))?;
    let mut mesh = Mesh::new(range).map_err(|error| wrong(RANGE, error.to_string()))?;
    mesh.join(peer());
    mesh.seed(&[peer()]);
    let owned: Owned = match files.read(OWNED)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| wrong(OWNED, error.to_string()))?
        }
        None => Owned::default(),
    };
    for container in owned.owned.unwrap_or_default() {
        for address in container.addrs {
            let path = format!("/ip/{}/{address}", container.containerid);
            mesh.http(peer(), "PUT", &path, || 0.0);
        }
    }
    Ok(mesh)
}
