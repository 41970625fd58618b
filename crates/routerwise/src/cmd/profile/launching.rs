//! `routerwise profile --engine`: starts one configuration after the other, measures it, stops it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use routerwise_measure::launch::process::{Engine, NotRunning, free_port};
use routerwise_measure::launch::template::{BadTemplate, Filled, Template};
use routerwise_types::profile::{Profile, ProfileKey};

use super::configuration::in_words;
use super::measured::Measuring;
use super::{Args, files, job};
use crate::failure::Failure;

/// How engines are started.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --engine")]
pub(super) struct LaunchArgs {
    /// Where a model's weights are: a path, a repository, a GGUF file [default: the model's name] (repeat for more)
    #[arg(long, value_name = "MODEL=WHERE", value_parser = pair)]
    weights: Vec<(String, String)>,
    /// Value of a placeholder of the template (repeat for more)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Port for the engines [default: one that is free]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Folder for their logs [default: `logs` in the folder of the profiles]
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not `name=value`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What became of the configurations.
pub(super) struct Launched {
    pub(super) profiles: Vec<Profile>,
    /// Those that were not measured, and why.
    pub(super) failed: Vec<(ProfileKey, Failure)>,
}

/// The template of a name or a file.
pub(super) fn template(name: &str) -> Result<Template, Failure> {
    if let Some(template) = Template::shipped(name) {
        return Ok(template);
    }
    let path = Path::new(name);
    let names: Vec<String> = Template::names().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    if !path.exists() {
        return Err(Failure::Request {
            what: format!("there is no engine template `{name}`"),
            help: format!("there are {names}; or give the path of a file of your own"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(Failure::environment(format!("reading `{name}`")))?;
    Template::parse(&text).map_err(|error| bad_template(name, &error))
}

fn bad_template(name: &str, error: &BadTemplate) -> Failure {
    let help = match error {
        BadTemplate::Unknown { .. } => "give it one with `--set NAME=VALUE`, or under [defaults] in the template",
        BadTemplate::Syntax(_) | BadTemplate::NoCommand => "compare it with a shipped one: docs/guides/profile.md",
    };
    Failure::Request {
        what: format!("the engine template `{name}` cannot be used: {error}"),
        help: help.into(),
    }
}

/// Measures what was not measured yet, one after the other; one that does not start does not keep the others from it.
pub(super) fn run(
    args: &Args,
    measuring: &Measuring<'_>,
    template: &Template,
    keys: &[ProfileKey],
    out: &mut dyn Write,
) -> Result<Launched, Failure> {
    let mut launched = Launched {
        profiles: Vec::new(),
        failed: Vec::new(),
    };
    for (ix, key) in keys.iter().enumerate() {
        writeln!(out, "{} of {}: {}", ix + 1, keys.len(), in_words(key))?;
        out.flush()?;
        match one(args, measuring, template, key) {
            Ok(profile) => {
                // Written at once: what comes after may fail.
                files::put(measuring.folder, &key.model, std::slice::from_ref(&profile))?;
                measuring.forget(key)?;
                launched.profiles.push(profile);
            }
            Err(failure) if measuring.interrupted() => return Err(failure),
            Err(failure) => {
                let help = miette::Diagnostic::help(&failure).map_or(String::new(), |help| format!("\n  help: {help}"));
                writeln!(out, "  not measured: {failure}{help}")?;
                out.flush()?;
                launched.failed.push((key.clone(), failure));
            }
        }
    }
    Ok(launched)
}

fn one(args: &Args, measuring: &Measuring<'_>, template: &Template, key: &ProfileKey) -> Result<Profile, Failure> {
    let port = match args.launching.port {
        Some(port) => port,
        None => free_port().map_err(Failure::environment("finding a free port"))?,
    };
    let filled = fill(args, measuring, template, key, port)?;
    let target = args.target(&format!("http://127.0.0.1:{port}"), &key.model)?;
    let log = log_file(args, measuring.folder, key);
    let started = Engine::start(template, &filled, port, &log, measuring.interrupt);
    let mut engine = started.map_err(|error| not_running(&error, &log))?;
    let server = format!("{}: {}", template.name, filled.command.join(" "));
    let measured = measuring.measure(key, &target, &server);
    // An engine that ended by itself says more about it in its log than the connection does.
    let result = match (measured, engine.ended()) {
        (Err(Failure::Stopped { what, .. }), Some(ended)) if !measuring.interrupted() => {
            let Failure::Stopped { what: why, help } = not_running(&ended, &log) else {
                unreachable!("an engine that ended is no matter of the request");
            };
            Err(Failure::Stopped {
                what: format!("{what}\n{why}"),
                help,
            })
        }
        (measured, _) => measured,
    };
    engine.stop();
    result
}

fn not_running(error: &NotRunning, log: &Path) -> Failure {
    let usual = || format!("the whole log is in `{}`", log.display());
    let help = match error {
        NotRunning::NoProgram { .. } => {
            "install the engine, or give its path in a copy of the template (`--engine FILE`)".to_owned()
        }
        NotRunning::NoLog { .. } => "write the logs elsewhere with `--logs`".to_owned(),
        NotRunning::Ended { help, .. } | NotRunning::TooSlow { help, .. } => match help {
            Some(help) => format!("{help}; {}", usual()),
            None => usual(),
        },
        NotRunning::Interrupted => "the same command goes on from there".to_owned(),
    };
    Failure::Stopped {
        what: error.to_string(),
        help,
    }
}

fn log_file(args: &Args, folder: &Path, key: &ProfileKey) -> PathBuf {
    let logs = args.launching.logs.clone().unwrap_or_else(|| folder.join("logs"));
    let model = files::file_name(&key.model);
    let share = (key.share.value() * 1e4).round() / 1e2;
    logs.join(format!(
        "{}-{}-tp{}-share{share}.log",
        model.trim_end_matches(".json"),
        key.gpu_type,
        key.tensor_parallel
    ))
}

/// The command of a configuration.
fn fill(
    args: &Args,
    measuring: &Measuring<'_>,
    template: &Template,
    key: &ProfileKey,
    port: u16,
) -> Result<Filled, Failure> {
    let name = args.engine.as_deref().unwrap_or_default();
    template
        .fill(&values(args, measuring, key, port))
        .map_err(|error| bad_template(name, &error))
}

fn values(args: &Args, measuring: &Measuring<'_>, key: &ProfileKey, port: u16) -> BTreeMap<String, String> {
    let job = job(measuring.scenario, key);
    let (model, engine, tp) = (job.model, &job.model.engine, f64::from(key.tensor_parallel));
    let kv_bytes = model.kv_reserve.as_f64();
    let memory = model.shard_memory(key.tensor_parallel).as_f64() / job.gpu.memory.as_f64();
    let per_token = model.architecture.as_ref().map_or(f64::INFINITY, |architecture| {
        architecture.kv_bytes_per_token(model.bytes_per_kv)
    });
    let kv_tokens = if per_token.is_finite() {
        (kv_bytes / per_token).floor()
    } else {
        f64::from(engine.max_model_len)
    };
    let gpus: Vec<String> = (0..key.tensor_parallel).map(|gpu| gpu.to_string()).collect();
    let given = args.launching.weights.iter().find(|(name, _)| *name == key.model);
    let weights = given.map_or(&key.model, |(_, weights)| weights);
    let program = std::env::current_exe().map_or_else(|_| "routerwise".to_owned(), |path| path.display().to_string());
    let own = [
        ("model", key.model.clone()),
        ("weights", weights.clone()),
        ("port", port.to_string()),
        ("tp", key.tensor_parallel.to_string()),
        ("gpus", gpus.join(",")),
        ("gpu-type", key.gpu_type.clone()),
        ("share-percent", format!("{:.0}", key.share.value() * 100.0)),
        ("memory-fraction", format!("{memory:.3}")),
        ("kv-bytes", format!("{:.0}", (kv_bytes / tp).floor())),
        ("kv-tokens", format!("{kv_tokens:.0}")),
        ("max-num-seqs", engine.max_num_seqs.to_string()),
        ("max-num-batched-tokens", engine.max_num_batched_tokens.to_string()),
        ("block-size", engine.block_size.to_string()),
        ("max-model-len", engine.max_model_len.to_string()),
        ("scenario", args.folder().display().to_string()),
        ("routerwise", program),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(args.launching.set.iter().cloned()).collect()
}
