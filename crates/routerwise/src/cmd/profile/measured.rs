//! `routerwise profile --endpoint` and `--engine`: profiles of engines that run, or that are started for it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use routerwise_measure::probe::version;
use routerwise_measure::profile::endpoint::EndpointProbe;
use routerwise_measure::profile::journal::{Journal, NoJournal};
use routerwise_measure::profile::measure::{Interrupted, Subject, Task, measure, profile};
use routerwise_measure::profile::points::Seen;
use routerwise_measure::profile::probe::{ProbeFailure, SimulatedProbe};
use routerwise_measure::profile::sampler::{Settings, Stop};
use routerwise_measure::profile::visit::spent;
use routerwise_measure::target::Target;
use routerwise_simulate::constants::Constants;
use routerwise_types::profile::{Conditions, PROFILE_SCHEMA, Profile, ProfileKey, ProfileSource};
use routerwise_types::workload::{Lengths, Metric};
use routerwise_types::{Fingerprint, Scenario, Seconds};

use super::configuration::{in_words, listed};
use super::watching::Watching;
use super::{Args, files, fill, job, launching, summary, wanted};
use crate::asking::cannot_start;
use crate::failure::{Answer, Failure};

/// How long a server may take to say which version it is.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How an engine is measured.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Measuring")]
pub(super) struct MeasureArgs {
    /// Stop measuring a configuration after this time
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = duration)]
    budget: Seconds,
    /// Stop when the curve is this sure: intervals and interpolation, relative to its value (near the capacity three times that)
    #[arg(long, value_name = "PART", default_value = "5%", value_parser = part)]
    precision: f64,
    /// Measure again what has been measured; without this a measurement is not replaced
    #[arg(long)]
    replace: bool,
    /// Do not fill in the configurations that were not measured
    #[arg(long)]
    no_fill: bool,
    /// Say what would be measured and how long it would take, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Everything that measuring one configuration needs.
pub(super) struct Measuring<'a> {
    args: &'a Args,
    pub(super) scenario: &'a Scenario,
    pub(super) folder: &'a Path,
    pub(super) settings: Settings,
    pub(super) interrupt: &'a AtomicBool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (scenario, folder) = args.scenario()?;
    let keys = wanted(&scenario, &args.only, &args.configurations)?;
    let mut models: Vec<String> = keys.iter().map(|key| key.model.clone()).collect();
    models.dedup();
    if args.fill {
        let n = fill::run(&scenario, &folder, &models, args.seed, out)?;
        writeln!(out, "\nfilled {n} profiles in `{}`", folder.display())?;
        return Ok(if n == 0 { Answer::No } else { Answer::Yes });
    }
    let interrupt = stop_on_interrupt();
    let measuring = Measuring {
        args,
        scenario: &scenario,
        folder: &folder,
        settings: settings(&args.measuring, &scenario),
        interrupt: &interrupt,
    };
    let (profiles, failed) = match (&args.endpoint, &args.engine) {
        (Some(url), _) => (measuring.endpoint(url, &keys, out)?, 0),
        (None, engine) => measuring.engines(engine.as_deref().unwrap_or_default(), &keys, out)?,
    };
    if args.measuring.dry_run {
        return Ok(Answer::Yes);
    }
    if !profiles.is_empty() {
        summary(&profiles, out)?;
        writeln!(out, "\nwrote {} profiles to `{}`", profiles.len(), folder.display())?;
    }
    if !args.measuring.no_fill {
        let n = fill::run(&scenario, &folder, &models, args.seed, out)?;
        writeln!(out, "\nfilled {n} profiles of configurations that were not measured")?;
    }
    if failed > 0 {
        return Err(Failure::Stopped {
            what: format!(
                "{failed} of {} configurations were not measured",
                failed + profiles.len()
            ),
            help: "the reasons are above; the same command tries those again".into(),
        });
    }
    Ok(Answer::Yes)
}

