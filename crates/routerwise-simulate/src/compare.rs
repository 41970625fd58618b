//! What joint planning is worth against what people do today, by curves and in the simulator.
//!
//! Allocations, rules and their parameters come from `routerwise_plan::baselines`; here they are played. All rows of a load see the same
//! arrivals and lengths, and prompts of the test half alone.

mod chooser;

use rayon::prelude::*;
use routerwise_plan::baselines::{Absent, Allocation, Contest, Entry, NoContest, RULES, TunedFor};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::comparison::{
    AbsentAllocation, AllocatedModel, AllocationRule, CacheRule, ComparedAllocation, ComparedLevel, ComparedRow,
    Comparison, Judged, RoutingRule, SimulationSettings, Tuning,
};
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Scope, Slo, Statistic};

use crate::sweep::CannotSimulate;
use crate::world::{Answered, Deployment, Interference, Played, Settings, play_routed};
use chooser::Chooser;

/// What to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Loads as parts of the scenario's rate, each planned and tuned anew.
    pub loads: Vec<f64>,
    /// How to play every row; by curves alone without.
    pub simulation: Option<SimulationSettings>,
    /// What parameters are chosen for.
    pub tuning: Tuning,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Of this many, an allocation was made or found impossible, and all rules tuned on it.
    Tuned {
        /// At all loads together.
        of: usize,
    },
    /// This many more rows wait to be played.
    ToPlay(usize),
    /// One of them was.
    Played,
}

