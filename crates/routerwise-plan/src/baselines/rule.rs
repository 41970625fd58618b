//! How prompts are routed: the rules of a comparison with their parameters, and what each does with a table of scores.

use routerwise_types::plan::Routing;

use super::servers::Servers;
use super::tune::queue;
use crate::prices::kernel::ScoreTable;
use crate::ties::realise;

/// A routing rule with its parameters. Models are indices into the scenario's.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// By chance for every request, whatever its prompt.
    Mix {
        /// Part of the prompts for each model; sums to 1.
        parts: Vec<f64>,
    },
    /// The highest score minus price, ties split as stated. Models that are off have an infinite price.
    Prices {
        /// One per model.
        prices: Vec<f64>,
        /// How ties are told apart.
        routing: Routing,
    },
    /// A strong model for prompts where it gains much, a weak one for the rest.
    Threshold {
        /// Model for the rest.
        weak: usize,
        /// Model for prompts above the threshold.
        strong: usize,
        /// Threshold on the strong score minus the weak one.
        gain: f64,
        /// Part of the prompts exactly at the threshold that the strong one gets.
        part: f64,
    },
    /// One model after the other until an answer's score is accepted; the last one's always is.
    Cascade {
        /// Models whose answers may be rejected, in order.
        steps: Vec<Step>,
        /// The last model.
        last: usize,
    },
    /// The highest score minus `per_second` times the work that waits, in seconds at capacity.
    QueuePenalty {
        /// Score per second.
        per_second: f64,
    },
}

/// One model of a cascade that is not the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The model.
    pub model: usize,
    /// Its answer stands when its score is higher.
    pub accept: f64,
    /// Part of the answers with exactly that score that stand too.
    pub part: f64,
}

/// Scores are `f32`: differences below this are rounding.
pub const SAME_SCORE: f64 = 1e-7;

/// Models that a request asks one after the other, and the part of the requests that do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    pub(crate) models: Vec<usize>,
    pub(crate) fraction: f64,
}

/// What becomes of all prompts, in expectation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ways {
    pub(crate) quality: f64,
    pub(crate) list: Vec<Way>,
}

impl Ways {
    /// One model each.
    pub(crate) fn direct(fractions: &[f64], quality: f64) -> Self {
        let ways = fractions.iter().enumerate().filter(|(_, fraction)| **fraction > 0.0);
        Self {
            quality,
            list: ways
                .map(|(model, fraction)| Way {
                    models: vec![model],
                    fraction: *fraction,
                })
                .collect(),
        }
    }
}

impl Step {
    /// Probability that an answer of this score stands.
    #[must_use]
    pub fn accepts(&self, score: f64) -> f64 {
        above(score, self.accept, self.part)
    }
}

/// 1 above a threshold, `part` at it, 0 below.
#[must_use]
pub fn above(value: f64, threshold: f64, part: f64) -> f64 {
    if (value - threshold).abs() <= SAME_SCORE {
        part
    } else if value > threshold {
        1.0
    } else {
        0.0
    }
}

impl Rule {
    /// What it does with all prompts of a table at a rate in requests/s.
    pub(crate) fn play(&self, table: &ScoreTable, servers: &Servers<'_>, rate: f64) -> Ways {
        match self {
            Self::Mix { parts } => {
                let asked = parts.iter().enumerate().filter(|(_, part)| **part > 0.0);
                let quality = asked.map(|(model, part)| part * mean_score(table, model)).sum();
                Ways::direct(parts, quality)
            }
            Self::Prices { prices, routing } => priced(table, prices, routing),
            Self::Threshold {
                weak,
                strong,
                gain,
                part,
            } => threshold(table, *weak, *strong, |row_gain| above(row_gain, *gain, *part)),
            Self::Cascade { steps, last } => cascade(table, steps, *last),
            Self::QueuePenalty { per_second } => queue::equilibrium(table, servers, rate, *per_second),
        }
    }
}

/// Mean score of a model over all prompts.
pub(crate) fn mean_score(table: &ScoreTable, model: usize) -> f64 {
    (0..table.n_rows())
        .map(|row| table.weight(row) * table.score(model, row))
        .sum()
}

fn priced(table: &ScoreTable, prices: &[f64], routing: &Routing) -> Ways {
    let on: Vec<bool> = prices.iter().map(|price| price.is_finite()).collect();
    let realised = realise(table, prices, &on, routing);
    Ways::direct(&realised.fractions, realised.quality())
}

fn threshold(table: &ScoreTable, weak: usize, strong: usize, part: impl Fn(f64) -> f64) -> Ways {
    let (mut to_strong, mut quality) = (0.0, 0.0);
    for row in 0..table.n_rows() {
        let (low, high) = (table.score(weak, row), table.score(strong, row));
        let part = part(high - low);
        to_strong += table.weight(row) * part;
        quality += table.weight(row) * (part * high + (1.0 - part) * low);
    }
    let way = |model: usize, fraction: f64| Way {
        models: vec![model],
        fraction,
    };
    Ways {
        quality,
        list: vec![way(weak, 1.0 - to_strong), way(strong, to_strong)],
    }
}

/// Part `n` of the ways stops after the `n`-th model.
pub(crate) fn cascade(table: &ScoreTable, steps: &[Step], last: usize) -> Ways {
    let mut stops = vec![0.0; steps.len() + 1];
    let mut quality = 0.0;
    for row in 0..table.n_rows() {
        let mut left = table.weight(row);
        for (stop, step) in stops.iter_mut().zip(steps) {
            let score = table.score(step.model, row);
            let accepted = left * step.accepts(score);
            *stop += accepted;
            quality += accepted * score;
            left -= accepted;
        }
        stops[steps.len()] += left;
        quality += left * table.score(last, row);
    }
    let models: Vec<usize> = steps.iter().map(|step| step.model).chain([last]).collect();
    let ways = stops.into_iter().enumerate().map(|(n, fraction)| Way {
        models: models[..=n].to_vec(),
        fraction,
    });
    Ways {
        quality,
        list: ways.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ScoreTable {
        ScoreTable::new(&[vec![1.0, 1.0, 0.0, 0.0], vec![1.0, 0.0, 1.0, 0.0]], &[0.25; 4])
    }

    #[test]
    fn a_threshold_splits_the_prompts_that_lie_on_it() {
        let ways = threshold(&table(), 0, 1, |gain| above(gain, 0.0, 0.5));
        // The third prompt gains 1; the first and the last 0, half of them go; the second loses.
        assert!((ways.list[1].fraction - 0.5).abs() < 1e-12);
        assert!((ways.quality - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_cascade_asks_again_only_what_it_rejects() {
        let step = Step {
            model: 0,
            accept: 0.0,
            part: 0.0,
        };
        let ways = cascade(&table(), &[step], 1);
        let found: Vec<(&[usize], f64)> = ways
            .list
            .iter()
            .map(|way| (way.models.as_slice(), way.fraction))
            .collect();
        assert_eq!(found, [(&[0][..], 0.5), (&[0, 1][..], 0.5)]);
        assert!((ways.quality - 0.75).abs() < 1e-12);
    }
}
