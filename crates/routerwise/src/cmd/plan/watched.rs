//! A planning run that shows how far it is and can be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_plan::watch::{Progress, Watch};
use routerwise_plan::{Outcome, plan_watched};
use routerwise_types::Scenario;
use routerwise_types::plan::Plan;

use super::unplannable;
use crate::failure::Failure;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Plans, with progress on standard error. Ctrl-C or the end of `stop_after` takes the best plan found so far; a second Ctrl-C ends
/// the program.
pub(super) fn plan(scenario: &Scenario, parent: Option<&Plan>, stop_after: Option<f64>) -> Result<Outcome, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&stop);
    if let Some(seconds) = stop_after {
        let after = Duration::try_from_secs_f64(seconds).map_err(|_| Failure::Request {
            what: format!("`--stop-after` is {seconds}, not a number of seconds"),
            help: "10 takes the best plan of ten seconds".into(),
        })?;
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            thread::sleep(after);
            stop.store(true, Ordering::Relaxed);
        });
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    let tell = |progress: &Progress| bar.set_message(in_words(progress));
    let outcome = plan_watched(scenario, parent, Watch::new(&stop, &tell));
    bar.finish_and_clear();
    outcome.map_err(unplannable)
}

/// Without a handler Ctrl-C ends the program at once, as anywhere.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    let _ = ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    });
}

/// `improving it: best 0.7259, at most 0.7297, 12 % of the work`.
fn in_words(progress: &Progress) -> String {
    let phase = progress.phase;
    let done = 100.0 * progress.done;
    let bound = progress.bound.min(1.0);
    match progress.quality {
        Some(quality) => format!("{phase}: best {quality:.4}, at most {bound:.4}, {done:.0} % of the work"),
        None => format!("{phase}: nothing yet, at most {bound:.4}, {done:.0} % of the work"),
    }
}

#[cfg(test)]
mod tests {
    use routerwise_plan::watch::Phase;

    use super::*;

    #[test]
    fn progress_says_what_is_found_and_what_is_possible() {
        let progress = Progress {
            phase: Phase::Improving,
            quality: Some(0.725_93),
            bound: 0.729_68,
            done: 0.12,
        };
        assert_eq!(
            in_words(&progress),
            "improving it: best 0.7259, at most 0.7297, 12 % of the work"
        );
        let first = Progress {
            phase: Phase::Relaxation,
            quality: None,
            bound: f64::INFINITY,
            done: 0.0,
        };
        assert_eq!(
            in_words(&first),
            "pricing all setups: nothing yet, at most 1.0000, 0 % of the work"
        );
    }
}
