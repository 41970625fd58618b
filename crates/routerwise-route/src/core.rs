//! The deciding half of a gateway: requests in, decisions out, time an argument.
//!
//! ```text
//! route(now, facts) -> Decision          one argmax and one replica; counts what it sends as in flight
//! observe(now, event)                    what became of it, health, engine gauges, replicas that come and go
//! refresh(now) -> job; job.solve(); apply(now, solved)    prices, solved anywhere, taken over in one step
//! next_ready(now) -> request             whose turn has come in the queue
//! next_deadline()                        when to call `refresh` or `next_ready` although nothing happened
//! ```
//!
//! Same calls, same answers, bit for bit: the simulator makes them on a virtual clock, a gateway behind one lock that it holds for the
//! microsecond that a decision takes. The solve is the only long part, and needs no lock.

mod choose;
mod explain;
mod refresh;
mod replicas;
mod snapshot;

use routerwise_types::plan::Plan;
use routerwise_types::{Seconds, Timestamp};

use crate::curves::Curves;
use crate::decision::{Decision, Hedge, Refusal, Send, Ticket};
use crate::event::{Event, Failure};
use crate::facts::{ModelSet, RequestFacts};
use crate::policy::Policy;
use crate::queue::Queue;
use crate::replica::{Capacity, Replica};
use crate::settings::{OutOfReach, RouteSettings, Settings};

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
    queue: Queue,
    retry_tokens: f64,
    curves: Option<Curves>,
}

/// One model.
#[derive(Clone, Debug)]
struct ModelState {
    name: String,
    replicas: Vec<Replica>,
}

/// One route.
#[derive(Clone, Debug)]
struct RouteState {
    settings: RouteSettings,
    /// Indices of its policies in the plan, rising by rate.
    levels: Vec<(usize, Policy)>,
    /// Which of them is in force.
    level: usize,
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
        let models = plan.models.iter().map(|model| ModelState {
            name: model.name.clone(),
            replicas: model.replicas.iter().map(|_| Replica::planned()).collect(),
        });
        let routes = settings.routes.iter().map(|route| RouteState::new(plan, route));
        Ok(Self {
            models: models.collect(),
            routes: routes.collect::<Result<_, _>>()?,
            queue: Queue::new(settings.queue_most),
            retry_tokens: settings.retries.burst,
            curves,
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
            self.retry_tokens = (self.retry_tokens + self.settings.retries.budget).min(self.settings.retries.burst);
        }
        let decision = self.decide(now, facts);
        match decision {
            Decision::Send(mut send) => {
                if !facts.tried.is_empty() {
                    self.retry_tokens -= 1.0;
                }
                let ticket = &mut send.ticket;
                ticket.probe = self.models[ticket.model].replicas[ticket.replica].sent(now);
                Decision::Send(send)
            }
            Decision::Wait { until } => {
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
            return refuse(Refusal::Expired);
        }
        let retries = &self.settings.retries;
        if !facts.tried.is_empty() && (facts.tried.len() >= retries.attempts_most || self.retry_tokens < 1.0) {
            return refuse(Refusal::NoRetry);
        }
        match self.choose(now, facts) {
            Ok(choice) => {
                let replica = self.replica(now, choice.model, facts);
                let Some(replica) = replica else {
                    return refuse(Refusal::NoReplica);
                };
                let ahead = self.models[choice.model].replicas[replica].outstanding;
                Decision::Send(Send {
                    ticket: Ticket {
                        request: facts.request,
                        route: facts.route,
                        model: choice.model,
                        replica,
                        at: now,
                        prompt_tokens: facts.prompt_tokens,
                        session: facts.session,
                        ahead,
                        probe: false,
                    },
                    reason: choice.reason,
                    score: choice.score,
                    price: choice.price,
                    margin: choice.margin,
                    runner_up: choice.runner_up,
                    ttft: None,
                    degraded: false,
                    hedge: None::<Hedge>,
                })
            }
            Err(Refusal::NoReplica) if self.may_come_back(facts) && self.expires(facts) > now => Decision::Wait {
                until: self.expires(facts),
            },
            Err(why) => refuse(why),
        }
    }

    /// When a request that waits gives up.
    fn expires(&self, facts: &RequestFacts<'_>) -> Timestamp {
        let most = match self.routes[facts.route].settings.out_of_reach {
            OutOfReach::Queue { most } => most,
            OutOfReach::Degrade | OutOfReach::Shed => self.settings.health.outage_wait,
        };
        let most = crate::replica::after(facts.arrived, most);
        facts.deadline.map_or(most, |deadline| deadline.min(most))
    }

    /// Whether a model that may answer has a replica that a breaker holds back, and that may be well again soon.
    fn may_come_back(&self, facts: &RequestFacts<'_>) -> bool {
        let allowed = self.routes[facts.route].settings.allowed.and(facts.allowed);
        let mut models = self.models.iter().enumerate().filter(|(ix, _)| allowed.has(*ix));
        facts.tried.is_empty() && models.any(|(_, model)| model.replicas.iter().any(Replica::is_present))
    }

    /// When another try may be worth it.
    fn retry_after(&self, now: Timestamp) -> Seconds {
        let replicas = self.models.iter().flat_map(|model| &model.replicas);
        let next = replicas.filter_map(|replica| replica.opens_at(now)).min();
        let wait = next.map_or(1.0, |at| at.since(now).value());
        Seconds::new(wait.max(1.0)).expect("a finite wait")
    }

    /// Takes note of something that happened.
    ///
    /// # Panics
    /// When the event names a model or replica that is not there.
    pub fn observe(&mut self, now: Timestamp, event: Event) {
        let capacity = match event {
            Event::FirstToken(_) => Capacity::Same,
            Event::Finished { ticket, .. } => {
                let replica = self.replica_mut(ticket.model, ticket.replica);
                replica.done();
                replica.succeeded(now, ticket.probe)
            }
            Event::Failed { ticket, failure } => self.failed(now, ticket, failure),
            Event::Cancelled(ticket) => {
                let replica = self.replica_mut(ticket.model, ticket.replica);
                replica.done();
                if ticket.probe {
                    replica.probe_lost(now);
                }
                Capacity::Same
            }
            Event::Abandoned { request } => {
                self.queue.remove(request);
                Capacity::Same
            }
            Event::Health { model, replica, up } => self.replica_mut(model, replica).checked(now, up),
            Event::Metrics { model, replica, gauges } => {
                self.replica_mut(model, replica).gauges = Some(gauges);
                Capacity::Same
            }
            Event::ReplicaAdded { model } => {
                self.models[model].replicas.push(Replica::added(now));
                Capacity::Changed
            }
            Event::ReplicaRemoved { model, replica } => self.replica_mut(model, replica).removed(),
            Event::ReplicaReturned { model, replica } => self.replica_mut(model, replica).returned(now),
        };
        let _ = capacity;
    }

    fn failed(&mut self, now: Timestamp, ticket: Ticket, failure: Failure) -> Capacity {
        let health = self.settings.health;
        let replica = self.replica_mut(ticket.model, ticket.replica);
        replica.done();
        if !failure.is_replicas_fault() && ticket.probe {
            replica.probe_lost(now);
            return Capacity::Same;
        }
        replica.failed(now, ticket.probe, failure, &health)
    }

    fn replica_mut(&mut self, model: usize, replica: usize) -> &mut Replica {
        &mut self.models[model].replicas[replica]
    }

    /// The next request of the queue that should be put to [`RouterCore::route`] again, because it may be sent now or because its time
    /// is over; it is no longer in the queue. Call until there is none, after events and at [`RouterCore::next_deadline`].
    pub fn next_ready(&mut self, now: Timestamp) -> Option<u64> {
        let ready = self
            .models
            .iter()
            .any(|model| model.replicas.iter().any(|r| r.is_ready(now)));
        self.queue.pop(now, ready)
    }

    /// When to call [`RouterCore::refresh`] and [`RouterCore::next_ready`] again although nothing happened; nothing when there is no
    /// such time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.queue.next_expiry()
    }

