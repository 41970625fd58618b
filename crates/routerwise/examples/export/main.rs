//! Writes a planning problem and RouterWise's plan for it as JSON, for `scripts/milp/reference.py`.
//!
//! `cargo run --release -p routerwise --example export -- <case or scenario folder> <file>`; without arguments it lists the cases.

#[path = "../../../routerwise-plan/tests/support/mod.rs"]
mod support;

mod cases;
mod layout;

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Instant;

use routerwise_inputs::{Paths, load};
use routerwise_plan::problem::Problem;
use routerwise_types::scenario::Scenario;

/// How far the search goes, in score: finer than a user would ask for, so that there is something to compare.
const TOLERANCE: f64 = 1e-5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = stdout();
    let [name, file] = arguments.as_slice() else {
        writeln!(out, "usage: export <case or scenario folder> <file>\n\ncases:")?;
        for case in &cases::CASES {
            writeln!(out, "  {:13} {}", case.name, case.what)?;
        }
        return Ok(());
    };
    let mut scenario = named(name)?;
    scenario.workload.planning.tolerance = TOLERANCE;
    let start = Instant::now();
    let problem = Problem::new(&scenario)?;
    let plan = routerwise_plan::solve(&scenario, &problem, None);
    let seconds = start.elapsed().as_secs_f64();
    let export = layout::Export::new(name, &scenario, &problem, plan.as_ref(), seconds);
    fs::write(file, serde_json::to_string(&export)?)?;
    writeln!(out, "{name}: planned in {seconds:.3} s, written to {file}")?;
    Ok(())
}

fn named(name: &str) -> Result<Scenario, Box<dyn Error>> {
    if let Some(case) = cases::CASES.iter().find(|case| case.name == name) {
        return Ok((case.scenario)());
    }
    if !Path::new(name).is_dir() {
        return Err(format!(
            "`{name}` is neither a case nor a scenario folder; without arguments the cases are listed"
        )
        .into());
    }
    let loaded = load(&Paths::in_folder(Path::new(name))).map_err(|problems| problems.to_string())?;
    if loaded.scenario.profiles.is_empty() {
        return Err(format!("`{name}` has no profiles: run `routerwise profile --simulate {name}` first").into());
    }
    Ok(loaded.scenario)
}
