//! `routerwise explain`: how large the space is, what binds in a plan, what its prices mean.

mod of_plan;

use std::io::Write;
use std::path::PathBuf;

use routerwise_plan::explain::{Binding, alternatives, binding, price_meanings, rate_limits, runner_up, values};
use routerwise_plan::problem::Problem;
use routerwise_plan::space::{Retained, retained};
use routerwise_types::Scenario;
use routerwise_types::answer::{ANSWER_SCHEMA, BindingSlo, Explanation};
use routerwise_types::plan::Plan;

use crate::cli::{Format, ScenarioArgs};
use crate::cmd::plan::unplannable;
use crate::failure::{Answer, Failure};
use crate::plan_file;
use crate::render::counted;
use crate::table::print_json;

/// Say how large a scenario's space of setups is and, with a plan, what binds, what its prices mean, what changes are worth, and why
/// other setups lost
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
    let mut scenario = args.scenario.load()?.scenario;
    let plan = args.plan.as_deref().map(plan_file::read).transpose()?;
    if let Some(plan) = &plan {
        plan_file::take_over(&mut scenario, plan, &args.scenario.folder)?;
    }
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
    let mut answer = answer(&problem, counts);
    if let Some(plan) = &plan {
        explain(&scenario, plan, &mut answer)?;
    }
    match args.format {
        Format::Json => print_json(&answer, out)?,
        Format::Table => {
            space(&problem, singles, counts, out)?;
            if let Some(plan) = &plan {
                of_plan::print(plan, &answer, out)?;
            }
        }
    }
    Ok(Answer::Yes)
}

fn answer(problem: &Problem, counts: Option<Retained>) -> Explanation {
    Explanation {
        schema: ANSWER_SCHEMA,
        setups_in_space: problem.setups_in_space(),
        retained_by_compute: counts.map(|counts| counts.by_compute),
        placeable: counts.map(|counts| counts.placeable),
        placeable_with_memory: counts.map(|counts| counts.placeable_with_memory),
        plan: None,
        binding_slos: Vec::new(),
        prices: Vec::new(),
        values: Vec::new(),
        alternatives: Vec::new(),
        runner_up: None,
        rate_limits: None,
    }
}

/// Adds what there is to say about a plan.
fn explain(scenario: &Scenario, plan: &Plan, answer: &mut Explanation) -> Result<(), Failure> {
    let slos = binding(plan).into_iter().filter_map(|binding| match binding {
        Binding::Slo {
            policy_ix,
            slo_ix,
            per_percent,
        } => Some(BindingSlo {
            level: plan.policies[policy_ix].level.clone(),
            route: (plan.routes().len() > 1).then(|| plan.policies[policy_ix].route.clone()),
            slo: plan.slos[slo_ix].clone(),
            quality_per_percent: per_percent,
        }),
        Binding::Capacity { .. } | Binding::Nothing => None,
    });
    answer.plan = Some(plan.id.clone());
    answer.binding_slos = slos.collect();
    answer.prices = price_meanings(plan);
    answer.values = values(scenario, plan).map_err(unplannable)?;
    answer.alternatives = alternatives(scenario, plan).map_err(unplannable)?;
    answer.runner_up = runner_up(&answer.alternatives).cloned();
    answer.rate_limits = Some(rate_limits(scenario, plan));
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
