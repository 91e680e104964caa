//! **The hot function**: a packet that a table of Services answers at once.

use podwire_ruleset::{Choose, Packet, State, Verdict};

use crate::brief::{Brief, Nat};
use crate::dispatch::{Found, Service};
use crate::fields::Fields;
use crate::program::{Program, Socket};

impl<F: Fields> Program<F> {
    /// What the table decides, told in brief.
    #[inline]
    pub(crate) fn decide<'m>(
        &'m self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if let Some(base) = &self.bases[packet.hook as usize]
            && let Some(table) = base.front
            && let Some(key) = F::key_of(&packet.headers)
            && !packet.headers.is_later_fragment
            && let Found::Endpoints(service) = self.tables[table as usize].find(key)
        {
            return self.translated(packet, &service, choose);
        }
        self.run(packet, state, choose, &mut ()).brief
    }

    /// One of the endpoints of a Service.
    #[inline]
    pub(crate) fn choose(
        &self,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Socket<F::Address> {
        let ladder = self.folds.ladder(service.endpoints.len());
        let rung = choose.even_ladder(ladder);
        Socket {
            address: service.endpoints.get(rung).copied().unwrap_or_default(),
            port: Some(service.port),
        }
    }

    #[inline]
    pub(crate) fn translated<'m>(
        &'m self,
        packet: &Packet<'_>,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let socket = self.choose(service, choose);
        let marking = self.folds.marking(service.marking.into());
        // A source of the other family is no endpoint, and no rule's source.
        let mark = match F::number(packet.headers.src) {
            Some(source) => marking.of(packet.mark, source, socket.address),
            None => packet.mark,
        };
        Brief {
            verdict: Verdict::Accept,
            notrack: false,
            trace: false,
            remembers: false,
            is_uncertain: false,
            mark,
            conntrack_mark: packet.conntrack.mark,
            nat: Nat::To(F::address_of(socket.address), socket.port),
        }
    }
}
