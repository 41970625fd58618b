//! `routerwise bench`: plays a load against an OpenAI-compatible endpoint and measures what comes back.

mod llm_d;
mod load;
mod render;
mod watching;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routerwise_measure::play::{Played, Settings, play};
use routerwise_measure::probe::{Probed, probe};
use routerwise_measure::summary::summarise;
use routerwise_measure::target::Target;
use routerwise_types::answer::bench::{BENCH_SCHEMA, BenchReport};
use routerwise_types::report::Limit;
use routerwise_types::workload::{Lengths, Metric};

use crate::asking::{AskArgs, cannot_start};
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::table::print_json;
use load::{LoadArgs, Loaded, Part};

/// Send a load to an OpenAI-compatible endpoint and measure it: latencies, goodput, failures
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Leave out the first requests: a part of the run or a time
    #[arg(long, value_name = "PART", default_value = "10%", value_parser = Part::parse, help_heading = "Measuring")]
    warm_up: Part,
    /// Leave out the last requests: a part of the run or a time
    #[arg(long, value_name = "PART", default_value = "10%", value_parser = Part::parse, help_heading = "Measuring")]
    cool_down: Part,
    /// What a good request keeps, for goodput: limits of ttft, tpot and e2e, such as ttft=500ms,tpot=50ms
    #[arg(long, value_name = "LIMITS", value_delimiter = ',', value_parser = limit, help_heading = "Measuring")]
    slo: Vec<Limit>,
    /// An answer that is not complete by then has failed
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = duration, help_heading = "Measuring")]
    timeout: Duration,
    /// Never have more requests in flight; those above are not sent, and that is said
    #[arg(long, value_name = "N", default_value_t = 4_096, help_heading = "Measuring",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_in_flight: u32,
    /// Write every request to this file, one JSON line each, while the run goes on
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    records: Option<PathBuf>,
    /// Write the report to this file in the format of llm-d-benchmark (benchmark report v0.2.1, as JSON)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    llm_d: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    format: Format,
}

/// Whom to ask.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Endpoint")]
pub(crate) struct EndpointArgs {
    /// Address of the server, such as http://127.0.0.1:8000
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Model to ask for; `auto` lets a gateway choose
    #[arg(long, value_name = "NAME")]
    model: String,
    #[command(flatten)]
    asking: AskArgs,
}

const EXAMPLES: &str = "\
Examples:
  routerwise bench --endpoint http://127.0.0.1:8000 --model small --rate 5 --duration 60s
                                             Poisson arrivals, filler of 512 tokens, answers of 128
  routerwise bench --endpoint http://127.0.0.1:8000 --model small --rate 5 --arrivals gamma:2.5 --slo ttft=500ms,tpot=50ms
                                             burstier than Poisson; goodput is what keeps both limits
  routerwise bench --endpoint http://127.0.0.1:8000 --model small --stage 2:30s --stage 2..20:60s --stage 20:30s
                                             two a second, a ramp to twenty, and twenty
  routerwise bench --endpoint http://127.0.0.1:8000 --model small --trace azure2023_conv.parquet --speed 2 --requests 1000
                                             a recorded trace, twice as fast
  routerwise bench --endpoint http://127.0.0.1:8000 --model small --users 8 --duration 60s
                                             eight users who wait for their answers
  routerwise bench --endpoint https://gateway.example --model auto --api-key-env API_KEY --rate 5 --scores scores.parquet
                                             the prompts of a scores file through a gateway, by model and replica

Latency counts from when a request was to be sent, so a server that makes requests wait is charged for it. Ctrl-C ends a run early and
reports what was measured.

