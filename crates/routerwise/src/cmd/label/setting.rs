//! From arguments and files to endpoints and a scorer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use regex::Regex;
use routerwise_inputs::endpoints::{self, checked_url};
use routerwise_inputs::{Problem, Problems};
use routerwise_label::score::judge::{Asking, Judge, Scale, TemplateError};
use routerwise_label::score::{Command, Pattern, Scorer};
use routerwise_types::Seconds;
use routerwise_types::labels::{Endpoint, Question};
use serde_json::Map;

use crate::failure::Failure;

/// Who answers.
#[derive(Debug, clap::Args)]
pub(super) struct EndpointArgs {
    /// A model and its OpenAI-compatible endpoint (repeat for more)
    #[arg(long = "model", value_name = "NAME=URL", help_heading = "Endpoints")]
    models: Vec<String>,
    /// Take models (and a judge) from this TOML file
    #[arg(long, value_name = "FILE", help_heading = "Endpoints")]
    endpoints: Option<PathBuf>,
    /// Environment variable that holds the key, where the file names none
    #[arg(long, value_name = "NAME", help_heading = "Endpoints")]
    key_env: Option<String>,
    /// Requests sent to a model in a second, where the file says nothing [default: no limit]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Endpoints")]
    requests_per_second: Option<f64>,
    /// Requests in flight at a model, where the file says nothing
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Endpoints")]
    concurrency: u32,
    /// Longest answer, in tokens, where the file says nothing
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Endpoints")]
    max_tokens: u32,
    /// Longest wait for an answer, in seconds, where the file says nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0, value_parser = positive, help_heading = "Endpoints")]
    timeout: f64,
}

/// How answers are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Equal to the reference, but for case, space and the way a number is written
    Exact,
    /// The option's letter, found in the answer and compared with the reference
    Choice,
    /// A regular expression: its group is compared with the reference; without a group it has to match
    Regex,
    /// A command of yours
    Command,
    /// Another model
    Judge,
}

/// How answers are scored.
#[derive(Debug, clap::Args)]
pub(super) struct ScoringArgs {
    /// How answers are scored
    #[arg(long, value_enum, help_heading = "Scoring")]
    score: By,
    /// For `regex`; `{reference}` in it stands for the reference
    #[arg(
        long,
        value_name = "REGEX",
        required_if_eq("score", "regex"),
        help_heading = "Scoring"
    )]
    pattern: Option<String>,
    /// For `command`; run by `sh -c` for each answer
    #[arg(
        long,
        value_name = "COMMAND",
        required_if_eq("score", "command"),
        help_heading = "Scoring"
    )]
    command: Option<String>,
    /// Longest run of the command, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive, help_heading = "Scoring")]
    command_timeout: f64,
    /// For `judge`: its endpoint, unless the endpoints file has a `[judge]`
    #[arg(long, value_name = "NAME=URL", help_heading = "Scoring")]
    judge: Option<String>,
    /// For `judge`: file with what it is asked
    #[arg(
        long,
        value_name = "FILE",
        required_if_eq("score", "judge"),
        help_heading = "Scoring"
    )]
    judge_template: Option<PathBuf>,
    /// For `judge`: lowest and highest grade
    #[arg(long, value_name = "LOW-HIGH", default_value = "1-10", help_heading = "Scoring")]
    judge_scale: String,
    /// For `judge`: finds the verdict in its group [default: [[x]], score: x, x/10]
    #[arg(long, value_name = "REGEX", help_heading = "Scoring")]
    judge_verdict: Option<String>,
    /// For `judge`: ask once, in the order of the template
    #[arg(long, help_heading = "Scoring")]
    judge_one_order: bool,
    /// For `judge` with {answer_a} and {answer_b}: the model that all are compared with [default: the reference]
    #[arg(long, value_name = "MODEL", help_heading = "Scoring")]
    baseline: Option<String>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("write a number above 0".into()),
    }
}

fn refuse<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Request {
        what: what.into(),
        help: help.into(),
    })
}

/// The models, and the judge where one is named.
pub(super) fn endpoints(
    args: &EndpointArgs,
    scoring: &ScoringArgs,
) -> Result<(Vec<Endpoint>, Option<Endpoint>), Failure> {
    let usual = Endpoint {
        name: String::new(),
        url: String::new(),
        served_name: String::new(),
        key_env: args.key_env.clone(),
        system: None,
        requests_per_second: args.requests_per_second,
        concurrency: args.concurrency,
        max_tokens: args.max_tokens,
        temperature: 0.0,
        timeout: Seconds::new(args.timeout).expect("checked to be above 0"),
        price: None,
        extra: Map::new(),
    };
    let (mut models, mut judge) = match &args.endpoints {
        Some(path) => {
            let read = endpoints::read(path, &usual)?;
            (read.models, read.judge)
        }
        None => (Vec::new(), None),
    };
    for given in &args.models {
        models.push(named(given, "--model", &usual)?);
    }
    if let Some(given) = &scoring.judge {
        judge = Some(named(given, "--judge", &usual)?);
    }
    if models.is_empty() {
        return refuse(
            "no model is named",
            "name each with `--model name=http://host:port/v1`, or all in a file with `--endpoints`",
        );
    }
    let mut names = BTreeSet::new();
    match models.iter().find(|model| !names.insert(&model.name)) {
        Some(twice) => refuse(
            format!("model `{}` is named twice", twice.name),
            "give each a name of its own",
        ),
        None => Ok((models, judge)),
    }
}