/// Why nothing can be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CannotCompare {
    /// Not even by curves.
    #[error(transparent)]
    NoContest(#[from] NoContest),
    /// Not in the simulator.
    #[error(transparent)]
    CannotSimulate(#[from] CannotSimulate),
}

/// Compares all allocations and rules of a scenario. `progress` is called from several threads.
///
/// # Errors
/// [`CannotCompare`] when the scenario cannot be planned, split in two or simulated.
pub fn compare(
    scenario: &Scenario,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, CannotCompare> {
    let mut levels = Vec::with_capacity(options.loads.len());
    let (mut n_training_prompts, mut n_test_prompts) = (0, 0);
    for load in &options.loads {
        let contest = Contest::new(scenario, *load)?;
        n_training_prompts = contest.training.scores.n_prompts();
        n_test_prompts = contest.test.scores.n_prompts();
        levels.push(level(&contest, *load, options, progress)?);
    }
    Ok(Comparison {
        schema: ANSWER_SCHEMA,
        n_training_prompts,
        n_test_prompts,
        tuning: options.tuning,
        simulation: options.simulation,
        levels,
    })
}

fn level(
    contest: &Contest,
    load: f64,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ComparedLevel, CannotCompare> {
    let tuned_for = match options.tuning {
        Tuning::Objectives => TunedFor::Objectives,
        // Without a joint plan there is no quality to reach.
        Tuning::OurQuality => our_quality(contest).map_or(TunedFor::Objectives, TunedFor::Quality),
    };
    let of = RULES.len() * options.loads.len();
    let competed: Vec<Result<Vec<(Allocation, Entry)>, Absent>> = RULES
        .par_iter()
        .map(|rule| {
            let entries = contest.compete(*rule, tuned_for);
            progress(Progress::Tuned { of });
            entries
        })
        .collect();
    let absent = competed.iter().filter_map(|found| found.as_ref().err());
    let absent = absent.map(|absent| AbsentAllocation {
        rule: absent.rule,
        why: absent.why.clone(),
    });
    let absent: Vec<AbsentAllocation> = absent.collect();
    let entries: Vec<(Allocation, Entry)> = competed.into_iter().flatten().flatten().collect();
    let mut allocations: Vec<Allocation> = entries.iter().map(|(allocation, _)| allocation.clone()).collect();
    // Stable: the allocation for all rules comes before those for one.
    allocations.sort_by_key(|allocation| (allocation.rule, allocation.for_routing));
    allocations.dedup();
    if options.simulation.is_some() {
        progress(Progress::ToPlay(entries.len()));
    }
    let rows: Result<Vec<ComparedRow>, CannotSimulate> = entries
        .into_par_iter()
        .map(|(allocation, entry)| {
            let simulated = options.simulation.map(|settings| {
                let judged = simulate(contest, &allocation, &entry, settings);
                progress(Progress::Played);
                judged
            });
            Ok(ComparedRow {
                allocation: allocation.rule,
                allocation_ix: position(&allocations, &allocation),
                routing: entry.routing,
                parameters: entry.parameters,
                training: entry.training,
                by_curves: entry.test,
                simulated: simulated.transpose()?,
            })
        })
        .collect();
    let mut rows = rows?;
    rows.sort_by(best_first);
    Ok(ComparedLevel {
        load,
        rate: contest.test.workload.rate,
        slos: contest.test.workload.slos.clone(),
        allocations: allocations
            .iter()
            .map(|allocation| described(contest, allocation))
            .collect(),
        absent,
        rows,
    })
}

/// Quality of our prices on our setup, on the training prompts.
fn our_quality(contest: &Contest) -> Option<f64> {
    let joint = contest.allocate(AllocationRule::Joint).ok()?;
    let entries = contest.entries(&joint, TunedFor::Objectives);
    let ours = |entry: &&Entry| matches!(entry.routing, RoutingRule::OurPrices | RoutingRule::OneModel);
    entries.iter().find(ours).map(|entry| entry.training.quality)
}

/// Qualities and violations closer than this count as equal.
const SAME: f64 = 1e-6;

/// Objectives met before missed; then by quality, or by how far they are missed; ours before its equals, then by latency.
fn best_first(a: &ComparedRow, b: &ComparedRow) -> std::cmp::Ordering {
    let rounded = |value: f64| (value / SAME).round();
    let missed = |judged: &Judged| match judged.violation() {
        _ if judged.met => 0.0,
        violation if violation.is_finite() => rounded(violation).max(1.0),
        _ => BEYOND * judged.utilisation.unwrap_or(f64::INFINITY),
    };
    let (x, y) = (a.judged(), b.judged());
    missed(x)
        .total_cmp(&missed(y))
        .then(rounded(y.quality).total_cmp(&rounded(x.quality)))
        .then(b.is_ours().cmp(&a.is_ours()))
        .then(x.ttft_mean.unwrap_or(0.0).total_cmp(&y.ttft_mean.unwrap_or(0.0)))
        .then((a.allocation, a.routing).cmp(&(b.allocation, b.routing)))
}

/// Puts what is beyond capacity behind all that is late.
const BEYOND: f64 = 1e30;

fn position(allocations: &[Allocation], allocation: &Allocation) -> usize {
    let found = allocations.iter().position(|other| other == allocation);
    found.expect("every row's allocation is listed")
}

fn described(contest: &Contest, allocation: &Allocation) -> ComparedAllocation {
    let models = contest.training.models.iter().zip(contest.setup(allocation));
    ComparedAllocation {
        rule: allocation.rule,
        for_routing: allocation.for_routing,
        models: models
            .map(|(model, configuration)| AllocatedModel {
                name: model.name.clone(),
                configuration,
            })
            .collect(),
        n_gpus: allocation.n_gpus(),
        compute: contest.compute(allocation),
        notes: allocation.notes.clone(),
    }
}

/// Plays one rule on one allocation with the test prompts.
///
/// # Errors
/// As of [`play_routed`].
pub fn simulate(
    contest: &Contest,
    allocation: &Allocation,
    entry: &Entry,
    settings: SimulationSettings,
) -> Result<Judged, CannotSimulate> {
    let mut models = contest.deployment(allocation, &entry.training.visits);
    if settings.cache == CacheRule::Profiled {
        for (planned, model) in models.iter_mut().zip(&contest.test.models) {
            planned.kv_cache.fill(model.kv_reserve);
        }
    }
    let chooser = Chooser::new(&entry.rule, &models, contest.capacities(allocation));
    let workload = &contest.test.workload;
    let deployment = Deployment {
        models: &models,
        utilisation: models.iter().map(|model| model.utilisation.value()).collect(),
        slos: &workload.slos,
        rate: workload.rate,
    };
    let settings = Settings {
        n_requests: settings.n_requests,
        seed: settings.seed,
    };
    let played = play_routed(&contest.test, &deployment, &chooser, settings, Interference::OFF)?;
    Ok(judged(&played, &workload.slos))
}

#[expect(clippy::cast_precision_loss, reason = "requests stay far below 2^53")]
fn judged(played: &Played, slos: &[Slo]) -> Judged {
    let within = |answered: &&Answered| {
        slos.iter().all(|slo| {
            let latency = answered.record.latency(slo.metric);
            latency.is_none_or(|latency| latency <= slo.target)
        })
    };
    let n_within = played.requests.iter().filter(within).count();
    let parts: Vec<f64> = slos
        .iter()
        .zip(&played.slo_values)
        .map(|(slo, value)| value / limit(slo))
        .collect();
    let ttft = played.all.ttft.as_ref();
    Judged {
        quality: played.all.quality,
        visits: played.visits.clone(),
        ttft_mean: ttft.map(|stat| stat.mean.value()),
        ttft_mean_ci95: ttft.map(|stat| stat.ci95.value()),
        ttft_p95: ttft.and_then(|stat| stat.sketch.quantile(0.95)),
        within: Some(n_within as f64 / (played.requests.len() + played.n_refused).max(1) as f64),
        met: parts.iter().all(|part| *part <= 1.0),
        slo_parts: parts.into_iter().map(Some).collect(),
        utilisation: None,
    }
}

/// What an objective's left-hand side may be at most.
fn limit(slo: &Slo) -> f64 {
    match (slo.scope, slo.statistic) {
        (Scope::Workload, Statistic::Quantile { q }) => 1.0 - q,
        _ => slo.target.value(),
    }
}
