//! A plan played while traffic changes and replicas fail, with the gateway's own deciding half on the virtual clock.
//!
//! Events reach the router when they happen, its refreshes are solved when they are due, and what waits is asked again when the
//! router says so: the calls are those of a gateway, in the same order, so decisions are the same bit for bit.

mod deciding;
mod penalty;
mod report;
mod script;

use std::sync::Arc;

use rand::RngExt;
use routerwise_route::core::{CannotRoute, RouterCore, Solved};
use routerwise_route::curves::Curves;
use routerwise_route::decision::{Decision, Ticket};
use routerwise_route::event::{Event as Seen, Failure};
use routerwise_route::facts::{RequestFacts, Tried};
use routerwise_route::settings::{RouteSettings, Settings as RouterSettings};
use routerwise_types::plan::Plan;
use routerwise_types::{RequestsPerSecond, Scenario, Seconds, Timestamp};

use crate::arrivals::{Arrival, UnitSchedule, stream};
use crate::engine::{Detail, Engine, EngineSpec, Event, EventKind};
use crate::sweep::CannotSimulate;
use crate::world::{Deployment, Interference, Prompts, Replica, drawn, hashes, replicas};
use penalty::Penalty;

pub use deciding::Deciding;
pub use report::{LivePlayed, LivePoint, LiveRequest, LiveSummary, Outcome};
pub use script::{Incident, Script, What};

/// Who decides.
#[derive(Clone, Debug)]
pub enum Rule {
    /// The gateway's deciding half: live or static prices, as set.
    Gateway(RouterSettings),
    /// Score minus a constant times the seconds of work that wait, over the replicas that are there: what a queue-aware router does.
    /// It hears of a dead replica at once.
    QueuePenalty {
        /// Score that a second of work is worth.
        per_second: f64,
        /// Requests/s that one replica of each model can take.
        capacities: Vec<f64>,
    },
}

/// Why nothing can be played.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CannotPlay {
    /// The engine model lacks something.
    #[error(transparent)]
    CannotSimulate(#[from] CannotSimulate),
    /// The plan makes no router.
    #[error(transparent)]
    CannotRoute(#[from] CannotRoute),
}

/// Plays a script with the scenario's arrivals, lengths and prompts.
///
/// # Errors
/// [`CannotPlay`].
///
/// # Panics
/// When the plan is not of the scenario, or the script names replicas that it does not have.
pub fn play_live(
    scenario: &Scenario,
    plan: &Plan,
    script: &Script,
    rule: &Rule,
    seed: u64,
) -> Result<LivePlayed, CannotPlay> {
    match rule {
        Rule::Gateway(settings) => {
            let mut settings = settings.clone();
            if plan.routes().len() > 1 {
                settings.routes = plan.routes().into_iter().map(RouteSettings::named).collect();
            }
            let mut core = RouterCore::new(plan, Curves::of(scenario, plan), settings)?;
            Ok(play_with(scenario, plan, script, &mut core, seed)?)
        }
        Rule::QueuePenalty { per_second, capacities } => {
            let policies = plan.policies.iter().take(plan.routes().len());
            let barred = policies.map(|policy| policy.models.iter().map(|model| model.barred).collect());
            let penalty = Penalty {
                per_second: *per_second,
                capacities,
                barred: barred.collect(),
            };
            Ok(played(scenario, plan, script, Decider::Penalty(penalty), seed)?)
        }
    }
}

/// The same with somebody else who decides as a gateway does.
///
/// # Errors
/// When the engine model lacks something.
///
/// # Panics
/// As [`play_live`].
pub fn play_with(
    scenario: &Scenario,
    plan: &Plan,
    script: &Script,
    deciding: &mut dyn Deciding,
    seed: u64,
) -> Result<LivePlayed, CannotSimulate> {
    played(scenario, plan, script, Decider::Gateway(deciding), seed)
}

fn played(
    scenario: &Scenario,
    plan: &Plan,
    script: &Script,
    decider: Decider<'_>,
    seed: u64,
) -> Result<LivePlayed, CannotSimulate> {
    let mut world = World::new(scenario, plan, decider)?;
    world.apply_after = Timestamp::from_seconds(script.apply_after).0;
    let workload = &scenario.workload;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests"
    )]
    let n_requests = (script.n_requests() * 1.2) as usize + 100;
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, n_requests, seed);
    let mut random = stream(seed, "prompts");
    let mut of_routes = stream(seed, "routes");
    let mix = mix(plan, script);
    let mut incidents = script.incidents.iter().copied().peekable();
    for arrival in script::arrivals(script, &schedule) {
        while let Some(incident) = incidents.next_if(|incident| Timestamp::from_seconds(incident.at) <= arrival.at) {
            world.advance(Timestamp::from_seconds(incident.at));
            world.happens(incident);
        }
        world.advance(arrival.at);
        let route = drawn(mix.iter().copied(), of_routes.random::<f64>());
        let prompt_ix = world.prompts[route].draw(random.random::<f64>());
        world.arrives(arrival, route, prompt_ix);
    }
    world.advance(Timestamp::from_seconds(script.end + 600.0));
    Ok(LivePlayed::new(world.requests, world.timeline, plan))
}

