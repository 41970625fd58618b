//! What fits on one GPU, in both measures at once, and what that says about setups.
//!
//! A GPU that holds a shard of 71 of its 72 GB has no room for one of 21 GB, whatever shares they take, and one that holds two
//! shards of 40 % none for a third. Rows over one measure miss the two together. Patterns do not: given values `v_j` of some
//! *sizes* `(share, memory)`,
//!
//! ```text
//! F(s, m) = the most value of sizes that fit side by side into (s, m)
//! ```
//!
//! grows at least by the sum when things are put together, so over what one GPU holds `Σ F(shard) ≤ F(GPU)`. Values with `F(GPU) = 1`
//! therefore make a row `Σ_shards F / n ≤ 1` that every packable setup keeps to. They are the duals of cutting stock (Gilmore and
//! Gomory 1961): the fewest GPUs, in fractions of patterns, that hold what a relaxation wants to run.

use crate::prices::master::{Master, Stalled};

/// A part of a GPU and what it is worth in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size {
    /// Share units, at least 1.
    pub(crate) units: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// Part of a GPU's row.
    pub(crate) value: f64,
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) units: u32,
    pub(crate) memory: u64,
}

/// `F` over the sizes it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patterns {
    pub(crate) sizes: Vec<Size>,
    /// `fronts[u]`: memory and value of the best fillings of `u` units, both rising.
    fronts: Vec<Vec<(u64, f64)>>,
}

/// So many shards of one size are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) units: u32,
    pub(crate) memory: u64,
    pub(crate) count: f64,
}

/// Sizes that a row is made from at most: those wanted most.
const MAX_SIZES: usize = 24;
/// Patterns tried at most.
const MAX_PATTERNS: usize = 200;
/// A value below this is none.
const NEGLIGIBLE: f64 = 1e-6;
/// How finely memory is shrunk, in parts of a GPU.
const MEMORY_STEPS: u64 = 1 << 12;

impl Patterns {
    pub(crate) fn new(sizes: Vec<Size>, whole: Whole) -> Self {
        let mut fronts = vec![vec![(0, 0.0)]];
        for units in 1..=whole.units as usize {
            let mut found = fronts[units - 1].clone();
            for size in sizes.iter().filter(|size| size.units as usize <= units) {
                let before = fronts[units - size.units as usize].iter();
                let with = before.map(|(memory, value)| (memory + size.memory, value + size.value));
                found.extend(with.filter(|(memory, _)| *memory <= whole.memory));
            }
            found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
            let mut highest = f64::NEG_INFINITY;
            found.retain(|(_, value)| {
                let better = *value > highest + 1e-12;
                highest = highest.max(*value);
                better
            });
            fronts.push(found);
        }
        Self { sizes, fronts }
    }

    /// `F(s, m)`.
    pub(crate) fn value(&self, units: u32, memory: u64) -> f64 {
        let Some(front) = self.fronts.get(units as usize) else {
            return f64::INFINITY;
        };
        let within = front.partition_point(|(needed, _)| *needed <= memory);
        front[..within].last().map_or(0.0, |(_, value)| *value)
    }

    fn of_whole(&self, whole: Whole) -> f64 {
        self.value(whole.units, whole.memory)
    }
}

/// A row that what is wanted breaks, when it does by more than the part `least`; `n_gpus` of `whole` are there.
pub(crate) fn broken_row(wanted: &[Wanted], whole: Whole, n_gpus: usize, least: f64) -> Option<Patterns> {
    let mut wanted: Vec<Wanted> = wanted
        .iter()
        .copied()
        .filter(|w| w.count > 1e-9 && w.units <= whole.units && w.memory <= whole.memory)
        .collect();
    let footprint = |w: &Wanted| {
        let (share, memory) = (
            f64::from(w.units) / f64::from(whole.units),
            w.memory as f64 / whole.memory as f64,
        );
        w.count * share.max(memory)
    };
    wanted.sort_by(|a, b| {
        footprint(b)
            .total_cmp(&footprint(a))
            .then((a.units, a.memory).cmp(&(b.units, b.memory)))
    });
    wanted.truncate(MAX_SIZES);
    if wanted.is_empty() {
        return None;
    }
    let values = values(&wanted, whole).ok()?;
    let worth: f64 = wanted.iter().zip(&values).map(|(w, value)| w.count * value).sum();
    if worth <= n_gpus as f64 * (1.0 + least) {
        return None;
    }
    let sizes = wanted.iter().zip(values).filter(|(_, value)| *value > NEGLIGIBLE);
    let sizes = sizes.map(|(w, value)| Size {
        units: w.units.max(1),
        memory: w.memory,
        value,
    });
    Some(shrunk(sizes.collect(), whole))
}

