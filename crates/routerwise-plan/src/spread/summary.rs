//! What a spread comes to: best, worst, quantiles and a histogram, for each limit on what can be placed.

use routerwise_types::answer::setups::{PlacementLimit, SpreadOf};

use super::SetupQuality;

/// All limits, from the loosest to what really fits.
pub const LIMITS: [PlacementLimit; 4] = [
    PlacementLimit::Compute,
    PlacementLimit::FirstFitMemory,
    PlacementLimit::Shares,
    PlacementLimit::SharesAndMemory,
];

const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// The setups that a limit allows, summed up. `edges` are the borders of the histogram's bins.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "setups are counted one by one")]
pub fn spread_of(setups: &[SetupQuality], limit: PlacementLimit, edges: &[f64]) -> SpreadOf {
    let allowed: Vec<&SetupQuality> = setups.iter().filter(|setup| allows(limit, setup)).collect();
    let mut qualities: Vec<f64> = allowed.iter().filter_map(|setup| setup.quality).collect();
    qualities.sort_by(f64::total_cmp);
    let n_infeasible = allowed.iter().filter(|setup| setup.upper_bound.is_none()).count();
    let n = qualities.len();
    let left_open = allowed
        .iter()
        .filter_map(|setup| Some(setup.upper_bound? - setup.quality?));
    SpreadOf {
        limit,
        n_setups: allowed.len() as u64,
        n_feasible: n as u64,
        n_undecided: (allowed.len() - n_infeasible - n) as u64,
        best: qualities.last().copied(),
        worst: qualities.first().copied(),
        mean: (n > 0).then(|| qualities.iter().sum::<f64>() / n as f64),
        quantiles: QUANTILES
            .iter()
            .filter_map(|q| Some((*q, quantile(&qualities, *q)?)))
            .collect(),
        histogram: edges.windows(2).map(|bin| counted(&qualities, bin, edges)).collect(),
        largest_gap: left_open.fold(0.0, f64::max),
    }
}

/// Round borders of at most [`MOST_BINS`] equal bins over all qualities; none without one.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "qualities lie in 0 to 1, widths are at least 1e-6"
)]
pub fn edges(setups: &[SetupQuality]) -> Vec<f64> {
    let qualities = setups.iter().filter_map(|setup| setup.quality);
    let (low, high) = qualities.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), q| {
        (low.min(q), high.max(q))
    });
    if low > high {
        return Vec::new();
    }
    let widths = (-6..=0).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let bins = |width: f64| ((low / width).floor() as i64, ((high / width).floor() as i64) + 1);
    let mut fitting = widths.map(|width| (width, bins(width)));
    let fits = fitting.find(|(_, (first, end))| end - first <= MOST_BINS);
    let (width, (first, end)) = fits.unwrap_or((1.0, (0, 1)));
    (first..=end).map(|bin| bin as f64 * width).collect()
}

/// Most bins of a histogram.
const MOST_BINS: i64 = 20;

fn allows(limit: PlacementLimit, setup: &SetupQuality) -> bool {
    match limit {
        PlacementLimit::Compute => true,
        PlacementLimit::FirstFitMemory => setup.first_fit,
        PlacementLimit::Shares => setup.placeable,
        PlacementLimit::SharesAndMemory => setup.placeable_with_memory,
    }
}

/// Linear between order statistics.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the number of setups"
)]
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q * sorted.len().checked_sub(1)? as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64))
}

fn counted(sorted: &[f64], bin: &[f64], edges: &[f64]) -> u64 {
    let is_last = edges.last().is_some_and(|last| last.total_cmp(&bin[1]).is_eq());
    let within = |quality: &&f64| bin[0] <= **quality && (**quality < bin[1] || is_last);
    sorted.iter().filter(within).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(quality: Option<f64>, placeable: bool) -> SetupQuality {
        SetupQuality {
            candidates: vec![0],
            quality,
            upper_bound: quality.map(|quality| quality + 1e-5),
            fractions: vec![1.0],
            first_fit: true,
            placeable,
            placeable_with_memory: false,
        }
    }

    #[test]
    fn setups_are_summed_up_by_what_can_be_placed() {
        let setups = [
            setup(Some(0.3), true),
            setup(Some(0.5), false),
            setup(Some(0.4), true),
            setup(None, true),
        ];
        let edges = [0.3, 0.4, 0.5];
        assert!(super::edges(&setups).len() <= 21);
        let all = spread_of(&setups, PlacementLimit::Compute, &edges);
        assert_eq!((all.n_setups, all.n_feasible, all.n_undecided), (4, 3, 0));
        assert_eq!(
            (all.best, all.worst, all.quantiles[2]),
            (Some(0.5), Some(0.3), (0.5, 0.4))
        );
        assert_eq!(all.histogram, [1, 2]);
        assert!((all.largest_gap - 1e-5).abs() < 1e-12);
        let placeable = spread_of(&setups, PlacementLimit::Shares, &edges);
        assert_eq!((placeable.n_setups, placeable.best), (3, Some(0.4)));
        let none = spread_of(&setups, PlacementLimit::SharesAndMemory, &edges);
        assert_eq!((none.n_setups, none.best, none.quantiles.len()), (0, None, 0));
    }
}