fn named(given: &str, flag: &str, usual: &Endpoint) -> Result<Endpoint, Failure> {
    let help =
        format!("write `{flag} small=http://localhost:8000/v1`; what else there is to say about it goes into a file");
    let Some((name, url)) = given.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        return refuse(format!("`{flag} {given}` has no name before a `=`"), help);
    };
    let name = name.trim().to_owned();
    match checked_url(url.trim()) {
        Ok(url) => Ok(Endpoint {
            served_name: name.clone(),
            name,
            url,
            ..usual.clone()
        }),
        Err(what) => refuse(what, help),
    }
}

/// The scorer, or what is wrong with it.
pub(super) fn scorer(args: &ScoringArgs, models: &[Endpoint], judge: Option<Endpoint>) -> Result<Scorer, Failure> {
    Ok(match args.score {
        By::Exact => Scorer::Exact,
        By::Choice => Scorer::Choice,
        By::Regex => match Pattern::new(args.pattern.as_deref().unwrap_or_default()) {
            Ok(pattern) => Scorer::Pattern(pattern),
            Err(error) => return refuse(format!("`--pattern` is no regular expression: {error}"), SYNTAX),
        },
        By::Command => Scorer::Command(Command {
            line: args.command.clone().unwrap_or_default(),
            deadline: Duration::from_secs_f64(args.command_timeout.min(1e6)),
        }),
        By::Judge => Scorer::Judge(Box::new(self::judge(args, models, judge)?)),
    })
}

const SYNTAX: &str = "quote it with '…' in a shell; the syntax is that of the Rust crate `regex`";

fn judge(args: &ScoringArgs, models: &[Endpoint], judge: Option<Endpoint>) -> Result<Judge, Failure> {
    let Some(endpoint) = judge else {
        return refuse(
            "no judge is named",
            "name it with `--judge name=http://host:port/v1`, or by `[judge]` in the endpoints file",
        );
    };
    if let Some(baseline) = &args.baseline
        && !models.iter().any(|model| model.name == *baseline)
    {
        return refuse(
            format!("`--baseline {baseline}` is none of the models"),
            "name one of them",
        );
    }
    let path = args.judge_template.as_deref().unwrap_or(Path::new(""));
    let problem = |what: String, help: &str| Failure::Inputs(Problems(vec![Problem::new(path, what).help(help)]));
    let template = fs::read_to_string(path).map_err(|error| {
        problem(
            format!("cannot be read: {error}"),
            "name a text file with what the judge is asked",
        )
    })?;
    let verdict = args.judge_verdict.as_deref().map(Regex::new).transpose();
    let verdict = match verdict {
        Ok(Some(verdict)) if verdict.captures_len() < 2 => {
            return refuse("`--judge-verdict` has no group", "put (…) around what is the verdict");
        }
        Ok(verdict) => verdict,
        Err(error) => return refuse(format!("`--judge-verdict` is no regular expression: {error}"), SYNTAX),
    };
    let asking = Asking {
        scale: scale(&args.judge_scale)?,
        verdict,
        baseline: args.baseline.clone(),
        both_orders: !args.judge_one_order,
    };
    Judge::new(endpoint, &template, asking).map_err(|error| problem(error.to_string(), template_help(&error)))
}

fn scale(text: &str) -> Result<Scale, Failure> {
    let parsed = text
        .split_once('-')
        .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    match parsed {
        Some((lowest, highest)) if lowest < highest => Ok(Scale { lowest, highest }),
        _ => refuse(
            format!("`--judge-scale {text}` is no scale"),
            "write `1-10`: the lowest grade, the highest",
        ),
    }
}

fn template_help(error: &TemplateError) -> &'static str {
    match error {
        TemplateError::UnknownPlace(_) => {
            "it may hold {prompt}, {answer}, {reference}, {source}, {first}, {second}, {first_title}, {second_title}, {answer_a} and \
             {answer_b}; double the braces of anything else"
        }
        TemplateError::NoAnswer => {
            "put `{answer}` where the answer is to stand, or `{answer_a}` and `{answer_b}` to compare two"
        }
        TemplateError::Mixed(..) | TemplateError::Lacks(..) => {
            "use {answer}; or {first_title} {first} {second_title} {second} for an answer beside its reference; or {answer_a} {answer_b}"
        }
        TemplateError::FixedOrder => {
            "write {first_title}, {first}, {second_title} and {second} instead of {answer} and {reference}, or accept one order with \
             `--judge-one-order`"
        }
        TemplateError::NoBaseline => "use {answer_a} and {answer_b}, or leave `--baseline` out",
    }
}

/// Refuses a run whose answers could not be scored in the end.
pub(super) fn refuse_unscorable(scorer: &Scorer, sampled: &[&Question], path: &Path) -> Result<(), Failure> {
    if !scorer.needs_reference() {
        return Ok(());
    }
    let n_without = sampled.iter().filter(|question| question.reference.is_none()).count();
    if n_without == 0 {
        return Ok(());
    }
    let what = format!(
        "{n_without} of the {} sampled prompts have no reference to score answers by",
        sampled.len()
    );
    let help = "add a column or field `reference`, remove such prompts, or score by `command` or `judge`";
    Err(Problems(vec![Problem::new(path, what).help(help)]).into())
}
