//! What came of a plan that was played.

use std::collections::BTreeMap;

use routerwise_types::profile::LatencyStat;
use routerwise_types::report::{MeanEstimate, RequestRecord, latency_stat};
use routerwise_types::workload::{Lengths, Metric, Scope, Slo, Statistic};

use crate::arrivals::Arrival;
use crate::engine::{Event, EventKind};

/// What came of a plan that was played.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// One entry per model of the plan.
    pub models: Vec<Served>,
    /// All of them together.
    pub all: Served,
    /// For each SLO of the plan that counts the route's requests, in order: its left-hand side as played. Seconds, or share of requests above the target.
    pub slo_values: Vec<f64>,
    /// Half widths of their 95 % confidence intervals, by batch means; nothing for a quantile on each model.
    pub slo_ci95: Vec<Option<f64>>,
    /// The requests measured, in order of arrival.
    pub requests: Vec<Answered>,
    /// Requests handed to each model, relative to the requests answered: where answers may be rejected, in all more than 1.
    pub visits: Vec<f64>,
    /// Requests in the measured time that no engine could ever serve (too long for its context or cache).
    pub n_refused: usize,
}

/// One request that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    /// When it came, began to be answered and was done.
    pub record: RequestRecord,
    /// Index of its prompt in the scores.
    pub prompt_ix: usize,
    /// Index of the model that answered.
    pub model_ix: usize,
    /// Index of that model's replica.
    pub replica_ix: usize,
    /// Score of the answer.
    pub score: f32,
}

/// What one model, or all, did for the requests measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// Requests answered.
    pub n_requests: usize,
    /// Part of all answered.
    pub fraction: f64,
    /// Half width of its 95 % confidence interval.
    pub fraction_ci95: f64,
    /// Mean score of the answers.
    pub quality: f64,
    /// Half width of its 95 % confidence interval.
    pub quality_ci95: f64,
    /// Time to first token; absent without requests.
    pub ttft: Option<LatencyStat>,
    /// Time per output token.
    pub tpot: Option<LatencyStat>,
    /// End to end.
    pub e2e: Option<LatencyStat>,
}

/// What happened to every request so far.
pub(super) struct Journal {
    /// Nothing where the request was refused.
    requests: Vec<Option<Answered>>,
    /// Route of each.
    routes: Vec<usize>,
    /// Models that a request asked before the last one, by its number; only where answers were rejected.
    before: BTreeMap<u64, Vec<usize>>,
}

impl Journal {
    pub(super) fn new(n_requests: usize) -> Self {
        Self {
            requests: Vec::with_capacity(n_requests),
            routes: Vec::with_capacity(n_requests),
            before: BTreeMap::new(),
        }
    }

    /// A request was handed to this model's replica, or refused.
    pub(super) fn sent(
        &mut self,
        arrival: Arrival,
        route: usize,
        prompt_ix: usize,
        to: Option<(usize, usize)>,
        scores: &[f32],
    ) {
        self.routes.push(route);
        self.requests.push(to.map(|(model_ix, replica_ix)| Answered {
            record: RequestRecord {
                arrived: arrival.at,
                first_token: arrival.at,
                finished: arrival.at,
                lengths: arrival.lengths,
            },
            prompt_ix,
            model_ix,
            replica_ix,
            score: scores[model_ix],
        }));
    }

    pub(super) fn note(&mut self, event: Event) {
        let answered = self.requests[index(event.request)]
            .as_mut()
            .expect("who was refused has no events");
        match event.kind {
            EventKind::FirstToken => answered.record.first_token = event.at,
            EventKind::Finished => answered.record.finished = event.at,
            EventKind::Started | EventKind::Token | EventKind::Preempted => {}
        }
    }

    /// Route, prompt, lengths and models asked so far, the last included, of a request that was answered.
    pub(super) fn so_far(&self, number: u64) -> (usize, usize, Lengths, Vec<usize>) {
        let answered = self.requests[index(number)]
            .as_ref()
            .expect("who was refused has no answer");
        let mut models = self.before.get(&number).cloned().unwrap_or_default();
        models.push(answered.model_ix);
        let route = self.routes[index(number)];
        (route, answered.prompt_ix, answered.record.lengths, models)
    }

