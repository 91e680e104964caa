//! Changes to virtual servers, one at a time, as `ipvsadm` and netlink make them.

use std::net::IpAddr;

use super::{RealServer, VirtualAddress, VirtualServer};

/// What a real server is found by, behind its virtual server: address and port.
pub type Socket = (IpAddr, u16);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `-A`: a virtual server, with the real servers that it has by now.
    AddServer(VirtualAddress, VirtualServer),
    /// `-E`: its scheduler, flags and persistence are those from now on; real servers stay.
    EditServer(VirtualAddress, VirtualServer),
    /// `-D`: the virtual server goes, and its real servers with it.
    DeleteServer(VirtualAddress),
    /// `-a`.
    AddReal(VirtualAddress, RealServer),
    /// `-e`, of the weight alone.
    SetWeight(VirtualAddress, Socket, u16),
    /// `-d`.
    DeleteReal(VirtualAddress, Socket),
}

impl RealServer {
    /// What it is found by.
    #[must_use]
    pub const fn socket(&self) -> Socket {
        (self.address, self.port)
    }
}
