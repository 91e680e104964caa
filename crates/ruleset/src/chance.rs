//! Chance as an argument.
//!
//! A rule with `statistic --mode random` asks a [`Choose`] that the caller gives. A [`Draw`] answers
//! with seeded numbers; [`outcomes`] asks for every answer in turn and so gets the exact distribution.

use crate::Probability;

/// A probability of 1.
pub const CERTAIN: f64 = 1.0;

/// Who decides where rules leave it to chance.
pub trait Choose {
    /// True with probability `threshold` over 2^31: the kernel draws 31 random bits and asks whether
    /// they are below the threshold (`statistic_mt`, net/netfilter/xt_statistic.c).
    fn chance(&mut self, threshold: u32) -> bool;

    /// A number below `n`, each with the same probability.
    fn one_of(&mut self, n: u32) -> u32;

    /// The first of several chances that is taken, or their number if none is: a ladder of n - 1
    /// chances that gives each of n ways the same probability.
    ///
    /// Each threshold is within one of 2^31 over the number of ways that are left, so a way's
    /// probability is 1/n to 2^-29: its own chance is off by at most 1.5 / 2^31, and so, summed over the
    /// rungs before it, is the chance to come to it.
    fn even_ladder(&mut self, thresholds: &[u32]) -> usize {
        let taken = thresholds
            .iter()
            .position(|&threshold| self.chance(threshold));
        taken.unwrap_or(thresholds.len())
    }

    /// [`even_ladder`](Self::even_ladder) to so many ways, at least one, whose thresholds are the last of
    /// those given.
    fn even_way(&mut self, ways: usize, thresholds: &[u32]) -> usize {
        let first = (thresholds.len() + 1).saturating_sub(ways);
        self.even_ladder(thresholds.get(first..).unwrap_or_default())
    }
}

/// Seeded random numbers: the same draw gives the same choices on every machine.
///
/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014),
/// which is enough for choices that nobody attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u64);

impl Draw {
    /// The next 64 bits.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Choose for Draw {
    #[inline]
    fn chance(&mut self, threshold: u32) -> bool {
        self.next() >> 33 < u64::from(threshold)
    }

    #[inline]
    fn one_of(&mut self, n: u32) -> u32 {
        // As `reciprocal_scale` (include/linux/kernel.h) maps 32 random bits to a range.
        let scaled = ((self.next() >> 32) * u64::from(n)) >> 32;
        u32::try_from(scaled).expect("below n")
    }

    /// One number for the whole ladder: not the choice that the ladder's numbers would make, but of
    /// the same distribution to 2^-28: the ladder is even to 2^-29, and [`one_of`](Choose::one_of) to
    /// 2^-32.
    #[inline]
    fn even_ladder(&mut self, thresholds: &[u32]) -> usize {
        let ways = u32::try_from(thresholds.len() + 1).unwrap_or(u32::MAX);
        self.one_of(ways) as usize
    }

    #[inline]
    fn even_way(&mut self, ways: usize, _: &[u32]) -> usize {
        self.one_of(u32::try_from(ways).unwrap_or(u32::MAX)) as usize
    }
}

/// Follows one branch of a tree of choices and notes the choices on its way.
struct Branch {
    path: Vec<Chosen>,
    /// Place in `path` of the next choice.
    next: usize,
    probability: f64,
}

/// A choice that was made.
struct Chosen {
    choice: u32,
    /// How many there were to choose from.
    alternatives: u32,
    /// Of a ladder: the rung that the branches so far came to, and the probability of coming there.
    rung: Option<(u32, f64)>,
}

impl Branch {
    fn choose(&mut self, alternatives: u32) -> u32 {
        self.choose_rung(alternatives, None).choice
    }

    fn choose_rung(&mut self, alternatives: u32, rung: Option<(u32, f64)>) -> &mut Chosen {
        if self.next == self.path.len() {
            self.path.push(Chosen {
                choice: 0,
                alternatives,
                rung,
            });
        }
        self.next += 1;
        &mut self.path[self.next - 1]
    }

    /// The next branch: the last choice that has alternatives left takes the next one.
    fn advance(&mut self) -> bool {
        while let Some(last) = self.path.pop() {
            let choice = last.choice + 1;
            if choice < last.alternatives {
                self.path.push(Chosen { choice, ..last });
                self.next = 0;
                self.probability = CERTAIN;
                return true;
            }
        }
        false
    }
}

/// Whether it is left to chance: what always or never happens is no choice.
const fn is_open(threshold: u32) -> bool {
    0 < threshold && threshold < Probability::ONE
}

/// The probability of a threshold over 2^31.
fn probability_of(threshold: u32) -> f64 {
    f64::from(threshold) / f64::from(Probability::ONE)
}

impl Choose for Branch {
    fn chance(&mut self, threshold: u32) -> bool {
        if !is_open(threshold) {
            return threshold != 0;
        }
        let yes = probability_of(threshold);
        let taken = self.choose(2) == 0;
        self.probability *= if taken { yes } else { 1.0 - yes };
        taken
    }

    fn one_of(&mut self, n: u32) -> u32 {
        if n <= 1 {
            return 0;
        }
        self.probability /= f64::from(n);
        self.choose(n)
    }

