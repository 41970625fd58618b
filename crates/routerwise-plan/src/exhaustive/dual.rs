//! Subgradient dual prices of given fractions (Propositions 2 and 3 of the paper).
//!
//! ```text
//! g(α) = A(α) + Σ_i α_i·w_i  ≥  Ŝ(w),     α_i ← α_i + η_t (n_i(α) − w_i),     ∇Ŝ(w) = argmin g
//! ```
//!
//! where `n_i(α)` is the fraction of prompts that model `i` wins.

use routerwise_types::answer::setups::ExhaustiveSteps as Steps;

use crate::prices::kernel::{Evaluation, ScoreTable};

/// Prices that are carried from solve to solve.
#[derive(Clone, Debug)]
pub struct Dual<'a> {
    table: &'a ScoreTable,
    steps: &'a Steps,
    /// The best prices of the last solve.
    pub prices: Vec<f64>,
    is_warm: bool,
    evaluation: Evaluation,
    trial: Vec<f64>,
    /// Solves so far.
    pub solves: u64,
    /// Evaluations so far.
    pub evaluations: u64,
}

impl<'a> Dual<'a> {
    /// Starts at no prices.
    #[must_use]
    pub fn new(table: &'a ScoreTable, steps: &'a Steps) -> Self {
        Self {
            table,
            steps,
            prices: vec![0.0; table.n_models()],
            is_warm: false,
            evaluation: Evaluation::default(),
            trial: Vec::new(),
            solves: 0,
            evaluations: 0,
        }
    }

    /// The least `g` found for these fractions; its prices stay in [`Dual::prices`].
    pub fn solve(&mut self, fractions: &[f64]) -> f64 {
        let steps = self.steps;
        let (first_step, max_steps) = if self.is_warm {
            (steps.warm_price_step, steps.max_warm_price_steps)
        } else {
            (steps.price_step, steps.max_price_steps)
        };
        self.solves += 1;
        self.is_warm = true;
        let mut trial = std::mem::take(&mut self.trial);
        trial.clone_from(&self.prices);
        let mut least = f64::INFINITY;
        for t in 1..=max_steps {
            self.table.evaluate(&trial, &mut self.evaluation);
            self.evaluations += 1;
            let paid: f64 = trial.iter().zip(fractions).map(|(price, w)| price * w).sum();
            let value = self.evaluation.value(&trial) + paid;
            if value < least {
                least = value;
                self.prices.clone_from(&trial);
            }
            let step = first_step / f64::from(t).sqrt();
            let mut mismatch = 0.0f64;
            for ((price, won), w) in trial.iter_mut().zip(&self.evaluation.fractions).zip(fractions) {
                *price += step * (won - w);
                mismatch = mismatch.max((won - w).abs());
            }
            if mismatch <= steps.max_mismatch {
                break;
            }
        }
        self.trial = trial;
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_split_the_prompts_as_asked() {
        // Model 1 is better by 0.01, 0.02, … 1.00: at price p it keeps those above p.
        let gap: Vec<f32> = (1..=100u8).map(|i| f32::from(i) / 100.0).collect();
        let table = ScoreTable::new(&[vec![0.0; 100], gap], &[0.01; 100]);
        let mut dual = Dual::new(&table, &crate::exhaustive::USUAL);
        let quality = dual.solve(&[0.7, 0.3]);
        let difference = dual.prices[1] - dual.prices[0];
        assert!((0.69..=0.71).contains(&difference), "{difference}");
        // The best 30 of 100: 0.71 to 1.00.
        assert!((quality - 0.3 * 0.855).abs() < 1e-3, "{quality}");
    }
}
