//! Plan files: reading one with its scenario, writing one whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use routerwise_inputs::{Paths, load, write_atomically};
use routerwise_types::plan::{PLAN_SCHEMA, Plan};
use routerwise_types::{Fingerprint, Scenario};

use crate::failure::Failure;

/// A plan and the scenario that it is of.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Plan file, as `routerwise plan` writes it
    #[arg(value_name = "PLAN")]
    pub(crate) file: PathBuf,
    /// Scenario folder that it was made from [default: the folder of the plan file]
    #[arg(long, value_name = "FOLDER")]
    scenario: Option<PathBuf>,
}

impl PlanArgs {
    /// Reads both. The scenario takes the plan's rate, objectives and settings, which `routerwise plan` may have overridden.
    pub(crate) fn load(&self) -> Result<(Scenario, Plan), Failure> {
        load_with(&self.file, self.scenario.as_deref())
    }
}

/// Reads a plan and the scenario that it was made from, which lies beside it where no folder is given.
pub(crate) fn load_with(file: &Path, scenario: Option<&Path>) -> Result<(Scenario, Plan), Failure> {
    let plan = read(file)?;
    let folder = match (scenario, file.parent()) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        (None, _) => PathBuf::from("."),
    };
    let mut scenario = load(&Paths::in_folder(&folder))?.scenario;
    take_over(&mut scenario, &plan, &folder)?;
    Ok((scenario, plan))
}

/// Gives a scenario the plan's rate, objectives and settings; refuses when the plan was made from anything else that differs.
pub(crate) fn take_over(scenario: &mut Scenario, plan: &Plan, folder: &Path) -> Result<(), Failure> {
    let workload = &mut scenario.workload;
    workload.rate = plan.rate;
    workload.slos.clone_from(&plan.slos);
    workload.objective = plan.objective;
    workload.planning = plan.planning;
    scenario.fingerprints.workload = Fingerprint::of(workload);
    same_inputs(plan, scenario, folder)
}

fn same_inputs(plan: &Plan, scenario: &Scenario, folder: &Path) -> Result<(), Failure> {
    let (then, now) = (&plan.inputs, &scenario.fingerprints);
    let parts = [
        ("cluster", &then.cluster, &now.cluster),
        ("models", &then.models, &now.models),
        ("workload", &then.workload, &now.workload),
        ("scores", &then.scores, &now.scores),
        ("profiles", &then.profiles, &now.profiles),
    ];
    let changed: Vec<&str> = parts
        .iter()
        .filter(|(_, a, b)| a != b)
        .map(|(name, ..)| *name)
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::Request {
        what: format!(
            "the plan was made from other inputs than `{}` has now: {} changed",
            folder.display(),
            changed.join(", ")
        ),
        help: "plan again with `routerwise plan`, or name the folder that it was made from with `--scenario`".into(),
    })
}

/// Reads a plan file.
pub(crate) fn read(file: &Path) -> Result<Plan, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::Request {
        what: format!("cannot read the plan `{}`: {error}", file.display()),
        help: "make one with `routerwise plan <scenario>`".into(),
    })?;
    let wrong = |what: String| Failure::Request {
        what: format!("`{}` is not a plan: {what}", file.display()),
        help: "make it again with `routerwise plan <scenario>`".into(),
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(PLAN_SCHEMA) => {}
        Some(schema) => {
            return Err(wrong(format!(
                "its schema is {schema}, this version reads {PLAN_SCHEMA}"
            )));
        }
        None => return Err(wrong("it has no schema number".into())),
    }
    let plan: Plan = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if plan.id != plan.fingerprint() {
        return Err(wrong(
            "its content does not match its id, so it was changed by hand or damaged".into(),
        ));
    }
    Ok(plan)
}

/// Writes a plan file.
pub(crate) fn write(file: &Path, plan: &Plan) -> Result<(), Failure> {
    write_atomically(file, to_json(plan).as_bytes())
        .map_err(Failure::environment(format!("writing the plan `{}`", file.display())))
}

/// The text of a plan file.
pub(crate) fn to_json(plan: &Plan) -> String {
    let text = serde_json::to_string_pretty(plan).expect("a plan holds only what JSON holds");
    format!("{text}\n")
}
