//! Live prices beside static ones and beside queue penalties, tuned: at other loads than planned, in bursts, with a replica dead or slow.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;
use routerwise_route::settings::Settings;
use routerwise_simulate::live::{Incident, LiveSummary, Rule, Script, What, play_live};
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;

/// Score that a second of work costs.
const PENALTIES: [f64; 10] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4, 1.0];
/// Played time, and what of it counts, seconds.
const END: f64 = 720.0;
const COUNTS: Range<f64> = 120.0..720.0;

/// A situation: its name, and the script at a planned rate.
struct Situation {
    name: &'static str,
    script: Script,
}

fn situations(plan: &Plan) -> Vec<Situation> {
    let rate = plan.rate.value();
    let steady = |name, part: f64| Situation {
        name,
        script: Script::steady(part * rate, END),
    };
    let busiest = busiest(plan);
    let with = |name, what| Situation {
        name,
        script: Script {
            incidents: vec![Incident {
                at: 60.0,
                model: busiest,
                replica: 0,
                what,
            }],
            ..Script::steady(rate, END)
        },
    };
    // Twenty seconds at twice the usual rate, every minute.
    let bursts = (0..12u32).map(|nth| 60.0 * f64::from(nth));
    let bursts = bursts.flat_map(|at| [(at, 0.75 * rate), (at + 40.0, 1.5 * rate)]);
    vec![
        steady("rate", 1.0),
        steady("0.7 x rate", 0.7),
        steady("1.3 x rate", 1.3),
        steady("1.6 x rate", 1.6),
        Situation {
            name: "bursts of 1.5 x",
            script: Script {
                rates: bursts.collect(),
                ..Script::steady(rate, END)
            },
        },
        with("a dead replica", What::Dies),
        with("a replica 3 x slower", What::Slows(3.0)),
    ]
}

/// The model with most requests for each of its replicas.
fn busiest(plan: &Plan) -> usize {
    let policy = &plan.policies[0];
    let running = || (0..plan.models.len()).filter(|ix| !plan.models[*ix].replicas.is_empty());
    #[expect(clippy::cast_precision_loss, reason = "replicas")]
    let load = |ix: &usize| policy.models[*ix].fraction.value() / plan.models[*ix].replicas.len() as f64;
    running()
        .max_by(|a, b| load(a).total_cmp(&load(b)))
        .expect("a plan runs a model")
}

/// Rules by name; the first two are ours.
fn rules(scenario: &Scenario, plan: &Plan) -> Vec<(String, Rule)> {
    let capacities = plan.models.iter().map(|planned| capacity(scenario, planned));
    let capacities: Vec<f64> = capacities.collect();
    let mut rules = vec![
        ("live prices".to_owned(), Rule::Gateway(Settings::default())),
        (
            "static prices".to_owned(),
            Rule::Gateway(Settings::default().with_static_prices()),
        ),
    ];
    rules.extend(PENALTIES.iter().map(|per_second| {
        let rule = Rule::QueuePenalty {
            per_second: *per_second,
            capacities: capacities.clone(),
        };
        (format!("penalty {per_second}"), rule)
    }));
    rules
}

fn capacity(scenario: &Scenario, planned: &routerwise_types::plan::PlannedModel) -> f64 {
    let Some(configuration) = planned.configuration else {
        return 1.0;
    };
    let profile = scenario.profiles.iter().find(|profile| {
        profile.key.model == planned.name
            && Some(&profile.key.gpu_type) == planned.gpu_type.as_ref()
            && profile.key.tensor_parallel == configuration.tensor_parallel
            && (profile.key.share.value() - configuration.share.value()).abs() < 1e-9
    });
    profile.map_or(1.0, |profile| profile.capacity.value())
}

