//! The virtual clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment of the simulation: virtual nanoseconds since its start.
///
/// Nothing in podwire reads the machine's clock to decide a packet; time is an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(pub u64);

impl SimTime {
    /// The start.
    pub const START: Self = Self(0);

    /// Time since the start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for SimTime {
    type Output = Self;

    /// A later moment; 584 years after the start, time stands still.
    fn add(self, later: Duration) -> Self {
        let nanos = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for SimTime {
    type Output = Duration;

    /// Time between two moments; zero if `earlier` is the later one.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.since_start().as_secs_f64())
    }
}
