//! The CNI plugin host-local: which address a pod gets.
//!
//! Source: plugins/ipam/host-local/{main.go,backend/allocator/allocator.go,backend/disk/backend.go}
//! of containernetworking/plugins 1.9.1; messages are worded as there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::Prefix;
use thiserror::Error;

use crate::range::{Range, RangeSet, RangeSets, next};

/// Between the container and the device in a file of the state.
const LINE_BREAK: &str = "\r\n";

/// The name of the files that remember where each range set goes on.
const LAST_RESERVED: &str = "last_reserved_ip.";

/// Addresses of one network on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLocal {
    /// What each address's file says: the container and the device.
    owners: BTreeMap<IpAddr, String>,
    /// The same by what the file says, without white space around.
    owned: BTreeSet<(String, IpAddr)>,
    /// The address that each range set gave last.
    last_reserved: BTreeMap<usize, IpAddr>,
}

/// An address that a pod got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub ip: IpAddr,
    /// Its subnet.
    pub subnet: Prefix,
    /// The gateway of the subnet.
    pub gateway: IpAddr,
}

/// Why a pod got no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddError {
    /// All addresses of a set are taken.
    #[error("failed to allocate for range {index}: no IP addresses available in range set: {set}")]
    Exhausted {
        /// The set's number from 0.
        index: usize,
        /// The set.
        set: RangeSet,
    },
    /// The pod asks for the gateway's address.
    #[error("failed to allocate for range {index}: requested ip {ip} is subnet's gateway")]
    IsGateway {
        /// The set's number from 0.
        index: usize,
        /// The address.
        ip: IpAddr,
    },
    /// The pod asks for an address that another has.
    #[error(
        "failed to allocate for range {index}: requested IP address {ip} is not available in range set {set}"
    )]
    Taken {
        /// The set's number from 0.
        index: usize,
        /// The address.
        ip: IpAddr,
        /// The set.
        set: RangeSet,
    },
    /// The pod has an address of the set already.
    #[error(
        "failed to allocate for range {index}: {ip} has been allocated to {container}, duplicate allocation is not allowed"
    )]
    Again {
        /// The set's number from 0.
        index: usize,
        /// The address that it has.
        ip: IpAddr,
        /// The container.
        container: String,
    },
    /// The pod asks for addresses that no set holds.
    #[error("failed to allocate all requested IPs:{}", list(requested))]
    NotInRange {
        /// The addresses.
        requested: Vec<IpAddr>,
    },
}

fn list(ips: &[IpAddr]) -> String {
    ips.iter().map(|ip| format!(" {ip}")).collect()
}

/// Why files are no state of host-local.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("file `{name}` is neither named by an address nor `{LAST_RESERVED}` and a number")]
pub struct ImportError {
    /// The file's name.
    pub name: String,
}

impl HostLocal {
    /// Gives a container's device an address of each set: ADD.
    ///
    /// # Errors
    /// When a set has no address left, or a requested one cannot be had; if any was given by then, all
    /// that the container has are taken back, but each set goes on after what it gave.
    pub fn add(
        &mut self,
        sets: &RangeSets,
        container: &str,
        device: &str,
        requested: &[IpAddr],
    ) -> Result<Vec<Allocation>, AddError> {
        let mut requested = requested.to_vec();
        let mut given = Vec::new();
        for (index, set) in sets.sets().iter().enumerate() {
            let wanted = requested
                .iter()
                .position(|&ip| set.range_of(ip).is_some())
                .map(|at| requested.remove(at));
            let found = match wanted {
                Some(ip) => self.take(index, set, container, device, ip),
                None => self.take_next(index, set, container, device),
            };
            match found {
                Ok(allocation) => given.push(allocation),
                Err(error) => {
                    self.take_back(&given, container, device);
                    return Err(error);
                }
            }
        }
        if requested.is_empty() {
            Ok(given)
        } else {
            self.take_back(&given, container, device);
            Err(AddError::NotInRange { requested })
        }
    }

    /// Frees a container's addresses: DEL. What it does not have is no fault.
    pub fn del(&mut self, container: &str, device: &str) {
        let mut found: Vec<_> = self.of(&key(container, device)).collect();
        if found.is_empty() {
            // Releases before 0.8 wrote no device.
            found.extend(self.of(container.trim()));
        }
        for ip in found {
            self.free(ip);
        }
    }

    /// Whether a container has an address: CHECK.
    #[must_use]
    pub fn check(&self, container: &str, device: &str) -> bool {
        let key = key(container, device);
        self.of(&key)
            .chain(self.of(container.trim()))
            .next()
            .is_some()
    }