/// Part of the requests of each route.
fn mix(plan: &Plan, script: &Script) -> Vec<f64> {
    let parts = if script.mix.is_empty() {
        let rates = plan.policies.iter().take(plan.routes().len());
        rates.map(|policy| policy.rate.value()).collect()
    } else {
        script.mix.clone()
    };
    let all: f64 = parts.iter().sum();
    parts.iter().map(|part| part / all).collect()
}

/// A request on its way.
#[derive(Clone, Debug)]
struct Pending {
    arrival: Arrival,
    route: usize,
    prompt_ix: usize,
    tried: Vec<Tried>,
    ticket: Option<Ticket>,
}

/// Everything that moves.
struct World<'a, 'd> {
    columns: &'a [Vec<f32>],
    /// Of each route.
    prompts: Vec<Prompts>,
    /// Hash of every prompt.
    hashes: Vec<u64>,
    /// `None` where a process is gone.
    engines: Vec<Vec<Option<Replica>>>,
    specs: Vec<Vec<Arc<EngineSpec>>>,
    decider: Decider<'d>,
    now: Timestamp,
    /// Nanoseconds from when prices are due to when they are in force.
    apply_after: u64,
    /// Prices that will be in force from then on.
    solved: Option<(Timestamp, Solved)>,
    pending: Vec<Pending>,
    requests: Vec<LiveRequest>,
    timeline: Vec<LivePoint>,
}

