//! What is sent when: from the arguments to a load.

use std::path::{Path, PathBuf};

use rand::RngExt as _;
use routerwise_inputs::prompts::{PromptEntry, Words};
use routerwise_inputs::quantity;
use routerwise_measure::lengths::{Spread, mix};
use routerwise_measure::play::{Load, Users, Window};
use routerwise_measure::prompts::{Content, Prompts};
use routerwise_measure::schedule::{Schedule, Stage, spread_ticks};
use routerwise_simulate::arrivals::{UnitSchedule, stream};
use routerwise_types::workload::{Arrivals, Lengths};
use routerwise_types::{RequestsPerSecond, Seconds, Timestamp};

use crate::failure::Failure;

/// What to send when.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Requests per second on average; of a trace: play it at this mean rate
    #[arg(long, value_name = "RATE", value_parser = quantity::rate, help_heading = "Load", conflicts_with_all = ["stage", "users"])]
    rate: Option<RequestsPerSecond>,
    /// A stage of the run: RATE:TIME, or FROM..TO:TIME for a ramp (repeat for more)
    #[arg(long, value_name = "STAGE", value_parser = stage, help_heading = "Load", conflicts_with_all = ["users", "trace"])]
    stage: Vec<Stage>,
    /// Play the requests of a recorded trace: times and lengths
    #[arg(long, value_name = "FILE", help_heading = "Load", conflicts_with = "users")]
    trace: Option<PathBuf>,
    /// Play the trace this many times as fast
    #[arg(long, value_name = "FACTOR", value_parser = factor, help_heading = "Load", requires = "trace", conflicts_with = "rate")]
    speed: Option<f64>,
    /// Spread requests of a trace that came at the very same time over the time until the next
    #[arg(long, help_heading = "Load", requires = "trace")]
    spread_ticks: bool,
    /// So many users, each waiting for an answer before asking again
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: Option<u32>,
    /// How long a user thinks between an answer and the next question
    #[arg(long, value_name = "TIME", value_parser = quantity::time, help_heading = "Load", requires = "users")]
    think: Option<Seconds>,
    /// How arrivals are spread: poisson, constant, or gamma:CV (above 1 is burstier than poisson)
    #[arg(long, value_name = "PROCESS", default_value = "poisson", value_parser = arrivals, help_heading = "Load")]
    arrivals: Arrivals,
    /// How long requests are sent [default: 60s, a trace to its end]
    #[arg(long, value_name = "TIME", value_parser = quantity::time, help_heading = "Load")]
    duration: Option<Seconds>,
    /// How many requests are sent at most
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..))]
    requests: Option<u32>,
    /// Ask the prompts of this file: .txt (a line each) or .jsonl (`prompt` or `messages`)
    #[arg(long, value_name = "FILE", help_heading = "Prompts")]
    prompts: Option<PathBuf>,
    /// Ask the prompts of a scores file, by their weights
    #[arg(long, value_name = "FILE", help_heading = "Prompts", conflicts_with = "prompts")]
    scores: Option<PathBuf>,
    /// Tokens of a question of filler: a number, or MEAN:CV
    #[arg(long, value_name = "TOKENS", default_value = "512", value_parser = spread, help_heading = "Prompts")]
    input_tokens: Spread,
    /// Tokens of an answer: a number, or MEAN:CV
    #[arg(long, value_name = "TOKENS", default_value = "128", value_parser = spread, help_heading = "Prompts")]
    output_tokens: Spread,
    /// Take the lengths of this trace, but not its times
    #[arg(long, value_name = "FILE", help_heading = "Prompts", conflicts_with_all = ["trace", "prompts", "scores"])]
    lengths_of: Option<PathBuf>,
    /// Seed of arrivals, lengths and words
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pub(crate) seed: u64,
}

/// A part of a run, as a fraction or a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Fraction(f64),
    Time(Seconds),
}

impl Part {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "0" {
            return Ok(Self::Fraction(0.0));
        }
        let percent = text.trim().strip_suffix('%').map(|number| number.trim().parse::<f64>());
        match percent {
            Some(Ok(percent)) if (0.0..100.0).contains(&percent) => Ok(Self::Fraction(percent / 100.0)),
            Some(_) => Err("expected is a part such as 10% or a time such as 5s".into()),
            None => quantity::time(text).map(Self::Time),
        }
    }
}

/// A load and what it is called.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) load: Load,
    pub(crate) prompts: Prompts,
    /// Whether the words are filler, so that answers must be told how long to be.
    pub(crate) filler: bool,
    pub(crate) in_words: String,
    pub(crate) prompts_in_words: String,
}

