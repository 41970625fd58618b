//! What arrives when: one played-out workload, the same for every load and every configuration.
//!
//! A schedule is drawn once at one request per second and then stretched to a rate, so that curves over load differ by load alone and
//! two configurations see the same requests (common random numbers). Two more steps take noise out without bias that
//! matters: the gaps are scaled so that their mean is exact, and lengths are drawn without putting back until the mix is used up.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma};
use routerwise_route::policy::{mix, prompt_hash};
use routerwise_types::Timestamp;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Arrivals, Lengths};

/// The random stream of one concern. Another label is another stream, so a new draw in one place shifts nothing elsewhere.
#[must_use]
pub fn stream(seed: u64, label: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    let start = mix(seed) ^ prompt_hash(label);
    for (word, counter) in key.chunks_exact_mut(8).zip(1u64..) {
        word.copy_from_slice(&mix(start.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// One request of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it is sent.
    pub at: Timestamp,
    /// Its tokens.
    pub lengths: Lengths,
}

/// A schedule at one request per second on average, to be played at any rate.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitSchedule {
    /// Time of each request in mean gaps since the start; the last is the number of requests.
    times: Vec<f64>,
    lengths: Vec<Lengths>,
}

impl UnitSchedule {
    /// Draws `n_requests` from an arrival process and a length mix.
    ///
    /// # Panics
    /// When the mix is empty or a coefficient of variation is not positive: both are refused when a workload is read.
    #[must_use]
    pub fn draw(arrivals: Arrivals, mix: &[Lengths], n_requests: usize, seed: u64) -> Self {
        Self {
            times: unit_times(arrivals, n_requests, &mut stream(seed, "arrivals")),
            lengths: draw_lengths(mix, n_requests, &mut stream(seed, "lengths")),
        }
    }

    /// The requests of a recorded trace: seconds since its start, rising, with the lengths of each.
    #[must_use]
    pub fn replay(trace: &[(f64, Lengths)]) -> Self {
        let mut times: Vec<f64> = trace.iter().map(|(at, _)| *at).collect();
        scale_to_unit_rate(&mut times);
        Self {
            times,
            lengths: trace.iter().map(|(_, lengths)| *lengths).collect(),
        }
    }

    /// How many requests there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The requests at a rate above 0.
    pub fn at_rate(&self, rate: RequestsPerSecond) -> impl Iterator<Item = Arrival> + Clone + '_ {
        let gap = 1.0 / rate.value();
        self.times
            .iter()
            .zip(&self.lengths)
            .map(move |(time, lengths)| Arrival {
                at: Timestamp::from_seconds(time * gap),
                lengths: *lengths,
            })
    }

    /// The same, and once more after that.
    #[expect(clippy::cast_precision_loss, reason = "schedules have some thousand requests")]
    pub fn twice_at_rate(&self, rate: RequestsPerSecond) -> impl Iterator<Item = Arrival> + Clone + '_ {
        let span = Timestamp::from_seconds(self.len() as f64 / rate.value());
        let again = self.at_rate(rate).map(move |arrival| Arrival {
            at: Timestamp(arrival.at.0 + span.0),
            ..arrival
        });
        self.at_rate(rate).chain(again)
    }

    /// Time of each request in mean gaps since the start.
    #[must_use]
    pub fn unit_times(&self) -> &[f64] {
        &self.times
    }

    /// The requests in order, all at once: what an overload test plays.
    pub fn lengths(&self) -> &[Lengths] {
        &self.lengths
    }
}

fn unit_times(arrivals: Arrivals, n_requests: usize, random: &mut impl Rng) -> Vec<f64> {
    let mut gap: Box<dyn FnMut() -> f64> = match arrivals {
        Arrivals::Poisson => Box::new(move || Exp1.sample(random)),
        Arrivals::Constant => Box::new(|| 1.0),
        Arrivals::Gamma { cv } => {
            let gaps = Gamma::new(1.0 / (cv * cv), cv * cv).expect("a positive coefficient of variation");
            Box::new(move || gaps.sample(random))
        }
    };
    let mut now = 0.0;
    let mut times: Vec<f64> = (0..n_requests)
        .map(|_| {
            now += gap();
            now
        })
        .collect();
    scale_to_unit_rate(&mut times);
    times
}

