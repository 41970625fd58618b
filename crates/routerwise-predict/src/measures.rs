//! How good predictions are by themselves: order and calibration.

use routerwise_types::answer::predictors::Bin;

/// How often a good answer was predicted above a bad one of the same part of the test, ties counting half; `None` where all answers are
/// alike. `parts` lists the rows of each.
#[must_use]
pub fn auc(predicted: &[f32], labels: &[f32], parts: &[Vec<usize>]) -> Option<f64> {
    let (mut wins, mut n_pairs) = (0.0, 0.0);
    for rows in parts {
        let (won, n) = ordered_pairs(predicted, labels, rows);
        wins += won;
        n_pairs += n;
    }
    (n_pairs > 0.0).then(|| wins / n_pairs)
}

/// Pairs of a good and a bad answer that are in the right order, and all of them.
#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
fn ordered_pairs(predicted: &[f32], labels: &[f32], rows: &[usize]) -> (f64, f64) {
    let mut order: Vec<(f32, bool)> = rows.iter().map(|row| (predicted[*row], labels[*row] >= 0.5)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_good = order.iter().filter(|(_, is_good)| *is_good).count() as f64;
    let n_bad = order.len() as f64 - n_good;
    let (mut n_bad_below, mut wins) = (0.0, 0.0);
    for ties in order.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let good = ties.iter().filter(|(_, is_good)| *is_good).count() as f64;
        let bad = ties.len() as f64 - good;
        wins += good * (n_bad_below + bad / 2.0);
        n_bad_below += bad;
    }
    (wins, n_good * n_bad)
}

/// Bins of equal size by predicted score.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
pub fn bins(predicted: &[f32], labels: &[f32], n_bins: usize) -> Vec<Bin> {
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    order.sort_by(|a, b| predicted[*a].total_cmp(&predicted[*b]).then(a.cmp(b)));
    let n = order.len();
    let mean = |rows: &[usize], of: &[f32]| rows.iter().map(|row| f64::from(of[*row])).sum::<f64>() / rows.len() as f64;
    let bin = |rows: &[usize]| Bin {
        n: rows.len(),
        predicted: mean(rows, predicted),
        observed: mean(rows, labels),
    };
    let bounds = (0..n_bins).map(|at| at * n / n_bins..(at + 1) * n / n_bins);
    bounds
        .filter(|range| !range.is_empty())
        .map(|range| bin(&order[range]))
        .collect()
}

/// Expected calibration error: the mean distance of predicted and observed over the bins.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
pub fn calibration_error(bins: &[Bin]) -> f64 {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let off = |bin: &Bin| bin.n as f64 * (bin.predicted - bin.observed).abs();
    bins.iter().map(off).sum::<f64>() / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_pairs_in_order() {
        let all = [vec![0, 1, 2, 3]];
        let close = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-12);
        close(auc(&[0.1, 0.4, 0.35, 0.8], &[0.0, 0.0, 1.0, 1.0], &all), 0.75);
        close(auc(&[0.5; 4], &[0.0, 1.0, 0.0, 1.0], &all), 0.5);
        assert_eq!(auc(&[0.1, 0.2], &[1.0, 1.0], &[vec![0, 1]]), None);
        // Only answers that one predictor scored are compared.
        let parts = [vec![0, 1], vec![2, 3]];
        close(auc(&[0.8, 0.9, 0.1, 0.2], &[0.0, 1.0, 0.0, 1.0], &parts), 1.0);
    }

    #[test]
    fn calibration_error_is_the_distance_in_the_bins() {
        let predicted = [0.2, 0.2, 0.8, 0.8];
        let found = bins(&predicted, &[0.0, 0.0, 1.0, 0.0], 2);
        assert_eq!(found.len(), 2);
        assert!((calibration_error(&found) - 0.25).abs() < 1e-6);
        assert!(calibration_error(&[]).abs() < 1e-12);
    }
}
