//! One configuration, measured: asks what to do next, does it, writes it down, until there is nothing more.

use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_types::profile::{Conditions, Evidence, Measured, Profile, ProfileKey, ProfileSource};
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Arrivals, Lengths};

use super::alone;
use super::points::{Seen, Stretch, stretches};
use super::probe::{OpenLoop, Probe, ProbeFailure};
use super::sampler::{LoadVisit, Next, Settings, Stop, next};
use super::visit::{Stage, Visit, spent};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// How.
    pub settings: Settings,
    /// Arrival process of the workload.
    pub arrivals: Arrivals,
    /// Length mix of the workload: what of it the engine takes.
    pub lengths: &'a [Lengths],
    /// Seed of arrivals and lengths.
    pub seed: u64,
}

/// What is under way, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is done now.
    pub next: Next,
    /// What was done.
    pub seen: &'a Seen,
}

/// Why measuring ended early.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted<E> {
    /// The engine or its user.
    #[error(transparent)]
    Probe(#[from] ProbeFailure),
    /// Whoever writes the visits down.
    #[error("what was measured could not be written down")]
    NotWritten(E),
}

/// Measures until the curve is as sure as asked for or the budget is spent; `seen` has the visits of an earlier run, and gets the new
/// ones. Each is handed to `keep` before the next begins.
///
/// # Errors
/// [`Interrupted`] when the engine is gone or a visit cannot be kept.
pub fn measure<E>(
    task: &Task<'_>,
    probe: &mut dyn Probe,
    seen: &mut Seen,
    mut keep: impl FnMut(&Visit) -> Result<(), E>,
    tell: &dyn Fn(Progress<'_>),
) -> Result<Stop, Interrupted<E>> {
    loop {
        let next = next(&task.settings, seen);
        tell(Progress { next, seen });
        let visit = match next {
            Next::Done(stop) => return Ok(stop),
            Next::Prefill => {
                let played = probe.one_by_one(&alone::prefill_requests(task.lengths))?;
                Visit::new(Stage::Prefill, nothing(), played)
            }
            Next::Alone { n_requests } => {
                let mix = task.schedule(seen.visits().len(), n_requests);
                Visit::new(Stage::Alone, nothing(), probe.one_by_one(mix.lengths())?)
            }
            Next::Load(load) => task.visit(load, probe, seen.visits().len())?,
        };
        keep(&visit).map_err(Interrupted::NotWritten)?;
        seen.push(visit);
    }
}

fn nothing() -> RequestsPerSecond {
    RequestsPerSecond::new(0.0).expect("no requests")
}

impl Task<'_> {
    /// Every visit draws its own requests, the same in every run with this seed.
    fn schedule(&self, visit_ix: usize, n_requests: usize) -> UnitSchedule {
        let seed = self
            .seed
            .wrapping_add((visit_ix as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        UnitSchedule::draw(self.arrivals, self.lengths, n_requests, seed)
    }

    fn visit(&self, load: LoadVisit, probe: &mut dyn Probe, visit_ix: usize) -> Result<Visit, ProbeFailure> {
        let window = load.n_warm_up..load.n_warm_up + load.n_requests;
        let schedule = self.schedule(visit_ix, window.end);
        let played = probe.open_loop(&OpenLoop {
            schedule: &schedule,
            rate: load.rate,
            window,
            patience: load.patience,
        })?;
        Ok(Visit::new(Stage::Load, load.rate, played))
    }
}

/// What the visits say about a configuration, with a name for what was measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it is of.
    pub key: ProfileKey,
    /// The conditions it was taken under.
    pub conditions: Conditions,
    /// See [`Measured::server`].
    pub server: String,
    /// See [`Measured::version`].
    pub version: Option<String>,
    /// Seed of the run.
    pub seed: u64,
}

/// The profile that the visits make; nothing as long as no load was sustained.
#[must_use]
pub fn profile(subject: &Subject, settings: &Settings, seen: &Seen) -> Option<Profile> {
    let visits = seen.visits();
    let curve = seen.curve();
    let capacity = curve.last()?.load.offered;
    let uncertainty = stretches(curve, &settings.metrics)
        .iter()
        .map(Stretch::uncertainty)
        .fold(0.0, f64::max);
    let measured = Measured {
        server: subject.server.clone(),
        version: subject.version.clone(),
        seed: subject.seed,
        spent: routerwise_types::Seconds::new(spent(visits)).expect("a sum of times"),
        n_sent: visits.iter().map(|visit| visit.n_sent).sum(),
        n_failed: visits.iter().map(|visit| visit.n_failed).sum(),
        alone: alone::alone(visits)?,
        not_sustained: seen.not_sustained(),
        uncertainty,
    };
    Some(Profile {
        key: subject.key.clone(),
        source: ProfileSource::Measured,
        conditions: subject.conditions.clone(),
        points: curve.iter().map(|point| point.load.clone()).collect(),
        capacity,
        evidence: Some(Box::new(Evidence::Measured(measured))),
    })
}