    /// The addresses whose files say just that.
    fn of(&self, owner: &str) -> impl Iterator<Item = IpAddr> {
        let first = (owner.to_owned(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let owner = owner.to_owned();
        let owned = self.owned.range(first..);
        owned
            .take_while(move |(one, _)| *one == owner)
            .map(|&(_, ip)| ip)
    }

    fn own(&mut self, ip: IpAddr, owner: String) {
        self.owned.insert((owner.trim().to_owned(), ip));
        self.owners.insert(ip, owner);
    }

    fn free(&mut self, ip: IpAddr) {
        if let Some(owner) = self.owners.remove(&ip) {
            self.owned.remove(&(owner.trim().to_owned(), ip));
        }
    }

    /// Lets every set begin anew at its first free address, as if no address had been given last.
    pub fn rewind(&mut self) {
        self.last_reserved.clear();
    }

    /// The addresses that are taken.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.owners.keys().copied()
    }

    /// Each set that gave an address frees all that the container has, not just what it gave.
    fn take_back(&mut self, given: &[Allocation], container: &str, device: &str) {
        for _ in given {
            self.del(container, device);
        }
    }

    fn take(
        &mut self,
        index: usize,
        set: &RangeSet,
        container: &str,
        device: &str,
        ip: IpAddr,
    ) -> Result<Allocation, AddError> {
        let range = set.range_of(ip).ok_or_else(|| AddError::NotInRange {
            requested: vec![ip],
        })?;
        if ip == range.gateway() {
            return Err(AddError::IsGateway { index, ip });
        }
        if !self.reserve(index, container, device, ip) {
            let set = set.clone();
            return Err(AddError::Taken { index, ip, set });
        }
        Ok(allocation(ip, range))
    }

    fn take_next(
        &mut self,
        index: usize,
        set: &RangeSet,
        container: &str,
        device: &str,
    ) -> Result<Allocation, AddError> {
        let key = key(container, device);
        let given = self.of(&key).chain(self.of(container.trim()));
        let given = given.filter(|&ip| set.range_of(ip).is_some());
        // The one whose file comes first.
        if let Some(ip) = given.min_by_key(IpAddr::to_string) {
            let container = container.to_owned();
            return Err(AddError::Again {
                index,
                ip,
                container,
            });
        }
        let mut candidates = Candidates::new(set, self.last_reserved.get(&index).copied());
        while let Some((ip, range)) = candidates.next() {
            if self.reserve(index, container, device, ip) {
                return Ok(allocation(ip, &range));
            }
        }
        let set = set.clone();
        Err(AddError::Exhausted { index, set })
    }

    fn reserve(&mut self, index: usize, container: &str, device: &str, ip: IpAddr) -> bool {
        if self.owners.contains_key(&ip) {
            return false;
        }
        self.own(ip, key(container, device));
        self.last_reserved.insert(index, ip);
        true
    }

    /// The files of `/var/lib/cni/networks/NETWORK`: name and content.
    #[must_use]
    pub fn export(&self) -> BTreeMap<String, String> {
        let owners = self.owners.iter();
        let owners = owners.map(|(ip, owner)| (ip.to_string(), owner.clone()));
        let last = self.last_reserved.iter();
        let last = last.map(|(index, ip)| (format!("{LAST_RESERVED}{index}"), ip.to_string()));
        owners.chain(last).collect()
    }

    /// The state that such files hold. A `lock` file says nothing; a last address that is none is
    /// left out, as host-local does.
    ///
    /// # Errors
    /// When a file has another name.
    pub fn import(files: &BTreeMap<String, String>) -> Result<Self, ImportError> {
        let mut state = Self::default();
        for (name, content) in files {
            if let Ok(ip) = name.parse() {
                state.own(ip, content.clone());
            } else if let Some(index) = name
                .strip_prefix(LAST_RESERVED)
                .and_then(|index| index.parse().ok())
            {
                if let Ok(ip) = content.trim().parse() {
                    state.last_reserved.insert(index, ip);
                }
            } else if name != "lock" {
                let name = name.clone();
                return Err(ImportError { name });
            }
        }
        Ok(state)
    }
}

fn key(container: &str, device: &str) -> String {
    format!("{}{LINE_BREAK}{device}", container.trim())
}

fn allocation(ip: IpAddr, range: &Range) -> Allocation {
    Allocation {
        ip,
        subnet: range.subnet(),
        gateway: range.gateway(),
    }
}

/// The addresses of a set in the order in which they are tried: from the one after the last
/// reserved, round to it; gateways are left out.
struct Candidates<'s> {
    ranges: &'s [Range],
    index: usize,
    current: Option<IpAddr>,
    /// Where the round began.
    start: Option<IpAddr>,
}

impl<'s> Candidates<'s> {
    fn new(set: &'s RangeSet, last: Option<IpAddr>) -> Self {
        let ranges = set.ranges();
        let resumed = last.and_then(|last| {
            let index = ranges.iter().position(|range| range.contains(last))?;
            Some((index, last))
        });
        Self {
            ranges,
            index: resumed.map_or(0, |(index, _)| index),
            current: resumed.map(|(_, last)| last),
            start: None,
        }
    }

