//! `routerwise simulate --live-prices`: what a gateway's prices do when traffic changes and replicas fail.

use std::io::Write;

use routerwise_route::curves::Curves;
use routerwise_route::settings::Settings;
use routerwise_simulate::live::{LivePlayed, Rule, Script, play_live};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::live::{LivePhase, LiveRoute, LiveRow, LiveSimulation, LiveSlo};
use routerwise_types::plan::{Plan, PlannedModel};
use routerwise_types::{RequestsPerSecond, Scenario, Seconds};

use super::script::{ScriptArgs, in_words, mean_rate};
use super::{limit, spelled};
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::table::{print_json, table};

/// What is played with `--live-prices`.
#[derive(Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// Play the gateway's own deciding half: prices that are re-solved every second, beside the plan's static ones
    #[arg(long, help_heading = "Live prices", conflicts_with = "interference")]
    pub(super) live_prices: bool,
    #[command(flatten)]
    script: ScriptArgs,
    /// Play a router too that takes so much score off for each second of work that waits (repeat for more)
    #[arg(long, value_name = "SCORE", help_heading = "Live prices", requires = "live_prices")]
    queue_penalty: Vec<f64>,
}

/// Plays and prints.
pub(super) fn run(
    scenario: &Scenario,
    plan: &Plan,
    args: &LiveArgs,
    (n_requests, seed): (usize, u64),
    format: Format,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    if Curves::of(scenario, plan).is_none() {
        return Err(Failure::Request {
            what: "live prices need a profile of every configuration that the plan runs, and the scenario lacks one".into(),
            help: "profile what is missing, or leave `--live-prices` out; a gateway too keeps to the static prices of such a plan".into(),
        });
    }
    let script = args.script.script(plan, n_requests)?;
    let mut played = Vec::new();
    for (name, rule) in rules(scenario, plan, args)? {
        let came = play_live(scenario, plan, &script, &rule, seed).map_err(|error| Failure::Request {
            what: error.to_string(),
            help: "give the model an architecture and an engine that the engine model knows; see `routerwise check`"
                .into(),
        })?;
        played.push((name, came));
    }
    let answer = answer(plan, &script, &args.script.edges(&script), seed, &played);
    match format {
        Format::Json => print_json(&answer, out)?,
        Format::Table => print(plan, &answer, out)?,
    }
    let mut phases = answer.phases.iter();
    let met = phases.all(|phase| phase.rows[0].slos.iter().all(|slo| slo.met));
    Ok(if met { Answer::Yes } else { Answer::No })
}

fn rules(scenario: &Scenario, plan: &Plan, args: &LiveArgs) -> Result<Vec<(String, Rule)>, Failure> {
    let gateway = |name: &str, settings| (name.to_owned(), Rule::Gateway(settings));
    let mut rules = vec![
        gateway("live prices", Settings::default()),
        gateway("static prices", Settings::default().with_static_prices()),
    ];
    for per_second in &args.queue_penalty {
        if !(0.0..=1e3).contains(per_second) {
            return Err(Failure::Request {
                what: format!("`--queue-penalty` must be between 0 and 1000, found {per_second}"),
                help: "0.05 takes a twentieth of a score off for each second of work that waits".into(),
            });
        }
        let rule = Rule::QueuePenalty {
            per_second: *per_second,
            capacities: plan.models.iter().map(|planned| capacity(scenario, planned)).collect(),
        };
        rules.push((format!("queue penalty {per_second}"), rule));
    }
    Ok(rules)
}

/// Capacity of one replica of a model, requests/s; 1 where it is off.
fn capacity(scenario: &Scenario, planned: &PlannedModel) -> f64 {
    let profile = planned.configuration.and_then(|configuration| {
        scenario.profiles.iter().find(|profile| {
            profile.key.model == planned.name
                && Some(&profile.key.gpu_type) == planned.gpu_type.as_ref()
                && profile.key.tensor_parallel == configuration.tensor_parallel
                && (profile.key.share.value() - configuration.share.value()).abs() < 1e-9
        })
    });
    profile.map_or(1.0, |profile| profile.capacity.value())
}

fn answer(plan: &Plan, script: &Script, edges: &[f64], seed: u64, played: &[(String, LivePlayed)]) -> LiveSimulation {
    let ends = edges.iter().skip(1).copied().chain([script.end]);
    let phase = |from: f64, to: f64, incidents: Vec<String>| LivePhase {
        from: seconds(from),
        to: seconds(to),
        rate: RequestsPerSecond::new(mean_rate(script, from, to)).expect("rates of a script are above 0"),
        incidents,
        rows: played
            .iter()
            .map(|(name, came)| row(plan, name, came, from..to))
            .collect(),
    };
    let phases = edges.iter().zip(ends).map(|(from, to)| {
        let now = script
            .incidents
            .iter()
            .filter(|incident| (incident.at - from).abs() < 1e-9);
        phase(*from, to, now.map(|incident| in_words(plan, incident)).collect())
    });
    LiveSimulation {
        schema: ANSWER_SCHEMA,
        plan: plan.id.clone(),
        seed,
        models: plan.models.iter().map(|model| model.name.clone()).collect(),
        phases: phases.collect(),
        whole: phase(0.0, script.end, Vec::new()),
    }
}

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).expect("times of a simulation are finite")
}

