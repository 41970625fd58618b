//! `routerwise emulate`: engines of the engine model that listen on ports.

mod hosted;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use routerwise_emulate::{CannotStart, EmulatedEngine, Faults, Options, OutputTokens};
use routerwise_inputs::write_atomically;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::engines::{Engines, ListeningEngine};

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::stopping::asked_to_stop;
use hosted::Hosted;

/// Run emulated engines: OpenAI-compatible servers that keep the time of the engine model, without a GPU
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: hosted::Which,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS", help_heading = "Server")]
    host: IpAddr,
    /// Port of the first engine, the others follow; 0 takes any that are free
    #[arg(long, default_value_t = 8000, help_heading = "Server")]
    port: u16,
    /// Key that clients must send as a bearer token
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    api_key: Option<String>,
    /// Write the engines and their addresses to this file as JSON when all listen
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    endpoints: Option<PathBuf>,
    /// How to print the engines when all listen
    #[arg(long, value_enum, default_value_t, help_heading = "Server")]
    format: Format,
    /// Seconds of the engine that pass in one of the clock's
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", help_heading = "Behaviour")]
    speed: f64,
    /// Seed of answer lengths, words and faults
    #[arg(long, default_value_t = 1, help_heading = "Behaviour")]
    seed: u64,
    /// Length of answers that nothing cuts short: `256`, or `mean:200` [default: mean:200, or the workload's of a scenario]
    #[arg(long, value_name = "TOKENS", help_heading = "Behaviour")]
    output_tokens: Option<OutputTokens>,
    /// Answer 503 for so many seconds at first
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", help_heading = "Behaviour")]
    start_delay: f64,
    /// A fault, such as `error_503=0.1` or `stall_rate=0.05`; repeat for more
    #[arg(long = "fault", value_name = "NAME=VALUE", help_heading = "Behaviour", long_help = FAULTS)]
    faults: Vec<String>,
}

const FAULTS: &str = "\
A fault, such as `error_503=0.1`; repeat for more. Rates are parts of all requests.

error_429, error_500, error_503    requests answered so; retry_after: whole seconds (1)
spike_rate, spike_seconds          requests held back, and for how long (1)
stall_rate, stall_seconds          answers that stall midway, and for how long (0: for good)
truncate_rate, malformed_rate      answers whose connection breaks off, or that hold something that is not JSON
after_tokens                       tokens before a stall, a break or something malformed (3)
slowdown                           factor by which the engine is slower than it should be (1)
crash_after                        requests until the engine drops all connections and is gone

At run time: GET, POST (what is not named is off) or DELETE /emulate/faults, POST /emulate/crash.";

const EXAMPLES: &str = "\
Examples:
  routerwise emulate --model llama-3.1-8b --gpu a100-80gb-sxm --share 60
  routerwise emulate scenarios/demo/plan.json --port 0 --endpoints engines.json     all replicas of a plan
  routerwise emulate --model llama-3.1-70b --gpu h100-80gb-sxm --tp 4 --speed 10 --fault error_503=0.05
  curl http://127.0.0.1:8000/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"stream\": true}'
  curl http://127.0.0.1:8000/emulate/faults -d '{\"stall_rate\": 0.1, \"stall_seconds\": 5}'

