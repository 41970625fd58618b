//! A plan on a terminal, for a person who has ten seconds.

mod achievement;
pub(crate) mod predictors;

use std::io::{self, Write};

use routerwise_plan::explain::{Binding, NearMiss, Worth, binding};
use routerwise_types::answer::BelowFloor;
use routerwise_types::answer::explanation::{RateLimit, RateLimits};
use routerwise_types::plan::{Plan, RoutePolicy};
use routerwise_types::profile::ProfileSource;
use routerwise_types::workload::{Scope, Slo, Statistic};
use routerwise_types::{Scenario, Seconds};

use crate::table::table;

/// Letters that stand for models in the drawing of GPUs.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*#";
const BAR: usize = 20;
/// Targets are printed to three digits; this much more and the printed one still holds.
const ROUNDING: f64 = 1.005;

/// Prints everything that a user of the plan needs to see.
pub(crate) fn plan(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let slos: Vec<String> = (0..plan.slos.len()).map(|ix| plan.slo_words(ix)).collect();
    writeln!(out, "Plan {} for {}, {}\n", plan.id.short(), plan.rate, slos.join(", "))?;
    for policy_ix in 0..plan.policies.len() {
        let policy = &plan.policies[policy_ix];
        if let Some(name) = plan.policy_name(policy) {
            let part = 100.0 * policy.weight.value();
            let of = if plan.routes().len() > 1 {
                "of what counts as quality"
            } else {
                "of all requests"
            };
            writeln!(out, " {name}: {}, {part:.0} % {of}", policy.rate)?;
        }
        models(plan, policy_ix, out)?;
        objectives(plan, policy, out)?;
    }
    placement(scenario, plan, out)?;
    certificate(plan, out)?;
    achievement::achievement(scenario, plan, out)?;
    predictors::realised(plan, out)?;
    binds(plan, out)?;
    cautions(scenario, plan, out)
}

fn letter(model_ix: usize) -> char {
    LETTERS.get(model_ix).map_or('?', |letter| char::from(*letter))
}

fn models(plan: &Plan, policy_ix: usize, out: &mut dyn Write) -> io::Result<()> {
    let policy = &plan.policies[policy_ix];
    let pairs = plan.models.iter().zip(&policy.models);
    let rows = pairs.enumerate().map(|(model_ix, (model, routed))| {
        let dash = || "-".to_owned();
        let latency = |read: fn(&routerwise_types::plan::PlannedLatency) -> String| {
            routed.latency.as_ref().map_or_else(dash, read)
        };
        [
            letter(model_ix).to_string(),
            model.name.clone(),
            model
                .configuration
                .map_or_else(|| "off".to_owned(), |configuration| configuration.to_string()),
            format!("{:.4}", routed.price.value()),
            routed.fraction.to_string(),
            routed.quality.map_or_else(dash, |quality| quality.to_string()),
            latency(|latency| latency.ttft.to_string()),
            latency(|latency| latency.tpot.to_string()),
            if model.configuration.is_some() {
                plan.utilisation_under(model_ix, policy_ix).to_string()
            } else {
                dash()
            },
        ]
    });
    let rows: Vec<_> = rows.collect();
    let total = [
        String::new(),
        "all".into(),
        String::new(),
        String::new(),
        "100.0 %".into(),
        policy.prediction.quality.to_string(),
        policy.prediction.latency.ttft.to_string(),
        policy.prediction.latency.tpot.to_string(),
        String::new(),
    ];
    let header = [
        "", "model", "runs as", "price", "prompts", "quality", "TTFT", "TPOT", "load",
    ];
    writeln!(out, "{}\n", table(header, "lllrrrrrr", rows.into_iter().chain([total])))
}

