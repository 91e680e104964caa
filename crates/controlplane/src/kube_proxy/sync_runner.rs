//! When a sync may run: kube-proxy's bounded frequency runner, on the virtual clock.
//!
//! Source: pkg/util/async/bounded_frequency_runner.go and the token bucket of golang.org/x/time/rate; the
//! periods: `NewProxier`, pkg/proxy/iptables/proxier.go.

use std::time::Duration;

use podwire_packet::SimTime;

/// Decides on the syncs of one proxier.
///
/// Requests run at once as long as there are tokens: two at first, and another one for each
/// `minSyncPeriod`. One that finds none waits until that long after the last run; all that come while it
/// waits are one. Without requests a sync runs an hour after the last. `syncPeriod` is not asked here:
/// it is how often kube-proxy looks whether somebody flushed its chains.
#[derive(Clone, Debug)]
pub struct SyncRunner {
    min: Duration,
    max: Duration,
    /// Tokens, each worth `min`.
    tokens: Duration,
    /// When tokens were last counted.
    counted: SimTime,
    last_run: SimTime,
    timer: SimTime,
}

impl SyncRunner {
    /// Tokens at first, and at most (`burstSyncs`).
    const BURST: u32 = 2;
    /// Time after which a sync runs that nobody asked for.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

    /// The runner of a proxier that starts at `now`, with that `minSyncPeriod`.
    #[must_use]
    pub fn new(min: Duration, now: SimTime) -> Self {
        let max = Self::MAX_INTERVAL.max(min);
        Self {
            min,
            max,
            tokens: min * Self::BURST,
            counted: now,
            last_run: now,
            timer: now + max,
        }
    }

    /// The same where a sync runs that long after the last, without requests: IPVS mode takes its
    /// `syncPeriod`.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.max = interval.max(self.min);
        self.timer = self.last_run + self.max;
        self
    }

    /// When a sync is due that waits, or that nobody asked for.
    #[must_use]
    pub const fn timer(&self) -> SimTime {
        self.timer
    }

    /// Asks to run, because of a change or because the timer went off (`tryRun`). If the answer is no,
    /// the timer stands at the moment to ask again.
    pub fn try_run(&mut self, now: SimTime) -> bool {
        self.tokens = (self.tokens + (now - self.counted)).min(self.min * Self::BURST);
        self.counted = now;
        if self.tokens >= self.min {
            self.tokens -= self.min;
            return true;
        }
        let possible = self.last_run + self.min;
        self.timer = if self.timer > now {
            self.timer.min(possible.max(now))
        } else {
            possible
        };
        false
    }

    /// Sets the timer to `now`: somebody asked while a run was not done.
    pub fn wake(&mut self, now: SimTime) {
        self.timer = self.timer.min(now);
    }

    /// Takes note that the run that was allowed is done.
    pub fn ran(&mut self, now: SimTime) {
        self.last_run = now;
        self.timer = now + self.max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> SimTime {
        SimTime(millis * 1_000_000)
    }

    /// Asks at those moments, with runs that take no time, until the end: when runs were.
    fn runs(min_millis: u64, asked: &[u64], end: u64) -> Vec<u64> {
        let mut runner = SyncRunner::new(Duration::from_millis(min_millis), at(0));
        let mut runs = Vec::new();
        let mut asked = asked.to_vec();
        loop {
            let timer = runner.timer().0 / 1_000_000;
            let now = match asked.first() {
                Some(&next) if next <= timer => asked.remove(0),
                _ => timer,
            };
            if now > end {
                return runs;
            }
            if runner.try_run(at(now)) {
                runner.ran(at(now));
                runs.push(now);
            }
        }
    }

    #[test]
    fn two_changes_run_at_once_and_those_behind_them_together() {
        assert_eq!(
            runs(1_000, &[100, 200, 300, 400, 500], 5_000),
            [100, 200, 1_200]
        );
    }

    #[test]
    fn a_quiet_second_earns_another_run() {
        assert_eq!(
            runs(1_000, &[100, 200, 1_500, 1_600], 5_000),
            [100, 200, 1_500, 2_500]
        );
        assert_eq!(
            runs(1_000, &[100, 200, 3_000, 3_100, 3_200], 9_000),
            [100, 200, 3_000, 3_100, 4_100]
        );
    }

    #[test]
    fn without_changes_a_sync_runs_an_hour_after_the_last() {
        assert_eq!(
            runs(1_000, &[1_000], 7_300_000),
            [1_000, 3_601_000, 7_201_000]
        );
    }

    #[test]
    fn without_a_least_period_every_change_runs() {
        assert_eq!(runs(0, &[1, 2, 3, 4], 1_000), [1, 2, 3, 4]);
    }

    proptest::proptest! {
        #[test]
        fn no_change_waits_longer_than_the_least_period_and_no_burst_is_larger(
            mut asked in proptest::collection::vec(0_u64..20_000, 1..60),
        ) {
            asked.sort_unstable();
            let runs = runs(1_000, &asked, 30_000);
            for &change in &asked {
                let next = runs.iter().find(|&&run| run >= change);
                proptest::prop_assert!(next.is_some_and(|run| run - change <= 1_000), "{change}: {runs:?}");
            }
            for (i, run) in runs.iter().enumerate() {
                // Three runs take at least a period, four two, and so on.
                if let Some(first) = i.checked_sub(2).and_then(|i| runs.get(i)) {
                    proptest::prop_assert!(run - first >= 900, "{runs:?}");
                }
            }
        }
    }
}
