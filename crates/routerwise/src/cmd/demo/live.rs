//! The last part of the demo, in real time: the plan's engines, emulated, behind the gateway, beside two setups of today.
//!
//! All three are up at once, each with engines and a gateway of its own, and get the same requests at the same moments: arrivals and
//! lengths of a recorded service, questions whose right answers are known. What is tuned is tuned on one half of the questions, and the
//! questions asked are of the other.

mod report;
mod side;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_inputs::trace;
use routerwise_measure::play::{Load, Played, Progress, Settings, Watch, Window, play};
use routerwise_measure::prompts::{Content, Prompts};
use routerwise_measure::schedule::Schedule;
use routerwise_measure::target::{Api, Target};
use routerwise_plan::baselines::Contest;
use routerwise_types::hash::mix;
use routerwise_types::{Scenario, Timestamp};

use crate::failure::Failure;

/// Requests of the start that do not count: engines begin empty.
const WARM_UP: f64 = 10.0;
/// Seconds that the last answers may take: a large model writes long ones for half a minute. What is not there then counts as unanswered.
const PATIENCE: f64 = 30.0;
/// Starts the draw of questions.
const SEED: u64 = 1;

/// Plays `seconds` of traffic against all three.
///
/// # Errors
/// When the machine gives no ports or threads.
pub(super) fn run(scenario: &Scenario, trace_file: &Path, seconds: f64, out: &mut dyn Write) -> Result<(), Failure> {
    let contest = Contest::new(scenario, 1.0).map_err(|error| Failure::Request {
        what: error.to_string(),
        help: "this is a defect of this build; `--no-live` leaves the live part out".into(),
    })?;
    let sides = side::all(&contest)?;
    let schedule = schedule(&contest, trace_file, seconds)?;
    let asked = questions(&contest, schedule.arrivals.len());
    writeln!(
        out,
        "\nLive for {seconds:.0} s: {} questions at the times and with the lengths of a recorded service, {:.1} requests/s, to each of three setups
of emulated engines behind a gateway each. Planned and tuned on one half of the questions; these are of the other.\n",
        schedule.arrivals.len(),
        schedule.mean_rate().map_or(0.0, |rate| rate.value()),
    )?;
    out.flush()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::environment("starting threads"))?;
    let up = sides.iter().map(|side| runtime.block_on(side.start(&contest)));
    let up: Vec<side::Up> = up.collect::<Result<_, _>>()?;
    let played = play_all(&up, &contest, &schedule, &asked)?;
    for up in up {
        runtime.block_on(up.stop());
    }
    report::print(&contest, &sides, &asked, &played, out)
}

/// Arrivals and lengths of the recording, its clock set so that the scenario's rate comes.
fn schedule(contest: &Contest, trace_file: &Path, seconds: f64) -> Result<Schedule, Failure> {
    let recorded = trace::requests(trace_file)?;
    let n = n_requests(contest.test.workload.rate.value() * seconds).min(recorded.len());
    let recorded = &recorded[..n];
    let lasted = recorded.last().map_or(0.0, |last| last.0) - recorded.first().map_or(0.0, |first| first.0);
    Ok(Schedule::trace(recorded, lasted / seconds))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn n_requests(expected: f64) -> usize {
    expected.round().max(1.0) as usize
}

/// Which question of the test half each request asks.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder below the number of questions"
)]
fn questions(contest: &Contest, n: usize) -> Vec<usize> {
    let of = contest.test.scores.n_prompts() as u64;
    (0..n as u64).map(|ix| (mix(ix ^ mix(SEED)) % of) as usize).collect()
}

/// Plays the schedule against all of them at once.
fn play_all(up: &[side::Up], contest: &Contest, schedule: &Schedule, asked: &[usize]) -> Result<Vec<Played>, Failure> {
    let prompts = &contest.test.scores.prompts;
    let text = |ix: &usize| {
        let prompt = &prompts[*ix];
        Content::Text(Arc::from(prompt.text.as_deref().unwrap_or(&prompt.id)))
    };
    let settings = Settings {
        load: Load::Open(schedule.clone()),
        prompts: Prompts::Given(asked.iter().map(text).collect()),
        window: Window::Time(Timestamp::from_seconds(warm_up(schedule))..Timestamp(u64::MAX)),
        timeout: Duration::from_secs(300),
        max_in_flight: 100_000,
        with_gaps: false,
    };
    let bar = bar(up.len() * schedule.arrivals.len());
    let lasts = schedule.end.since(Timestamp::START).value();
    let until = lasts + PATIENCE.min(lasts);
    let target = |up: &side::Up| -> Result<Target, Failure> {
        let target = Target::new(&up.url(), Api::Chat, "auto").expect("a gateway's own address is one");
        let mut body = serde_json::Map::new();
        body.insert("ignore_eos".into(), true.into());
        Ok(target.with_body(&body).saying_prompt_tokens())
    };
    let targets: Vec<Target> = up.iter().map(target).collect::<Result<_, _>>()?;
    let sent: Vec<AtomicUsize> = up.iter().map(|_| AtomicUsize::new(0)).collect();
    let played: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(nth, target)| {
                let (sent, bar, settings) = (&sent, &bar, &settings);
                scope.spawn(move || {
                    let mut watch = Patience {
                        until,
                        done: &sent[nth],
                        all: sent,
                        bar,
                    };
                    play(target, settings, &mut watch)
                })
            })
            .collect();
        let ends = running.into_iter();
        ends.map(|thread| thread.join().expect("a load generator does not panic"))
            .collect()
    });
    bar.finish_and_clear();
    let played = played.into_iter().collect::<Result<Vec<Played>, _>>();
    played.map_err(|error| Failure::environment("playing the requests")(std::io::Error::other(error.to_string())))
}

/// A short run has a short warm-up.
fn warm_up(schedule: &Schedule) -> f64 {
    WARM_UP.min(schedule.end.since(Timestamp::START).value() / 3.0)
}

fn bar(n_requests: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(" {bar:40} {pos} of {len} requests answered, {elapsed}");
    ProgressBar::new(n_requests as u64).with_style(style.expect("the template is right"))
}

/// Ends a run when the last answers take too long.
struct Patience<'a> {
    until: f64,
    done: &'a AtomicUsize,
    all: &'a [AtomicUsize],
    bar: &'a ProgressBar,
}

impl Watch for Patience<'_> {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.done
            .store(progress.n_answered + progress.n_failed, Ordering::Relaxed);
        let all: usize = self.all.iter().map(|done| done.load(Ordering::Relaxed)).sum();
        self.bar.set_position(all as u64);
        if progress.elapsed.value() > self.until {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
