//! `routerwise explain`: how large the space is, what binds in a plan, what its prices mean.

use std::io::Write;
use std::path::PathBuf;

use routerwise_plan::explain::{Binding, binding};
use routerwise_plan::problem::Problem;
use routerwise_plan::space::{Retained, retained};
use routerwise_types::Scenario;
use routerwise_types::answer::{ANSWER_SCHEMA, BindingSlo, Explanation};
use routerwise_types::plan::Plan;

use crate::cli::{Format, ScenarioArgs};
use crate::cmd::plan::unplannable;
use crate::failure::{Answer, Failure};
use crate::plan_file;
use crate::render::{counted, level_of};
use crate::table::print_json;

/// Say how large a scenario's space of setups is and, with a plan, what binds and what its prices mean
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Explain this plan too
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise explain scenarios/demo
  routerwise explain scenarios/demo --plan scenarios/demo/plan.json

Setups are counted as the paper does (arXiv 2604.10907): every model on, one replica each, compute between the utilisation floor and the
whole cluster. Most that pass on total compute cannot be placed on GPUs.";

/// Above this many combinations the space is not counted one by one.
const MOST_COUNTED: f64 = 3e7;

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let scenario = args.scenario.load()?.scenario;
    routerwise_inputs::profiles::require(&scenario, &args.scenario.paths().profiles)?;
    let problem = Problem::new(&scenario).map_err(unplannable)?;
    let singles: f64 = problem
        .models
        .iter()
        .map(|model| {
            model
                .candidates
                .iter()
                .filter(|c| c.configuration.is_some_and(|c| c.n_replicas == 1))
                .count() as f64
        })
        .product();
    let counts = (singles <= MOST_COUNTED).then(|| retained(&problem));
    let plan = args.plan.as_deref().map(plan_file::read).transpose()?;
    match args.format {
        Format::Json => json_report(&problem, counts, plan.as_ref(), out)?,
        Format::Table => {
            space(&problem, singles, counts, out)?;
            if let Some(plan) = &plan {
                writeln!(out, "\nPrices of plan {}", plan.id.short())?;
                for policy_ix in 0..plan.policies.len() {
                    prices(&scenario, plan, policy_ix, out)?;
                }
            }
        }
    }
    Ok(Answer::Yes)
}

fn json_report(
    problem: &Problem,
    counts: Option<Retained>,
    plan: Option<&Plan>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let binding_slos = plan.map_or_else(Vec::new, |plan| {
        let slos = binding(plan).into_iter().filter_map(|binding| match binding {
            Binding::Slo {
                policy_ix,
                slo_ix,
                per_percent,
            } => Some(BindingSlo {
                level: plan.policies[policy_ix].level.clone(),
                slo: plan.slos[slo_ix],
                quality_per_percent: per_percent,
            }),
            Binding::Capacity { .. } | Binding::Nothing => None,
        });
        slos.collect()
    });
    let answer = Explanation {
        schema: ANSWER_SCHEMA,
        setups_in_space: problem.setups_in_space(),
        retained_by_compute: counts.map(|counts| counts.by_compute),
        placeable: counts.map(|counts| counts.placeable),
        placeable_with_memory: counts.map(|counts| counts.placeable_with_memory),
        plan: plan.map(|plan| plan.id.clone()),
        binding_slos,
    };
    print_json(&answer, out)?;
    Ok(())
}

fn space(problem: &Problem, singles: f64, counts: Option<Retained>, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "Setups: {} with replicas and models off",
        counted(problem.setups_in_space())
    )?;
    let floor = 100.0 * f64::from(problem.least_units) / f64::from(problem.all_units());
    match counts {
        Some(counts) => {
            writeln!(out, " with every model on and one replica each: {singles:.0}")?;
            writeln!(
                out,
                " of these, using {floor:.0} to 100 % of the cluster's compute: {}",
                counts.by_compute
            )?;
            writeln!(
                out,
                " of these, placeable with at most 100 % of every GPU: {}",
                counts.placeable
            )?;
            writeln!(
                out,
                " of these, placeable with their memory too: {}",
                counts.placeable_with_memory
            )?;
        }
        None => writeln!(
            out,
            " too many with every model on and one replica each ({singles:.2e}) to count one by one"
        )?,
    }
    Ok(())
}

fn prices(scenario: &Scenario, plan: &Plan, policy_ix: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let policy = &plan.policies[policy_ix];
    if let Some(level) = level_of(plan, policy) {
        writeln!(out, " {level}, {}:", policy.rate)?;
    }
    for ((model, routed), spec) in plan.models.iter().zip(&policy.models).zip(&scenario.models) {
        let price = routed.price.value();
        match model.configuration {
            None => writeln!(
                out,
                " {}: off; no prompt would want it at {price:.4} or more",
                spec.name
            )?,
            Some(_) if price < 5e-5 => {
                writeln!(
                    out,
                    " {}: free; one more prompt on it costs nobody anything that counts",
                    spec.name
                )?;
            }
            Some(_) => writeln!(
                out,
                " {}: {price:.4}; it must be predicted to beat a free model by that much to get a prompt",
                spec.name
            )?,
        }
    }
    for (slo_ix, slo) in plan.slos.iter().enumerate() {
        let worth = binding(plan).into_iter().find_map(|binding| match binding {
            Binding::Slo {
                policy_ix: at,
                slo_ix: ix,
                per_percent,
            } if (at, ix) == (policy_ix, slo_ix) => Some(per_percent),
            _ => None,
        });
        match worth {
            Some(worth) => writeln!(
                out,
                " {slo}: binds; a limit 1 % looser is worth about {worth:.5} of quality"
            )?,
            None => writeln!(out, " {slo}: does not bind")?,
        }
    }
    Ok(())
}