/// Duals of cutting stock: no pattern of them is worth more than 1.
fn values(wanted: &[Wanted], whole: Whole) -> Result<Vec<f64>, Stalled> {
    let stock = Stock::solve(wanted, whole)?;
    // Out of patterns: scaled down they are valid, if weak.
    let scale = stock.worth.max(1.0);
    let scale = if scale <= 1.0 + 1e-9 { 1.0 } else { scale };
    Ok(stock.values.into_iter().map(|value| value / scale).collect())
}

/// Patterns that together hold all that is wanted on as few as possible: how many of each size, and how often; those used most first.
pub(crate) fn cut(wanted: &[Wanted], whole: Whole) -> Option<Vec<(Vec<u32>, f64)>> {
    let fitting = |w: &Wanted| w.count > 1e-9 && w.units <= whole.units && w.memory <= whole.memory;
    let of: Vec<usize> = (0..wanted.len()).filter(|at| fitting(&wanted[*at])).collect();
    if of.is_empty() || of.len() > MAX_SIZES {
        return None;
    }
    let some: Vec<Wanted> = of.iter().map(|at| wanted[*at]).collect();
    let stock = Stock::solve(&some, whole).ok()?;
    let spread = |(counts, times): (Vec<u32>, f64)| {
        let mut all = vec![0; wanted.len()];
        of.iter().zip(counts).for_each(|(at, count)| all[*at] = count);
        (all, times)
    };
    let mut cuts: Vec<(Vec<u32>, f64)> = stock.patterns.into_iter().map(spread).collect();
    // Stable: among equals the order in which they were found.
    cuts.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(cuts)
}

/// Cutting stock, solved in fractions of patterns.
struct Stock {
    /// What one more of each size would take, in GPUs.
    values: Vec<f64>,
    /// Worth of the best pattern at these values: 1 where it was solved to the end.
    worth: f64,
    /// Patterns and how often each is used.
    patterns: Vec<(Vec<u32>, f64)>,
}

impl Stock {
    fn solve(wanted: &[Wanted], whole: Whole) -> Result<Self, Stalled> {
        let n = wanted.len();
        let mut master = Master::new(wanted.iter().map(|w| w.count).collect());
        let mut basis = Vec::with_capacity(n);
        let mut columns: Vec<Option<Vec<u32>>> = Vec::new();
        for (row, w) in wanted.iter().enumerate() {
            let by_units = u64::from(whole.units / w.units.max(1));
            let by_memory = whole.memory.checked_div(w.memory).unwrap_or(u64::MAX);
            let fitting = by_units.min(by_memory).max(1);
            basis.push(master.add(-1.0, [(row, fitting as f64)]));
            let mut counts = vec![0; n];
            counts[row] = u32::try_from(fitting).unwrap_or(u32::MAX);
            columns.push(Some(counts));
            master.add(0.0, [(row, -1.0)]);
            columns.push(None);
        }
        master.start(basis)?;
        let mut found = (Vec::new(), f64::INFINITY);
        for _ in 0..MAX_PATTERNS {
            master.optimise()?;
            let values: Vec<f64> = master.duals().iter().map(|dual| (-dual).max(0.0)).collect();
            let (worth, counts) = best_pattern(wanted, &values, whole);
            found = (values, worth);
            if worth <= 1.0 + 1e-9 {
                break;
            }
            let entries = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            master.add(-1.0, entries.map(|(row, count)| (row, f64::from(*count))));
            columns.push(Some(counts));
        }
        let used = master.solution().filter(|(_, times)| *times > 1e-9);
        let patterns = used.filter_map(|(column, times)| Some((columns[column].clone()?, times)));
        Ok(Self {
            patterns: patterns.collect(),
            values: found.0,
            worth: found.1,
        })
    }
}

