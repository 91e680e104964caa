//! Who jumps to a chain.

use podwire_ruleset::ChainId;
use smallvec::SmallVec;

use crate::fields::Fields;
use crate::program::{Program, to_u32};

/// A rule: its chain, and how many rules stand before it there.
pub(crate) type Caller = (ChainId, u32);

/// The rules that jump to each chain of a table.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    of: Vec<Of>,
}

/// The rules that jump to one chain.
#[derive(Clone, Debug)]
enum Of {
    Few(SmallVec<[Caller; 2]>),
    /// So many that they are only counted: such as jump to KUBE-MARK-MASQ. A change of such a chain
    /// touches everything.
    Many(u32),
}

/// Callers that are listed.
const FEW: usize = 64;

impl Callers {
    pub(crate) fn of<F: Fields>(program: &Program<F>) -> Self {
        let none = Of::Few(SmallVec::new());
        let mut callers = Self {
            of: vec![none; program.chains.len()],
        };
        for index in 0..program.chains.len() {
            callers.note(program, ChainId(to_u32(index)));
        }
        callers
    }

    /// Whether any rule jumps to a chain.
    pub(crate) fn is_called(&self, chain: ChainId) -> bool {
        match &self.of[chain.index()] {
            Of::Few(few) => !few.is_empty(),
            Of::Many(many) => *many > 0,
        }
    }

    /// Notes the jumps of a chain, which may be new.
    pub(crate) fn note<F: Fields>(&mut self, program: &Program<F>, chain: ChainId) {
        self.of
            .resize_with(self.of.len().max(program.chains.len()), || {
                Of::Few(SmallVec::new())
            });
        for (caller, to) in jumps(program, chain) {
            let of = &mut self.of[to.index()];
            match of {
                Of::Few(few) if few.len() < FEW => few.push(caller),
                Of::Few(few) => *of = Of::Many(to_u32(few.len() + 1)),
                Of::Many(many) => *many += 1,
            }
        }
    }

    /// Forgets the jumps of a chain.
    pub(crate) fn forget<F: Fields>(&mut self, program: &Program<F>, chain: ChainId) {
        if chain.index() >= program.chains.len() {
            return;
        }
        for (caller, to) in jumps(program, chain) {
            match &mut self.of[to.index()] {
                Of::Few(few) => few.retain(|own| *own != caller),
                Of::Many(many) => *many -= 1,
            }
        }
    }

    /// The rules that jump to a chain, those that jump to their chains, and so on. None if they are many.
    pub(crate) fn above(&self, chain: ChainId) -> Option<Vec<Caller>> {
        let mut above: Vec<Caller> = Vec::new();
        let mut from = vec![chain];
        while let Some(chain) = from.pop() {
            let Of::Few(few) = &self.of[chain.index()] else {
                return None;
            };
            for caller in few {
                if !above.contains(caller) {
                    above.push(*caller);
                    from.push(caller.0);
                }
            }
            if above.len() > FEW {
                return None;
            }
        }
        Some(above)
    }

    /// The rules that jump to a chain, however many.
    pub(crate) fn of_all<F: Fields>(&self, chain: ChainId, program: &Program<F>) -> Vec<Caller> {
        if let Of::Few(few) = &self.of[chain.index()] {
            return few.to_vec();
        }
        let chains = (0..program.chains.len()).map(|index| ChainId(to_u32(index)));
        chains
            .flat_map(|from| jumps(program, from))
            .filter_map(|(caller, to)| (to == chain).then_some(caller))
            .collect()
    }

    /// The last chain takes the number of one that goes; its own jumps are noted under the new number.
    pub(crate) fn renumber<F: Fields>(&mut self, program: &Program<F>, last: ChainId, id: ChainId) {
        for (caller, to) in jumps(program, last) {
            if let Of::Few(few) = &mut self.of[to.index()] {
                for own in few.iter_mut().filter(|own| **own == caller) {
                    own.0 = id;
                }
            }
        }
        self.of.swap_remove(id.index());
    }

    /// Forgets the last chain.
    pub(crate) fn pop(&mut self) {
        self.of.pop();
    }
}

/// The jumps of a chain: which rule, and where to.
fn jumps<F: Fields>(
    program: &Program<F>,
    chain: ChainId,
) -> impl Iterator<Item = (Caller, ChainId)> {
    let rules = (0..).zip(program.rules_of(chain));
    rules.filter_map(move |(number, rule)| Some(((chain, number), rule.then.chain()?)))
}
