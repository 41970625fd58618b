//! What is shown while an engine is measured.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_measure::profile::measure::Progress;
use routerwise_measure::profile::sampler::{Aim, Next, Settings};
use routerwise_measure::profile::visit::spent;

/// A line on standard error, where that is a terminal.
pub(super) struct Watching {
    bar: ProgressBar,
    budget: f64,
}

impl Watching {
    pub(super) fn new(settings: &Settings) -> Self {
        let bar = ProgressBar::new(1_000);
        let style = ProgressStyle::with_template("{bar:20} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            budget: settings.budget.value(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "thousandths of the budget"
    )]
    pub(super) fn tell(&self, progress: Progress<'_>) {
        let seen = progress.seen;
        let gone = spent(seen.visits());
        self.bar.set_position((1e3 * gone / self.budget).clamp(0.0, 1e3) as u64);
        let doing = in_words(progress.next);
        let capacity = seen.curve().last().map_or(String::new(), |last| {
            format!(", sustains {:.2} /s", last.load.offered.value())
        });
        self.bar.set_message(format!(
            "{gone:.0} of at most {:.0} s, {} loads{capacity}: {doing}",
            self.budget,
            seen.points().len()
        ));
    }

    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

fn in_words(next: Next) -> String {
    match next {
        Next::Prefill => "timing prompts".to_owned(),
        Next::Alone { .. } => "one request at a time".to_owned(),
        Next::Done(_) => "done".to_owned(),
        Next::Load(load) => {
            let aim = match load.aim {
                Aim::Knee => "looking for the knee",
                Aim::Beginning => "where the curve begins",
                Aim::Between => "between two loads",
                Aim::More => "once more",
            };
            format!("{} requests at {:.2} /s, {aim}", load.n_requests, load.rate.value())
        }
    }
}
