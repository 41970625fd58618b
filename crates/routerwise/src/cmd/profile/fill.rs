//! `routerwise profile --fill`: the engine model fitted to what was measured, and profiles of what was not.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use routerwise_inputs::profiles::possible_keys;
use routerwise_measure::profile::refit::{Fit, Known, fill, fit};
use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::Sweep;
use routerwise_types::Scenario;
use routerwise_types::profile::{FillError, Profile, ProfileKey};

use super::configuration::in_words;
use super::show::read_all;
use super::{files, job};
use crate::failure::Failure;
use crate::table::table;

/// Requests at each load of a filled profile.
const N_REQUESTS: usize = 2_000;

/// Fills the configurations of `models` that have no measurement; how many were filled.
pub(super) fn run(
    scenario: &Scenario,
    folder: &Path,
    models: &[String],
    seed: u64,
    out: &mut dyn Write,
) -> Result<usize, Failure> {
    let measured = measured(scenario, folder)?;
    let mut groups: BTreeMap<(String, String), Vec<&Profile>> = BTreeMap::new();
    for profile in &measured {
        let engine = job(scenario, &profile.key).model.engine.name.clone();
        groups
            .entry((engine, profile.key.gpu_type.clone()))
            .or_default()
            .push(profile);
    }
    let mut n_filled = 0;
    for ((engine, gpu_type), profiles) in groups {
        let of_engine = |key: &ProfileKey| {
            key.gpu_type == gpu_type && job(scenario, key).model.engine.name == engine && models.contains(&key.model)
        };
        let open: Vec<ProfileKey> = scenario
            .models
            .iter()
            .flat_map(|model| possible_keys(&scenario.cluster, model))
            .filter(|key| of_engine(key) && !measured.iter().any(|profile| files::same(&profile.key, key)))
            .collect();
        let known: Vec<Known<'_>> = profiles
            .iter()
            .map(|profile| Known {
                job: job(scenario, &profile.key),
                profile,
            })
            .collect();
        let Some(fit) = fit(&known, &Constants::shipped()) else {
            writeln!(
                out,
                "\n{engine} on {gpu_type}: no measured model has an architecture, so nothing can be computed from it"
            )?;
            continue;
        };
        tell(&engine, &gpu_type, &fit, out)?;
        n_filled += fill_all(scenario, folder, &fit, &open, seed, out)?;
    }
    Ok(n_filled)
}

/// Measured profiles of the folder that the scenario can have.
fn measured(scenario: &Scenario, folder: &Path) -> Result<Vec<Profile>, Failure> {
    let mut measured = Vec::new();
    let folder = folder.to_owned();
    if folder.exists() {
        measured = read_all(std::slice::from_ref(&folder))?;
    }
    let possible: Vec<ProfileKey> = scenario
        .models
        .iter()
        .flat_map(|model| possible_keys(&scenario.cluster, model))
        .collect();
    measured.retain(|profile| {
        files::is_of_a_real_engine(profile) && possible.iter().any(|key| files::same(key, &profile.key))
    });
    Ok(measured)
}

fn fill_all(
    scenario: &Scenario,
    folder: &Path,
    fit: &Fit,
    open: &[ProfileKey],
    seed: u64,
    out: &mut dyn Write,
) -> Result<usize, Failure> {
    let sweep = Sweep {
        seed,
        n_requests: N_REQUESTS,
    };
    let mut filled: BTreeMap<&str, Vec<Profile>> = BTreeMap::new();
    for key in open {
        match fill(fit, &job(scenario, key), sweep) {
            Some(profile) => filled.entry(&key.model).or_default().push(profile),
            None => writeln!(out, "{} cannot be simulated and was left out", in_words(key))?,
        }
    }
    let n = filled.values().map(Vec::len).sum();
    for (model, profiles) in filled {
        files::put(folder, model, &profiles)?;
    }
    Ok(n)
}

fn tell(engine: &str, gpu_type: &str, fit: &Fit, out: &mut dyn Write) -> Result<(), Failure> {
    let fitted = &fit.fitted;
    writeln!(
        out,
        "\nEngine model of {engine} on {gpu_type}, fitted to {} measured configurations:\n  host {:.2} ms a step, {:.2} ms a request; compute x {:.3}, bandwidth x {:.3} of the GPU type's constants",
        fit.n_measured,
        fitted.host_step_seconds * 1e3,
        fitted.request_seconds * 1e3,
        fitted.compute,
        fitted.bandwidth
    )?;
    let percent = |value: f64| format!("{:.1} %", value * 100.0);
    let row = |name: &str, error: &FillError| {
        [
            name.to_owned(),
            percent(error.ttft),
            percent(error.tpot),
            percent(error.capacity),
        ]
    };
    let mut rows = vec![row("where it was fitted", &fit.residual)];
    rows.extend(fit.left_out.as_ref().map(|error| row("on what was left out", error)));
    let header = ["median error", "mean TTFT", "mean TPOT", "capacity"];
    writeln!(out, "{}", table(header, "lrrr", rows))?;
    if fit.left_out.is_none() {
        writeln!(
            out,
            "With one measured configuration nobody knows how far it is off on others: measure a second one."
        )?;
    }
    Ok(())
}
