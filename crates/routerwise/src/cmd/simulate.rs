//! `routerwise simulate`: a plan played on a virtual clock, predicted against simulated.

mod live;
mod script;

use std::io::Write;

use routerwise_plan::explain::expected_latency;
use routerwise_simulate::world::{self, Interference, Played, Served};
use routerwise_types::answer::{ANSWER_SCHEMA, SimulatedModel, SimulatedPolicy, SimulatedSlo, Simulation};
use routerwise_types::plan::{Plan, PlannedLatency, RoutePolicy};
use routerwise_types::profile::LatencyStat;
use routerwise_types::workload::{Scope, Slo, Statistic};
use routerwise_types::{Fraction, Scenario, Score, Seconds};

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::plan_file::PlanArgs;
use crate::table::{print_json, table};

/// Play a plan in the simulator: arrivals, routing and every replica on one virtual clock
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// Requests to send; the first and last tenth are not measured
    #[arg(long, default_value_t = Settings::default().n_requests, value_name = "N")]
    requests: usize,
    /// Seed of arrivals, lengths and prompts
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// How much busy neighbours slow an engine's memory: 0.1 to 0.4 have been published for GPUs shared by MPS
    #[arg(long, default_value_t = 0.0, value_name = "FACTOR")]
    interference: f64,
    #[command(flatten)]
    live: live::LiveArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise simulate scenarios/demo/plan.json
  routerwise simulate scenarios/demo/plan.json --requests 100000 --seed 7
  routerwise simulate scenarios/demo/plan.json --live-prices --rate 24
  routerwise simulate scenarios/demo/plan.json --live-prices --stage 10:5min --stage 10..22:2min --stage 22:5min
  routerwise simulate scenarios/demo/plan.json --live-prices --kill phi-3-mini/0@5min --restart phi-3-mini/0@10min --queue-penalty 0.05

With `--live-prices` the same requests are played twice: routed by the prices of the plan as they are, and as a gateway routes, which solves
them again every second from the traffic that it sees and the latency that it measures.

Exit code 1 says that an objective was missed: with `--live-prices`, by live prices in any stage.";

/// How long to play, and with which chance.
pub(crate) struct Settings {
    n_requests: usize,
    seed: u64,
    interference: f64,
}

impl Default for Settings {
    /// Twenty thousand requests: the mean TTFT is then known to a few per cent below the knee.
    fn default() -> Self {
        Self {
            n_requests: 20_000,
            seed: 1,
            interference: 0.0,
        }
    }
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    if args.requests < 100 {
        return Err(Failure::Request {
            what: format!("`--requests {}` is too few to measure anything", args.requests),
            help: "give at least 100; 20000 is the default".into(),
        });
    }
    if !(0.0..=10.0).contains(&args.interference) {
        return Err(Failure::Request {
            what: format!("`--interference` must be between 0 and 10, found {}", args.interference),
            help: "0.2 makes memory 20 % slower beside neighbours that are always busy; 0 is the default".into(),
        });
    }
    let (scenario, plan) = args.plan.load()?;
    let settings = Settings {
        n_requests: args.requests,
        seed: args.seed,
        interference: args.interference,
    };
    if args.live.live_prices {
        let chance = (args.requests, args.seed);
        return live::run(&scenario, &plan, &args.live, chance, args.format, out);
    }
    match args.format {
        Format::Table => play(&scenario, &plan, &settings, out),
        Format::Json => json_report(&scenario, &plan, &settings, out),
    }
}

/// Plays a plan, one load level after the other, and prints predicted against simulated.
pub(crate) fn play(
    scenario: &Scenario,
    plan: &Plan,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    let mut met = true;
    let n_routes = plan.routes().len();
    for together in levels(plan) {
        let played = played(scenario, plan, &together, settings)?;
        for (played, policy_ix) in played.iter().zip(together) {
            let policy = &plan.policies[policy_ix];
            met &= all_met(plan, policy, played);
            let name = plan
                .policy_name(policy)
                .map_or_else(String::new, |name| format!("{name}: "));
            let n_requests = if n_routes > 1 {
                format!("{} requests of {n_routes} routes, this one", settings.n_requests)
            } else {
                format!("{} requests", settings.n_requests)
            };
            writeln!(
                out,
                "{name}Simulated {n_requests} at {} (seed {}), {} measured: predicted -> simulated",
                policy.rate, settings.seed, played.all.n_requests
            )?;
            report(scenario, plan, policy, played, out)?;
        }
    }
    if more_cache_than_profiled(scenario, plan) {
        writeln!(
            out,
            " Memory that was left over went to KV caches, which the profiles did not have: latency may come out lower than predicted."
        )?;
    }
    Ok(if met { Answer::Yes } else { Answer::No })
}

