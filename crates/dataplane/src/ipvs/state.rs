//! States of connections, and how long each is remembered.
//!
//! Sources: net/netfilter/ipvs/ip_vs_proto_{tcp,udp,sctp}.c: `tcp_states`, `tcp_timeouts`,
//! `tcp_state_active_table`.

use std::time::Duration;

use podwire_packet::{Headers, Protocol, TcpFlags};

/// A connection's state. Protocols without states of their own use `None`, and `Established` once
/// packets went both ways. SYNACK is left out: only `secure_tcp` leads to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    None,
    Established,
    SynSent,
    SynRecv,
    FinWait,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
}

use State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    None as NO, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

/// The next state, by flag of the packet (SYN, FIN, ACK, RST) and state, of packets from clients.
const FROM_CLIENT: [[State; 10]; 4] = [
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR],
    [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI],
    [CL, ES, SS, ES, FW, TW, CL, CW, CL, LI],
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI],
];

/// The same of packets from servers.
const FROM_SERVER: [[State; 10]; 4] = [
    [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI],
    [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI],
    [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES],
    [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL],
];

impl State {
    /// The state after a packet (`set_tcp_state`).
    pub(super) fn after(self, headers: &Headers, from_client: bool) -> Self {
        if headers.protocol != Protocol::TCP {
            return if from_client { self } else { ES };
        }
        let flags = headers.tcp_flags;
        let by_importance = [
            (TcpFlags::RST, 3),
            (TcpFlags::SYN, 0),
            (TcpFlags::FIN, 1),
            (TcpFlags::ACK, 2),
        ];
        let flag = by_importance.iter().find(|(flag, _)| flags.contains(*flag));
        let table = if from_client {
            &FROM_CLIENT
        } else {
            &FROM_SERVER
        };
        flag.map_or(CL, |&(_, row)| table[row][self as usize])
    }

    /// Whether a connection in that state counts as active. One of UDP never does.
    pub(super) const fn is_active(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::UDP => false,
            _ => matches!(self, ES | SS | SR),
        }
    }

    /// How long a connection in that state is remembered after its last packet.
    pub(super) const fn timeout(self, protocol: Protocol) -> Duration {
        let seconds = match (protocol, self) {
            (Protocol::UDP, _) => 300,
            (Protocol::SCTP, ES) => 900,
            (Protocol::SCTP, _) => 1,
            (_, NO) => 2,
            (_, ES) => 900,
            (_, SS | FW | TW | LI) => 120,
            (_, SR | CW) => 60,
            (_, CL) => 10,
            (_, LA) => 30,
        };
        Duration::from_secs(seconds)
    }
}