    /// A request whose answer was rejected was handed to another model's replica.
    pub(super) fn sent_again(&mut self, number: u64, to: (usize, usize), score: f32) {
        let answered = self.requests[index(number)]
            .as_mut()
            .expect("who was refused has no answer");
        self.before.entry(number).or_default().push(answered.model_ix);
        (answered.model_ix, answered.replica_ix) = to;
        answered.score = score;
    }

    /// What came of one route.
    pub(super) fn report(&self, route: usize, slos: &[Slo], n_models: usize) -> Played {
        let n = self.requests.len();
        let window = n / 10..n - n / 10;
        let own: Vec<usize> = window.filter(|at| self.routes[*at] == route).collect();
        let visits = self.visits(&own, n_models);
        let requests: Vec<Answered> = own.iter().filter_map(|at| self.requests[*at]).collect();
        let (slo_values, slo_ci95) = slos.iter().map(|slo| slo_value(slo, &requests, n_models)).unzip();
        Played {
            all: served(&requests, None),
            models: (0..n_models).map(|model| served(&requests, Some(model))).collect(),
            visits,
            slo_values,
            slo_ci95,
            n_refused: own.len() - requests.len(),
            requests,
        }
    }

    /// How often each model was asked by some requests, relative to those of them that were answered.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn visits(&self, numbers: &[usize], n_models: usize) -> Vec<f64> {
        let mut counts = vec![0usize; n_models];
        let mut n_answered = 0;
        for number in numbers {
            let Some(answered) = &self.requests[*number] else {
                continue;
            };
            n_answered += 1;
            let before = self.before.get(&(*number as u64)).into_iter().flatten();
            before.chain([&answered.model_ix]).for_each(|model| counts[*model] += 1);
        }
        let n_answered = n_answered.max(1) as f64;
        counts.into_iter().map(|count| count as f64 / n_answered).collect()
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("an index into the requests")
}

/// Requests of one model, or all.
fn of_model(requests: &[Answered], model: Option<usize>) -> impl Iterator<Item = &Answered> {
    let wanted = move |answered: &&Answered| model.is_none_or(|model| model == answered.model_ix);
    requests.iter().filter(wanted)
}

fn served(requests: &[Answered], model: Option<usize>) -> Served {
    let own = || of_model(requests, model);
    let stat = |metric| latency_stat(own().map(|answered| &answered.record), metric);
    let is_own: Vec<f64> = requests
        .iter()
        .map(|answered| f64::from(u8::from(model.is_none_or(|model| model == answered.model_ix))))
        .collect();
    let scores: Vec<f64> = own().map(|answered| f64::from(answered.score)).collect();
    let nothing = MeanEstimate { mean: 0.0, ci95: 0.0 };
    let fraction = MeanEstimate::of(&is_own).unwrap_or(nothing);
    let quality = MeanEstimate::of(&scores).unwrap_or(nothing);
    Served {
        n_requests: scores.len(),
        fraction: fraction.mean,
        fraction_ci95: fraction.ci95,
        quality: quality.mean,
        quality_ci95: quality.ci95,
        ttft: stat(Metric::Ttft),
        tpot: stat(Metric::Tpot),
        e2e: stat(Metric::E2e),
    }
}

/// An SLO's left-hand side over all requests, or the worst model's, and how sure it is.
fn slo_value(slo: &Slo, requests: &[Answered], n_models: usize) -> (f64, Option<f64>) {
    let values = |model: Option<usize>| -> Vec<f64> {
        of_model(requests, model)
            .filter_map(|answered| answered.record.latency(slo.metric))
            .map(|latency| latency.value())
            .collect()
    };
    let mean = |values: &[f64]| MeanEstimate::of(values).map_or((0.0, None), |found| (found.mean, Some(found.ci95)));
    match (slo.scope, slo.statistic) {
        (Scope::Workload, Statistic::Mean) => mean(&values(None)),
        (Scope::Workload, Statistic::Quantile { .. }) => {
            let late = |value: &f64| f64::from(u8::from(*value > slo.target.value()));
            mean(&values(None).iter().map(late).collect::<Vec<f64>>())
        }
        (Scope::EachModel, statistic) => (0..n_models)
            .map(|model| values(Some(model)))
            .filter(|values| !values.is_empty())
            .map(|values| match statistic {
                Statistic::Mean => mean(&values),
                Statistic::Quantile { q } => (quantile(values, q), None),
            })
            .fold((0.0, None), |worst, next| if next.0 > worst.0 { next } else { worst }),
    }
}

/// Nearest rank.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank between 1 and the count"
)]
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
    values[rank - 1]
}
