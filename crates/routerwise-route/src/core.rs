//! The deciding half of a gateway: requests in, decisions out, time an argument.
//!
//! ```text
//! route(now, facts) -> Decision          one argmax and one replica; counts what it sends as in flight
//! observe(now, event)                    what became of it, health, engine gauges, replicas that come and go
//! refresh(now) -> job; job.solve(); apply(now, solved)    prices, solved anywhere, taken over in one step
//! inherit(now, other, same)              at a reload: what another router learned about what is still the same
//! next_ready(now) -> request             whose turn has come in the queue
//! next_deadline()                        when to call `refresh` or `next_ready` although nothing happened
//! ```
//!
//! Same calls, same answers, bit for bit: the simulator makes them on a virtual clock, a gateway behind one lock that it holds for the
//! microsecond that a decision takes. The solve is the only long part, and needs no lock.

mod choose;
mod explain;
mod hedge;
mod inherit;
mod learn;
mod observe;
mod refresh;
mod replicas;
mod snapshot;
mod state;

use std::sync::Arc;

use routerwise_types::plan::Plan;
use routerwise_types::{Seconds, Timestamp};

use crate::curves::Curves;
use crate::decision::{Decision, Refusal, Send, Ticket};
use crate::facts::{ModelSet, RequestFacts};
use crate::queue::Queue;
use crate::replica::{Replica, after};
use crate::sessions::Sessions;
use crate::settings::{OutOfReach, Settings};
use choose::Verdicts;
use refresh::Refresh;
use state::{ModelState, RouteState};

pub use inherit::Same;
pub use refresh::{RefreshJob, Solved};
pub use snapshot::{ModelSnapshot, ReplicaSnapshot, RouteSnapshot, Snapshot};

/// Why a plan and settings make no router.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CannotRoute {
    /// Sets of models are 64-bit sets.
    #[error("the plan has {0} models, more than the 64 that can be routed")]
    TooManyModels(usize),
    /// Nothing says what to do.
    #[error("the plan has no policy")]
    NoPolicy,
    /// Nothing to route.
    #[error("no route is set")]
    NoRoute,
    /// A route that nothing may answer.
    #[error("no model that the plan runs may answer route `{0}`")]
    NothingRuns(String),
}

/// The deciding half of a gateway.
#[derive(Clone, Debug)]
pub struct RouterCore {
    settings: Settings,
    models: Vec<ModelState>,
    routes: Vec<RouteState>,
    curves: Option<Arc<Curves>>,
    sessions: Sessions,
    queue: Queue,
    /// Whether something happened since a request of the queue last found no place.
    room: bool,
    /// When that was, last.
    no_room: Option<Timestamp>,
    retry_tokens: f64,
    refresh: Refresh,
}

impl RouterCore {
    /// A router for a plan whose replicas are all there. Without curves there is nothing to re-solve prices from: they stay the plan's.
    ///
    /// # Errors
    /// [`CannotRoute`].
    pub fn new(plan: &Plan, curves: Option<Curves>, settings: Settings) -> Result<Self, CannotRoute> {
        if plan.models.len() > 64 {
            return Err(CannotRoute::TooManyModels(plan.models.len()));
        }
        if settings.routes.is_empty() {
            return Err(CannotRoute::NoRoute);
        }
        let curves_of = |ix: usize| curves.as_ref().and_then(|curves| curves.models.get(ix)?.as_ref());
        let models = plan.models.iter().enumerate();
        let models = models.map(|(ix, model)| ModelState::new(model, curves_of(ix)));
        let routes = settings.routes.iter().zip(0u64..);
        let routes = routes.map(|(route, nth)| RouteState::new(plan, curves.as_ref(), route, &settings, nth));
        Ok(Self {
            models: models.collect(),
            routes: routes.collect::<Result<_, _>>()?,
            sessions: Sessions::new(settings.sessions_most),
            queue: Queue::new(settings.queue_most),
            room: false,
            no_room: None,
            retry_tokens: settings.retries.burst,
            refresh: Refresh::default(),
            curves: curves.map(Arc::new),
            settings,
        })
    }

