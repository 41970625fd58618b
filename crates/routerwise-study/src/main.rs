//! `routerwise-study`: makes the tables of `docs/study.md`.

#![expect(clippy::print_stderr, reason = "says what it is doing to the person who started it")]

mod chart;
mod labels;
mod live;
mod modern;
mod page;
mod panels;
mod predict;
mod rivals;
mod search;
mod sets;
mod setting;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use routerwise_types::scenario::Scenario;

use panels::{Measured, PANELS, Panel};
use sets::{MODERN, OF_THE_USER, SHIPPED, ScoreSet};

/// Make the tables of the study: `docs/study.md` and `docs/study/`.
#[derive(Parser)]
struct Arguments {
    /// Folder with one folder per set of scores that may not ship; without it their tables stay as they are
    #[arg(long)]
    data: Option<PathBuf>,
    /// Only write the scores of both scenarios anew, from the measured scores in `--data`
    #[arg(long, requires = "data")]
    scores: bool,
    /// Only print the table of live prices for a scenario folder with profiles, planned at a rate (repeat for more)
    #[arg(long, value_name = "FOLDER=RATE")]
    live_prices: Vec<String>,
    /// Seeds of the table of live prices
    #[arg(long, value_delimiter = ',', default_value = "11,12", requires = "live_prices")]
    seeds: Vec<u64>,
}

/// Where the scenario of the paper's setting is.
const PAPER: &str = "scenarios/study-paper";
const PAGE: &str = "docs/study.md";
const FOLDER: &str = "docs/study";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let data = arguments.data.as_deref();
    if let (true, Some(data)) = (arguments.scores, data) {
        return write_scores(data);
    }
    if !arguments.live_prices.is_empty() {
        return live_prices(&arguments);
    }
    std::fs::create_dir_all(FOLDER).with_context(|| format!("cannot make `{FOLDER}`"))?;
    let three = paper("models.toml")?;
    spreads(SHIPPED.name, &three, &PANELS)?;
    let four = paper("models-4.toml")?;
    spreads("four-models", &four, &[PANELS[0], PANELS[3], PANELS[4], PANELS[7]])?;
    for set in OF_THE_USER.iter().filter(|_| data.is_some()) {
        let scored = scored(&three, set, data.unwrap_or(Path::new(".")))?;
        spreads(set.name, &scored, &PANELS)?;
        rivals(set.name, &scored)?;
    }
    rivals(SHIPPED.name, &three)?;
    step("a modern setting");
    let modern = setting::with_profiles(setting::read(Path::new(modern::FOLDER), "cluster.toml", "models.toml")?);
    let (text, csv) = modern::table(&modern)?;
    write("modern.csv", &csv)?;
    put("modern", &text)?;
    step("joint plan against exhaustive search");
    put("search", &search::table(&three, &four)?)
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn live_prices(arguments: &Arguments) -> Result<()> {
    for wanted in &arguments.live_prices {
        let (folder, rate) = wanted.rsplit_once('=').context("write FOLDER=RATE")?;
        let paths = routerwise_inputs::Paths::in_folder(Path::new(folder));
        let scenario = routerwise_inputs::load(&paths)
            .map_err(|problems| anyhow::anyhow!("{problems}"))?
            .scenario;
        println!(
            "{}",
            live::table(scenario, rate.parse().context("the rate")?, &arguments.seeds)?
        );
    }
    Ok(())
}

/// The paper's setting, on four and on eight GPUs.
fn paper(models: &str) -> Result<Vec<(usize, Scenario)>> {
    let clusters = [(4, "cluster.toml"), (8, "cluster-8.toml")].into_iter();
    let scenarios = clusters.map(|(n_gpus, cluster)| {
        let scenario = setting::read(Path::new(PAPER), cluster, models)?;
        Ok((n_gpus, setting::with_profiles(scenario)))
    });
    scenarios.collect()
}

/// The same with scores that the user has.
fn scored(scenarios: &[(usize, Scenario)], set: &ScoreSet, data: &Path) -> Result<Vec<(usize, Scenario)>> {
    let labels = labels::read(&data.join(set.name).join("scores.parquet"), set.columns)?;
    let predicted = predict::predict(&labels.texts, &labels.columns);
    for (name, line) in set.columns.iter().zip(predict::errors(&labels.columns, &predicted)) {
        eprintln!("  {name}: {line}");
    }
    let scored = scenarios
        .iter()
        .map(|(n_gpus, scenario)| (*n_gpus, setting::with_scores(scenario, &labels.ids, &predicted)));
    Ok(scored.collect())
}

/// Study 1 with one set of scores.
fn spreads(name: &str, scenarios: &[(usize, Scenario)], panels: &[Panel]) -> Result<()> {
    step(&format!("spread over setups, {name}"));
    let measured: Vec<Measured> = panels::measure(scenarios, panels)?;
    write(&format!("spread-{name}.csv"), &panels::csv(&measured))?;
    write(&format!("spread-{name}.svg"), &chart::draw(&measured))?;
    put(
        &format!("spread-{name}"),
        &format!("{}\n{}", panels::table(&measured), panels::notes(&measured)),
    )
}

/// Study 2 with one set of scores.
fn rivals(name: &str, scenarios: &[(usize, Scenario)]) -> Result<()> {
    step(&format!("routers tuned to our quality, {name}"));
    let (_, four_gpus) = &scenarios[0];
    put(&format!("rivals-{name}"), &rivals::table(four_gpus)?)
}

fn step(what: &str) {
    eprintln!("{what}");
}

fn put(name: &str, text: &str) -> Result<()> {
    page::put(Path::new(PAGE), name, text)
}

fn write(name: &str, text: &str) -> Result<()> {
    let path = Path::new(FOLDER).join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The predicted scores that ship, and how good they are.
fn write_scores(data: &Path) -> Result<()> {
    for (set, folder) in [(SHIPPED, PAPER), (MODERN, modern::FOLDER)] {
        let labels = labels::read(&data.join(set.name).join("scores.parquet"), set.columns)?;
        let predicted = predict::predict(&labels.texts, &labels.columns);
        for (name, line) in set.columns.iter().zip(predict::errors(&labels.columns, &predicted)) {
            eprintln!("{name}: {line}");
        }
        labels::write(
            &Path::new(folder).join("scores.parquet"),
            set.columns,
            &labels,
            &predicted,
        )?;
    }
    Ok(())
}
