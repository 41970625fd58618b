//! The best routing at given fractions: every prompt to one model, every model with its number of prompts, the sum of scores at its most.
//!
//! Starts from every prompt at its best model and moves prompts, one at a time, along the cheapest chain of models from one that has too
//! many to one that has too few. Each step is a shortest path, so the result is exact (it is min-cost flow with models as nodes).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The model of each prompt; `fractions` sum to 1. Ties go to the earlier prompt and model.
#[must_use]
pub fn assign(scores: &[Vec<f32>], fractions: &[f64]) -> Vec<usize> {
    let n_prompts = scores.first().map_or(0, Vec::len);
    let mut routing = Routing::new(scores, counts(fractions, n_prompts), n_prompts);
    while let Some(path) = routing.cheapest_path() {
        for step in path.windows(2) {
            routing.shift(step[0], step[1]);
        }
    }
    routing.model_of
}

/// Whole numbers of prompts nearest to the fractions, with the right sum.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "parts of a number of prompts"
)]
fn counts(fractions: &[f64], n_prompts: usize) -> Vec<usize> {
    let wanted = fractions.iter().map(|fraction| (fraction * n_prompts as f64).max(0.0));
    let mut counts: Vec<usize> = wanted.clone().map(|wanted| wanted.floor() as usize).collect();
    let mut order: Vec<(f64, usize)> = wanted.enumerate().map(|(at, wanted)| (wanted.fract(), at)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let missing = n_prompts.saturating_sub(counts.iter().sum());
    for at in 0..missing {
        counts[order[at % order.len()].1] += 1;
    }
    counts
}

/// A prompt that could leave a model for another, by what that costs.
#[derive(Clone, Copy, PartialEq)]
struct Move {
    loss: f64,
    prompt: usize,
}

impl Eq for Move {}

impl PartialOrd for Move {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Heaps give their largest: the least loss.
impl Ord for Move {
    fn cmp(&self, other: &Self) -> Ordering {
        other.loss.total_cmp(&self.loss).then(other.prompt.cmp(&self.prompt))
    }
}

struct Routing<'a> {
    scores: &'a [Vec<f32>],
    model_of: Vec<usize>,
    /// Prompts too many, by model.
    excess: Vec<isize>,
    /// Moves from each model to each other. Those of prompts that have left since are dropped when they come up.
    moves: Vec<Vec<BinaryHeap<Move>>>,
}

impl<'a> Routing<'a> {
    fn new(scores: &'a [Vec<f32>], counts: Vec<usize>, n_prompts: usize) -> Self {
        let n_models = scores.len();
        let mut routing = Self {
            scores,
            model_of: vec![0; n_prompts],
            excess: counts.into_iter().map(|count| -(count as isize)).collect(),
            moves: vec![vec![BinaryHeap::new(); n_models]; n_models],
        };
        let best = |prompt: usize| {
            let better = |a: &usize, b: &usize| scores[*a][prompt].total_cmp(&scores[*b][prompt]).then(b.cmp(a));
            (0..n_models).max_by(better).unwrap_or(0)
        };
        for prompt in 0..n_prompts {
            routing.put(prompt, best(prompt));
        }
        routing
    }

    fn put(&mut self, prompt: usize, model: usize) {
        self.model_of[prompt] = model;
        self.excess[model] += 1;
        let here = f64::from(self.scores[model][prompt]);
        for (to, heap) in self.moves[model].iter_mut().enumerate().filter(|(to, _)| *to != model) {
            let loss = here - f64::from(self.scores[to][prompt]);
            heap.push(Move { loss, prompt });
        }
    }

    /// The cheapest prompt to move from one model to another.
    fn best_move(&mut self, from: usize, to: usize) -> Option<Move> {
        let heap = &mut self.moves[from][to];
        while let Some(found) = heap.peek() {
            if self.model_of[found.prompt] == from {
                return Some(*found);
            }
            heap.pop();
        }
        None
    }

    fn shift(&mut self, from: usize, to: usize) {
        let found = self.best_move(from, to).expect("a path has a prompt on each step");
        self.excess[from] -= 1;
        self.put(found.prompt, to);
    }

    /// From a model with too many prompts to one with too few (Bellman and Ford); `None` when all have what they should.
    fn cheapest_path(&mut self) -> Option<Vec<usize>> {
        let n = self.scores.len();
        let mut cost: Vec<f64> = self
            .excess
            .iter()
            .map(|excess| if *excess > 0 { 0.0 } else { f64::INFINITY })
            .collect();
        let mut before: Vec<Option<usize>> = vec![None; n];
        let edges: Vec<(usize, usize, f64)> = (0..n)
            .flat_map(|from| (0..n).filter(move |to| *to != from).map(move |to| (from, to)))
            .filter_map(|(from, to)| Some((from, to, self.best_move(from, to)?.loss)))
            .collect();
        for _ in 1..n {
            let mut has_changed = false;
            for (from, to, loss) in &edges {
                let by_here = cost[*from] + loss;
                // Losses are differences of f32: what is less by less is rounding, and could make a path bite its tail.
                if by_here < cost[*to] - 1e-9 {
                    (cost[*to], before[*to], has_changed) = (by_here, Some(*from), true);
                }
            }
            if !has_changed {
                break;
            }
        }
        let lacking = (0..n).filter(|model| self.excess[*model] < 0 && cost[*model].is_finite());
        let mut path = vec![lacking.min_by(|a, b| cost[*a].total_cmp(&cost[*b]))?];
        while let Some(from) = before[path[path.len() - 1]] {
            if path.contains(&from) {
                break;
            }
            path.push(from);
        }
        path.reverse();
        (self.excess[path[0]] > 0).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(scores: &[Vec<f32>], routing: &[usize]) -> f64 {
        routing
            .iter()
            .enumerate()
            .map(|(prompt, model)| f64::from(scores[*model][prompt]))
            .sum()
    }

    /// Every routing with the right counts.
    fn by_enumeration(scores: &[Vec<f32>], counts: &[usize]) -> f64 {
        let (n_models, n_prompts) = (scores.len(), scores[0].len());
        let mut best = f64::NEG_INFINITY;
        for code in 0..n_models.pow(u32::try_from(n_prompts).unwrap()) {
            let routing: Vec<usize> = (0..n_prompts)
                .map(|at| code / n_models.pow(u32::try_from(at).unwrap()) % n_models)
                .collect();
            if (0..n_models).all(|model| routing.iter().filter(|m| **m == model).count() == counts[model]) {
                best = best.max(total(scores, &routing));
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_routing_with_the_same_counts_is_better(
            scores in prop::collection::vec(prop::collection::vec(0..5_u8, 7), 3),
            a in 0..6_u8, b in 0..6_u8,
        ) {
            let scores: Vec<Vec<f32>> = scores.iter().map(|column| column.iter().map(|s| f32::from(*s) / 4.0).collect()).collect();
            let total_parts = f64::from(a + b + 1);
            let fractions = [f64::from(a) / total_parts, f64::from(b) / total_parts, 1.0 / total_parts];
            let routing = assign(&scores, &fractions);
            let counts: Vec<usize> = (0..3).map(|model| routing.iter().filter(|m| **m == model).count()).collect();
            for (count, fraction) in counts.iter().zip(fractions) {
                prop_assert!((*count as f64 - 7.0 * fraction).abs() < 1.0);
            }
            prop_assert!((total(&scores, &routing) - by_enumeration(&scores, &counts)).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_to_route_is_no_trouble() {
        assert!(assign(&[], &[]).is_empty());
        assert!(assign(&[vec![], vec![]], &[0.5, 0.5]).is_empty());
    }
}
