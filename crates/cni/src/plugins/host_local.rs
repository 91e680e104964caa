//! host-local: addresses of ranges, kept in files.
//!
//! Which address comes next is decided in [`podwire_ipam::HostLocal`]; here are the configuration and
//! the files, `DIR/NETWORK/ADDRESS` with `CONTAINER\r\nDEVICE` in it, `last_reserved_ip.N` and `lock`.
//!
//! Source: plugins/ipam/host-local/{main.go,dns.go,backend/allocator/config.go,backend/disk} of
//! containernetworking/plugins 1.9.1; messages as there.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use podwire_ipam::{HostLocal, Range, RangeError, RangeSet, RangeSets, RangeSetsError};
use podwire_packet::Family;
use serde::Deserialize;

use crate::host::Host;
use crate::json::{self, Embedding, LooseIp};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, Dns, IpConfig, RouteConf};
use crate::state::{Locked, open_error};
use crate::version::at_least;
use crate::{CniError, StateError, args};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RangeConf {
    subnet: Option<Cidr>,
    #[serde(deserialize_with = "json::address")]
    range_start: Option<IpAddr>,
    #[serde(deserialize_with = "json::address")]
    range_end: Option<IpAddr>,
    #[serde(deserialize_with = "json::address")]
    gateway: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamConf {
    routes: Vec<RouteConf>,
    data_dir: String,
    resolv_conf: String,
    ranges: Vec<Vec<RangeConf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConf {
    ip_ranges: Vec<Vec<RangeConf>>,
    ips: Vec<LooseIp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    ipam: Option<Embedding<IpamConf, RangeConf>>,
    runtime_config: RuntimeConf,
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Vec<LooseIp>,
}

impl RangeConf {
    fn range(&self) -> Result<Range, RangeError> {
        // A subnet left out is Go's empty one, which is too small in any family.
        let none = Cidr {
            ip: Family::Ipv4.unspecified(),
            len: 32,
        };
        let subnet = self.subnet.unwrap_or(none);
        let (start, end) = (self.range_start, self.range_end);
        Range::new(subnet.ip, subnet.len, start, end, self.gateway)
    }
}

/// What a configuration asks for.
#[derive(Debug)]
struct Request {
    sets: RangeSets,
    routes: Vec<RouteConf>,
    dir: PathBuf,
    resolv_conf: String,
    wanted: Vec<IpAddr>,
}

fn read(invocation: &Invocation<'_>) -> Result<Request, CniError> {
    let conf: Conf = json::decode(&invocation.conf).map_err(CniError::other)?;
    let Some(Embedding {
        own: ipam,
        embedded,
    }) = conf.ipam
    else {
        return Err(CniError::other("IPAM config missing 'ipam' key"));
    };
    let env = &invocation.env;
    let mut wanted = Vec::new();
    if let Some(ip) = args::load(&env.args, &["IP"])?
        .get("IP")
        .filter(|ip| !ip.is_empty())
    {
        let pair = format!("IP={ip}");
        let ip: LooseIp = ip
            .parse()
            .map_err(|why: String| args::wrong_value(&pair, &why))?;
        wanted.push(ip.0);
    }
    let told = conf.args.cni.ips.iter().chain(&conf.runtime_config.ips);
    wanted.extend(told.map(|ip| ip.0));
    // One address is asked for once, however often it is named.
    let mut once = Vec::new();
    wanted.retain(|ip| {
        !once.contains(ip) && {
            once.push(*ip);
            true
        }
    });

    let mut confs = conf.runtime_config.ip_ranges;
    if embedded.subnet.is_some() {
        confs.push(vec![embedded]);
    }
    confs.extend(ipam.ranges);
    let sets = sets(&confs).map_err(|error| CniError::other(error.to_string()))?;
    let version = &invocation.net.cni_version;
    let of = |family| {
        sets.sets()
            .iter()
            .filter(|set| set.family() == family)
            .count()
    };
    if (of(Family::Ipv4) > 1 || of(Family::Ipv6) > 1)
        && !at_least(version, "0.3.0").unwrap_or_default()
    {
        return Err(CniError::other(format!(
            "CNI version {version} does not support more than 1 address per family"
        )));
    }
    let dir = if ipam.data_dir.is_empty() {
        invocation.options.state.clone()
    } else {
        PathBuf::from(ipam.data_dir)
    };
    Ok(Request {
        sets,
        routes: ipam.routes,
        dir: dir.join(&invocation.net.name),
        resolv_conf: ipam.resolv_conf,
        wanted,
    })
}

fn sets(confs: &[Vec<RangeConf>]) -> Result<RangeSets, RangeSetsError> {
    let set = |(index, ranges): (usize, &Vec<RangeConf>)| {
        let ranges = ranges
            .iter()
            .map(RangeConf::range)
            .collect::<Result<_, _>>();
        ranges
            .and_then(RangeSet::new)
            .map_err(|source| RangeSetsError::Set { index, source })
    };
    let sets = confs.iter().enumerate().map(set);
    RangeSets::new(sets.collect::<Result<_, _>>()?)
}

pub(super) fn add(invocation: &Invocation<'_>, _: &mut Host<'_>) -> Result<CniResult, CniError> {
    let request = read(invocation)?;
    let dns = match request.resolv_conf.as_str() {
        "" => Dns::default(),
        path => resolver(Path::new(path))?,
    };
    let mut store = Store::open(&request.dir)?;
    let env = &invocation.env;
    let given = store.addresses.add(
        &request.sets,
        &env.container_id,
        &env.ifname,
        &request.wanted,
    );
    // A set that gave an address which was taken back goes on behind it all the same.
    store.save()?;
    let given = given.map_err(|error| CniError::other(error.to_string()))?;
    let ips = given.iter().map(|one| IpConfig {
        interface: None,
        address: Cidr {
            ip: one.ip,
            len: one.subnet.len(),
        },
        gateway: Some(one.gateway),
    });
    Ok(CniResult {
        ips: ips.collect(),
        routes: request.routes,
        dns,
        ..CniResult::default()
    })
}

pub(super) fn check(invocation: &Invocation<'_>, _: &mut Host<'_>) -> Result<(), CniError> {
    let request = read(invocation)?;
    let env = &invocation.env;
    let store = Store::open(&request.dir)?;
    if store.addresses.check(&env.container_id, &env.ifname) {
        return Ok(());
    }
    let id = &env.container_id;
    let why = format!("host-local: Failed to find address added by container {id}");
    Err(CniError::other(why))
}

pub(super) fn del(invocation: &Invocation<'_>, _: &mut Host<'_>) -> Result<(), CniError> {
    let request = read(invocation)?;
    let mut store = Store::open(&request.dir)?;
    let env = &invocation.env;
    // Once for each set, as there: the second time files without a device go too.
    for _ in request.sets.sets() {
        store.addresses.del(&env.container_id, &env.ifname);
    }
    Ok(store.save()?)
}

/// What a resolv.conf says.
fn resolver(path: &Path) -> Result<Dns, CniError> {
    let text =
        fs::read_to_string(path).map_err(|error| CniError::other(open_error(path, &error)))?;
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let keyword = words.next();
        let mut rest = words.peekable();
        if rest.peek().is_none() {
            continue;
        }
        match keyword.as_deref() {
            Some("nameserver") => dns.nameservers.extend(rest.next()),
            Some("domain") => dns.domain = rest.next().unwrap_or_default(),
            Some("search") => dns.search.extend(rest),
            Some("options") => dns.options.extend(rest),
            _ => {}
        }
    }
    Ok(dns)
}

/// The files of one network.
struct Store {
    files: Locked,
    before: BTreeMap<String, String>,
    addresses: HostLocal,
}

impl Store {
    fn open(dir: &Path) -> Result<Self, StateError> {
        let files = Locked::open(dir, "lock")?;
        let mut before = BTreeMap::new();
        for name in files.names()? {
            let is_ours = name.parse::<IpAddr>().is_ok()
                || name
                    .strip_prefix("last_reserved_ip.")
                    .is_some_and(|index| index.parse::<usize>().is_ok());
            // The real plugin passes over files that it cannot read, too.
            if is_ours && let Ok(Some(text)) = files.read(&name) {
                before.insert(name, text);
            }
        }
        let addresses = HostLocal::import(&before).expect("names that are no state were left out");
        Ok(Self {
            files,
            before,
            addresses,
        })
    }

    /// Writes what has changed.
    fn save(&self) -> Result<(), StateError> {
        let now = self.addresses.export();
        for (name, text) in &now {
            if self.before.get(name) != Some(text) {
                self.files.write(name, text)?;
            }
        }
        let gone = self.before.keys().filter(|name| !now.contains_key(*name));
        for name in gone.filter(|name| name.parse::<IpAddr>().is_ok()) {
            self.files.remove(name)?;
        }
        Ok(())
    }
}