fn objectives(plan: &Plan, policy: &RoutePolicy, out: &mut dyn Write) -> io::Result<()> {
    for (slo_ix, value) in plan.slos_of(policy).zip(&policy.prediction.slo_values) {
        let slo = plan.slo_words(slo_ix);
        writeln!(out, " {slo}: predicted {}", predicted(&plan.slos[slo_ix], value.value))?;
    }
    let headroom = plan.planning.headroom;
    if headroom > 0.0 {
        writeln!(
            out,
            " Latencies are those at {:.0} % more traffic (headroom); at {} itself the mean TTFT is {}.",
            headroom * 100.0,
            policy.rate,
            policy.prediction.latency_without_headroom.ttft
        )?;
    }
    writeln!(out)
}

pub(crate) fn predicted(slo: &Slo, value: f64) -> String {
    match (slo.statistic, slo.scope) {
        (Statistic::Quantile { .. }, Scope::Workload) => format!("{:.2} % of requests above the target", value * 100.0),
        _ => Seconds::new(value).map_or_else(|_| value.to_string(), |seconds| seconds.to_string()),
    }
}

/// One line per GPU: who sits on how much of it.
fn placement(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let cluster = &scenario.cluster;
    for (gpu_ix, gpu) in cluster.gpus().enumerate() {
        let gpu_type = &cluster.gpu_types[gpu.gpu_type_ix];
        if gpu.index_in_node == 0 {
            writeln!(out, " {} ({})", cluster.nodes[gpu.node_ix].name, gpu_type.name)?;
        }
        let mut bar = String::new();
        let mut names = Vec::new();
        let mut memory = 0.0;
        for (model_ix, model) in plan.models.iter().enumerate() {
            let Some(configuration) = model.configuration else {
                continue;
            };
            for (gpus, kv_cache) in model.replicas.iter().zip(&model.kv_cache) {
                if gpus.contains(&gpu_ix) {
                    let share = configuration.share.value();
                    bar.extend(std::iter::repeat_n(letter(model_ix), cells(share)));
                    names.push(format!("{} {:.0} %", model.name, share * 100.0));
                    let spec = &scenario.models[model_ix];
                    let tp = f64::from(configuration.tensor_parallel);
                    memory += (spec.weights.as_f64() + kv_cache.as_f64()) / tp + spec.overhead_per_shard.as_f64();
                }
            }
        }
        writeln!(
            out,
            "   GPU {} [{bar:·<BAR$}] {:>5.1} of {:.1} GB  {}",
            gpu.index_in_node,
            memory / 1e9,
            gpu_type.usable_memory.as_f64() / 1e9,
            if names.is_empty() {
                "free".to_owned()
            } else {
                names.join(", ")
            }
        )?;
    }
    writeln!(out)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 20 cells"
)]
fn cells(share: f64) -> usize {
    (share * BAR as f64).round().max(1.0) as usize
}

fn certificate(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let certificate = &plan.certificate;
    writeln!(
        out,
        " Proof: this plan reaches {}; no plan can reach more than {:.4} (gap {:.1e}).",
        certificate.quality,
        certificate.upper_bound,
        if certificate.gap < 1e-9 { 0.0 } else { certificate.gap }
    )?;
    writeln!(
        out,
        "   Covers {}: {} setups, {} bounded one by one, {} packed, {} solved.",
        certificate.space,
        counted(certificate.setups_in_space),
        certificate.setups_bounded,
        certificate.setups_packed,
        certificate.setups_solved
    )
}

/// A count that may be astronomic.
pub(crate) fn counted(n: f64) -> String {
    if n < 1e6 { format!("{n:.0}") } else { format!("{n:.2e}") }
}

fn binds(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    for binding in binding(plan) {
        match binding {
            Binding::Slo {
                policy_ix,
                slo_ix,
                per_percent,
            } => writeln!(
                out,
                " What binds: {}{}; a target 1 % looser is worth about {per_percent:.5} of quality.",
                plan.slo_words(slo_ix),
                place(plan, policy_ix, slo_ix)
            )?,
            Binding::Capacity { model_ix } => {
                writeln!(
                    out,
                    " What binds: `{}` runs at its capacity.",
                    plan.models[model_ix].name
                )?;
            }
            Binding::Nothing => writeln!(
                out,
                " What binds: nothing; every prompt goes to the running model that is best for it, and looser objectives would not change that."
            )?,
        }
    }
    Ok(())
}