/// An endpoint is one configuration.
fn only_one(keys: &[ProfileKey]) -> Result<&ProfileKey, Failure> {
    match keys {
        [key] => Ok(key),
        [] => Err(Failure::Request {
            what: "the scenario allows no such configuration".into(),
            help: "`routerwise check` prints what it allows".into(),
        }),
        [first, ..] if keys.iter().any(|key| key.model != first.model) => Err(Failure::Request {
            what: "the scenario has several models, and an endpoint is one of them".into(),
            help: "say which with `--model`".into(),
        }),
        _ => Err(Failure::Request {
            what: format!(
                "`{}` has {} configurations, and an endpoint is one of them",
                keys[0].model,
                keys.len()
            ),
            help: format!("say which with `--configuration`: {}", listed(keys)),
        }),
    }
}

/// The precision is of what the scenario's objectives limit.
fn settings(args: &MeasureArgs, scenario: &Scenario) -> Settings {
    let mut metrics: Vec<Metric> = scenario.workload.slos.iter().map(|slo| slo.metric).collect();
    metrics.sort();
    metrics.dedup();
    if metrics.is_empty() {
        metrics = vec![Metric::Ttft, Metric::Tpot];
    }
    Settings {
        precision: args.precision,
        budget: args.budget,
        metrics,
    }
}

