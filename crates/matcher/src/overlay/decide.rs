//! Decisions of a node: a probe of its own table, then of the common one.

use podwire_packet::Headers;
use podwire_ruleset::{Choose, Packet, State};

use super::part::{Front, Patched};
use crate::brief::{Brief, Nat};
use crate::code::Code;
use crate::dispatch::Found;
use crate::fields::Fields;
use crate::program::{Program, Socket};
use crate::walk;

impl<'m, F: Fields> Patched<'m, F> {
    /// What the table decides about a packet with those headers, and otherwise like another.
    #[inline]
    pub(crate) fn decide(
        self,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let key = F::key_of(headers).filter(|_| !headers.is_later_fragment);
        if let Some((program, found)) = key.and_then(|key| self.find(like, key)) {
            match found {
                Found::Endpoints(service) => {
                    let socket = program.choose(&service, choose);
                    let marking = u32::from(service.marking);
                    return self.sent(like, headers, program, socket, marking);
                }
                Found::Fold(fold) => {
                    let folds = &program.folds;
                    let fold = &folds.folds[fold as usize];
                    let rung = choose.even_ladder(folds.thresholds(fold));
                    let socket = folds.endpoints(fold)[rung];
                    return self.sent(like, headers, program, socket, fold.marking);
                }
                Found::Nothing | Found::Ask => {}
            }
        }
        let packet = Packet {
            headers: *headers,
            ..*like
        };
        walk::run(self, &packet, state, choose, &mut ()).brief
    }

    /// What the first table of Services says of a key.
    #[inline]
    fn find(self, like: &Packet<'_>, key: F::Key) -> Option<(&'m Program<F>, Found<'m, F>)> {
        let (common, own) = (self.common, &self.part.own);
        let of =
            |program: &'m Program<F>, table: u32| program.tables[table as usize].lookup().find(key);
        match self.part.fronts[like.hook as usize] {
            Front::None => None,
            Front::Common(table) => Some((common, of(common, table))),
            Front::Own(table) => Some((own, of(own, table))),
            Front::Spliced {
                own: first,
                common: table,
            } => match of(own, first) {
                Found::Nothing => Some((common, of(common, table))),
                found @ (Found::Endpoints(_) | Found::Fold(_) | Found::Ask) => Some((own, found)),
            },
        }
    }

    /// Sent to a socket, and marked.
    #[inline]
    fn sent(
        self,
        like: &Packet<'_>,
        headers: &Headers,
        program: &'m Program<F>,
        socket: Socket<F::Address>,
        marking: u32,
    ) -> Brief<'m> {
        let marking = self.marking(program, marking);
        Brief {
            mark: marking.of(like.mark, headers.src, socket.address),
            nat: Nat::To(F::address_of(socket.address), socket.port),
            ..Brief::accept(like)
        }
    }
}