impl Loaded {
    /// The requests that count: all but the first and the last part.
    pub(crate) fn window(&self, warm_up: Part, cool_down: Part) -> Result<Window, Failure> {
        let (n_requests, lasts) = match &self.load {
            Load::Open(schedule) => (schedule.arrivals.len(), Some(schedule.end)),
            Load::Closed(users) => (
                users.n_requests.unwrap_or(usize::MAX),
                users.lasts.map(|lasts| Timestamp::from_seconds(lasts.value())),
            ),
        };
        let nothing_left = || Failure::Request {
            what: "warm-up and cool-down leave nothing of the run to be measured".into(),
            help: "run longer, or shorten `--warm-up` and `--cool-down`".into(),
        };
        let Some(lasts) = lasts else {
            return by_number(n_requests, warm_up, cool_down).ok_or_else(nothing_left);
        };
        let lasts = lasts.as_seconds();
        let seconds = |part| match part {
            Part::Fraction(fraction) => lasts * fraction,
            Part::Time(time) => time.value(),
        };
        let (from, to) = (seconds(warm_up), lasts - seconds(cool_down));
        if from >= to {
            return Err(nothing_left());
        }
        // The last arrival may lie exactly at the end.
        let end = if seconds(cool_down) > 0.0 {
            Timestamp::from_seconds(to)
        } else {
            Timestamp(Timestamp::from_seconds(to).0 + 1)
        };
        Ok(Window::Time(Timestamp::from_seconds(from)..end))
    }

    pub(crate) fn mean_input_tokens(&self) -> f64 {
        let lengths: Vec<Lengths> = match &self.load {
            Load::Open(schedule) => schedule.arrivals.iter().map(|arrival| arrival.lengths).collect(),
            Load::Closed(users) => users.lengths.clone(),
        };
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let n = lengths.len().max(1) as f64;
        lengths.iter().map(|lengths| f64::from(lengths.input)).sum::<f64>() / n
    }

    pub(crate) fn first_lengths(&self) -> Lengths {
        let first = match &self.load {
            Load::Open(schedule) => schedule.arrivals.first().map(|arrival| arrival.lengths),
            Load::Closed(users) => users.lengths.first().copied(),
        };
        first.unwrap_or(Lengths { input: 1, output: 1 })
    }
}

/// Where only a number of requests ends the run, its time is not known before.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of a count"
)]
fn by_number(n_requests: usize, warm_up: Part, cool_down: Part) -> Option<Window> {
    let skipped = |part| match part {
        Part::Fraction(fraction) => Some((n_requests as f64 * fraction) as usize),
        Part::Time(_) => None,
    };
    let (first, last) = (skipped(warm_up)?, n_requests.checked_sub(skipped(cool_down)?)?);
    (first < last).then_some(Window::Requests(first..last))
}

