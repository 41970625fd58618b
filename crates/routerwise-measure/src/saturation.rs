//! Whether the server fell behind what it was sent.
//!
//! A server that keeps up has, after a while, as many requests in flight at the end of some time as at its start, give or take what
//! chance does. One that does not has ever more: its latency is then a matter of how long one measures. Only the second half
//! of the measured time is looked at, because the first may still be filling an empty server. Where the rate itself goes up, as many more
//! in flight are no sign of anything.

use routerwise_types::Timestamp;
use routerwise_types::answer::bench::Saturation;

/// Part of the arrivals by which the requests in flight must grow to count.
const GROWTH: f64 = 0.05;
/// Standard deviations that chance is allowed. Requests in flight of a server that keeps up vary about as much as Poisson counts, and
/// never by more than what came meanwhile does.
const CHANCE: f64 = 2.0;

/// Judges the time from `from` to `to` by when requests were to be sent and when they were over. Both lists rise.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn judge(intended: &[Timestamp], over: &[Timestamp], from: Timestamp, to: Timestamp) -> Saturation {
    let arrived = |at: Timestamp| intended.partition_point(|time| *time <= at);
    let ended = |at: Timestamp| over.partition_point(|time| *time <= at);
    let in_flight = |at: Timestamp| arrived(at).saturating_sub(ended(at));
    let middle = Timestamp(from.0 + to.0.saturating_sub(from.0) / 2);
    let (before, after) = (in_flight(middle), in_flight(to));
    let quarter = to.0.saturating_sub(from.0) / 4;
    let in_quarter_until = |at: Timestamp| arrived(at) - arrived(Timestamp(at.0.saturating_sub(quarter)));
    let faster = in_quarter_until(to) as f64 / in_quarter_until(middle).max(1) as f64;
    let late_arrivals = (arrived(to) - arrived(middle)) as f64;
    let growth = after as f64 - before as f64 * faster.max(1.0);
    let chance = CHANCE * ((before + after) as f64).min(late_arrivals).sqrt();
    let all = (arrived(to) - arrived(from)) as f64;
    Saturation {
        saturated: late_arrivals > 0.0 && growth > (GROWTH * late_arrivals).max(chance),
        in_flight_before: before,
        in_flight_after: after,
        completed: if all > 0.0 {
            (ended(to) - ended(from)) as f64 / all
        } else {
            1.0
        },
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use routerwise_simulate::arrivals::stream;

    use super::*;

    /// One server with exponential times, from empty.
    fn queue(load: f64, n: usize, seed: u64) -> Saturation {
        let mut random = stream(seed, "queue");
        let mut draw = || -random.random::<f64>().max(1e-12).ln();
        let (mut now, mut free) = (0.0f64, 0.0f64);
        let (mut intended, mut over) = (Vec::new(), Vec::new());
        for _ in 0..n {
            now += draw();
            free = free.max(now) + load * draw();
            intended.push(Timestamp::from_seconds(now));
            over.push(Timestamp::from_seconds(free));
        }
        let at = |part: f64| Timestamp::from_seconds(now * part);
        judge(&intended, &over, at(0.1), at(0.9))
    }

    #[test]
    fn a_queue_below_its_capacity_is_not_called_saturated_and_one_above_is() {
        let saturated = |load| (0..40).filter(|seed| queue(load, 1_000, *seed).saturated).count();
        assert!(saturated(0.5) <= 1);
        assert!(saturated(0.8) <= 2, "{}", saturated(0.8));
        assert!(saturated(1.5) >= 38, "{}", saturated(1.5));
    }

    #[test]
    fn a_rate_that_goes_up_is_no_saturation() {
        // One to twenty a second in a hundred seconds, answers of eight seconds.
        let at = |n: u32| 100.0 * (f64::from(n) / 1_000.0).sqrt();
        let intended: Vec<Timestamp> = (0..1_000).map(|n| Timestamp::from_seconds(at(n))).collect();
        let over: Vec<Timestamp> = (0..1_000).map(|n| Timestamp::from_seconds(at(n) + 8.0)).collect();
        let verdict = judge(
            &intended,
            &over,
            Timestamp::from_seconds(10.0),
            Timestamp::from_seconds(90.0),
        );
        assert!(
            !verdict.saturated && verdict.in_flight_after > verdict.in_flight_before + 40,
            "{verdict:?}"
        );
    }

    #[test]
    fn a_server_that_only_fills_up_is_not_saturated() {
        // Answers take a fifth of the run and nobody waits for anybody.
        let intended: Vec<Timestamp> = (0..1_000)
            .map(|n| Timestamp::from_seconds(f64::from(n) * 0.1))
            .collect();
        let over: Vec<Timestamp> = intended.iter().map(|at| Timestamp(at.0 + 20_000_000_000)).collect();
        let verdict = judge(
            &intended,
            &over,
            Timestamp::from_seconds(10.0),
            Timestamp::from_seconds(90.0),
        );
        assert!(!verdict.saturated, "{verdict:?}");
        assert_eq!((verdict.in_flight_before, verdict.in_flight_after), (200, 200));
    }
}
