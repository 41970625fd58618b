//! When a second copy of a request is worth sending.

use routerwise_types::{Seconds, Timestamp};

use super::RouterCore;
use crate::decision::{Hedge, HedgeWhy};
use crate::facts::RequestFacts;

impl RouterCore {
    /// When to send a second copy of a request that goes to a replica with this predicted TTFT; nothing where that would not help.
    pub(super) fn hedge(
        &self,
        now: Timestamp,
        facts: &RequestFacts<'_>,
        (model, replica): (usize, usize),
        ttft: Option<f64>,
    ) -> Option<Hedge> {
        let settings = self.routes[facts.route].settings.hedge?;
        if !facts.tried.is_empty() || !self.is_elsewhere(now, model, replica, facts) {
            return None;
        }
        let hedge = |after: f64, why| Hedge {
            after: Seconds::new(after.max(0.0)).unwrap_or(Seconds::ZERO),
            why,
        };
        let late = settings
            .quantile
            .and_then(|quantile| self.models[model].first_tokens.quantile(quantile))
            .map(|after| hedge(after, HedgeWhy::Late));
        let target = self.target(facts).or(settings.target).map(Seconds::value);
        let left = facts.deadline.map(|deadline| deadline.since(now).value());
        let limit = target.into_iter().chain(left).reduce(f64::min);
        let missed = limit
            .zip(ttft)
            .filter(|(limit, ttft)| settings.predicted && ttft > limit);
        let predicted = missed.map(|(limit, _)| {
            // The last moment at which a copy elsewhere can still be in time.
            let elsewhere = self.expected_ttft_elsewhere(now, model, replica, facts);
            hedge(elsewhere.map_or(0.0, |other| limit - other), HedgeWhy::Predicted)
        });
        match (predicted, late) {
            (Some(predicted), Some(late)) if late.after < predicted.after => Some(late),
            (predicted, late) => predicted.or(late),
        }
    }

    /// Whether another replica could take a request.
    fn is_elsewhere(&self, now: Timestamp, model: usize, replica: usize, facts: &RequestFacts<'_>) -> bool {
        let allowed = self.models_of(facts.route).and(facts.allowed);
        super::choose::members(allowed).any(|other| {
            let mut usable = self.usable(now, other, facts);
            usable.any(|ix| (other, ix) != (model, replica))
        })
    }
}

/// Last answers that quantiles are of: enough for the 99th to mean something, few enough to follow the load.
const KEPT: usize = 512;
/// Answers before a quantile is believed.
const LEAST: usize = 64;
/// Answers between two looks at the quantiles.
const EVERY: usize = 16;

/// Times to the first token of a model's last answers.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstTokens {
    /// In a ring.
    last: Vec<f64>,
    next: usize,
    /// The same, rising, as they were some answers ago.
    sorted: Vec<f64>,
}

impl FirstTokens {
    pub(super) fn learn(&mut self, took: Seconds) {
        if self.last.len() < KEPT {
            self.last.push(took.value());
        } else {
            self.last[self.next % KEPT] = took.value();
        }
        self.next = self.next.wrapping_add(1);
        if self.last.len() >= LEAST && self.next.is_multiple_of(EVERY) {
            self.sorted.clone_from(&self.last);
            self.sorted.sort_by(f64::total_cmp);
        }
    }

    /// The time within which this part of them came; nothing while there are too few.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        #[expect(clippy::cast_possible_truncation, reason = "a rank among at most 512")]
        let rank = (quantile.clamp(0.0, 1.0) * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(first_tokens: &mut FirstTokens, times: impl IntoIterator<Item = f64>) {
        times
            .into_iter()
            .for_each(|time| first_tokens.learn(Seconds::new(time).unwrap()));
    }

    #[test]
    fn a_quantile_is_that_of_the_last_answers() {
        let mut times = FirstTokens::default();
        learn(&mut times, (0..63).map(f64::from));
        assert_eq!(times.quantile(0.5), None, "too few");
        learn(&mut times, [63.0]);
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() - wanted).abs() < 1e-9;
        assert!(near(times.quantile(0.5), 31.0) && near(times.quantile(1.0), 63.0));
        learn(&mut times, (0..512).map(|_| 7.0));
        assert!(near(times.quantile(0.01), 7.0) && near(times.quantile(0.99), 7.0));
        assert_eq!(times.last.len(), KEPT);
    }
}
