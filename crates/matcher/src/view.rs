//! A packet as the walk has left it so far.

use podwire_packet::{DeviceName, Mark};
use podwire_ruleset::{CtState, CtStates, InterfaceMatch, Inv, Packet};

/// A packet and what rules have changed. Headers stay as they are until the table has decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) mark: Mark,
    pub(crate) conntrack_mark: Mark,
    /// Whether NOTRACK took a packet without a connection out of tracking.
    pub(crate) is_untracked: bool,
}

impl<'a> View<'a> {
    pub(crate) const fn new(packet: &'a Packet<'a>) -> Self {
        Self {
            packet,
            mark: packet.mark,
            conntrack_mark: packet.conntrack.mark,
            is_untracked: false,
        }
    }

    pub(crate) const fn state(&self) -> CtState {
        if self.is_untracked {
            CtState::Untracked
        } else {
            self.packet.conntrack.state
        }
    }

    /// What `--ctstate` compares with.
    pub(crate) const fn states(&self) -> CtStates {
        if self.is_untracked {
            CtStates::UNTRACKED
        } else {
            self.packet.conntrack.states()
        }
    }

    /// Whether a device is one that the test names; no device is one that `+` alone names.
    #[expect(clippy::unused_self, reason = "a question about the packet's devices")]
    pub(crate) fn is_device(&self, test: &Inv<InterfaceMatch>, device: Option<DeviceName>) -> bool {
        let fits = match (&test.value, &device) {
            (InterfaceMatch::Any, _) => true,
            (InterfaceMatch::Exact(_) | InterfaceMatch::Prefix(_), None) => false,
            (InterfaceMatch::Exact(name), Some(device)) => name == device,
            (InterfaceMatch::Prefix(start), Some(device)) => {
                let (start, name) = (start.as_str().as_bytes(), device.as_str().as_bytes());
                name.get(..start.len()) == Some(start)
            }
        };
        fits != test.inverted
    }
}
