//! `routerwise verify`: does a plan do what it says, and prove what it claims?

use std::io::Write;

use routerwise_plan::check::check;
use routerwise_types::answer::{ANSWER_SCHEMA, Verification};

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::plan_file::PlanArgs;
use crate::table::print_json;

/// Recompute a plan from its inputs with code that shares nothing with the search: routing, load, latency, packing and bound
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise verify scenarios/demo/plan.json
  routerwise verify busy.json --scenario scenarios/demo

Exit code 1 says that something in the plan is not so.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (scenario, plan) = args.plan.load()?;
    let found: Vec<String> = check(&scenario, &plan).iter().map(ToString::to_string).collect();
    match args.format {
        Format::Json => {
            let answer = Verification {
                schema: ANSWER_SCHEMA,
                plan: plan.id.clone(),
                violations: found.clone(),
            };
            print_json(&answer, out)?;
        }
        Format::Table if found.is_empty() => writeln!(
            out,
            "plan {} holds: routing, load, latency, packing and the bound of {:.4} were recomputed from its inputs",
            plan.id.short(),
            plan.certificate.upper_bound
        )?,
        Format::Table => {
            writeln!(out, "plan {} does not hold:", plan.id.short())?;
            for violation in &found {
                writeln!(out, "  - {violation}")?;
            }
        }
    }
    Ok(if found.is_empty() { Answer::Yes } else { Answer::No })
}
