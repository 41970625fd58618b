//! `routerwise profile compare A B`: whether two files of profiles differ by more than chance.

use std::io::Write;
use std::path::{Path, PathBuf};

use routerwise_measure::profile::compare::{Compared, compare};
use routerwise_types::Seconds;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::profiles::{ComparedConfiguration, ComparedValue, ProfileComparison};
use routerwise_types::profile::{Evidence, Profile};

use super::configuration::in_words;
use super::files;
use super::show::read_all;
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::table::{print_json, table};

/// Which two.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Profiles of before: a file, or a folder of them
    #[arg(value_name = "A")]
    before: PathBuf,
    /// Profiles of after
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    judging: JudgeArgs,
}

/// What counts as a difference.
#[derive(Debug, clap::Args)]
pub(super) struct JudgeArgs {
    /// Differences below this part do not count, however sure they are
    #[arg(long, value_name = "PART", default_value = "0%", value_parser = part, help_heading = "Comparing")]
    tolerance: f64,
    /// How to print a comparison, or what is shown
    #[arg(long, value_enum, default_value_t, help_heading = "Comparing")]
    pub(super) format: Format,
}

/// `2%` or `0.02`.
fn part(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no part, such as 2%"))?;
    let part = value * scale;
    if (0.0..=1.0).contains(&part) {
        Ok(part)
    } else {
        Err("it lies between 0% and 100%".into())
    }
}

pub(super) fn run(args: &CompareArgs, out: &mut dyn Write) -> Result<Answer, Failure> {
    of_files(&args.before, &args.after, &args.judging, out)
}

/// Exit code 1 says that they differ.
pub(super) fn of_files(
    before: &Path,
    after: &Path,
    judging: &JudgeArgs,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    let (old, new) = (
        read_all(std::slice::from_ref(&before.to_owned()))?,
        read_all(std::slice::from_ref(&after.to_owned()))?,
    );
    let report = report(&old, &new, judging.tolerance);
    if report.configurations.is_empty() {
        return Err(Failure::Request {
            what: format!(
                "`{}` and `{}` have no configuration in common",
                before.display(),
                after.display()
            ),
            help: "compare profiles of the same model, GPU type, tensor-parallel degree and share".into(),
        });
    }
    match judging.format {
        Format::Json => print_json(&report, out)?,
        Format::Table => render(&report, out)?,
    }
    Ok(if report.differ { Answer::No } else { Answer::Yes })
}

fn report(before: &[Profile], after: &[Profile], tolerance: f64) -> ProfileComparison {
    let twin = |profile: &Profile, others: &[Profile]| {
        others
            .iter()
            .find(|other| files::same(&other.key, &profile.key))
            .cloned()
    };
    let pairs: Vec<(&Profile, Profile)> = before.iter().filter_map(|old| Some((old, twin(old, after)?))).collect();
    let configurations: Vec<ComparedConfiguration> = pairs
        .iter()
        .map(|(old, new)| {
            let comparisons: Vec<ComparedValue> = compare(old, new, pairs.len())
                .into_iter()
                .map(|compared| value(compared, tolerance))
                .collect();
            ComparedConfiguration {
                key: old.key.clone(),
                differs: comparisons.iter().any(|value| value.differs),
                conditions: unlike(old, new),
                comparisons,
            }
        })
        .collect();
    let alone = |profiles: &[Profile], others: &[Profile]| {
        let alone = profiles.iter().filter(|profile| twin(profile, others).is_none());
        alone.map(|profile| profile.key.clone()).collect()
    };
    ProfileComparison {
        schema: ANSWER_SCHEMA,
        differ: configurations.iter().any(|configuration| configuration.differs),
        tolerance,
        configurations,
        only_before: alone(before, after),
        only_after: alone(after, before),
    }
}

fn value(compared: Compared, tolerance: f64) -> ComparedValue {
    ComparedValue {
        load: compared.load,
        metric: compared.metric,
        before: compared.before,
        after: compared.after,
        interval: compared.interval,
        differs: compared.differs(tolerance),
    }
}

/// What is not alike in how two profiles were taken.
fn unlike(old: &Profile, new: &Profile) -> Vec<String> {
    let (before, after) = (&old.conditions, &new.conditions);
    let mut found = Vec::new();
    if let (Some(old), Some(new)) = (version(old), version(new))
        && old != new
    {
        found.push(format!("server `{old}` and `{new}`"));
    }
    if before.engine != after.engine {
        found.push(format!("engine `{}` and `{}`", before.engine, after.engine));
    } else if before.model != after.model {
        found.push("other weights or engine flags".to_owned());
    }
    if before.lengths != after.lengths {
        found.push(format!(
            "token lengths (mean {:.0} in, {:.0} out and {:.0} in, {:.0} out)",
            before.mean_input_tokens, before.mean_output_tokens, after.mean_input_tokens, after.mean_output_tokens
        ));
    }
    if before.arrivals != after.arrivals {
        found.push("arrival processes".to_owned());
    }
    if before.kv_cache != after.kv_cache {
        found.push(format!("KV caches of {} and {}", before.kv_cache, after.kv_cache));
    }
    found
}

/// What the server said that it is.
fn version(profile: &Profile) -> Option<&str> {
    match profile.evidence.as_deref() {
        Some(Evidence::Measured(measured)) => measured.version.as_deref(),
        _ => None,
    }
}

fn render(report: &ProfileComparison, out: &mut dyn Write) -> Result<(), Failure> {
    for configuration in &report.configurations {
        writeln!(out, "{}", in_words(&configuration.key))?;
        if !configuration.conditions.is_empty() {
            writeln!(out, " not taken alike: {}", configuration.conditions.join(", "))?;
        }
        let rows = configuration.comparisons.iter().map(row);
        let header = ["load", "", "before", "after", "change", "chance", ""];
        writeln!(out, "{}", table(header, "rlrrrrl", rows))?;
        let n_differ = configuration.comparisons.iter().filter(|value| value.differs).count();
        let n = configuration.comparisons.len();
        if configuration.differs {
            writeln!(out, "It differs: {n_differ} of {n} values by more than chance.\n")?;
        } else {
            writeln!(out, "No difference beyond chance in {n} values.\n")?;
        }
    }
    for (keys, which) in [(&report.only_before, "first"), (&report.only_after, "second")] {
        for key in keys {
            writeln!(out, "Only in the {which}: {}", in_words(key))?;
        }
    }
    writeln!(
        out,
        "`chance` is what a difference may be by chance, at 95 % for all values together."
    )?;
    Ok(())
}

fn row(value: &ComparedValue) -> [String; 7] {
    let shown = |number: f64| match value.metric {
        Some(_) => Seconds::new(number).map_or_else(|_| String::new(), |seconds| seconds.to_string()),
        None => format!("{number:.2} /s"),
    };
    let relative = |number: f64| format!("{:.1} %", 100.0 * number / value.before.max(1e-12));
    [
        value
            .load
            .map_or_else(String::new, |load| format!("{:.2} /s", load.value())),
        value
            .metric
            .map_or_else(|| "capacity".to_owned(), |metric| format!("mean {metric}")),
        shown(value.before),
        shown(value.after),
        format!(
            "{:+.1} %",
            100.0 * (value.after - value.before) / value.before.max(1e-12)
        ),
        format!("± {}", relative(value.interval)),
        if value.differs {
            "differs".to_owned()
        } else {
            String::new()
        },
    ]
}
