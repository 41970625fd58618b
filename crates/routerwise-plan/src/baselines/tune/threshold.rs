//! A strong and a weak model, and a threshold on what the strong one is predicted to gain (`RouteLLM`, Ong et al. 2024).

use routerwise_types::comparison::RoutingRule;

use super::{Merit, Tuned, Tuner, keep};
use crate::baselines::rule::{Rule, SAME_SCORE, Ways, mean_score};

/// Shares of prompts for the strong model that are tried, and then between the two around the best.
const N_SHARES: u32 = 200;

/// Prompts by falling gain: groups of equal gain.
struct Gains {
    /// Gain, weight of the group, and what the strong model adds on it in all.
    groups: Vec<(f64, f64, f64)>,
    weak_quality: f64,
}

impl Gains {
    fn new(tuner: &Tuner<'_>, weak: usize, strong: usize) -> Self {
        let table = tuner.table();
        let gain = |row: usize| table.score(strong, row) - table.score(weak, row);
        let mut rows: Vec<(f64, f64)> = (0..table.n_rows()).map(|row| (gain(row), table.weight(row))).collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let groups = rows.chunk_by(|a, b| (a.0 - b.0).abs() <= SAME_SCORE).map(|group| {
            let weight = group.iter().map(|(_, weight)| weight).sum();
            (
                group[0].0,
                weight,
                group.iter().map(|(gain, weight)| gain * weight).sum(),
            )
        });
        Self {
            groups: groups.collect(),
            weak_quality: mean_score(table, weak),
        }
    }

    /// Threshold, part of the prompts on it, and quality when the strong model gets a share of the prompts.
    fn at_share(&self, share: f64) -> (f64, f64, f64) {
        let mut left = share;
        let mut quality = self.weak_quality;
        for (gain, weight, added) in &self.groups {
            if *weight >= left {
                let part = if *weight > 0.0 { left / weight } else { 0.0 };
                return (*gain, part, quality + part * added);
            }
            left -= weight;
            quality += added;
        }
        (-2.0, 1.0, quality)
    }
}

pub(super) fn tuned(tuner: &Tuner<'_>) -> Tuned {
    let mean = |model: usize| mean_score(tuner.table(), model);
    let mut best: Option<(Merit, (usize, usize, f64))> = None;
    let n = tuner.problem.models.len();
    for weak in &tuner.by_cost {
        for strong in tuner
            .by_cost
            .iter()
            .filter(|strong| *strong != weak && mean(**strong) >= mean(*weak))
        {
            let gains = Gains::new(tuner, *weak, *strong);
            let mut look = |share: f64| {
                let mut fractions = vec![0.0; n];
                (fractions[*weak], fractions[*strong]) = (1.0 - share, share);
                let merit = tuner.merit(&Ways::direct(&fractions, gains.at_share(share).2));
                keep(&mut best, merit, || (*weak, *strong, share));
                best.as_ref()
                    .filter(|(_, found)| (found.0, found.1) == (*weak, *strong))
                    .map(|(_, found)| found.2)
            };
            let step = 1.0 / f64::from(N_SHARES);
            let mut found = None;
            for i in 0..=N_SHARES {
                found = look(f64::from(i) * step);
            }
            if let Some(middle) = found {
                for i in 0..=2 * N_SHARES {
                    look((middle + step * (f64::from(i) * step - 1.0)).clamp(0.0, 1.0));
                }
            }
        }
    }
    let (_, (weak, strong, share)) =
        best.expect("two models run, and one of them scores at least as high as the other");
    let (gain, part, _) = Gains::new(tuner, weak, strong).at_share(share);
    Tuned {
        routing: RoutingRule::Threshold,
        parameters: format!(
            "{} instead of {} where it gains more than {gain:.4} ({:.1} % of the prompts)",
            tuner.name(strong),
            tuner.name(weak),
            100.0 * share
        ),
        rule: Rule::Threshold {
            weak,
            strong,
            gain,
            part,
        },
    }
}
