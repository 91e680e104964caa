//! Syncs that follow one another.

use std::collections::BTreeSet;

use podwire_ruleset::nft::{Name, Table};

use super::plan::Plan;
use super::{NftablesForm, NftablesProxier, text};

/// A node's table over several states of the cluster, each of which kube-proxy meets with a sync.
///
/// Every sync writes the whole table. What it no longer uses is gone, but for chains of services, which
/// it leaves empty: it deletes them in the first sync more than a second later, and states are taken to
/// follow at once.
#[derive(Clone, Debug)]
pub struct NftablesHistory<'a> {
    proxier: NftablesProxier<'a>,
    /// Chains of services of earlier syncs.
    earlier: BTreeSet<Name>,
}

impl<'a> NftablesHistory<'a> {
    /// The first sync, of a node without a table.
    #[must_use]
    pub const fn first(proxier: NftablesProxier<'a>) -> Self {
        Self {
            proxier,
            earlier: BTreeSet::new(),
        }
    }

    /// The next sync: that of the same node's proxier for a later state of the cluster.
    pub fn then(&mut self, next: NftablesProxier<'a>) {
        self.earlier.extend(self.proxier.service_chains());
        self.proxier = next;
    }

    /// The table after the last sync, as [`NftablesProxier::table`] gives it.
    #[must_use]
    pub fn table(&self) -> Table {
        Plan::new(&self.proxier, &self.existing(), None).into_table()
    }

    /// The same as text, as [`NftablesProxier::text`] prints it.
    #[must_use]
    pub fn text(&self, form: NftablesForm) -> String {
        text::to_string(&self.proxier, &self.existing(), form)
    }

    /// Writes the same text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(
        &self,
        form: NftablesForm,
        out: &mut impl std::io::Write,
    ) -> std::io::Result<()> {
        text::write(&self.proxier, &self.existing(), form, out)
    }

    fn existing(&self) -> Vec<Name> {
        self.earlier.iter().cloned().collect()
    }
}