fn row(plan: &Plan, name: &str, came: &LivePlayed, window: std::ops::Range<f64>) -> LiveRow {
    let summary = came.between(window.clone());
    let slos = plan.slos.iter().zip(&summary.slo_values).map(|(slo, value)| LiveSlo {
        slo: slo.clone(),
        value: *value,
        limit: limit(slo),
        met: *value <= limit(slo),
    });
    let routes = plan.routes();
    let several = routes.len() > 1;
    let of_route = |(ix, route): (usize, &&str)| {
        let summary = came.of_route(ix, window.clone());
        LiveRoute {
            route: (*route).to_owned(),
            n_requests: summary.n_requests,
            n_answered: summary.n_answered,
            quality: summary.quality,
            ttft_mean: seconds(summary.ttft),
            ttft_p95: seconds(summary.ttft_p95),
            fractions: summary.fractions,
            prices: came.prices_at(ix, window.end),
        }
    };
    LiveRow {
        rule: name.to_owned(),
        n_requests: summary.n_requests,
        n_answered: summary.n_answered,
        quality: summary.quality,
        ttft_mean: seconds(summary.ttft),
        ttft_p95: seconds(summary.ttft_p95),
        slos: slos.collect(),
        fractions: summary.fractions,
        prices: if several {
            Vec::new()
        } else {
            came.prices_at(0, window.end)
        },
        routes: routes.iter().enumerate().filter(|_| several).map(of_route).collect(),
    }
}

fn print(plan: &Plan, answer: &LiveSimulation, out: &mut dyn Write) -> Result<(), Failure> {
    let whole = &answer.whole;
    writeln!(
        out,
        "Played {:.0} s on the virtual clock (seed {}): {} requests, {} on average",
        whole.to.value(),
        answer.seed,
        whole.rows[0].n_requests,
        whole.rate
    )?;
    for phase in &answer.phases {
        let happens: String = phase.incidents.iter().map(|incident| format!(", {incident}")).collect();
        let (from, to) = (phase.from.value(), phase.to.value());
        writeln!(out, "\nFrom {from:.0} s to {to:.0} s: {}{happens}", phase.rate)?;
        print_phase(plan, phase, out)?;
    }
    if answer.phases.len() > 1 {
        writeln!(out, "\nAll of it")?;
        print_phase(plan, whole, out)?;
    }
    Ok(())
}

fn print_phase(plan: &Plan, phase: &LivePhase, out: &mut dyn Write) -> Result<(), Failure> {
    let running: Vec<usize> = (0..plan.models.len())
        .filter(|ix| plan.models[*ix].configuration.is_some())
        .collect();
    let in_percent = |fractions: &[f64]| {
        let of = running.iter().map(|ix| format!("{:.1} %", fractions[*ix] * 100.0));
        of.collect::<Vec<_>>().join(" / ")
    };
    let mut rows = Vec::new();
    for row in &phase.rows {
        rows.push([
            row.rule.clone(),
            format!("{} of {}", row.n_answered, row.n_requests),
            format!("{:.4}", row.quality),
            row.ttft_mean.to_string(),
            row.ttft_p95.to_string(),
            in_percent(&row.fractions),
        ]);
        rows.extend(row.routes.iter().map(|route| {
            [
                format!("  {}", route.route),
                format!("{} of {}", route.n_answered, route.n_requests),
                format!("{:.4}", route.quality),
                route.ttft_mean.to_string(),
                route.ttft_p95.to_string(),
                in_percent(&route.fractions),
            ]
        }));
    }
    let names = running.iter().map(|ix| plan.models[*ix].name.as_str());
    let names = names.collect::<Vec<_>>().join(" / ");
    let header = ["rule", "answered", "quality", "mean TTFT", "P95 TTFT", names.as_str()];
    writeln!(out, "{}", table(header, "lrrrrr", rows))?;
    for (ix, slo) in plan.slos.iter().enumerate() {
        let verdicts = phase.rows.iter().map(|row| {
            let came = &row.slos[ix];
            let verdict = if came.met { "met" } else { "MISSED" };
            format!("{} {}, {verdict}", row.rule, spelled(slo, came.value))
        });
        writeln!(out, " {slo}: {}", verdicts.collect::<Vec<_>>().join("; "))?;
    }
    Ok(())
}
