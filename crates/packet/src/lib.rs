//! What a packet is to a rule: addresses, ports, marks, five-tuples and headers.
//!
//! The lowest crate: it knows no table, no node and no cluster. Everything is in host order.
//!
//! # Map
//! - [`Headers`]: the header fields that a rule can look at.
//! - [`FiveTuple`]: one direction of a flow.
//! - [`Prefix`], [`MacAddr`], [`Family`]: addresses.
//! - [`DeviceName`]: a network device's name, stored in place.
//! - [`SimTime`]: the virtual clock.
//! - [`made_up_bits`]: bits for what is random in the world: Ethernet addresses, names.
//! - [`wire`]: headers as real bytes and back.

mod address;
mod device;
mod flow;
mod headers;
mod made_up;
mod time;
pub mod wire;

pub use address::{Family, MacAddr, ParseMacError, ParsePrefixError, Prefix};
pub use device::{DeviceName, DeviceNameError};
pub use flow::{FiveTuple, socket};
pub use headers::{Headers, Mark, ParseProtocolError, Protocol, TcpFlags};
pub use made_up::made_up_bits;
pub use time::SimTime;
