//! `routerwise profile show FILE…`: latency curves in the terminal and as SVG.

use std::io::Write;
use std::path::PathBuf;

use routerwise_inputs::write_atomically;
use routerwise_types::profile::{Evidence, PROFILE_SCHEMA, Profile, ProfileSet};
use routerwise_types::workload::Metric;

use super::configuration::in_words;
use super::{curves, files};
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::table::{print_json, table};

/// What is shown.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Files of profiles, or folders of them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only this model (repeat for more)
    #[arg(long = "model", value_name = "NAME")]
    only: Vec<String>,
    /// Draw the curves into this file too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Curves that one picture has room for.
const MOST: usize = 12;

pub(super) fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut profiles = read_all(&args.files)?;
    profiles.retain(|profile| args.only.is_empty() || args.only.contains(&profile.key.model));
    if profiles.is_empty() {
        return Err(Failure::Request {
            what: "there is no profile to show".into(),
            help: "give files that `routerwise profile` wrote; `--model` must name a model in them".into(),
        });
    }
    if args.format == Format::Json {
        print_json(
            &ProfileSet {
                schema: PROFILE_SCHEMA,
                profiles,
            },
            out,
        )?;
        return Ok(Answer::Yes);
    }
    let shown = &profiles[..profiles.len().min(MOST)];
    for metric in [Metric::Ttft, Metric::Tpot] {
        writeln!(out, "{}", curves::in_text(shown, metric))?;
    }
    for (mark, profile) in curves::marks().zip(shown) {
        details(mark, profile, out)?;
    }
    if profiles.len() > MOST {
        writeln!(
            out,
            "{} more are not shown: choose some with `--model` or by file.",
            profiles.len() - MOST
        )?;
    }
    if let Some(path) = &args.svg {
        let doing = format!("writing `{}`", path.display());
        write_atomically(path, curves::as_svg(shown).as_bytes()).map_err(Failure::environment(doing))?;
        writeln!(out, "drew them into `{}`", path.display())?;
    }
    Ok(Answer::Yes)
}

/// The profiles of files and folders.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<Profile>, Failure> {
    let mut profiles = Vec::new();
    for path in paths {
        let mut inside = vec![path.clone()];
        if path.is_dir() {
            let listed = std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            inside = listed.map_err(Failure::environment(format!("listing `{}`", path.display())))?;
            inside.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
            inside.sort();
        } else if !path.exists() {
            return Err(Failure::Request {
                what: format!("there is no file `{}`", path.display()),
                help: "give a file that `routerwise profile` wrote, or a folder of them".into(),
            });
        }
        for file in inside {
            profiles.extend(files::read(&file)?);
        }
    }
    profiles.retain(|profile| !profile.points.is_empty());
    Ok(profiles)
}

fn details(mark: char, profile: &Profile, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "{mark}  {}: {:.2} requests/s, {}",
        in_words(&profile.key),
        profile.capacity.value(),
        profile.conditions.engine
    )?;
    if let Some(evidence) = profile.evidence.as_deref() {
        writeln!(out, "   {}", origin(evidence))?;
    }
    let rows = profile.points.iter().map(|point| {
        let mean = |metric| {
            let stat = point.stat(metric);
            format!("{} ± {}", stat.mean, stat.ci95)
        };
        let p95 = point.ttft.sketch.quantile(0.95);
        [
            format!("{:.2} /s", point.offered.value()),
            point.n_requests.to_string(),
            mean(Metric::Ttft),
            p95.and_then(|p95| routerwise_types::Seconds::new(p95).ok())
                .map_or_else(|| "-".to_owned(), |p95| p95.to_string()),
            mean(Metric::Tpot),
            mean(Metric::E2e),
        ]
    });
    let header = ["load", "requests", "mean TTFT", "P95 TTFT", "mean TPOT", "mean E2E"];
    writeln!(out, "{}\n", table(header, "rrrrrr", rows))?;
    Ok(())
}

fn origin(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Measured(measured) => {
            let alone = &measured.alone;
            let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0} tokens/s"));
            let above = measured.not_sustained.map_or_else(
                || "no load was too much".to_owned(),
                |above| format!("not sustained: {:.2} requests/s", above.value()),
            );
            format!(
                "measured in {:.0} s, to {:.0} %; alone: TTFT {}, TPOT {}; prefill {}, decode {}; {above}",
                measured.spent.value(),
                measured.uncertainty * 100.0,
                alone.ttft,
                alone.tpot,
                rate(alone.prefill_rate),
                rate(alone.decode_rate)
            )
        }
        Evidence::Filled(filled) => {
            let error = filled.left_out.as_ref().unwrap_or(&filled.residual);
            format!(
                "filled from the engine model, fitted to {} configurations; its median error {}: TTFT {:.0} %, TPOT {:.0} %, capacity {:.0} %",
                filled.n_measured,
                if filled.left_out.is_some() {
                    "on what was left out"
                } else {
                    "where it was fitted"
                },
                error.ttft * 100.0,
                error.tpot * 100.0,
                error.capacity * 100.0
            )
        }
    }
}
