//! Latency by what is in flight, instead of by load.
//!
//! A profile says latency at a load `x`; by Little's law `n = x·E2E(x)` requests are in flight there. Read backwards, what is in flight
//! on a replica says how long the next request will wait. Beyond the last load every further request waits for one more to be done.

use crate::curves::ModelCurves;

/// Latency of one replica by what is in flight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Occupancy {
    corners: Vec<Corner>,
    capacity: f64,
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Corner {
    load: f64,
    in_flight: f64,
    latency: Latency,
}

/// Mean latencies, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) ttft: f64,
    pub(crate) tpot: f64,
    pub(crate) e2e: f64,
}

impl Occupancy {
    pub(crate) fn of(curves: &ModelCurves) -> Self {
        let corners = curves.e2e.corners().map(|(load, e2e)| Corner {
            load,
            in_flight: load * e2e,
            latency: Latency {
                ttft: curves.ttft.at(load).unwrap_or(e2e),
                tpot: curves.tpot.at(load).unwrap_or(0.0),
                e2e,
            },
        });
        Self {
            corners: corners.collect(),
            capacity: curves.e2e.end().max(1e-9),
        }
    }

    /// Most in flight that the profile covers.
    pub(crate) fn most(&self) -> f64 {
        self.corners[self.corners.len() - 1].in_flight
    }

    /// Load at which so many are in flight; the highest of the profile where it covers no more.
    pub(crate) fn load_at(&self, in_flight: f64) -> f64 {
        let after = self.corners.partition_point(|corner| corner.in_flight < in_flight);
        let Some(high) = self.corners.get(after) else {
            return self.capacity;
        };
        let Some(low) = after.checked_sub(1).map(|before| self.corners[before]) else {
            return in_flight / high.latency.e2e.max(1e-12);
        };
        // E2E is linear in load between two corners, so what is in flight is quadratic: x·(a + b·x).
        let b = (high.latency.e2e - low.latency.e2e) / (high.load - low.load);
        let a = low.latency.e2e - b * low.load;
        2.0 * in_flight / (a + (a * a + 4.0 * b * in_flight).max(0.0).sqrt())
    }

    /// Latency of a request that finds so many in flight.
    pub(crate) fn at(&self, in_flight: f64) -> Latency {
        let after = self.corners.partition_point(|corner| corner.in_flight < in_flight);
        let (first, last) = (self.corners[0], self.corners[self.corners.len() - 1]);
        if after == 0 {
            return first.latency;
        }
        if after == self.corners.len() {
            let wait = (in_flight - last.in_flight) / self.capacity;
            return Latency {
                ttft: last.latency.ttft + wait,
                tpot: last.latency.tpot,
                e2e: last.latency.e2e + wait,
            };
        }
        let (low, high) = (self.corners[after - 1], self.corners[after]);
        let part = (in_flight - low.in_flight) / (high.in_flight - low.in_flight);
        let between = |low: f64, high: f64| low + part * (high - low);
        Latency {
            ttft: between(low.latency.ttft, high.latency.ttft),
            tpot: between(low.latency.tpot, high.latency.tpot),
            e2e: between(low.latency.e2e, high.latency.e2e),
        }
    }
}

#[cfg(test)]
mod tests {
    use routerwise_plan::curve::{LatencyCurve, Sample};

    use super::*;

    #[test]
    fn little_s_law_turns_loads_into_requests_in_flight() {
        let curve = |values: [f64; 3]| {
            let points = [1.0, 2.0, 4.0].iter().zip(values);
            let samples: Vec<Sample> = points
                .map(|(load, value)| Sample {
                    load: *load,
                    value,
                    weight: 1,
                })
                .collect();
            LatencyCurve::new(&samples, 4.0).unwrap()
        };
        let occupancy = Occupancy::of(&ModelCurves {
            ttft: curve([0.1, 0.2, 0.8]),
            tpot: curve([0.01, 0.02, 0.04]),
            e2e: curve([1.0, 2.0, 4.0]),
            rows: Vec::new(),
            load_most: 4.0,
            reach: vec![Some(4.0)],
            mean_input_tokens: 100.0,
        });
        let ttft = |n: f64| occupancy.at(n).ttft;
        assert!((ttft(0.0) - 0.1).abs() < 1e-12 && (ttft(4.0) - 0.2).abs() < 1e-12);
        assert!((ttft(10.0) - 0.5).abs() < 1e-12);
        assert!(
            (ttft(24.0) - (0.8 + 2.0)).abs() < 1e-12,
            "8 more than at capacity take 2 s at 4/s"
        );
    }
}
