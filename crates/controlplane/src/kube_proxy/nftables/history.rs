//! Syncs that follow one another.

use std::collections::BTreeSet;
use std::time::Duration;

use podwire_packet::SimTime;
use podwire_ruleset::nft::{Name, Table};

use super::plan::Plan;
use super::{NftablesForm, NftablesProxier, text};

/// A node's table over several states of the cluster, each of which kube-proxy meets with a sync.
///
/// Every sync writes the whole table. What it no longer uses is gone, but for chains of services, which
/// it leaves empty: a sync that begins more than a second later deletes them (`staleChains`).
#[derive(Clone, Debug)]
pub struct NftablesHistory<'a> {
    proxier: NftablesProxier<'a>,
    /// Chains of services of earlier syncs, as far as they are still there.
    earlier: BTreeSet<Name>,
    /// When the last sync began.
    began: SimTime,
}

/// How long chains that nothing leads to any more are left, at least: kernels before 6.2 know of it only
/// after a while.
const STALE_FOR: Duration = Duration::from_secs(1);

impl<'a> NftablesHistory<'a> {
    /// The first sync, of a node without a table.
    #[must_use]
    pub const fn first(proxier: NftablesProxier<'a>) -> Self {
        Self {
            proxier,
            earlier: BTreeSet::new(),
            began: SimTime::START,
        }
    }

    /// The same where the sync began at that moment.
    #[must_use]
    pub const fn at(mut self, began: SimTime) -> Self {
        self.began = began;
        self
    }

    /// The next sync: that of the same node's proxier for a later state of the cluster, at once.
    pub fn then(&mut self, next: NftablesProxier<'a>) {
        self.then_at(next, self.began);
    }

    /// The next sync, which begins at that moment.
    pub fn then_at(&mut self, next: NftablesProxier<'a>, began: SimTime) {
        // Every sync takes note anew of all chains that are stale.
        if began - self.began > STALE_FOR {
            self.earlier.clear();
        }
        self.began = began;
        self.earlier.extend(self.proxier.service_chains());
        self.proxier = next;
    }

    /// The table after the last sync, as [`NftablesProxier::table`] gives it.
    #[must_use]
    pub fn table(&self) -> Table {
        Plan::new(&self.proxier, &self.existing()).into_table()
    }

    /// The same as text, as [`NftablesProxier::text`] prints it.
    #[must_use]
    pub fn text(&self, form: NftablesForm) -> String {
        text::to_string(&Plan::new(&self.proxier, &self.existing()), form)
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
        text::write(&Plan::new(&self.proxier, &self.existing()), form, out)
    }

    fn existing(&self) -> Vec<Name> {
        self.earlier.iter().cloned().collect()
    }
}
