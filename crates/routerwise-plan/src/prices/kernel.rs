//! The hot loop: `A(α) = Σ_x p_x max_i (s_i(x) − α_i)` over all prompts, with the fraction of prompts that each model wins.
//!
//! Scores lie model by model in `f32`. Blocks of [`LANES`] prompts keep the running maximum and its model in registers; the
//! same plain loop is compiled three times (baseline, AVX2, AVX-512) and chosen at run time. Prices enter relative to the
//! lowest one and clamped to 2: scores lie in [0, 1], so a model that much dearer never wins and `f32` stays exact to 1e-7.

use std::collections::HashMap;

const LANES: usize = 16;
/// Blocks whose weighted masses are summed in `f32` before they go to `f64`.
const BLOCKS_PER_SUM: usize = 16;
/// A relative price above which a model never wins.
const NEVER: f64 = 2.0;

/// Scores of `M` models on `N` weighted prompts, identical rows merged.
#[derive(Clone, Debug)]
pub struct ScoreTable {
    n_models: usize,
    n_rows: usize,
    /// `columns[i · n_rows ..][..n_rows]` are model `i`'s scores.
    columns: Vec<f32>,
    /// Weights, summing to 1.
    weights: Vec<f64>,
    weights_f32: Vec<f32>,
    uniform: bool,
    path: Path,
}

/// Which instructions the kernel uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Whatever the build targets.
    Baseline,
    /// 256-bit.
    Avx2,
    /// 512-bit.
    Avx512,
}

/// `A(α)` at one price vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Fraction of prompts that each model wins.
    pub fractions: Vec<f64>,
    /// Mean score of the winners: `A(α) = quality − Σ α_i · fraction_i`.
    pub quality: f64,
}

impl Evaluation {
    /// `A(α)`.
    #[must_use]
    pub fn value(&self, prices: &[f64]) -> f64 {
        self.quality
            - prices
                .iter()
                .zip(&self.fractions)
                .map(|(price, w)| price * w)
                .sum::<f64>()
    }
}

impl ScoreTable {
    /// From one column per model and prompt weights that sum to 1.
    ///
    /// # Panics
    /// When columns and weights differ in length or there are no models.
    #[must_use]
    pub fn new(columns: &[Vec<f32>], weights: &[f64]) -> Self {
        assert!(!columns.is_empty(), "a score table has at least one model");
        assert!(
            columns.iter().all(|column| column.len() == weights.len()),
            "columns are as long as the weights"
        );
        let (columns, weights) = merge_equal_rows(columns, weights);
        let uniform = weights.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 1e-15);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "weights only steer the search; proofs use the f64 ones"
        )]
        let weights_f32 = weights.iter().map(|weight| *weight as f32).collect();
        Self {
            n_models: columns.len(),
            n_rows: weights.len(),
            columns: columns.concat(),
            weights,
            weights_f32,
            uniform,
            path: Path::detect(),
        }
    }

    /// The same table, evaluated with other instructions; for benchmarks and tests.
    #[must_use]
    pub fn with_path(mut self, path: Path) -> Self {
        self.path = path;
        self
    }

    /// Number of models.
    #[must_use]
    pub fn n_models(&self) -> usize {
        self.n_models
    }

    /// Number of distinct rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Weight of a row.
    #[must_use]
    pub fn weight(&self, row: usize) -> f64 {
        self.weights[row]
    }

    /// Score of a model on a row.
    #[must_use]
    pub fn score(&self, model: usize, row: usize) -> f64 {
        f64::from(self.columns[model * self.n_rows + row])
    }

    fn column(&self, model: usize) -> &[f32] {
        &self.columns[model * self.n_rows..][..self.n_rows]
    }

    /// Everybody's best model at these prices: fast, exact to about 1e-6. First model wins a tie.
    pub fn evaluate(&self, prices: &[f64], out: &mut Evaluation) {
        let offsets = relative(prices);
        let mut sums = Sums::new(self.n_models);
        let n_blocks = self.n_rows / LANES;
        self.run_blocks(&offsets, n_blocks, &mut sums);
        for row in n_blocks * LANES..self.n_rows {
            let best = self.best_of(&offsets, row);
            sums.worth += f64::from(best.0) * self.weights[row];
            sums.won[best.1] += self.weights[row];
        }
        // Blocks are summed in f32. A model that gets everything must get exactly 1: a little more, and no capacity suffices.
        let all: f64 = sums.won.iter().sum();
        out.fractions.clear();
        out.fractions.extend(sums.won.iter().map(|won| won / all));
        out.quality = sums.worth / all
            + offsets
                .iter()
                .zip(&out.fractions)
                .map(|(offset, w)| f64::from(*offset) * w)
                .sum::<f64>();
    }

    /// The model that [`ScoreTable::evaluate`] gives a row to at [`relative`] prices: same arithmetic, same ties.
    #[must_use]
    pub(crate) fn winner(&self, relative_prices: &[f32], row: usize) -> usize {
        self.best_of(relative_prices, row).1
    }

    fn best_of(&self, relative_prices: &[f32], row: usize) -> (f32, usize) {
        let mut best = (f32::NEG_INFINITY, 0);
        for (model, offset) in relative_prices.iter().enumerate() {
            let worth = self.column(model)[row] - offset;
            if worth > best.0 {
                best = (worth, model);
            }
        }
        best
    }

    /// `A(α)` in `f64` throughout, for proofs.
    #[must_use]
    pub fn exact_value(&self, prices: &[f64]) -> f64 {
        let mut sum = 0.0;
        for row in 0..self.n_rows {
            let best = (0..self.n_models)
                .map(|model| self.score(model, row) - prices[model])
                .fold(f64::NEG_INFINITY, f64::max);
            sum += self.weights[row] * best;
        }
        sum
    }

    /// The least price of `model` at which no prompt prefers it to every other: `max_x (s_i(x) − max_{j≠i} (s_j(x) − α_j))`.
    #[must_use]
    pub fn least_refusing_price(&self, model: usize, prices: &[f64]) -> f64 {
        let mut least = 0.0f64;
        for row in 0..self.n_rows {
            let others = (0..self.n_models)
                .filter(|other| *other != model)
                .map(|other| self.score(other, row) - prices[other])
                .fold(f64::NEG_INFINITY, f64::max);
            least = least.max(self.score(model, row) - others);
        }
        least
    }

    fn run_blocks(&self, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
        match (self.path, self.uniform) {
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512, true) => dispatch::avx512::<false>(self, offsets, n_blocks, sums),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512, false) => dispatch::avx512::<true>(self, offsets, n_blocks, sums),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, true) => dispatch::avx2::<false>(self, offsets, n_blocks, sums),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, false) => dispatch::avx2::<true>(self, offsets, n_blocks, sums),
            (_, true) => blocks::<false>(self, offsets, n_blocks, sums),
            (_, false) => blocks::<true>(self, offsets, n_blocks, sums),
        }
    }
}