    /// One choice for the whole ladder. Each branch goes on from the rung of the one before, so that all
    /// together climb it once.
    fn even_ladder(&mut self, thresholds: &[u32]) -> usize {
        let is_ladder = match self.path.get(self.next) {
            Some(chosen) => chosen.rung.is_some(),
            None => !thresholds.is_empty() && thresholds.iter().all(|own| is_open(*own)),
        };
        if !is_ladder {
            let taken = thresholds.iter().position(|own| self.chance(*own));
            return taken.unwrap_or(thresholds.len());
        }
        let ways = u32::try_from(thresholds.len() + 1).unwrap_or(u32::MAX);
        let before = self.probability;
        let chosen = self.choose_rung(ways, Some((0, before)));
        let (rung, reached) = chosen.rung.get_or_insert((0, before));
        while *rung < chosen.choice {
            *reached *= 1.0 - probability_of(thresholds[*rung as usize]);
            *rung += 1;
        }
        let way = chosen.choice as usize;
        let taken = thresholds.get(way).map_or(1.0, |own| probability_of(*own));
        self.probability = *reached * taken;
        way
    }
}

/// Every outcome of `run` with its probability, as its choices are made in every possible way.
///
/// `run` must make the same choices whenever it gets the same answers. Probabilities are the kernel's
/// thresholds over 2^31, multiplied in the order of the choices.
///
/// # Cost
/// One run for each outcome: n for a service with n endpoints.
pub fn outcomes<T>(mut run: impl FnMut(&mut dyn Choose) -> T) -> Vec<(f64, T)> {
    let mut branch = Branch {
        path: Vec::new(),
        next: 0,
        probability: CERTAIN,
    };
    let mut all = Vec::new();
    loop {
        let outcome = run(&mut branch);
        all.push((branch.probability, outcome));
        if !branch.advance() {
            return all;
        }
    }
}

impl<C: Choose + ?Sized> Choose for &mut C {
    fn chance(&mut self, threshold: u32) -> bool {
        (**self).chance(threshold)
    }

    fn one_of(&mut self, n: u32) -> u32 {
        (**self).one_of(n)
    }

    fn even_ladder(&mut self, thresholds: &[u32]) -> usize {
        (**self).even_ladder(thresholds)
    }

    fn even_way(&mut self, ways: usize, thresholds: &[u32]) -> usize {
        (**self).even_way(ways, thresholds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_of_thirds_has_three_outcomes() {
        let third = Probability::new(1.0 / 3.0).unwrap().threshold();
        let half = Probability::new(0.5).unwrap().threshold();
        let all = outcomes(|choose| {
            if choose.chance(third) {
                "a"
            } else if choose.chance(half) {
                "b"
            } else {
                "c"
            }
        });
        let names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let sum: f64 = all.iter().map(|(p, _)| p).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((all[0].0 - f64::from(third) / f64::from(1u32 << 31)).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_certain_is_no_choice() {
        let all = outcomes(|choose| (choose.chance(0), choose.chance(1 << 31), choose.one_of(1)));
        assert_eq!(all, [(1.0, (false, true, 0))]);
    }

    #[test]
    fn choices_of_many_are_even() {
        let all = outcomes(|choose| choose.one_of(5));
        assert_eq!(
            all.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        assert!(all.iter().all(|(p, _)| (p - 0.2).abs() < f64::EPSILON));
    }

    #[test]
    fn the_ways_of_an_even_ladder_are_even_to_two_to_the_minus_29() {
        for ways in 1..=200_u32 {
            // The furthest that a ladder may be off: every threshold one too high, or too low.
            for off in [-1_i32, 0, 1] {
                let thresholds: Vec<u32> = (2..=ways)
                    .rev()
                    .map(|left| ((Probability::ONE + left / 2) / left).strict_add_signed(off))
                    .collect();
                let all = outcomes(|choose| choose.even_ladder(&thresholds));
                let places: Vec<usize> = all.iter().map(|(_, way)| *way).collect();
                assert_eq!(places, (0..ways as usize).collect::<Vec<_>>());
                let even = 1.0 / f64::from(ways);
                assert!(
                    all.iter()
                        .all(|(p, _)| (p - even).abs() < 2.0_f64.powi(-29))
                );
            }
        }
    }

    #[test]
    fn a_ladder_at_once_has_the_outcomes_of_its_rungs() {
        let thresholds: Vec<u32> = (2..=50_u32)
            .rev()
            .map(|left| Probability::ONE / left)
            .collect();
        let rung_by_rung = |choose: &mut dyn Choose| {
            let taken = thresholds.iter().position(|own| choose.chance(*own));
            taken.unwrap_or(thresholds.len())
        };
        // A choice before it and one behind it: branches climb it again and again.
        let around = |ladder: &dyn Fn(&mut dyn Choose) -> usize| {
            outcomes(|choose| (choose.one_of(3), ladder(choose), choose.chance(1 << 29)))
        };
        let at_once = around(&|choose: &mut dyn Choose| choose.even_ladder(&thresholds));
        assert_eq!(at_once, around(&rung_by_rung));
        assert_eq!(at_once.len(), 3 * 50 * 2);
        let certain = [1 << 29, 0, Probability::ONE, 1 << 30];
        let all = outcomes(|choose| choose.even_ladder(&certain));
        assert_eq!(all, [(0.25, 0), (0.75, 2)]);
    }

    #[test]
    fn a_draw_climbs_an_even_ladder_evenly() {
        let (mut draw, mut counts) = (Draw(3), [0; 3]);
        for _ in 0..30_000 {
            counts[draw.even_ladder(&[715_827_883, 1 << 30])] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_700..10_300).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_draw_hits_a_half_half_of_the_time() {
        let mut draw = Draw(7);
        let hits = (0..10_000).filter(|_| draw.chance(1 << 30)).count();
        assert!((4_800..5_200).contains(&hits), "{hits}");
        assert_eq!(Draw(7).next(), Draw(7).next());
    }
}