    /// Whether there are curves to re-solve prices from.
    #[must_use]
    pub fn has_curves(&self) -> bool {
        self.curves.is_some()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides where a request goes, and counts it as in flight there.
    pub fn route(&mut self, now: Timestamp, facts: &RequestFacts<'_>) -> Decision {
        if facts.is_new() {
            self.arrived(now, facts);
            self.retry_tokens = (self.retry_tokens + self.settings.retries.budget).min(self.settings.retries.burst);
        }
        let decision = self.decide(now, facts);
        match decision {
            Decision::Send(mut send) => {
                if facts.tried.is_empty() {
                    self.routes[facts.route].sent(send.ticket.model);
                } else {
                    self.retry_tokens -= 1.0;
                }
                let ticket = &mut send.ticket;
                self.models[ticket.model].pass(now);
                ticket.probe = self.models[ticket.model].replicas[ticket.replica].sent(now);
                Decision::Send(send)
            }
            Decision::Wait { until } => {
                // Who comes out of the queue and goes back to it has shown that there is no room.
                if facts.waited {
                    (self.room, self.no_room) = (false, Some(now));
                }
                if self.queue.push(facts.priority, until, facts.arrived, facts.request) {
                    decision
                } else {
                    Decision::Shed {
                        why: Refusal::QueueFull,
                        retry_after: self.retry_after(now),
                    }
                }
            }
            Decision::Shed { .. } => decision,
        }
    }

    /// The decision, changing nothing.
    fn decide(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Decision {
        let refuse = |why| Decision::Shed {
            why,
            retry_after: self.retry_after(now),
        };
        if facts.waited && self.expires(facts) <= now {
            let own = facts.deadline.is_some_and(|deadline| deadline <= now);
            return refuse(if own { Refusal::Deadline } else { Refusal::Expired });
        }
        let retries = &self.settings.retries;
        if !facts.tried.is_empty() && (facts.tried.len() >= retries.attempts_most || self.retry_tokens < 1.0) {
            return refuse(Refusal::NoRetry);
        }
        match self.choose(now, facts) {
            Ok(choice) => match self.replica(now, choice.model, facts) {
                Some(replica) => Decision::Send(self.send(now, facts, &choice, replica)),
                None => refuse(Refusal::NoReplica),
            },
            Err(why) => {
                let until = self.expires(facts);
                if until > now && self.may_wait(now, facts, why) {
                    Decision::Wait { until }
                } else {
                    refuse(why)
                }
            }
        }
    }

    fn send(&self, now: Timestamp, facts: &RequestFacts<'_>, choice: &Verdicts, replica: usize) -> Send {
        let ttft = self.expected_ttft(now, choice.model, replica, facts);
        let target = self.target(facts);
        let misses = ttft.zip(target).is_some_and(|(ttft, target)| ttft > target.value());
        let route = &self.routes[facts.route];
        Send {
            ticket: Ticket {
                request: facts.request,
                route: facts.route,
                model: choice.model,
                replica,
                at: now,
                prompt_tokens: facts.prompt_tokens,
                session: facts.session,
                ahead: self.models[choice.model].replicas[replica].load(now, &self.settings.health),
                probe: false,
            },
            reason: choice.reason,
            score: facts.score(choice.model),
            price: self.price(now, facts.route, choice.model),
            margin: choice
                .runner_up
                .map(|other| choice.worth[choice.model] - choice.worth[other]),
            runner_up: choice.runner_up,
            ttft: ttft.and_then(|ttft| Seconds::new(ttft).ok()),
            degraded: misses || route.live.as_ref().is_some_and(|live| live.out_of_reach),
            hedge: self.hedge(now, facts, (choice.model, replica), ttft),
        }
    }

    /// When a request that waits gives up.
    fn expires(&self, facts: &RequestFacts<'_>) -> Timestamp {
        let most = match self.routes[facts.route].settings.out_of_reach {
            OutOfReach::Queue { most } => most,
            OutOfReach::Degrade | OutOfReach::Shed => self.settings.health.outage_wait,
        };
        let most = after(facts.arrived, most);
        facts.deadline.map_or(most, |deadline| deadline.min(most))
    }

    /// Whether a request may wait instead of being turned away: in an outage always, with objectives out of reach where its route queues.
    fn may_wait(&self, now: Timestamp, facts: &RequestFacts<'_>, why: Refusal) -> bool {
        match why {
            Refusal::NoReplica => {
                let allowed = self.routes[facts.route].settings.allowed.and(facts.allowed);
                let models = self.models.iter().enumerate().filter(|(ix, _)| allowed.has(*ix));
                let mut replicas = models.flat_map(|(_, model)| &model.replicas);
                // To have tried all that there are is no outage.
                replicas.clone().any(Replica::is_present) && !replicas.any(|replica| replica.is_ready(now))
            }
            Refusal::Overload => matches!(self.routes[facts.route].settings.out_of_reach, OutOfReach::Queue { .. }),
            _ => false,
        }
    }

    /// When another try may be worth it.
    fn retry_after(&self, now: Timestamp) -> Seconds {
        let replicas = self.models.iter().flat_map(|model| &model.replicas);
        let next = replicas.filter_map(Replica::opening).filter(|at| *at > now).min();
        let wait = next.map_or(1.0, |at| at.since(now).value());
        Seconds::new(wait.max(1.0)).expect("a finite wait")
    }

    /// Attempts in flight on a replica.
    ///
    /// # Panics
    /// When there is no such replica.
    #[must_use]
    pub fn outstanding(&self, model: usize, replica: usize) -> u32 {
        self.models[model].replicas[replica].outstanding
    }

    /// Requests that wait in the queue.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.queue.len()
    }

    /// The next request of the queue that should be put to [`RouterCore::route`] again (with `waited` set), because it may be sent now
    /// or because its time is over; it is no longer in the queue. Call until there is none, after events and at
    /// [`RouterCore::next_deadline`].
    pub fn next_ready(&mut self, now: Timestamp) -> Option<u64> {
        let replicas = self.models.iter().flat_map(|model| &model.replicas);
        let mut ready = replicas.filter(|replica| replica.is_ready(now));
        // A breaker that opens is no event, but makes room, once.
        let may_try = ready.any(|replica| self.room || replica.opening().is_some_and(|at| self.is_new(at)));
        self.queue.pop(now, may_try)
    }

    /// Whether nobody has found no place since.
    fn is_new(&self, opening: Timestamp) -> bool {
        self.no_room.is_none_or(|at| at < opening)
    }

    /// When to call [`RouterCore::refresh`] and [`RouterCore::next_ready`] again although nothing happened; nothing when there is no
    /// such time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let waits = self.queue.len() > 0;
        let replicas = self.models.iter().flat_map(|model| &model.replicas);
        let opens = replicas
            .filter_map(Replica::opening)
            .filter(|at| waits && self.is_new(*at))
            .min();
        let deadlines = [self.queue.next_expiry(), opens, self.next_refresh()];
        deadlines.into_iter().flatten().min()
    }

    /// Models that may answer a request of a route at all: those that the plan runs and the route allows.
    #[must_use]
    pub fn models_of(&self, route: usize) -> ModelSet {
        let running = |ix: &usize| self.models[*ix].replicas.iter().any(Replica::is_present);
        let running: ModelSet = (0..self.models.len()).filter(running).collect();
        self.routes[route].settings.allowed.and(running)
    }
}

#[cfg(test)]
mod tests;
