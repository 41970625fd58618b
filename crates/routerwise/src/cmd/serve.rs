//! `routerwise serve`: the gateway in front of a plan's engines.

mod source;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use routerwise_gateway::{CannotServe, Reloader, Server};
use routerwise_inputs::serve::key_entry;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::serving::Serving;
use tracing_subscriber::EnvFilter;

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::stopping::asked_to_stop;
use source::Files;

/// Route every request by score minus price: an OpenAI-compatible gateway in front of a plan's engines
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Plan file, as `routerwise plan` writes it
    #[arg(value_name = "PLAN", required_unless_present = "new_key")]
    plan: Option<PathBuf>,
    /// Settings [default: serve.toml beside the plan, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where a replica answers; once per replica
    #[arg(long, value_name = "MODEL=URL", value_parser = upstream)]
    upstream: Vec<(String, String)>,
    /// Where all replicas answer, as `routerwise emulate --endpoints` writes it
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Where requests come in [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where metrics and administration are [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_admin")]
    admin: Option<SocketAddr>,
    /// No metrics and no administration
    #[arg(long)]
    no_admin: bool,
    /// Serve other machines without API keys
    #[arg(long, help_heading = "Keys")]
    insecure: bool,
    /// API keys that clients need
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    keys: Option<PathBuf>,
    /// Make an API key, show it this once, print its entry (or add it to the file of `--keys`), and end
    #[arg(long, value_name = "NAME", help_heading = "Keys")]
    new_key: Option<String>,
    /// Predict scores with this, as `routerwise train` writes it
    #[arg(long, value_name = "FILE", help_heading = "Scores")]
    predictor: Option<PathBuf>,
    /// Take the scores of prompts that the scenario has from there: for demonstrations and tests
    #[arg(long, help_heading = "Scores")]
    scenario_scores: bool,
    /// Scenario folder that the plan was made from: latency curves, with which prices follow load [default: the folder of the plan]
    #[arg(long, value_name = "FOLDER")]
    scenario: Option<PathBuf>,
    /// Keep the plan's prices whatever happens
    #[arg(long)]
    static_prices: bool,
    /// Write every decision down, a JSON line each
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    log: Option<PathBuf>,
    /// Write prompts down too
    #[arg(long, help_heading = "Log")]
    log_prompts: bool,
    /// Say whether all is right, and end
    #[arg(long)]
    check: bool,
    /// How to print where it listens
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise serve plan.json --upstream small=http://10.0.0.4:8000 --upstream large=http://10.0.0.5:8000
  routerwise emulate plan.json --endpoints engines.json & routerwise serve plan.json --endpoints engines.json --scenario-scores
  routerwise serve plan.json --predictor predictor.rwp --log decisions.jsonl
  routerwise serve --new-key team-a --keys keys.toml
  curl http://127.0.0.1:8080/v1/chat/completions -d '{\"model\": \"auto\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'

`model: \"auto\"` is routed; the name of a model goes to that model. SIGHUP, a changed file and `POST /admin/reload` read everything again;
what is wrong is refused and the old stays in force. SIGTERM and ctrl-c stop it once all answers have ended.

Without a predictor and without scores of the scenario, prompts are spread by the plan's fractions, and their answers are marked.

Exit codes: 0 stopped, 1 answers were cut off when the time for stopping was over, 2 the input is wrong, 3 the environment failed.";

fn upstream(text: &str) -> Result<(String, String), String> {
    let (model, url) = text.split_once('=').ok_or("write it as MODEL=URL")?;
    if model.is_empty() || url.is_empty() {
        return Err("write it as MODEL=URL".to_owned());
    }
    Ok((model.to_owned(), url.to_owned()))
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    if let Some(name) = &args.new_key {
        return new_key(name, args, out);
    }
    log_to_stderr();
    // Read once here, so that what is wrong is shown with its place in the file.
    let files = Files::of(args)?;
    let mut first = files.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::environment("starting the runtime"))?;
    let plan = first.plan.id.clone();
    if args.check {
        let n_replicas = first.settings.replicas.len();
        let beside = match first.settings.discover.len() {
            0 => String::new(),
            n => format!(" and those that {n} entries look for"),
        };
        // Nothing is left behind.
        first.settings.log = None;
        files.keep(first);
        runtime.block_on(Server::check(Box::new(files))).map_err(refused)?;
        writeln!(
            out,
            "plan {} can be served, by {n_replicas} replicas{beside}",
            plan.short()
        )?;
        return Ok(Answer::Yes);
    }
    files.keep(first);
    runtime.block_on(async {
        let server = Server::bind(Box::new(files)).await.map_err(refused)?;
        let serving = Serving {
            schema: ANSWER_SCHEMA,
            plan,
            url: format!("http{}://{}", if server.is_tls() { "s" } else { "" }, server.address()),
            admin: server.admin_address().map(|admin| format!("http://{admin}")),
            pid: std::process::id(),
        };
        // Whoever knows that it listens may send signals: a hang-up that nobody waits for would end it.
        let hang_ups = tokio::spawn(reload_on_hang_up(server.reloader()));
        let asked_to_stop = asked_to_stop();
        announce(&serving, args.format, out)?;
        let cut_off = server.run(asked_to_stop).await;
        hang_ups.abort();
        if cut_off > 0 {
            tracing::warn!(cut_off, "answers were cut off");
            return Ok(Answer::No);
        }
        Ok(Answer::Yes)
    })
}

fn refused(error: CannotServe) -> Failure {
    match error {
        CannotServe::Inputs(what) => Failure::Request {
            what,
            help: "see `routerwise serve --help`".to_owned(),
        },
        CannotServe::Listen { address, source } => Failure::Environment {
            doing: format!("listening on {address}"),
            source,
        },
    }
}

fn announce(serving: &Serving, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        // One line, so that whoever starts the gateway can wait for it.
        Format::Json => {
            let text = serde_json::to_string(serving).expect("answers hold only what JSON holds");
            writeln!(out, "{text}")?;
        }
        Format::Table => {
            let plan = serving.plan.short();
            writeln!(out, "plan {plan} is served at {}/v1", serving.url)?;
            if let Some(admin) = &serving.admin {
                writeln!(out, "metrics and administration at {admin}/metrics")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn new_key(name: &str, args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (key, hash) = routerwise_gateway::new_key().map_err(|error| Failure::Environment {
        doing: "drawing a key".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let entry = key_entry(name, &hash);
    match &args.keys {
        Some(file) => {
            source::add_key(file, name, &entry)?;
            writeln!(out, "{key}")?;
        }
        None => writeln!(out, "{key}\n\nThis is shown once. Its entry for keys.toml:\n\n{entry}")?,
    }
    Ok(Answer::Yes)
}

/// What the gateway itself has to say; `RUST_LOG` says how much.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Already set where a test runs several commands in one process.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

/// Waits for signals from the call on, not only from the first look.
#[cfg(unix)]
fn reload_on_hang_up(reloader: Reloader) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup()).expect("this signal can be waited for");
    async move {
        while hang_up.recv().await.is_some() {
            let reloader = reloader.clone();
            // What went wrong is logged and counted there.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
        }
    }
}

#[cfg(not(unix))]
async fn reload_on_hang_up(_: Reloader) {}