/// The table of a scenario whose profiles are there, planned at a rate.
pub(crate) fn table(mut scenario: Scenario, rate: f64, seeds: &[u64]) -> Result<String> {
    scenario.workload.rate = routerwise_types::RequestsPerSecond::new(rate).context("the rate")?;
    let outcome = routerwise_plan::plan(&scenario, None).map_err(|error| anyhow!("{error}"))?;
    let plan = outcome.plan().context("no plan meets the objectives at this rate")?;
    let mut text = heading(plan);
    let rules = rules(&scenario, plan);
    let situations = situations(plan);
    // The planned rate comes first: a penalty is tuned for it once.
    let mut usual = None;
    for situation in &situations {
        let jobs: Vec<(&Rule, u64)> = rules
            .iter()
            .flat_map(|(_, rule)| seeds.iter().map(move |seed| (rule, *seed)))
            .collect();
        let summaries = jobs.par_iter().map(|(rule, seed)| {
            let played = play_live(&scenario, plan, &situation.script, rule, *seed)?;
            Ok(played.between(COUNTS))
        });
        let summaries = summaries.collect::<Result<Vec<LiveSummary>>>()?;
        let means: Vec<Mean> = summaries.chunks(seeds.len()).map(Mean::of).collect();
        let here = tuned(&means[2..], plan.slos[0].target.value());
        line(situation, &means, *usual.get_or_insert(here), here, &mut text);
    }
    Ok(text)
}

fn heading(plan: &Plan) -> String {
    let runs = plan.models.iter().zip(&plan.policies[0].models);
    let runs = runs
        .filter(|(model, _)| !model.replicas.is_empty())
        .map(|(model, routed)| {
            format!(
                "{} x{} ({:.1} %)",
                model.name,
                model.replicas.len(),
                100.0 * routed.fraction.value()
            )
        });
    format!(
        "Planned for {}: {}; {}.\n\n| situation | static prices | live prices | penalty tuned for the rate | penalty tuned for the situation | penalty at live prices' TTFT |\n|---|---|---|---|---|---|\n",
        plan.rate,
        runs.collect::<Vec<_>>().join(", "),
        plan.slos[0],
    )
}

/// Means over seeds.
struct Mean {
    quality: f64,
    ttft: f64,
    answered: f64,
}

impl Mean {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    fn of(summaries: &[LiveSummary]) -> Self {
        let n = summaries.len() as f64;
        let mean = |of: &dyn Fn(&LiveSummary) -> f64| summaries.iter().map(of).sum::<f64>() / n;
        Self {
            quality: mean(&|summary| summary.quality),
            ttft: mean(&|summary| summary.ttft),
            answered: mean(&|summary| summary.n_answered as f64 / summary.n_requests.max(1) as f64),
        }
    }

    fn shown(&self) -> String {
        let lost = if self.answered < 0.9995 {
            format!(", {:.1} % answered", 100.0 * self.answered)
        } else {
            String::new()
        };
        format!("{:.4}, {:.0} ms{lost}", self.quality, 1e3 * self.ttft)
    }
}

/// Highest quality of those that meet the target, else the least latency.
fn tuned(means: &[Mean], target: f64) -> usize {
    let all = || 0..means.len();
    let met = all().filter(|ix| means[*ix].ttft <= target);
    met.max_by(|a, b| means[*a].quality.total_cmp(&means[*b].quality))
        .or_else(|| all().min_by(|a, b| means[*a].ttft.total_cmp(&means[*b].ttft)))
        .expect("there are penalties")
}

/// Quality of a penalty between two of the grid at a latency.
fn at_latency(means: &[Mean], ttft: f64) -> Option<f64> {
    let pairs = means.windows(2).filter(|pair| {
        let (low, high) = (pair[0].ttft.min(pair[1].ttft), pair[0].ttft.max(pair[1].ttft));
        low <= ttft && ttft <= high
    });
    let between = pairs.map(|pair| {
        let part = (ttft.ln() - pair[0].ttft.ln()) / (pair[1].ttft.ln() - pair[0].ttft.ln());
        pair[0].quality + part.clamp(0.0, 1.0) * (pair[1].quality - pair[0].quality)
    });
    between.reduce(f64::max)
}

fn line(situation: &Situation, means: &[Mean], usual: usize, here: usize, text: &mut String) {
    let (live, fixed, penalties) = (&means[0], &means[1], &means[2..]);
    let same = at_latency(penalties, live.ttft);
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} ({}) | {} ({}) | {} |",
        situation.name,
        fixed.shown(),
        live.shown(),
        penalties[usual].shown(),
        PENALTIES[usual],
        penalties[here].shown(),
        PENALTIES[here],
        same.map_or_else(|| "-".to_owned(), |quality| format!("{quality:.4}")),
    );
}