impl LoadArgs {
    /// Reads the files and draws what is to be drawn.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let given = self.prompts.as_deref().or(self.scores.as_deref());
        let entries = given.map(routerwise_inputs::prompts::read).transpose()?;
        let (schedule, in_words) = match (&self.trace, self.users) {
            (Some(trace), _) => self.traced(trace)?,
            (None, Some(n_users)) => return self.users(n_users, entries.as_deref()),
            (None, None) => self.drawn()?,
        };
        let mut schedule = schedule;
        let prompts = match &entries {
            None => Prompts::filler(self.seed),
            Some(entries) => {
                let picked = self.pick(entries, schedule.arrivals.len());
                for (arrival, ix) in schedule.arrivals.iter_mut().zip(&picked) {
                    arrival.lengths = self.lengths(&entries[*ix], arrival.lengths);
                }
                given_prompts(entries, &picked)
            }
        };
        if schedule.arrivals.is_empty() {
            return Err(Failure::Request {
                what: "nothing is sent in that time at that rate".into(),
                help: "raise `--rate` or `--duration`".into(),
            });
        }
        Ok(Loaded {
            filler: entries.is_none(),
            prompts_in_words: self.prompts_in_words(entries.as_deref()),
            load: Load::Open(schedule),
            prompts,
            in_words,
        })
    }

    fn drawn(&self) -> Result<(Schedule, String), Failure> {
        let mix = self.mix()?;
        let process = named(self.arrivals);
        if !self.stage.is_empty() {
            let mut schedule = Schedule::staged(self.arrivals, &self.stage, &mix, self.seed);
            if let Some(duration) = self.duration {
                schedule = schedule.until(duration);
            }
            let stages: Vec<String> = self.stage.iter().map(stage_in_words).collect();
            return Ok((self.cut(schedule), format!("{process}, {}", stages.join(", then "))));
        }
        let Some(rate) = self.rate else {
            return Err(Failure::Request {
                what: "nothing says how much to send".into(),
                help: "give one of `--rate`, `--stage`, `--trace` and `--users`".into(),
            });
        };
        // A number of requests alone says how long: drawn exactly, as the simulator draws it.
        if let (Some(n), None) = (self.requests, self.duration) {
            let unit = UnitSchedule::draw(self.arrivals, &mix, n as usize, self.seed);
            return Ok((
                Schedule::at_rate(&unit, rate),
                format!("{process}, {rate}, {n} requests"),
            ));
        }
        let lasts = self.duration.unwrap_or(usual_duration());
        let schedule = Schedule::staged(self.arrivals, &[Stage::steady(rate, lasts)], &mix, self.seed);
        Ok((self.cut(schedule), format!("{process}, {rate} for {lasts}")))
    }

    fn cut(&self, schedule: Schedule) -> Schedule {
        match self.requests {
            Some(n) => schedule.first(n as usize),
            None => schedule,
        }
    }

    fn traced(&self, path: &Path) -> Result<(Schedule, String), Failure> {
        let mut requests = routerwise_inputs::trace::requests(path)?;
        if self.spread_ticks {
            requests = spread_ticks(requests);
        }
        let whole = Schedule::trace(&requests, 1.0);
        let own_rate = whole.mean_rate();
        let speed = match (self.speed, self.rate, own_rate) {
            (Some(speed), _, _) => speed,
            (None, Some(rate), Some(own)) => rate.value() / own.value(),
            (None, Some(_), None) => {
                return Err(Failure::Request {
                    what: format!("the requests of `{}` all come at once and have no rate", path.display()),
                    help: "leave `--rate` out".into(),
                });
            }
            (None, None, _) => 1.0,
        };
        let mut schedule = Schedule::trace(&requests, speed);
        if let Some(duration) = self.duration {
            schedule = schedule.until(duration);
        }
        let schedule = self.cut(schedule);
        let rate = schedule
            .mean_rate()
            .map_or(String::new(), |rate| format!(", {rate} on average"));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let in_words = format!(
            "trace {name} at {speed:.3} times its speed{rate}, {} requests",
            schedule.arrivals.len()
        );
        Ok((schedule, in_words))
    }

    fn users(&self, n_users: u32, entries: Option<&[PromptEntry]>) -> Result<Loaded, Failure> {
        let n_requests = self.requests.map(|n| n as usize);
        let lasts = self.duration.or_else(|| n_requests.is_none().then(usual_duration));
        // Enough that no user of a usual run meets a question again.
        let n_drawn = n_requests.unwrap_or(10_000).min(100_000);
        let unit = UnitSchedule::draw(Arrivals::Constant, &self.mix()?, n_drawn, self.seed);
        let mut lengths = unit.lengths().to_vec();
        let prompts = match entries {
            None => Prompts::filler(self.seed),
            Some(entries) => {
                let picked = self.pick(entries, n_drawn);
                for (lengths, ix) in lengths.iter_mut().zip(&picked) {
                    *lengths = self.lengths(&entries[*ix], *lengths);
                }
                given_prompts(entries, &picked)
            }
        };
        let ends = match (n_requests, lasts) {
            (Some(n), None) => format!("{n} requests"),
            (Some(n), Some(lasts)) => format!("{lasts} or {n} requests"),
            (None, lasts) => lasts.map_or(String::new(), |lasts| lasts.to_string()),
        };
        let think = self.think.map_or(String::new(), |think| format!(" who think {think}"));
        Ok(Loaded {
            load: Load::Closed(Users {
                n_users: n_users as usize,
                think: self.think.unwrap_or(Seconds::ZERO),
                lengths,
                n_requests,
                lasts,
            }),
            filler: entries.is_none(),
            prompts,
            in_words: format!("{n_users} users{think}, {ends}"),
            prompts_in_words: self.prompts_in_words(entries),
        })
    }

    /// The lengths that filler has.
    fn mix(&self) -> Result<Vec<Lengths>, Failure> {
        match &self.lengths_of {
            None => Ok(mix(self.input_tokens, self.output_tokens, self.seed)),
            Some(path) => {
                let requests = routerwise_inputs::trace::requests(path)?;
                Ok(requests.into_iter().map(|(_, lengths)| lengths).collect())
            }
        }
    }

    /// Prompts of a file in order; of a scores file drawn by weight, as a workload asks them.
    fn pick(&self, entries: &[PromptEntry], n: usize) -> Vec<usize> {
        if self.scores.is_none() {
            return (0..n).map(|ix| ix % entries.len()).collect();
        }
        let mut sum = 0.0;
        let cumulative: Vec<f64> = entries
            .iter()
            .map(|entry| {
                sum += entry.weight;
                sum
            })
            .collect();
        let mut random = stream(self.seed, "prompts");
        let draw = |at: f64| cumulative.partition_point(|sum| *sum <= at).min(entries.len() - 1);
        (0..n).map(|_| draw(random.random::<f64>() * sum)).collect()
    }

    /// What is expected of a given prompt: its own lengths where the file has them. About four letters are a token.
    fn lengths(&self, entry: &PromptEntry, drawn: Lengths) -> Lengths {
        let (Words::Text(text) | Words::Messages(text)) = &entry.words;
        let guess = u32::try_from(text.len() / 4).unwrap_or(u32::MAX);
        let output = if self.trace.is_some() {
            drawn.output
        } else {
            entry.output_tokens.unwrap_or(drawn.output)
        };
        Lengths {
            input: entry.tokens.unwrap_or(guess).max(1),
            output,
        }
    }

    fn prompts_in_words(&self, entries: Option<&[PromptEntry]>) -> String {
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned()
        };
        let given = self.prompts.as_deref().or(self.scores.as_deref());
        match (given, entries, &self.lengths_of) {
            (Some(path), Some(entries), _) => format!("{} prompts of {}", entries.len(), name(path)),
            (_, _, Some(path)) => format!("filler of the lengths in {}", name(path)),
            _ if self.trace.is_some() => "filler of the trace's lengths".to_owned(),
            _ => format!(
                "filler, {} in, {} out",
                spread_in_words(self.input_tokens),
                spread_in_words(self.output_tokens)
            ),
        }
    }
}