fn report(
    scenario: &Scenario,
    plan: &Plan,
    policy: &RoutePolicy,
    played: &Played,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let expected = expected_latency(scenario, plan, policy);
    let models = plan
        .models
        .iter()
        .zip(&policy.models)
        .zip(&expected)
        .zip(&played.models);
    let rows = models.filter(|(((model, _), _), _)| model.configuration.is_some()).map(
        |(((model, routed), expected), served)| {
            row(
                &model.name,
                routed.fraction.value(),
                routed.quality.map(|quality| quality.value()),
                expected.as_ref(),
                served,
            )
        },
    );
    let prediction = &policy.prediction;
    let all = row(
        "all",
        1.0,
        Some(prediction.quality.value()),
        Some(&prediction.latency_without_headroom),
        &played.all,
    );
    let header = ["model", "prompts", "quality", "mean TTFT", "±", "P95 TTFT", "mean TPOT"];
    writeln!(out, "{}", table(header, "lrrrrrr", rows.chain([all])))?;
    for (slo_ix, value) in plan.slos_of(policy).zip(&played.slo_values) {
        let slo = &plan.slos[slo_ix];
        let verdict = if *value <= limit(slo) { "met" } else { "MISSED" };
        let words = plan.slo_words(slo_ix);
        writeln!(out, " {words}: {} simulated, {verdict}", spelled(slo, *value))?;
    }
    if played.n_refused > 0 {
        writeln!(
            out,
            " {} requests were too long for the engine that they were sent to.",
            played.n_refused
        )?;
    }
    Ok(())
}

/// Whether some replica has clearly more KV cache than its model's profiles were taken with.
fn more_cache_than_profiled(scenario: &Scenario, plan: &Plan) -> bool {
    plan.models.iter().zip(&scenario.models).any(|(planned, model)| {
        planned
            .kv_cache
            .iter()
            .any(|kv_cache| kv_cache.as_f64() > 1.05 * model.kv_reserve.as_f64())
    })
}

/// The policies of each load level, which are played together.
fn levels(plan: &Plan) -> Vec<Vec<usize>> {
    let n_routes = plan.routes().len().max(1);
    let all: Vec<usize> = (0..plan.policies.len()).collect();
    all.chunks(n_routes).map(<[usize]>::to_vec).collect()
}

fn played(scenario: &Scenario, plan: &Plan, policies: &[usize], settings: &Settings) -> Result<Vec<Played>, Failure> {
    let interference = Interference(settings.interference);
    let settings = world::Settings {
        n_requests: settings.n_requests,
        seed: settings.seed,
    };
    world::play_level(scenario, plan, policies, settings, interference).map_err(|error| Failure::Request {
        what: error.to_string(),
        help: "give the model an architecture and an engine that the engine model knows; see `routerwise check`".into(),
    })
}

fn all_met(plan: &Plan, policy: &RoutePolicy, played: &Played) -> bool {
    let mut values = plan.slos_of(policy).zip(&played.slo_values);
    values.all(|(slo_ix, value)| *value <= limit(&plan.slos[slo_ix]))
}

/// What an SLO's left-hand side may be at most.
fn limit(slo: &Slo) -> f64 {
    match (slo.scope, slo.statistic) {
        (Scope::Workload, Statistic::Quantile { q }) => 1.0 - q,
        _ => slo.target.value(),
    }
}

fn spelled(slo: &Slo, value: f64) -> String {
    match (slo.scope, slo.statistic) {
        (Scope::Workload, Statistic::Quantile { .. }) => format!("{:.2} % of requests above the target", value * 100.0),
        _ => Seconds::new(value).map_or_else(|_| value.to_string(), |seconds| seconds.to_string()),
    }
}