/// Where an objective binds, as far as its words do not say so.
fn place(plan: &Plan, policy_ix: usize, slo_ix: usize) -> String {
    let policy = &plan.policies[policy_ix];
    let n_routes = plan.routes().len();
    let level = (plan.policies.len() > n_routes).then(|| format!(" at `{}`", policy.level));
    let route = (n_routes > 1 && plan.slos[slo_ix].route.is_none()).then(|| format!(", here of `{}`", policy.route));
    format!("{}{}", route.unwrap_or_default(), level.unwrap_or_default())
}

/// What the prediction rests on that was not measured.
fn cautions(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let used = plan
        .models
        .iter()
        .filter_map(|model| Some((model, model.configuration?)));
    let (mut simulated, mut scaled, mut extrapolated, mut filled) = (0, 0, Vec::new(), 0);
    let mut imported = Vec::new();
    for (model, configuration) in used {
        let profile = scenario.profiles.iter().find(|profile| {
            profile.key.model == model.name
                && Some(&profile.key.gpu_type) == model.gpu_type.as_ref()
                && profile.key.tensor_parallel == configuration.tensor_parallel
                && profile.key.share == configuration.share
        });
        match profile.map(|profile| &profile.source) {
            Some(ProfileSource::Simulated {
                fitted,
                share_extrapolated,
                ..
            }) => {
                simulated += 1;
                scaled += u32::from(!fitted);
                if *share_extrapolated {
                    extrapolated.push(model.name.as_str());
                }
            }
            Some(ProfileSource::Imported { tool, assumed }) => {
                imported.push(format!(
                    "{} from {tool} (taken as in the scenario: {})",
                    model.name,
                    assumed.join(", ")
                ));
            }
            Some(ProfileSource::Filled) => filled += 1,
            Some(ProfileSource::Measured) | None => {}
        }
    }
    if simulated > 0 {
        writeln!(
            out,
            " Note: {simulated} of the profiles used come from the engine model, not from your engines."
        )?;
    }
    if scaled > 0 {
        writeln!(
            out,
            " Note: {scaled} of them on a GPU whose constants are scaled from another's by data sheet."
        )?;
    }
    if !extrapolated.is_empty() {
        writeln!(
            out,
            " Note: the GPU share of {} is smaller than any that was measured (30 %), so its speed is extrapolated.",
            extrapolated.join(", ")
        )?;
    }
    if !imported.is_empty() {
        writeln!(out, " Note: imported profiles: {}.", imported.join("; "))?;
    }
    if filled > 0 {
        writeln!(out, " Note: {filled} of the curves used were filled in, not measured.")?;
    }
    Ok(())
}

/// What changes would be worth: a number, or the range that it is proven to lie in where the search ran out of work.
pub(crate) fn worths(plan: &Plan, worths: &[Worth], out: &mut dyn Write) -> io::Result<()> {
    let now = plan.quality().value();
    let rows = worths.iter().map(|worth| {
        let most = worth.upper_bound.min(1.0);
        let (quality, gain) = match (worth.quality, worth.finished) {
            (Some(quality), true) => (format!("{quality:.4}"), signed(quality - now)),
            (None, true) => ("no plan".to_owned(), "-".to_owned()),
            (Some(quality), false) => (
                format!("{quality:.4} to {most:.4}"),
                format!("{} to {}", signed(quality - now), signed(most - now)),
            ),
            (None, false) => (format!("at most {most:.4}"), "-".to_owned()),
        };
        [worth.change.clone(), quality, gain]
    });
    writeln!(
        out,
        "\n Worth, each planned again:\n{}",
        table(["change", "quality", "against this plan"], "lrr", rows)
    )
}