impl Measuring<'_> {
    fn endpoint(&self, url: &str, keys: &[ProfileKey], out: &mut dyn Write) -> Result<Vec<Profile>, Failure> {
        let key = only_one(keys)?;
        let target = self.args.target(url, &key.model)?;
        self.not_yet_measured(std::slice::from_ref(key))?;
        self.announce(std::slice::from_ref(key), out)?;
        if self.args.measuring.dry_run {
            return Ok(Vec::new());
        }
        let profile = self.measure(key, &target, &target.url())?;
        files::put(self.folder, &key.model, std::slice::from_ref(&profile))?;
        self.forget(key)?;
        Ok(vec![profile])
    }

    /// Configurations that have a measurement are left alone. Returns the profiles, and how many configurations have none.
    fn engines(
        &self,
        engine: &str,
        keys: &[ProfileKey],
        out: &mut dyn Write,
    ) -> Result<(Vec<Profile>, usize), Failure> {
        let template = launching::template(engine)?;
        let (open, done): (Vec<ProfileKey>, Vec<ProfileKey>) = keys
            .iter()
            .cloned()
            .partition(|key| self.not_yet_measured(std::slice::from_ref(key)).is_ok());
        if !done.is_empty() {
            writeln!(
                out,
                "{} configurations are measured already (`--replace` measures them again)",
                done.len()
            )?;
        }
        self.announce(&open, out)?;
        if self.args.measuring.dry_run {
            return Ok((Vec::new(), 0));
        }
        let launched = launching::run(self.args, self, &template, &open, out)?;
        Ok((launched.profiles, launched.failed.len()))
    }

    /// The journal of a configuration whose profile is written.
    pub(super) fn forget(&self, key: &ProfileKey) -> Result<(), Failure> {
        self.journal(key)?.remove().map_err(no_journal)
    }

    pub(super) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn not_yet_measured(&self, keys: &[ProfileKey]) -> Result<(), Failure> {
        if self.args.measuring.replace {
            return Ok(());
        }
        for key in keys {
            let path = self.folder.join(files::file_name(&key.model));
            let old = files::read(&path)?;
            let measured = |old: &&Profile| files::same(&old.key, key) && old.source == ProfileSource::Measured;
            if old.iter().any(|old| measured(&old)) {
                return Err(Failure::Request {
                    what: format!("`{}` holds a measurement of {}", path.display(), in_words(key)),
                    help: "measure it again with `--replace`, or write elsewhere with `--out` and `profile --compare` both"
                        .into(),
                });
            }
        }
        Ok(())
    }

    /// Says what will be measured and how long it will take.
    pub(super) fn announce(&self, keys: &[ProfileKey], out: &mut dyn Write) -> Result<(), Failure> {
        let budget = self.settings.budget;
        let mut all = 0.0;
        for key in keys {
            let expected = self.expected(key);
            all += expected.unwrap_or(budget.value());
            let time = expected.map_or_else(
                || format!("at most {}", minutes(budget.value())),
                |expected| format!("about {} by the engine model", minutes(expected)),
            );
            writeln!(out, "{}: {time}", in_words(key))?;
        }
        if keys.len() > 1 {
            let most = count(keys.len()) * budget.value();
            writeln!(out, "together about {}, at most {}", minutes(all), minutes(most))?;
        } else {
            writeln!(out, "at most {}, the budget", minutes(budget.value()))?;
        }
        out.flush()?;
        Ok(())
    }

    /// How long it would take were the engine what the engine model says: the same decisions in simulated time.
    fn expected(&self, key: &ProfileKey) -> Option<f64> {
        let job = job(self.scenario, key);
        let replica = job.replica(&Constants::shipped(), job.model.kv_reserve, 1.0).ok()?;
        let lengths = fitting(self.scenario, key);
        let mut seen = Seen::default();
        let task = self.task(&lengths);
        let mut probe = SimulatedProbe::new(replica.spec);
        measure(&task, &mut probe, &mut seen, |_| Ok::<(), ()>(()), &|_| ()).ok()?;
        Some(spent(seen.visits()))
    }

    fn task<'l>(&self, lengths: &'l [Lengths]) -> Task<'l> {
        Task {
            settings: self.settings.clone(),
            arrivals: self.scenario.workload.arrivals,
            lengths,
            seed: self.args.seed,
        }
    }

    /// The journal of a configuration: of the same workload, engine and seed, whatever the budget.
    pub(super) fn journal(&self, key: &ProfileKey) -> Result<Journal, Failure> {
        let run = Fingerprint::of(&(
            PROFILE_SCHEMA,
            self.args.seed,
            (&self.args.endpoint, &self.args.engine),
            (key, self.conditions(key)),
        ));
        let of = format!("{} with seed {}", in_words(key), self.args.seed);
        let model = files::file_name(&key.model);
        let mark = Fingerprint::of(key);
        let name = format!(".measuring-{}-{}.jsonl", model.trim_end_matches(".json"), mark.short());
        Journal::open(&self.folder.join(name), &run, &of).map_err(no_journal)
    }

    fn conditions(&self, key: &ProfileKey) -> Conditions {
        let job = job(self.scenario, key);
        Conditions::expected(job.model, &self.scenario.workload, job.interconnect)
    }

    /// Measures one configuration at an endpoint, going on where the journal ends.
    pub(super) fn measure(&self, key: &ProfileKey, target: &Target, server: &str) -> Result<Profile, Failure> {
        let lengths = fitting(self.scenario, key);
        if lengths.is_empty() {
            return Err(Failure::Request {
                what: format!("{} takes not one of the workload's requests", in_words(key)),
                help: "raise `max-model-len` or `kv-reserve` of the model, or shorten the workload".into(),
            });
        }
        let (input, output) = self.scenario.workload.mean_lengths();
        let typical = Lengths {
            input: tokens(input),
            output: tokens(output),
        };
        let mut probe = EndpointProbe::new(target, typical, self.args.seed, self.interrupt)
            .map_err(|error| cannot_start(&error, "--served-as"))?;
        let version = version(target, VERSION_TIMEOUT);
        // Opened only now: an engine that cannot be asked leaves no trace.
        let mut journal = self.journal(key)?;
        let mut seen = Seen::of(journal.visits(key));
        let watching = Watching::new(&self.settings);
        let keep = |visit: &_| journal.add(key, visit);
        let ended = measure(&self.task(&lengths), &mut probe, &mut seen, keep, &|progress| {
            watching.tell(progress);
        });
        watching.done();
        let stop = ended.map_err(|interrupted| self.stopped(key, &seen, interrupted))?;
        let subject = Subject {
            key: key.clone(),
            conditions: self.conditions(key),
            server: server.to_owned(),
            version,
            seed: self.args.seed,
        };
        let profile = profile(&subject, &self.settings, &seen).filter(|_| stop != Stop::NeverKeepsUp);
        profile.ok_or_else(|| Failure::Stopped {
            what: format!(
                "the engine sustains no load at all, not even a small part of one request at a time{}",
                first_failure(&seen)
            ),
            help: "see its log; what was measured is kept, and the same command goes on from there".into(),
        })
    }

    fn stopped(&self, key: &ProfileKey, seen: &Seen, interrupted: Interrupted<NoJournal>) -> Failure {
        let kept = format!(
            "{} measurements of {} are kept in `{}`",
            seen.visits().len(),
            in_words(key),
            self.folder.display()
        );
        match interrupted {
            Interrupted::Probe(ProbeFailure::Interrupted) => Failure::Stopped {
                what: format!("interrupted; {kept}"),
                help: "the same command goes on from there".into(),
            },
            Interrupted::Probe(ProbeFailure::Engine { what, help }) => Failure::Stopped {
                what: format!("{what}; {kept}"),
                help,
            },
            Interrupted::NotWritten(error) => Failure::Stopped {
                what: format!("{}; {kept}", chain(&error)),
                help: "make room and repeat the command, which goes on from there; or write elsewhere with `--out`"
                    .into(),
            },
        }
    }
}