/// The picked entries in order; their words are shared.
fn given_prompts(entries: &[PromptEntry], picked: &[usize]) -> Prompts {
    let words = entries.iter().map(|entry| match &entry.words {
        Words::Text(text) => Content::Text(text.as_str().into()),
        Words::Messages(messages) => Content::Messages(messages.as_str().into()),
    });
    let words: Vec<Content> = words.collect();
    Prompts::Given(picked.iter().map(|ix| words[*ix].clone()).collect())
}

fn usual_duration() -> Seconds {
    Seconds::new(60.0).expect("a minute is a time")
}

fn named(arrivals: Arrivals) -> String {
    match arrivals {
        Arrivals::Poisson => "Poisson arrivals".into(),
        Arrivals::Constant => "constant arrivals".into(),
        Arrivals::Gamma { cv } => format!("gamma arrivals (cv {cv})"),
    }
}

fn stage_in_words(stage: &Stage) -> String {
    let (from, to) = (stage.from.value(), stage.to.value());
    if (from - to).abs() < 1e-12 {
        format!("{} for {}", stage.from, stage.lasts)
    } else {
        format!("{from:.2} to {} in {}", stage.to, stage.lasts)
    }
}

fn spread_in_words(spread: Spread) -> String {
    if spread.cv > 0.0 {
        format!("{} (cv {}) tokens", spread.mean, spread.cv)
    } else {
        format!("{} tokens", spread.mean)
    }
}

/// `poisson`, `constant`, `gamma:2.5`
fn arrivals(text: &str) -> Result<Arrivals, String> {
    let cv = text.strip_prefix("gamma:").map(str::parse::<f64>);
    match (text, cv) {
        ("poisson", _) => Ok(Arrivals::Poisson),
        ("constant", _) => Ok(Arrivals::Constant),
        (_, Some(Ok(cv))) if (0.05..=50.0).contains(&cv) => Ok(Arrivals::Gamma { cv }),
        _ => Err("expected is poisson, constant, or gamma:CV with a coefficient of variation from 0.05 to 50".into()),
    }
}

/// `20:30s`, `2..20:60s`
fn stage(text: &str) -> Result<Stage, String> {
    let (rates, lasts) = text
        .split_once(':')
        .ok_or("expected is RATE:TIME or FROM..TO:TIME, such as 2..20:60s")?;
    let rate = |text: &str| {
        if text.trim() == "0" {
            RequestsPerSecond::new(0.0).map_err(|error| error.to_string())
        } else {
            quantity::rate(text)
        }
    };
    let lasts = quantity::time(lasts)?;
    let (from, to) = match rates.split_once("..") {
        Some((from, to)) => (rate(from)?, rate(to)?),
        None => (rate(rates)?, rate(rates)?),
    };
    Ok(Stage { from, to, lasts })
}

/// `512`, `512:0.5`
fn spread(text: &str) -> Result<Spread, String> {
    let (mean, cv) = text.split_once(':').unwrap_or((text, "0"));
    match (mean.trim().parse(), cv.trim().parse()) {
        (Ok(mean), Ok(cv)) if (1.0..=1e7).contains(&mean) && (0.0..=20.0).contains(&cv) => Ok(Spread { mean, cv }),
        _ => Err("expected is a number of tokens, or MEAN:CV such as 512:0.5".into()),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (1e-6..=1e6).contains(factor));
    factor.ok_or_else(|| "expected is a number above 0, such as 2".into())
}