Exit codes: 0 measured; 1 measured, and the server fell behind the load; 2 the request is wrong (address, model, key, files);
3 nothing was measured, or this machine did not keep up with the schedule.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let loaded = args.load.load()?;
    let EndpointArgs {
        endpoint,
        model,
        asking,
    } = &args.endpoint;
    let target = asking.target(endpoint, model, loaded.filler)?;
    let settings = Settings {
        window: loaded.window(args.warm_up, args.cool_down)?,
        load: loaded.load.clone(),
        prompts: loaded.prompts.clone(),
        timeout: args.timeout,
        max_in_flight: args.max_in_flight as usize,
        with_gaps: args.records.is_some(),
    };
    let probed = first_question(&target, &settings, loaded.first_lengths())?;
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let mut watching = watching::Watching::new(args.records.as_deref(), &target, started, &settings.window)?;
    let played = play(&target, &settings, &mut watching).map_err(cannot_play)?;
    let problem = watching.finish(&played);
    let mut report = report(args, &target, &loaded, &played, &probed);
    report.notes.extend(problem);
    if let Some(file) = &args.llm_d {
        llm_d::write(file, &report)?;
    }
    match args.format {
        Format::Json => print_json(&report, out)?,
        Format::Table => render::report(&report, out)?,
    }
    out.flush()?;
    verdict(&report)
}

fn report(args: &Args, target: &Target, loaded: &Loaded, played: &Played, probed: &Probed) -> BenchReport {
    let measured = summarise(played, &args.slo);
    let started = played.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    BenchReport {
        schema: BENCH_SCHEMA,
        endpoint: target.url(),
        model: target.model().to_owned(),
        load: loaded.in_words.clone(),
        prompts: loaded.prompts_in_words.clone(),
        seed: args.load.seed,
        started_unix_s: started.as_secs_f64(),
        stopped: played.stopped,
        notes: render::notes(target.model(), &measured, loaded, probed),
        measured,
    }
}

/// The exit code says what a script must not overlook.
fn verdict(report: &BenchReport) -> Result<Answer, Failure> {
    let measured = &report.measured;
    let failed = |doing: &str, what: String| Failure::environment(doing)(std::io::Error::other(what));
    if measured.n_answered == 0 {
        let what = measured.failures.first().map_or_else(
            || "no request that counts was sent; run longer or shorten --warm-up and --cool-down".to_owned(),
            |failure| {
                format!(
                    "{}: {}",
                    failure.kind,
                    failure.example.as_deref().unwrap_or("no more is known")
                )
            },
        );
        return Err(failed("measuring anything", what));
    }
    if !measured.lag.kept_up {
        return Err(failed("keeping up with the schedule", render::lag(&measured.lag)));
    }
    let saturated = measured.saturation.is_some_and(|saturation| saturation.saturated);
    Ok(if saturated { Answer::No } else { Answer::Yes })
}

/// Everything that would make all requests fail is found here.
fn first_question(target: &Target, settings: &Settings, lengths: Lengths) -> Result<Probed, Failure> {
    // An answer of two tokens shows all that one of a thousand would.
    let short = Lengths {
        output: lengths.output.min(2),
        ..lengths
    };
    probe(target, &settings.prompts, short, settings.timeout).map_err(|error| cannot_start(&error, "--model"))
}

fn cannot_play(error: routerwise_measure::play::CannotPlay) -> Failure {
    Failure::environment("starting the run")(std::io::Error::other(error.to_string()))
}

fn duration(text: &str) -> Result<Duration, String> {
    routerwise_inputs::quantity::time(text).map(|time| Duration::from_secs_f64(time.value()))
}

/// `ttft=500ms`
fn limit(text: &str) -> Result<Limit, String> {
    let (metric, target) = text.split_once('=').ok_or("expected is a limit such as ttft=500ms")?;
    let metric = match metric.trim() {
        "ttft" => Metric::Ttft,
        "tpot" => Metric::Tpot,
        "e2e" => Metric::E2e,
        other => return Err(format!("`{other}` is none of ttft, tpot and e2e")),
    };
    let target = routerwise_inputs::quantity::time(target)?;
    Ok(Limit { metric, target })
}