/// The lengths of the workload that fit the model's context.
fn fitting(scenario: &Scenario, key: &ProfileKey) -> Vec<Lengths> {
    let longest = u64::from(job(scenario, key).model.engine.max_model_len);
    let fits = |lengths: &&Lengths| u64::from(lengths.input) + u64::from(lengths.output) <= longest;
    scenario.workload.lengths.iter().filter(fits).copied().collect()
}

fn first_failure(seen: &Seen) -> String {
    let failure = seen.visits().iter().find_map(|visit| visit.first_failure.clone());
    failure.map_or_else(String::new, |failure| format!(" (first failure: {failure})"))
}

fn chain(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

/// What is wrong with the file that measurements are kept in.
pub(super) fn no_journal(error: NoJournal) -> Failure {
    let help = match &error {
        NoJournal::Disk { .. } => "make room, or write elsewhere with `--out`",
        NoJournal::Busy(_) => "wait for it, or write elsewhere with `--out`",
        NoJournal::Other { .. } => {
            "go on with that run as it was begun, delete the file to begin anew, or write elsewhere with `--out`"
        }
    };
    let (what, help) = (chain(&error), help.to_owned());
    match error {
        NoJournal::Disk { .. } => Failure::Stopped { what, help },
        NoJournal::Busy(_) | NoJournal::Other { .. } => Failure::Request { what, help },
    }
}

/// Ctrl-C ends what is under way; a second one ends the program.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    const INTERRUPTED: i32 = 130;
    let stop = Arc::new(AtomicBool::new(false));
    let handed = Arc::clone(&stop);
    let _ = ctrlc::set_handler(move || {
        if handed.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    });
    stop
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of token counts"
)]
fn tokens(mean: f64) -> u32 {
    mean.round().clamp(1.0, 1e9) as u32
}

#[expect(clippy::cast_precision_loss, reason = "a count of configurations")]
fn count(n: usize) -> f64 {
    n as f64
}

/// `45 s`, `20 min`, `1 h 30 min`.
pub(super) fn minutes(seconds: f64) -> String {
    if seconds < 90.0 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round();
    if minutes < 60.0 {
        return format!("{minutes:.0} min");
    }
    format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
}

/// `90s`, `20m`, `20 min`, `1h`.
fn duration(text: &str) -> Result<Seconds, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let scale = match text[number.len()..].trim() {
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err("expected is a time with its unit, such as 90s, 20m or 1h".into()),
    };
    let value: f64 = number.trim().parse().map_err(|_| format!("`{number}` is no number"))?;
    let seconds = Seconds::new(value * scale).map_err(|error| error.to_string())?;
    if seconds.value() < 1.0 {
        return Err("nothing is measured in less than a second".into());
    }
    Ok(seconds)
}

/// `5%` or `0.05`.
fn part(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no part, such as 5%"))?;
    let part = value * scale;
    if (0.001..=1.0).contains(&part) {
        Ok(part)
    } else {
        Err("it lies between 0.1% and 100%".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_parts_are_read_and_written_as_people_do() {
        let read = |text| duration(text).map(Seconds::value);
        assert_eq!(read("20m"), Ok(1_200.0));
        assert_eq!(read("1.5 h"), Ok(5_400.0));
        assert!(read("20").is_err() && read("0s").is_err());
        assert!((part("5%").unwrap() - 0.05).abs() < 1e-12);
        assert!(part("0").is_err() && part("x%").is_err());
        assert_eq!([45.0, 1_200.0, 5_400.0].map(minutes), ["45 s", "20 min", "1 h 30 min"]);
    }
}
