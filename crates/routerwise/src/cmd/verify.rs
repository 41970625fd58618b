//! `routerwise verify`: does a plan do what it says, and prove what it claims?

use std::io::Write;

use routerwise_plan::check::{Violation, check};
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

Exit code 1 says that something in the plan is not so, or that its bound would take more work to verify than is allowed.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (scenario, plan) = args.plan.load()?;
    let violations = check(&scenario, &plan);
    let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
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
            "plan {} holds: routing, load, latency, packing and the bound of {:.4}{} were recomputed from its inputs",
            plan.id.short(),
            plan.certificate.upper_bound,
            if plan.achievement.is_some() {
                " and what limits its objective"
            } else {
                ""
            }
        )?,
        Format::Table => {
            writeln!(out, "plan {} {}:", plan.id.short(), verdict(&violations))?;
            for violation in &found {
                writeln!(out, "  - {violation}")?;
            }
        }
    }
    Ok(if found.is_empty() { Answer::Yes } else { Answer::No })
}

/// A bound that would take too long to verify is not a wrong one.
fn verdict(violations: &[Violation]) -> &'static str {
    if violations
        .iter()
        .all(|violation| matches!(violation, Violation::Unverified { .. }))
    {
        "does what it says, but its bound is too much work to verify"
    } else {
        "does not hold"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_too_much_work_is_not_called_wrong() {
        let open = Violation::Unverified {
            work: 1,
            setup: "`small` off".to_owned(),
        };
        let wrong = Violation::Uncovered {
            setup: "`small` off".to_owned(),
            proven: 1.0,
            upper_bound: 0.5,
        };
        assert!(verdict(std::slice::from_ref(&open)).contains("too much work"));
        assert_eq!(verdict(&[open, wrong]), "does not hold");
    }
}