/// How far the rate may go.
pub(crate) fn rate_limits(plan: &Plan, limits: &RateLimits, out: &mut dyn Write) -> io::Result<()> {
    let percent = plan.planning.headroom * 100.0;
    let headroom = if percent > 0.0 {
        format!(" (with {percent:.0} % headroom; without it, all of them {percent:.0} % higher)")
    } else {
        String::new()
    };
    writeln!(
        out,
        "\n How far the rate may go before an objective is missed{headroom}:\n{}",
        table(["", "met up to", "proven out of reach at"], "lrr", rate_rows(limits))
    )
}

/// One row for each kind of answer to more traffic.
fn rate_rows(limits: &RateLimits) -> [[String; 3]; 3] {
    let row = |name: &str, limit: RateLimit| {
        [
            name.to_owned(),
            limit.reached.to_string(),
            limit.refuted.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
        ]
    };
    [
        row("this plan as it is", limits.as_planned),
        row("this setup, new prices", limits.same_setup),
        row("any setup on these GPUs", limits.any_setup),
    ]
}

/// A gain with its sign; what rounds to nothing has none.
pub(crate) fn signed(gain: f64) -> String {
    if gain.abs() < 5e-5 {
        "0".to_owned()
    } else {
        format!("{gain:+.4}")
    }
}

/// Why no plan reaches the quality that is asked for.
pub(crate) fn below_floor(scenario: &Scenario, below: &BelowFloor, out: &mut dyn Write) -> io::Result<()> {
    let workload = &scenario.workload;
    let slos: Vec<String> = workload.slos.iter().map(|slo| slo.words(workload.n_routes())).collect();
    writeln!(
        out,
        "no plan that meets {} at {} reaches a quality of {}",
        slos.join(" and "),
        workload.rate,
        below.floor
    )?;
    writeln!(
        out,
        "  the best plan found reaches {:.4}; more than {:.4} is proven impossible",
        below.quality, below.upper_bound
    )?;
    writeln!(
        out,
        "  help: lower the quality floor to {:.4}, loosen the targets, or add GPUs",
        (below.quality * 1e4).floor() / 1e4
    )
}

/// Why there is no plan, and what would make one.
pub(crate) fn near_miss(scenario: &Scenario, miss: &NearMiss, out: &mut dyn Write) -> io::Result<()> {
    let workload = &scenario.workload;
    let slos: Vec<String> = workload.slos.iter().map(|slo| slo.words(workload.n_routes())).collect();
    writeln!(out, "no plan meets {} at {}", slos.join(" and "), workload.rate)?;
    if miss.binding.is_empty() {
        writeln!(
            out,
            "  no single change of target, rate, memory, floor or GPUs would do; several bind at once"
        )?;
    } else {
        writeln!(
            out,
            "  what binds: {} (lifting any one of these is enough)",
            miss.binding.join("; ")
        )?;
    }
    let mut ways = Vec::new();
    if let Some(factor) = miss.target_factor {
        let targets: Vec<String> = workload
            .slos
            .iter()
            .filter_map(|slo| Seconds::new(slo.target.value() * factor * ROUNDING).ok())
            .map(|target| target.to_string())
            .collect();
        ways.push(format!("raise the target to {}", targets.join(" and ")));
    }
    if let Some(rate) = miss.rate {
        ways.push(format!("lower the rate to {rate}"));
    }
    if let Some(n) = miss.more_gpus {
        let gpu = scenario
            .cluster
            .nodes
            .first()
            .map_or("GPU", |node| scenario.cluster.gpu_types[node.gpu_type_ix].name.as_str());
        ways.push(format!("add {n} {gpu}"));
    }
    if !ways.is_empty() {
        writeln!(out, "  help: {}", ways.join(", or "))?;
    }
    Ok(())
}
