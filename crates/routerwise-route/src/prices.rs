//! Prices of a setup that runs, solved in a millisecond from a sample of scores.
//!
//! The problem is the planner's inner one (`routerwise_plan::prices`) with both sides made smooth, so that a Newton step can be taken
//! from wherever prices are now:
//!
//! ```text
//! D(α, β) = A_ε(α) + Σ_k β_k·L_k + Σ_i H_i(α_i, β),     α ≥ 0,  β_least ≤ β ≤ β_most
//! A_ε(α)  = mean over the sample of  ε · ln Σ_i exp((s_i − α_i) / ε)                      prompts
//! H_i     = max over 0 ≤ w ≤ cap of  α_i·w − Σ_k β_k·φ_ik(w) − κ_i(w) − δ/2·w²            models
//! ```
//!
//! `A_ε` is at most `ε · ln(models)` above `A`, and its gradient are the fractions that a draw among nearly equal models meets
//! ([`Smooth::draw`]), so ties need no table. `δ` bends flows where a curve is flat and the offer would otherwise jump. `κ_i` is what
//! others wait for on the model, at the prices of their objectives: it rises with this route's load there.
//!
//! `β ≥ β_least` tells equally good models apart by latency. `L_k` is a little less than the limit, which is 1, or what can be reached where that is more
//! ([`least_value`]); then quality is the second aim. `β ≤ β_most` bounds what may be given up for it. A route that turns
//! requests away has one more choice, worth `−1` and free of charge; then objectives are met by answering fewer.

pub(crate) mod flows;
mod lead;
pub(crate) mod newton;
mod sample;

pub(crate) use flows::{Curve, Pieces, Running, Toll, least_value};
pub(crate) use newton::{Prices, Problem, solve};
pub(crate) use sample::{Merged, Sample};

/// Temperature `ε` of the choice between nearly equal models, in units of score: at most about 0.001 of quality is lost to it.
pub(crate) const TEMPERATURE: f64 = 5e-4;
/// Models further below the best than this many temperatures get nothing.
pub(crate) const REACH: f64 = 12.0;
/// What being turned away is worth: less than the worst answer by a whole unit of score.
pub(crate) const TURNED_AWAY: f64 = -1.0;

/// The smooth choice between models that are nearly equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smooth;

impl Smooth {
    /// Draws in proportion to `exp(worth / ε)` by a number in [0, 1), among at least one.
    pub(crate) fn draw(worth: &[f64], among: impl Iterator<Item = usize> + Clone, uniform: f64) -> Option<usize> {
        let best = among
            .clone()
            .map(|model| worth[model])
            .fold(f64::NEG_INFINITY, f64::max);
        let weight = |model: usize| ((worth[model] - best) / TEMPERATURE).exp();
        let near = among.filter(|model| worth[*model] >= best - REACH * TEMPERATURE);
        let mut near_again = near.clone();
        let first = near_again.next()?;
        if near_again.next().is_none() {
            return Some(first);
        }
        let mut left = uniform * near.clone().map(weight).sum::<f64>();
        let mut last = first;
        for model in near {
            last = model;
            left -= weight(model);
            if left < 0.0 {
                break;
            }
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests;