enum Decider<'a> {
    Gateway(&'a mut dyn Deciding),
    Penalty(Penalty<'a>),
}

impl<'a, 'd> World<'a, 'd> {
    fn new(scenario: &'a Scenario, plan: &Plan, decider: Decider<'d>) -> Result<Self, CannotSimulate> {
        let deployment = Deployment {
            models: &plan.models,
            utilisation: vec![0.0; plan.models.len()],
            slos: &plan.slos,
            rate: RequestsPerSecond::new(0.0).expect("a constant"),
        };
        let engines = replicas(scenario, &deployment, Interference::OFF)?;
        let specs = engines
            .iter()
            .map(|of_model| of_model.iter().map(|replica| replica.engine.spec()).collect());
        Ok(Self {
            specs: specs.collect(),
            engines: engines
                .into_iter()
                .map(|of_model| of_model.into_iter().map(Some).collect())
                .collect(),
            columns: &scenario.scores.columns,
            prompts: (0..plan.routes().len())
                .map(|route| Prompts::new(scenario, route))
                .collect(),
            hashes: hashes(scenario),
            decider,
            now: Timestamp::START,
            apply_after: 0,
            solved: None,
            pending: Vec::new(),
            requests: Vec::new(),
            timeline: Vec::new(),
        })
    }

    /// Lets time pass up to and including `until`, with the router's deadlines in between.
    fn advance(&mut self, until: Timestamp) {
        loop {
            let deadline = match &self.decider {
                Decider::Gateway(core) => core.next_deadline().map(|at| at.max(self.now)),
                Decider::Penalty(_) => None,
            };
            // Who waits must hear of a free place when it becomes free, so then time goes event by event.
            let waits = matches!(&self.decider, Decider::Gateway(core) if core.n_waiting() > 0);
            let engines = self.engines.iter().flatten().flatten();
            let event = engines
                .filter_map(|replica| replica.engine.next_event())
                .min()
                .filter(|_| waits);
            let solved = self.solved.as_ref().map(|(at, _)| *at);
            let next = [deadline, event, solved].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.engines_to(next);
            self.now = next;
            self.due();
        }
        self.engines_to(until);
        self.now = until;
    }

    /// Solves prices when that is due, and asks again for those whose turn has come.
    fn due(&mut self) {
        let now = self.now;
        if let Decider::Gateway(core) = &mut self.decider {
            if let Some(job) = core.refresh(now) {
                self.solved = Some((Timestamp(now.0 + self.apply_after), job.solve()));
            }
            if let Some((_, solved)) = self.solved.take_if(|(at, _)| *at <= now) {
                core.apply(now, solved);
                self.timeline.extend(LivePoint::all(now, &core.snapshot(now)));
            }
        }
        while let Decider::Gateway(core) = &mut self.decider
            && let Some(number) = core.next_ready(now)
        {
            self.ask(number, true);
        }
    }

    /// Runs all engines and passes on what happened, in order of time.
    fn engines_to(&mut self, until: Timestamp) {
        let mut happened: Vec<Event> = Vec::new();
        for replica in self.engines.iter_mut().flatten().flatten() {
            replica.engine.advance(until, &mut replica.events);
            happened.append(&mut replica.events);
        }
        happened.sort_by_key(|event| (event.at, event.request));
        for event in happened {
            self.note(event);
        }
    }

    fn note(&mut self, event: Event) {
        let number = usize::try_from(event.request).expect("requests are counted");
        let request = &mut self.requests[number];
        let Some(ticket) = self.pending[number].ticket else {
            return;
        };
        match event.kind {
            EventKind::FirstToken => {
                request.record.first_token = event.at;
                self.tell(event.at, Seen::FirstToken(ticket));
            }
            EventKind::Finished => {
                request.record.finished = event.at;
                request.outcome = Outcome::Answered;
                let (ttft, output_tokens) = (
                    request.record.first_token.since(ticket.at),
                    request.record.lengths.output,
                );
                self.pending[number].ticket = None;
                self.tell(
                    event.at,
                    Seen::Finished {
                        ticket,
                        ttft: Some(ttft),
                        output_tokens,
                    },
                );
            }
            EventKind::Started | EventKind::Token | EventKind::Preempted => {}
        }
    }

    fn tell(&mut self, at: Timestamp, event: Seen) {
        if let Decider::Gateway(core) = &mut self.decider {
            core.observe(at, event);
        }
    }

    fn arrives(&mut self, arrival: Arrival, route: usize, prompt_ix: usize) {
        let number = self.requests.len() as u64;
        self.requests.push(LiveRequest::new(arrival, route, prompt_ix));
        self.pending.push(Pending {
            arrival,
            route,
            prompt_ix,
            tried: Vec::new(),
            ticket: None,
        });
        self.ask(number, false);
        self.due();
    }

    /// Puts a request to the router, and does what it says; a connection that is refused is tried again at once.
    fn ask(&mut self, number: u64, waited: bool) {
        let at = usize::try_from(number).expect("requests are counted");
        let mut waited = waited;
        loop {
            let pending = &self.pending[at];
            let scores: Vec<f32> = self.columns.iter().map(|column| column[pending.prompt_ix]).collect();
            let facts = RequestFacts {
                route: pending.route,
                prompt_tokens: pending.arrival.lengths.input,
                tried: &pending.tried,
                waited,
                ..RequestFacts::new(&scores, number, self.hashes[pending.prompt_ix], pending.arrival.at)
            };
            let (to, ticket, degraded) = match &mut self.decider {
                Decider::Gateway(core) => match core.route(self.now, &facts) {
                    Decision::Send(send) => (
                        (send.ticket.model, send.ticket.replica),
                        Some(send.ticket),
                        send.degraded,
                    ),
                    Decision::Wait { .. } => return,
                    Decision::Shed { why, .. } => {
                        self.requests[at].outcome = Outcome::Refused(why);
                        return;
                    }
                },
                Decider::Penalty(penalty) => {
                    let Some(to) = penalty.choose(&self.engines, pending.route, &scores, number) else {
                        return;
                    };
                    (to, None, false)
                }
            };
            waited = false;
            if self.submit(at, to, ticket, degraded) {
                return;
            }
        }
    }

    /// Hands a request to an engine; says whether anybody was there.
    fn submit(&mut self, at: usize, to: (usize, usize), ticket: Option<Ticket>, degraded: bool) -> bool {
        let number = at as u64;
        let request = &mut self.requests[at];
        request.n_attempts += 1;
        let ticket = ticket.unwrap_or(Ticket {
            request: number,
            route: 0,
            model: to.0,
            replica: to.1,
            at: self.now,
            prompt_tokens: 0,
            session: None,
            ahead: 0,
            probe: false,
        });
        let Some(replica) = &mut self.engines[to.0][to.1] else {
            self.pending[at].tried.push(Tried {
                model: to.0,
                replica: to.1,
            });
            self.tell(
                self.now,
                Seen::Failed {
                    ticket,
                    failure: Failure::Connect,
                },
            );
            return false;
        };
        if replica.engine.submit(self.now, number, request.record.lengths).is_err() {
            request.outcome = Outcome::TooLong;
            self.tell(
                self.now,
                Seen::Failed {
                    ticket,
                    failure: Failure::Status(400),
                },
            );
            return true;
        }
        request.sent_to(to, self.columns[to.0][request.prompt_ix], degraded);
        self.pending[at].ticket = Some(ticket);
        true
    }

    fn happens(&mut self, incident: Incident) {
        let Incident {
            model, replica, what, ..
        } = incident;
        match what {
            What::Dies => {
                self.engines[model][replica] = None;
                let lost = |pending: &Pending| pending.ticket.is_some_and(|t| t.model == model && t.replica == replica);
                let lost: Vec<usize> = (0..self.pending.len()).filter(|at| lost(&self.pending[*at])).collect();
                for at in lost {
                    self.loses(at);
                }
            }
            What::Returns => {
                let engine = Engine::new(Arc::clone(&self.specs[model][replica]), Detail::Requests);
                self.engines[model][replica] = Some(Replica {
                    engine,
                    events: Vec::new(),
                });
            }
            What::Slows(factor) => {
                let spec = Arc::new(self.specs[model][replica].slowed(factor));
                if let Some(replica) = &mut self.engines[model][replica] {
                    replica.engine.change_pace(spec);
                }
            }
        }
    }

    /// The replica of a request died: it is tried elsewhere while its client has seen nothing.
    fn loses(&mut self, at: usize) {
        let ticket = self.pending[at]
            .ticket
            .take()
            .expect("only requests on a replica are lost");
        let began = self.requests[at].record.first_token > self.requests[at].record.arrived;
        let failure = if began { Failure::Truncated } else { Failure::Connect };
        self.tell(self.now, Seen::Failed { ticket, failure });
        if began {
            self.requests[at].outcome = Outcome::Broken;
        } else {
            self.pending[at].tried.push(Tried {
                model: ticket.model,
                replica: ticket.replica,
            });
            self.ask(at as u64, false);
        }
    }
}

/// Seconds since the start, for people.
fn seconds(at: Timestamp) -> Seconds {
    at.since(Timestamp::START)
}