fn row(
    name: &str,
    fraction: f64,
    quality: Option<f64>,
    expected: Option<&PlannedLatency>,
    served: &Served,
) -> [String; 7] {
    let arrow = |from: Option<String>, to: Option<String>| {
        format!(
            "{} -> {}",
            from.unwrap_or_else(|| "-".into()),
            to.unwrap_or_else(|| "-".into())
        )
    };
    let mean = |stat: &Option<LatencyStat>| stat.as_ref().map(|stat| stat.mean.to_string());
    let answered = served.n_requests > 0;
    [
        name.to_owned(),
        arrow(
            Some(format!("{:.1} %", fraction * 100.0)),
            Some(format!("{:.1} %", served.fraction * 100.0)),
        ),
        arrow(
            quality.map(|q| format!("{q:.4}")),
            answered.then(|| format!("{:.4}", served.quality)),
        ),
        arrow(expected.map(|latency| latency.ttft.to_string()), mean(&served.ttft)),
        served
            .ttft
            .as_ref()
            .map_or_else(|| "-".into(), |stat| stat.ci95.to_string()),
        served
            .ttft
            .as_ref()
            .map_or_else(|| "-".into(), |stat| quantile(stat, 0.95)),
        arrow(expected.map(|latency| latency.tpot.to_string()), mean(&served.tpot)),
    ]
}

fn quantile(stat: &LatencyStat, q: f64) -> String {
    let value = stat.sketch.quantile(q).and_then(|seconds| Seconds::new(seconds).ok());
    value.map_or_else(|| "-".into(), |seconds| seconds.to_string())
}

fn json_report(scenario: &Scenario, plan: &Plan, settings: &Settings, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut policies = Vec::with_capacity(plan.policies.len());
    for together in levels(plan) {
        let played = played(scenario, plan, &together, settings)?;
        for (played, policy_ix) in played.iter().zip(together) {
            policies.push(simulated_policy(scenario, plan, &plan.policies[policy_ix], played));
        }
    }
    let met = policies.iter().flat_map(|policy| &policy.slos).all(|slo| slo.met);
    let answer = Simulation {
        schema: ANSWER_SCHEMA,
        plan: plan.id.clone(),
        seed: settings.seed,
        n_requests: settings.n_requests,
        policies,
    };
    print_json(&answer, out)?;
    Ok(if met { Answer::Yes } else { Answer::No })
}

fn simulated_policy(scenario: &Scenario, plan: &Plan, policy: &RoutePolicy, played: &Played) -> SimulatedPolicy {
    let expected = expected_latency(scenario, plan, policy);
    let models = plan
        .models
        .iter()
        .zip(&policy.models)
        .zip(&expected)
        .zip(&played.models);
    let slos = plan.slos_of(policy).zip(&played.slo_values).map(|(slo_ix, value)| {
        let slo = &plan.slos[slo_ix];
        SimulatedSlo {
            slo: slo.clone(),
            value: *value,
            limit: limit(slo),
            met: *value <= limit(slo),
        }
    });
    SimulatedPolicy {
        level: policy.level.clone(),
        route: policy.route.clone(),
        rate: policy.rate,
        n_refused: played.n_refused,
        models: models
            .map(|(((model, routed), expected), served)| {
                simulated(&model.name, routed.fraction, routed.quality, *expected, served)
            })
            .collect(),
        all: simulated(
            "all",
            Fraction::ONE,
            Some(policy.prediction.quality),
            Some(policy.prediction.latency_without_headroom),
            &played.all,
        ),
        slos: slos.collect(),
    }
}

fn simulated(
    name: &str,
    predicted_fraction: Fraction,
    predicted_quality: Option<Score>,
    predicted: Option<PlannedLatency>,
    served: &Served,
) -> SimulatedModel {
    SimulatedModel {
        name: name.to_owned(),
        predicted_fraction,
        predicted_quality,
        predicted,
        n_requests: served.n_requests,
        fraction: served.fraction,
        quality: served.quality,
        ttft: served.ttft.as_ref().map(Into::into),
        tpot: served.tpot.as_ref().map(Into::into),
        e2e: served.e2e.as_ref().map(Into::into),
    }
}
