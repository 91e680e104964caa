//! Raw sockets.

use std::net::{IpAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, send, sendto,
    socket,
};

use super::LaneError;

/// Sends Ethernet frames by one device (packet(7)).
#[derive(Debug)]
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    pub(super) fn open(device: &str) -> Result<Self, LaneError> {
        let mut devices = getifaddrs().map_err(LaneError::errno("getifaddrs"))?;
        let link = devices.find_map(|found| {
            let address = found.address.filter(|_| found.interface_name == device)?;
            address.as_link_addr().copied()
        });
        let link = link.ok_or_else(|| LaneError::NoDevice(device.to_owned()))?;
        // Without a protocol it receives nothing.
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(LaneError::errno("socket"))?;
        bind(fd.as_raw_fd(), &link).map_err(LaneError::errno("bind"))?;
        Ok(Self(fd))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`LaneError::System`].
    pub fn send(&self, frame: &[u8]) -> Result<(), LaneError> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty()).map_err(LaneError::errno("send"))?;
        Ok(())
    }
}

/// Sends IPv4 packets with their headers as a local process: they meet OUTPUT and are routed (raw(7),
/// `IPPROTO_RAW`). A source address of zero is filled in by the route.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    pub(super) fn open() -> Result<Self, LaneError> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )
        .map_err(LaneError::errno("socket"))?;
        Ok(Self(fd))
    }

    /// Sends a packet to the address that its header has as destination. That a rule or a route
    /// refuses it, which the system call tells, is no error.
    ///
    /// # Errors
    /// [`LaneError::System`], [`LaneError::NotIpv4`].
    pub fn send(&self, packet: &[u8], to: IpAddr) -> Result<(), LaneError> {
        let IpAddr::V4(to) = to else {
            return Err(LaneError::NotIpv4);
        };
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        match sendto(self.0.as_raw_fd(), packet, &to, MsgFlags::empty()) {
            Ok(_)
            | Err(
                // A rule, or a route.
                nix::Error::EPERM
                | nix::Error::EINVAL
                | nix::Error::EHOSTUNREACH
                | nix::Error::ENETUNREACH
                | nix::Error::ECONNREFUSED,
            ) => Ok(()),
            Err(errno) => Err(LaneError::errno("sendto")(errno)),
        }
    }
}
