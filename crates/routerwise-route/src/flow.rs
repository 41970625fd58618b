//! What a model gets done, and what is in flight on it meanwhile: how much faster or slower it is than its profile, for whatever reason.
//!
//! A replica that takes `σ` times as long for everything has `E2E'(x) = σ·E2E(σ·x)`, so by Little's law `x·E2E'(x) = N(σ·x)` requests are
//! in flight at load `x`, with `N` those of the profile. Read backwards, `σ = N⁻¹(n) / x` follows from two numbers that a router
//! counts itself: what is in flight and what is done per second. Near the knee `N` is steep, so `σ` is known well there; where it is flat `σ` matters little.
//! It also knows what time per token does not: longer answers, more memory for caches than the profile had, and queues that are
//! shorter because requests avoid them.

use routerwise_types::Timestamp;

use crate::curves::ModelCurves;
use crate::occupancy::Occupancy;

/// Time constant of all means, in seconds: that of the calm rate.
const WINDOW: f64 = 40.0;
/// Answers that weigh as much as what was believed before.
const DOUBT: f64 = 3.0;
/// What is found may differ by these factors: from the speed of the engines, and from the profile's time to the first token.
const SLOWER_MOST: f64 = 2.0;
const LATER_MOST: f64 = 4.0;

/// Fading sums over one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    at: Timestamp,
    seconds: f64,
    /// Requests in flight, times seconds.
    in_flight: f64,
    done: f64,
    /// Seconds to the first token, and of how many answers.
    ttft: f64,
    first_tokens: f64,
    /// What is believed without answers, relative to the engines.
    before: Measured,
}

/// What a model is like, relative to its profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// `σ`.
    pub(crate) slowness: f64,
    /// Time to the first token, relative to the profile's where so much is in flight.
    pub(crate) lateness: f64,
}

impl Measured {
    /// As the profile says, by engines that are so slow.
    pub(crate) fn as_profiled(engines: f64) -> Self {
        Self {
            slowness: engines,
            lateness: 1.0,
        }
    }

    pub(crate) fn relative_to(self, engines: f64) -> Self {
        Self {
            slowness: self.slowness / engines,
            ..self
        }
    }
}

impl Flow {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self::after(now, Measured::as_profiled(1.0))
    }

    /// Nothing counted yet, and a belief to begin with.
    pub(crate) fn after(now: Timestamp, before: Measured) -> Self {
        Self {
            before,
            at: now,
            seconds: 0.0,
            in_flight: 0.0,
            done: 0.0,
            ttft: 0.0,
            first_tokens: 0.0,
        }
    }

    /// Time passes with so much in flight.
    pub(crate) fn pass(&mut self, now: Timestamp, in_flight: f64) {
        let passed = now.since(self.at).value();
        if passed > 0.0 {
            let kept = (-passed / WINDOW).exp();
            let added = WINDOW * (1.0 - kept);
            self.seconds = self.seconds * kept + added;
            self.in_flight = self.in_flight * kept + in_flight * added;
            self.done *= kept;
            self.ttft *= kept;
            self.first_tokens *= kept;
            self.at = now;
        }
    }

    /// A request was answered; time has passed up to now.
    pub(crate) fn done(&mut self, ttft: Option<f64>) {
        self.done += 1.0;
        if let Some(ttft) = ttft {
            self.ttft += ttft;
            self.first_tokens += 1.0;
        }
    }

    /// What the model is like, with the speed of its engines.
    pub(crate) fn measured(
        &self,
        curves: &ModelCurves,
        occupancy: &Occupancy,
        n_replicas: f64,
        engines: f64,
    ) -> Measured {
        if self.done < 1.0 || self.seconds <= 0.0 || n_replicas <= 0.0 {
            return Measured {
                slowness: engines * self.before.slowness,
                lateness: self.before.lateness,
            };
        }
        let per_replica = self.seconds * n_replicas;
        let load = occupancy.load_at(self.in_flight / per_replica);
        let found = load / (self.done / per_replica);
        let slowness = engines * believed(self.done, found / engines, self.before.slowness, SLOWER_MOST);
        let usual = curves.ttft.at(load.min(curves.ttft.end())).unwrap_or(0.0) * slowness;
        let lateness = if self.first_tokens >= 1.0 && usual > 0.0 {
            self.ttft / self.first_tokens / usual
        } else {
            self.before.lateness
        };
        Measured {
            slowness,
            lateness: believed(self.first_tokens, lateness, self.before.lateness, LATER_MOST),
        }
    }
}

/// A ratio as far as so many answers can be believed, and what was believed before for the rest.
fn believed(n: f64, ratio: f64, before: f64, most: f64) -> f64 {
    let log = (n * ratio.max(1e-9).ln() + DOUBT * before.max(1e-9).ln()) / (n + DOUBT);
    log.exp().clamp(1.0 / most, most)
}

#[cfg(test)]
mod tests {
    use routerwise_plan::curve::{LatencyCurve, Sample};

    use super::*;

    /// Latencies of an engine that takes 10 requests/s at most.
    fn curves() -> ModelCurves {
        let curve = |idle: f64| {
            let samples = [0.1, 0.5, 0.8, 0.95].map(|part: f64| Sample {
                load: 10.0 * part,
                value: idle / (1.0 - part),
                weight: 1,
            });
            LatencyCurve::new(&samples, 9.5).expect("rising loads")
        };
        ModelCurves {
            ttft: curve(0.1),
            tpot: curve(0.01),
            e2e: curve(1.0),
            rows: Vec::new(),
            load_most: 9.5,
            reach: vec![Some(9.5)],
            mean_input_tokens: 100.0,
        }
    }

    /// Two replicas that take `slowness` times as long as [`curves`], at a load that is `part` of their capacity.
    fn measured(slowness: f64, part: f64, seconds: u32) -> Measured {
        let (curves, mut flow) = (curves(), Flow::new(Timestamp::START));
        let (load, on_curve) = (9.5 * part / slowness, 9.5 * part);
        let e2e = slowness * curves.e2e.at(on_curve).expect("on the curve");
        let ttft = slowness * curves.ttft.at(on_curve).expect("on the curve");
        let gap = 1.0 / (2.0 * load);
        let mut now = 0.0;
        while now < f64::from(seconds) {
            now += gap;
            flow.pass(Timestamp::from_seconds(now), 2.0 * load * e2e);
            flow.done(Some(ttft));
        }
        flow.measured(&curves, &Occupancy::of(&curves), 2.0, 1.0)
    }

    #[test]
    fn what_is_in_flight_and_done_tells_how_slow_an_engine_is() {
        for slowness in [0.7, 1.0, 1.5] {
            for part in [0.3, 0.6, 0.9] {
                let found = measured(slowness, part, 300);
                assert!(
                    (found.slowness / slowness).ln().abs() < 0.2 * slowness.ln().abs() + 0.02,
                    "{slowness} at {part}: {found:?}"
                );
                assert!(found.lateness.ln().abs() < 0.1, "{slowness} at {part}: {found:?}");
            }
        }
    }

    #[test]
    fn few_answers_are_not_believed() {
        let found = measured(1.9, 0.1, 3);
        assert!(found.slowness < 1.5, "{found:?}");
    }
}