/// The pattern worth most, and how many of each size it holds.
fn best_pattern(wanted: &[Wanted], values: &[f64], whole: Whole) -> (f64, Vec<u32>) {
    let sizes = wanted.iter().zip(values).map(|(w, value)| Size {
        units: w.units.max(1),
        memory: w.memory,
        value: *value,
    });
    let useful: Vec<(usize, Size)> = sizes.enumerate().filter(|(_, size)| size.value > NEGLIGIBLE).collect();
    let patterns = Patterns::new(useful.iter().map(|(_, size)| *size).collect(), whole);
    let mut counts = vec![0; wanted.len()];
    let (mut units, mut memory) = (whole.units, whole.memory);
    loop {
        let here = patterns.value(units, memory);
        let next = useful.iter().find(|(_, size)| {
            size.units <= units
                && size.memory <= memory
                && patterns.value(units - size.units, memory - size.memory) + size.value >= here - 1e-9
        });
        match next.filter(|_| here > NEGLIGIBLE) {
            Some((row, size)) => {
                counts[*row] += 1;
                units -= size.units;
                memory -= size.memory;
            }
            None => return (patterns.of_whole(whole), counts),
        }
    }
}

/// Makes sizes smaller while no pattern is worth more: the row then speaks of other shards, too.
fn shrunk(mut sizes: Vec<Size>, whole: Whole) -> Patterns {
    let worth = Patterns::new(sizes.clone(), whole).of_whole(whole);
    // Never above 1, whatever rounding did.
    let scale = worth.max(1.0);
    sizes.iter_mut().for_each(|size| size.value /= scale);
    let most = worth / scale + 1e-12;
    let fits = |sizes: &[Size]| Patterns::new(sizes.to_vec(), whole).of_whole(whole) <= most;
    for at in 0..sizes.len() {
        let units = least(u64::from(sizes[at].units), 1, 1, |units| {
            let mut tried = sizes.clone();
            tried[at].units = u32::try_from(units).unwrap_or(u32::MAX);
            fits(&tried)
        });
        sizes[at].units = u32::try_from(units).unwrap_or(u32::MAX);
        let step = (whole.memory / MEMORY_STEPS).max(1);
        sizes[at].memory = least(sizes[at].memory, 0, step, |memory| {
            let mut tried = sizes.clone();
            tried[at].memory = memory;
            fits(&tried)
        });
    }
    Patterns::new(sizes, whole)
}

/// The least value from `low` up to `high` that passes, to within `step`; `high` does.
fn least(high: u64, low: u64, step: u64, passes: impl Fn(u64) -> bool) -> u64 {
    if high <= low || passes(low) {
        return low.min(high);
    }
    let (mut fails, mut holds) = (low, high);
    while holds - fails > step {
        let middle = fails + (holds - fails) / 2;
        if passes(middle) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Whole = Whole { units: 10, memory: 72 };

    fn wanted(units: u32, memory: u64, count: f64) -> Wanted {
        Wanted { units, memory, count }
    }

    /// Nine pairs of shards that leave no memory, and 36 of which two fill a GPU's shares: 36 GPUs, where each measure alone says 29.
    #[test]
    fn sizes_that_exclude_each_other_in_different_measures_add_up() {
        let all = [wanted(6, 71, 18.0), wanted(4, 21, 36.0)];
        assert!(broken_row(&all, WHOLE, 36, 1e-6).is_none());
        let row = broken_row(&all, WHOLE, 35, 1e-6).unwrap();
        let worth = 18.0 * row.value(6, 71) + 36.0 * row.value(4, 21);
        assert!((worth - 36.0).abs() < 1e-6, "{worth}");
        // The row speaks of a smaller share of the same model, too.
        assert!((row.value(1, 71) - 1.0).abs() < 1e-9, "{row:?}");
    }

    proptest! {
        #[test]
        fn what_fits_on_a_gpu_keeps_to_every_row(
            sizes in prop::collection::vec((1u32..=10, 0u64..=72, 0.1f64..30.0), 1..8),
            shards in prop::collection::vec((1u32..=10, 0u64..=72), 1..12),
        ) {
            let all: Vec<Wanted> = sizes.iter().map(|(u, m, n)| wanted(*u, *m, *n)).collect();
            let Some(row) = broken_row(&all, WHOLE, 1, -1.0) else { return Ok(()) };
            let (mut units, mut memory, mut sum) = (10u32, 72u64, 0.0);
            for (u, m) in shards {
                if u <= units && m <= memory {
                    units -= u;
                    memory -= m;
                    sum += row.value(u, m);
                }
            }
            prop_assert!(sum <= 1.0 + 1e-9, "{sum}");
            for w in &all {
                prop_assert!(row.value(w.units, w.memory) >= 0.0);
            }
        }
    }
}