    /// Models that may answer a request of a route at all: those that the plan runs and the route allows.
    #[must_use]
    pub fn models_of(&self, route: usize) -> ModelSet {
        let running = |ix: &usize| self.models[*ix].replicas.iter().any(Replica::is_present);
        let running: ModelSet = (0..self.models.len()).filter(running).collect();
        self.routes[route].settings.allowed.and(running)
    }
}

impl RouteState {
    fn new(plan: &Plan, settings: &RouteSettings) -> Result<Self, CannotRoute> {
        let first = plan.policies.first().ok_or(CannotRoute::NoPolicy)?;
        let own = plan.policies.iter().any(|policy| policy.route == settings.name);
        let name = if own { &settings.name } else { &first.route };
        let running: Vec<bool> = plan.models.iter().map(|model| model.configuration.is_some()).collect();
        if !running
            .iter()
            .enumerate()
            .any(|(ix, on)| *on && settings.allowed.has(ix))
        {
            return Err(CannotRoute::NothingRuns(settings.name.clone()));
        }
        let policies = plan
            .policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| policy.route == *name);
        let mut levels: Vec<(usize, Policy)> = policies
            .map(|(ix, policy)| (ix, Policy::new(policy, running.clone())))
            .collect();
        levels.sort_by(|(a, _), (b, _)| {
            plan.policies[*a]
                .rate
                .value()
                .total_cmp(&plan.policies[*b].rate.value())
        });
        Ok(Self {
            settings: settings.clone(),
            level: levels.len() - 1,
            levels,
        })
    }

    fn policy(&self) -> &Policy {
        &self.levels[self.level].1
    }
}

#[cfg(test)]
mod tests;
