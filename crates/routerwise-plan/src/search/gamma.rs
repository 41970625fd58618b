//! Prices of the resource rows at given worths of the candidates: those that bound all setups best.
//!
//! ```text
//! minimise  Σ_r γ_r + Σ_i max_c ( H_ic − Σ_r γ_r · taken_cr )    over γ ≥ 0
//! ```
//!
//! is the dual of mixing each model's candidates within the rows: a linear program of a row per model and resource, grown by the
//! candidates that pay at its prices. Whatever it returns proves a bound, so it may stop early.

use crate::prices::master::{Master, Stalled};
use crate::prices::{Offering, costs};
use crate::problem::Problem;

/// Rounds of new candidates; a handful is usual.
const MAX_ROUNDS: u32 = 200;
/// Quality that new candidates must promise.
const NEGLIGIBLE: f64 = 1e-9;
/// Cost of exceeding a row: more than any quality.
const PENALTY: f64 = 100.0;

/// `γ` of each row; `worth` holds `H` of each offering.
pub(crate) fn resource_prices(problem: &Problem, offerings: &[Vec<Offering<'_>>], worth: &[Vec<f64>]) -> Vec<f64> {
    let n_resources = problem.resources.len();
    if n_resources == 0 {
        return Vec::new();
    }
    grow(n_resources, offerings, worth).unwrap_or_else(|Stalled| vec![0.0; n_resources])
}

fn grow(n_resources: usize, offerings: &[Vec<Offering<'_>>], worth: &[Vec<f64>]) -> Result<Vec<f64>, Stalled> {
    let n = offerings.len();
    let mut master = Master::new(vec![1.0; n + n_resources]);
    let add = |master: &mut Master, model: usize, at: usize| {
        let taken = offerings[model][at].takes.iter();
        let entries = taken.map(|(row, part)| (n + *row as usize, *part));
        master.add(worth[model][at], entries.chain([(model, 1.0)]))
    };
    let mut sums = vec![0.0; n_resources];
    let mut basis = Vec::with_capacity(n + n_resources);
    for (model, offerings) in offerings.iter().enumerate() {
        for (row, part) in offerings[0].takes {
            sums[*row as usize] += part;
        }
        basis.push(add(&mut master, model, 0));
    }
    for (row, sum) in sums.into_iter().enumerate() {
        let slack = master.add(0.0, [(n + row, 1.0)]);
        let excess = master.add(-PENALTY, [(n + row, -1.0)]);
        basis.push(if sum <= 1.0 { slack } else { excess });
    }
    master.start(basis)?;
    for _ in 0..MAX_ROUNDS {
        master.optimise()?;
        let rents = master.duals();
        let prices = positive(&rents[n..]);
        let mut added = false;
        for model in 0..n {
            let costs = costs(&offerings[model], &prices);
            let net = |at: usize| worth[model][at] - costs[at];
            let best = (0..offerings[model].len()).max_by(|a, b| net(*a).total_cmp(&net(*b)));
            if let Some(best) = best.filter(|best| net(*best) > rents[model] + NEGLIGIBLE) {
                add(&mut master, model, best);
                added = true;
            }
        }
        if !added {
            break;
        }
    }
    Ok(positive(&master.duals()[n..]))
}

fn positive(duals: &[f64]) -> Vec<f64> {
    duals.iter().map(|dual| dual.max(0.0)).collect()
}