#[expect(clippy::cast_precision_loss, reason = "schedules have some thousand requests")]
fn scale_to_unit_rate(times: &mut [f64]) {
    let Some(&span) = times.last().filter(|span| **span > 0.0) else {
        return;
    };
    let scale = times.len() as f64 / span;
    times.iter_mut().for_each(|time| *time *= scale);
}

/// Entries that are shuffled together at least. Dealt out two by two, a mix of two would never repeat itself three times and queues would
/// come out too short.
const SMALLEST_DECK: usize = 1_000;

fn draw_lengths(mix: &[Lengths], n_requests: usize, random: &mut impl Rng) -> Vec<Lengths> {
    assert!(!mix.is_empty(), "a workload has lengths");
    let deck = mix.repeat(SMALLEST_DECK.div_ceil(mix.len()));
    let mut drawn = Vec::with_capacity(n_requests + deck.len());
    while drawn.len() < n_requests {
        let from = drawn.len();
        drawn.extend_from_slice(&deck);
        drawn[from..].shuffle(random);
    }
    drawn.truncate(n_requests);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: [Lengths; 2] = [Lengths { input: 8, output: 2 }, Lengths { input: 64, output: 9 }];

    fn gaps(arrivals: Arrivals) -> Vec<f64> {
        let rate = RequestsPerSecond::new(4.0).unwrap();
        let schedule = UnitSchedule::draw(arrivals, &MIX, 20_000, 7);
        let times: Vec<f64> = schedule.at_rate(rate).map(|arrival| arrival.at.as_seconds()).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn mean_and_cv(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_that_were_asked_for() {
        for (arrivals, wanted) in [
            (Arrivals::Poisson, 1.0),
            (Arrivals::Gamma { cv: 2.5 }, 2.5),
            (Arrivals::Gamma { cv: 0.5 }, 0.5),
            (Arrivals::Constant, 0.0),
        ] {
            let (mean, cv) = mean_and_cv(&gaps(arrivals));
            assert!((mean - 0.25).abs() < 0.001, "{arrivals:?}: {mean}");
            assert!((cv - wanted).abs() < 0.1, "{arrivals:?}: {cv}");
        }
    }

    #[test]
    fn streams_differ_by_label_and_by_seed_and_repeat_by_both() {
        let first = |seed, label| stream(seed, label).next_u64();
        assert_eq!(first(1, "arrivals"), first(1, "arrivals"));
        assert_ne!(first(1, "arrivals"), first(1, "lengths"));
        assert_ne!(first(1, "arrivals"), first(2, "arrivals"));
    }

    #[test]
    fn every_entry_of_the_mix_is_drawn_equally_often() {
        let schedule = UnitSchedule::draw(Arrivals::Poisson, &MIX, 1_000, 3);
        assert_eq!(
            schedule.lengths().iter().filter(|lengths| **lengths == MIX[0]).count(),
            500
        );
    }

    #[test]
    fn a_trace_keeps_its_gaps_in_proportion() {
        let trace = [(1.0, MIX[0]), (2.0, MIX[1]), (6.0, MIX[0])];
        let rate = RequestsPerSecond::new(0.5).unwrap();
        let times: Vec<f64> = UnitSchedule::replay(&trace)
            .at_rate(rate)
            .map(|arrival| arrival.at.as_seconds())
            .collect();
        assert!(
            times
                .iter()
                .zip([1.0, 2.0, 6.0])
                .all(|(found, wanted)| (found - wanted).abs() < 1e-9),
            "{times:?}"
        );
    }
}