/// Prices above the lowest one, clamped to [`NEVER`].
#[expect(clippy::cast_possible_truncation, reason = "at most NEVER")]
pub(crate) fn relative(prices: &[f64]) -> Vec<f32> {
    let lowest = prices.iter().copied().fold(f64::INFINITY, f64::min);
    prices.iter().map(|price| (price - lowest).min(NEVER) as f32).collect()
}

impl Path {
    /// The widest instructions that this machine has.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// Whether this machine has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        match Self::detect() {
            Self::Avx512 => true,
            Self::Avx2 => self != Self::Avx512,
            Self::Baseline => self == Self::Baseline,
        }
    }
}

struct Sums {
    worth: f64,
    won: Vec<f64>,
    counts: Vec<[i32; LANES]>,
    masses: Vec<[f32; LANES]>,
}

impl Sums {
    fn new(n_models: usize) -> Self {
        Self {
            worth: 0.0,
            won: vec![0.0; n_models],
            counts: vec![[0; LANES]; n_models],
            masses: vec![[0.0; LANES]; n_models],
        }
    }
}

/// The loop itself. Inlined into each of its compilations.
#[inline(always)]
fn blocks<const WEIGHTED: bool>(table: &ScoreTable, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
    let mut start = 0;
    while start < n_blocks {
        let end = (start + BLOCKS_PER_SUM).min(n_blocks);
        let mut worth = [0.0f64; LANES];
        for block in start..end {
            let at = block * LANES;
            let mut best = [f32::NEG_INFINITY; LANES];
            let mut winner = [0i32; LANES];
            for (model, offset) in (0i32..).zip(offsets) {
                let column = &table.columns[(model as usize) * table.n_rows + at..][..LANES];
                for lane in 0..LANES {
                    let value = column[lane] - offset;
                    let better = value > best[lane];
                    best[lane] = if better { value } else { best[lane] };
                    winner[lane] = if better { model } else { winner[lane] };
                }
            }
            if WEIGHTED {
                let weights = &table.weights_f32[at..][..LANES];
                for lane in 0..LANES {
                    worth[lane] += f64::from(best[lane]) * f64::from(weights[lane]);
                }
                for (model, masses) in (0i32..).zip(sums.masses.iter_mut()) {
                    for lane in 0..LANES {
                        masses[lane] += if winner[lane] == model { weights[lane] } else { 0.0 };
                    }
                }
            } else {
                for lane in 0..LANES {
                    worth[lane] += f64::from(best[lane]);
                }
                for (model, counts) in (0i32..).zip(sums.counts.iter_mut()) {
                    for lane in 0..LANES {
                        counts[lane] += i32::from(winner[lane] == model);
                    }
                }
            }
        }
        let scale = if WEIGHTED { 1.0 } else { table.weights[0] };
        sums.worth += scale * worth.iter().sum::<f64>();
        if WEIGHTED {
            for (won, masses) in sums.won.iter_mut().zip(sums.masses.iter_mut()) {
                *won += masses.iter().map(|lane| f64::from(*lane)).sum::<f64>();
                *masses = [0.0; LANES];
            }
        }
        start = end;
    }
    if !WEIGHTED && n_blocks > 0 {
        for (won, counts) in sums.won.iter_mut().zip(&sums.counts) {
            *won += table.weights[0] * f64::from(counts.iter().sum::<i32>());
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the same safe loop compiled for wider instructions")]
mod dispatch {
    use super::{ScoreTable, Sums, blocks};

    pub(super) fn avx2<const WEIGHTED: bool>(table: &ScoreTable, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<const WEIGHTED: bool>(table: &ScoreTable, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
            blocks::<WEIGHTED>(table, offsets, n_blocks, sums);
        }
        assert!(
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            "checked when the path was chosen"
        );
        // SAFETY: the line above has just checked that this CPU has every feature that `compiled` enables.
        unsafe { compiled::<WEIGHTED>(table, offsets, n_blocks, sums) }
    }

    pub(super) fn avx512<const WEIGHTED: bool>(table: &ScoreTable, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        fn compiled<const WEIGHTED: bool>(table: &ScoreTable, offsets: &[f32], n_blocks: usize, sums: &mut Sums) {
            blocks::<WEIGHTED>(table, offsets, n_blocks, sums);
        }
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        assert!(has, "checked when the path was chosen");
        // SAFETY: the line above has just checked that this CPU has every feature that `compiled` enables.
        unsafe { compiled::<WEIGHTED>(table, offsets, n_blocks, sums) }
    }
}

/// Rows with equal scores decide alike: one row with their summed weight does. Order of first appearance is kept.
fn merge_equal_rows(columns: &[Vec<f32>], weights: &[f64]) -> (Vec<Vec<f32>>, Vec<f64>) {
    let n_rows = weights.len();
    let mut seen: HashMap<Vec<u32>, usize> = HashMap::with_capacity(n_rows);
    let mut kept: Vec<usize> = Vec::with_capacity(n_rows);
    let mut merged: Vec<f64> = Vec::with_capacity(n_rows);
    for row in 0..n_rows {
        let key: Vec<u32> = columns.iter().map(|column| column[row].to_bits()).collect();
        let next = kept.len();
        let at = *seen.entry(key).or_insert(next);
        if at == next {
            kept.push(row);
            merged.push(0.0);
        }
        merged[at] += weights[row];
    }
    let columns = columns
        .iter()
        .map(|column| kept.iter().map(|row| column[*row]).collect())
        .collect();
    (columns, merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn random(n_models: usize, n_prompts: usize, levels: u32, weighted: bool, seed: u64) -> ScoreTable {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let columns: Vec<Vec<f32>> = (0..n_models)
            .map(|_| {
                (0..n_prompts)
                    .map(|_| rng.random_range(0..=levels) as f32 / levels as f32)
                    .collect()
            })
            .collect();
        let raw: Vec<f64> = (0..n_prompts)
            .map(|_| if weighted { rng.random_range(0.1..1.0) } else { 1.0 })
            .collect();
        let total: f64 = raw.iter().sum();
        ScoreTable::new(&columns, &raw.iter().map(|w| w / total).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn every_path_agrees_with_the_plain_sum(
            n_models in 1usize..9, n_prompts in 1usize..400, weighted: bool, seed: u64,
            levels in prop::sample::select(vec![1u32, 10, 100_000]),
            prices in prop::collection::vec(0.0f64..1.5, 9), shift in 0.0f64..1e6,
        ) {
            let table = random(n_models, n_prompts, levels, weighted, seed);
            let prices: Vec<f64> = prices[..n_models].iter().map(|p| p + shift).collect();
            let exact = table.exact_value(&prices);
            for path in [Path::Baseline, Path::Avx2, Path::Avx512] {
                if !path.is_available() {
                    continue;
                }
                let mut found = Evaluation::default();
                table.clone().with_path(path).evaluate(&prices, &mut found);
                prop_assert!((found.fractions.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                prop_assert!((found.value(&prices) - exact).abs() < 2e-6 + shift * 1e-6, "{path:?}: {} {exact}", found.value(&prices));
            }
        }
    }

    #[test]
    fn equal_rows_are_merged() {
        let table = ScoreTable::new(&[vec![0.0, 1.0, 0.0], vec![1.0, 0.0, 1.0]], &[0.25, 0.5, 0.25]);
        assert_eq!(table.n_rows(), 2);
        assert!((table.weight(0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_least_refusing_price_is_where_the_last_prompt_leaves() {
        let table = ScoreTable::new(&[vec![0.9, 0.5], vec![0.4, 0.3]], &[0.5, 0.5]);
        let least = table.least_refusing_price(0, &[0.0, 0.1]);
        assert!((least - 0.6).abs() < 1e-6);
    }
}