A word of a prompt counts one token per six bytes, rounded up; the header `x-prompt-tokens: 512` or `prompt_token_ids` says it exactly.
It runs until Ctrl-C, and ends with exit code 3 when all engines have crashed.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (hosted, usual_lengths) = args.which.load()?;
    let options = options(args, usual_lengths)?;
    if args.port != 0 && usize::from(u16::MAX - args.port) + 1 < hosted.len() {
        return Err(Failure::Request {
            what: format!("{} engines do not fit above port {}", hosted.len(), args.port),
            help: "choose a lower `--port`, or 0 for any that are free".into(),
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::environment("starting threads"))?;
    runtime.block_on(serve(args, hosted, options, out))
}

fn options(args: &Args, usual_lengths: Option<OutputTokens>) -> Result<Options, Failure> {
    let wrong = |what: String, help: &str| Failure::Request {
        what,
        help: help.into(),
    };
    if !(0.001..=10_000.0).contains(&args.speed) {
        let what = format!("`--speed` must be from 0.001 to 10000, found {}", args.speed);
        return Err(wrong(what, "1 is the real clock, 10 ten times as fast"));
    }
    if !(0.0..=86_400.0).contains(&args.start_delay) {
        let what = format!(
            "`--start-delay` must be from 0 to 86400 seconds, found {}",
            args.start_delay
        );
        return Err(wrong(what, "30 answers 503 for half a minute"));
    }
    let lengths = args.output_tokens.clone().or(usual_lengths);
    Ok(Options {
        listen: SocketAddr::new(args.host, args.port),
        speed: args.speed,
        api_key: args.api_key.clone(),
        seed: args.seed,
        fault_seed: args.seed,
        output_tokens: lengths.unwrap_or_default(),
        faults: faults(&args.faults)?,
        start_delay: Duration::from_secs_f64(args.start_delay),
    })
}

/// From `name=value` each.
fn faults(written: &[String]) -> Result<Faults, Failure> {
    let wrong = |what: String| Failure::Request {
        what,
        help: "write `--fault error_503=0.1`; `routerwise emulate --help` lists all faults".into(),
    };
    let mut fields = serde_json::Map::new();
    for fault in written {
        let (name, value) = fault
            .split_once('=')
            .ok_or_else(|| wrong(format!("`{fault}` is no fault with a value")))?;
        let value: serde_json::Number =
            serde_json::from_str(value).map_err(|_| wrong(format!("`{value}` in `{fault}` is not a number")))?;
        fields.insert(name.replace('-', "_"), value.into());
    }
    let faults: Faults =
        serde_json::from_value(fields.into()).map_err(|error| wrong(format!("a fault cannot be: {error}")))?;
    faults.check().map_err(|error| wrong(error.to_string()))?;
    Ok(faults)
}

async fn serve(args: &Args, hosted: Vec<Hosted>, options: Options, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut engines = Vec::with_capacity(hosted.len());
    let mut listening = Vec::with_capacity(hosted.len());
    for hosted in hosted {
        let engine = start(&hosted, &options, engines.len()).await?;
        listening.push(describe(&hosted, engine.url()));
        engines.push(engine);
    }
    let engines_file = Engines {
        schema: ANSWER_SCHEMA,
        engines: listening,
    };
    // Whoever knows that they listen may stop them.
    let stopped = asked_to_stop();
    announce(args, &engines_file, out)?;
    let all_crashed = async {
        for engine in &engines {
            engine.crashed().await;
        }
    };
    tokio::select! {
        () = all_crashed => {
            let gone = std::io::Error::other("all of them have crashed, as they were told to");
            return Err(Failure::environment("keeping the engines up")(gone));
        }
        () = stopped => {}
    }
    for engine in engines {
        engine.stop().await;
    }
    Ok(Answer::Yes)
}

async fn start(hosted: &Hosted, options: &Options, ix: usize) -> Result<EmulatedEngine, Failure> {
    let mut options = options.clone();
    if options.listen.port() != 0 {
        let offset = u16::try_from(ix).expect("as many engines as ports, which was checked");
        options.listen.set_port(options.listen.port() + offset);
    }
    // Replicas of a model answer alike, and fail each at other requests.
    options.fault_seed = options.seed.wrapping_add(ix as u64);
    EmulatedEngine::start(hosted.engine.clone(), options)
        .await
        .map_err(|error| match error {
            CannotStart::Listen { address, source } => Failure::environment(format!("listening on {address}"))(source),
            CannotStart::Thread(source) => Failure::environment("starting an engine")(source),
            CannotStart::Faults(_) | CannotStart::Speed(_) => Failure::Request {
                what: error.to_string(),
                help: "see `routerwise emulate --help`".into(),
            },
        })
}

fn describe(hosted: &Hosted, url: String) -> ListeningEngine {
    let limits = hosted.engine.limits();
    ListeningEngine {
        url,
        model: hosted.engine.model.clone(),
        replica: hosted.replica,
        gpu_type: hosted.gpu_type.clone(),
        tensor_parallel: hosted.tensor_parallel,
        share: hosted.share,
        max_model_len: limits.max_model_len,
        max_num_seqs: limits.max_num_seqs,
        kv_cache_tokens: limits.kv_blocks * u64::from(limits.block_size),
    }
}

/// Says where the engines listen, at once: somebody may be waiting for it at the other end of a pipe.
fn announce(args: &Args, engines: &Engines, out: &mut dyn Write) -> Result<(), Failure> {
    let text = || serde_json::to_string_pretty(engines).expect("engines hold only what JSON holds");
    if let Some(file) = &args.endpoints {
        let doing = format!("writing `{}`", file.display());
        write_atomically(file, format!("{}\n", text()).as_bytes()).map_err(Failure::environment(doing))?;
    }
    match args.format {
        Format::Json => writeln!(out, "{}", text())?,
        Format::Table => {
            for engine in &engines.engines {
                writeln!(
                    out,
                    "listening on {} model={} replica={} gpu={} tp={} share={} kv-tokens={}",
                    engine.url,
                    engine.model,
                    engine.replica,
                    engine.gpu_type,
                    engine.tensor_parallel,
                    engine.share.value(),
                    engine.kv_cache_tokens
                )?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