    fn next(&mut self) -> Option<(IpAddr, Range)> {
        loop {
            let ip = match self.current {
                None => self.ranges[self.index].start(),
                Some(ip) if ip == self.ranges[self.index].end() => {
                    self.index = (self.index + 1) % self.ranges.len();
                    self.ranges[self.index].start()
                }
                Some(ip) => next(ip),
            };
            self.current = Some(ip);
            if self.start == Some(ip) {
                return None;
            }
            self.start.get_or_insert(ip);
            let range = self.ranges[self.index];
            if ip != range.gateway() {
                return Some((ip, range));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(subnet: &str) -> RangeSets {
        RangeSets::of_subnets(&[subnet.parse().unwrap()]).unwrap()
    }

    #[test]
    fn a_container_gets_no_second_address_of_a_set() {
        let sets = sets("10.22.0.0/24");
        let mut state = HostLocal::default();
        state.add(&sets, "c1", "eth0", &[]).unwrap();
        let error = state.add(&sets, "c1", "eth0", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to allocate for range 0: 10.22.0.2 has been allocated to c1, \
             duplicate allocation is not allowed"
        );
    }

    #[test]
    fn the_gateway_and_a_taken_address_cannot_be_had() {
        let sets = sets("10.22.0.0/24");
        let mut state = HostLocal::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        state.add(&sets, "c1", "eth0", &[]).unwrap();
        for (wanted, message) in [
            ("10.22.0.1", "requested ip 10.22.0.1 is subnet's gateway"),
            (
                "10.22.0.2",
                "requested IP address 10.22.0.2 is not available in range set 10.22.0.1-10.22.0.254",
            ),
        ] {
            let error = state.add(&sets, "c2", "eth0", &[ip(wanted)]).unwrap_err();
            let wanted = format!("failed to allocate for range 0: {message}");
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn what_one_set_gave_is_taken_back_when_the_next_has_none() {
        let both = ["10.22.0.0/24", "10.23.0.0/30"].map(|p| p.parse().unwrap());
        let both = RangeSets::of_subnets(&both).unwrap();
        let mut state = HostLocal::default();
        state.add(&both, "c1", "eth0", &[]).unwrap();
        assert!(state.add(&both, "c2", "eth0", &[]).is_err());
        assert_eq!(state.addresses().count(), 2);
    }

    #[test]
    fn a_file_without_a_device_counts_as_the_containers() {
        let sets = sets("10.22.0.0/24");
        let files = [("10.22.0.9".to_owned(), "c1".to_owned())];
        let mut state = HostLocal::import(&files.into()).unwrap();
        let error = state.add(&sets, "c1", "eth0", &[]).unwrap_err();
        assert!(matches!(error, AddError::Again { .. }), "{error}");
        assert!(state.add(&sets, "c2", "eth0", &[]).is_ok());
    }

    #[test]
    fn a_failing_add_takes_back_all_that_the_container_had() {
        let both = ["10.22.0.0/24", "10.23.0.0/24"].map(|p| p.parse().unwrap());
        let both = RangeSets::of_subnets(&both).unwrap();
        let mut state = HostLocal::default();
        state.add(&both, "c1", "eth0", &[]).unwrap();
        // The first set gives what is asked for, the second finds what it gave before.
        let asked = ["10.22.0.9".parse().unwrap()];
        let error = state.add(&both, "c1", "eth0", &asked).unwrap_err();
        assert!(matches!(error, AddError::Again { index: 1, .. }), "{error}");
        assert_eq!(state.addresses().count(), 0);
    }

    #[test]
    fn a_range_of_the_gateway_alone_is_exhausted() {
        let ip: IpAddr = "10.22.0.1".parse().unwrap();
        let range = Range::new("10.22.0.0".parse().unwrap(), 24, Some(ip), Some(ip), None).unwrap();
        let set = RangeSet::new(vec![range]).unwrap();
        let sets = RangeSets::new(vec![set]).unwrap();
        let error = HostLocal::default().add(&sets, "c1", "eth0", &[]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "failed to allocate for range 0: no IP addresses available in range set: \
             10.22.0.1-10.22.0.1"
        );
    }

    #[test]
    fn state_survives_its_files() {
        let sets = sets("10.22.0.0/24");
        let mut state = HostLocal::default();
        state.add(&sets, "c1", "eth0", &[]).unwrap();
        let mut files = state.export();
        files.insert("lock".to_owned(), String::new());
        assert_eq!(HostLocal::import(&files), Ok(state));
        files.insert("notes".to_owned(), String::new());
        assert!(HostLocal::import(&files).is_err());
    }
}
