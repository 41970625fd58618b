//! A planning run that shows how far it is and can be stopped.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_plan::frontier::{Step, frontier_watched};
use routerwise_plan::watch::{Progress, Watch};
use routerwise_plan::{Outcome, plan_watched};
use routerwise_types::Scenario;
use routerwise_types::answer::frontier::{Frontier, FrontierAxis};
use routerwise_types::plan::Plan;

use super::unplannable;
use crate::cmd::frontier::shown;
use crate::failure::Failure;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Plans, with progress on standard error. Ctrl-C or the end of `stop_after` takes the best plan found so far; a second Ctrl-C ends
/// the program.
pub(super) fn plan(scenario: &Scenario, parent: Option<&Plan>, stop_after: Option<f64>) -> Result<Outcome, Failure> {
    let stop = stops(stop_after)?;
    let bar = spinner();
    let tell = |progress: &Progress| bar.set_message(in_words(progress));
    let outcome = plan_watched(scenario, parent, Watch::new(&stop, &tell));
    bar.finish_and_clear();
    outcome.map_err(unplannable)
}

/// A frontier in the same way; points that it did not come to have what their neighbours imply.
pub(crate) fn frontier(
    scenario: &Scenario,
    axis: FrontierAxis,
    values: &[f64],
    stop_after: Option<f64>,
) -> Result<Frontier, Failure> {
    let stop = stops(stop_after)?;
    let bar = spinner();
    let point = RefCell::new(String::new());
    let on_point = |step: Step| {
        *point.borrow_mut() = step_in_words(axis, step);
        bar.set_message(point.borrow().clone());
    };
    let tell = |progress: &Progress| bar.set_message(format!("{}: {}", point.borrow(), in_words(progress)));
    let frontier = frontier_watched(scenario, axis, values, Watch::new(&stop, &tell), &on_point);
    bar.finish_and_clear();
    frontier.map_err(unplannable)
}

/// Set by Ctrl-C and after so many seconds.
fn stops(after: Option<f64>) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&stop);
    if let Some(seconds) = after {
        let after = Duration::try_from_secs_f64(seconds).map_err(|_| Failure::Request {
            what: format!("`--stop-after` is {seconds}, not a number of seconds"),
            help: "10 takes the best plan of ten seconds".into(),
        })?;
        if after.is_zero() {
            stop.store(true, Ordering::Relaxed);
        } else {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                thread::sleep(after);
                stop.store(true, Ordering::Relaxed);
            });
        }
    }
    Ok(stop)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// `point 3 of 13 (250 ms)`.
fn step_in_words(axis: FrontierAxis, step: Step) -> String {
    let again = if step.again { " again" } else { "" };
    let (number, value) = (step.n_done + 1, shown(axis, step.at));
    format!("point {number} of {}{again} ({value})", step.n_points)
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
