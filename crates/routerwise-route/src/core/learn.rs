//! What is measured on the way: arrivals, scores, how slow replicas are, what a prompt token takes, where sessions are cached.

use routerwise_types::{Seconds, Timestamp};

use super::RouterCore;
use crate::decision::Ticket;
use crate::facts::RequestFacts;
use crate::sessions::Cached;
use crate::settings::Pricing;

/// One answer counts as at most this many times as late as predicted.
const SLOWEST: f64 = 16.0;
/// A model's slowness may move by this factor (as a logarithm) before prices are solved at once.
const SLOWER: f64 = 0.15;
/// Weight of one answer in the means of a model's lateness.
const LATE: f64 = 1.0 / 200.0;
/// Weight of one prompt in the mean of the prefill rate.
const PROMPT: f64 = 1.0 / 32.0;
/// Prompts shorter than this say nothing about the rate.
const LEAST_PROMPT: u32 = 64;

impl RouterCore {
    /// A request came in: it counts for the rate, and its scores for the sample.
    pub(super) fn arrived(&mut self, now: Timestamp, facts: &RequestFacts<'_>) {
        let route = &mut self.routes[facts.route];
        route.rate.count(now);
        if matches!(self.settings.pricing, Pricing::Live(_)) && self.curves.is_some() {
            route.sample.add(facts.scores);
        }
    }

    /// How long an answer took, relative to what its replica is expected to need with what was in flight: time per token, which depends
    /// least on how long this prompt and this answer happen to be. Beyond what the profile covers nothing is learned.
    pub(super) fn learn_slowness(
        &mut self,
        now: Timestamp,
        ticket: &Ticket,
        ttft: Option<Seconds>,
        output_tokens: u32,
    ) {
        let health = &self.settings.health;
        let model = &mut self.models[ticket.model];
        let Some(occupancy) = &model.occupancy else { return };
        let replica = &mut model.replicas[ticket.replica];
        if let Some(ttft) = ttft {
            let usual = occupancy.at(f64::from(ticket.ahead)).ttft * replica.slowness();
            model.lateness.learn(ttft.value(), usual);
        }
        let in_flight = 0.5 * (f64::from(ticket.ahead + 1) + f64::from(replica.load(now, health)));
        if in_flight <= occupancy.most() {
            let expected = occupancy.at(in_flight);
            let e2e = now.since(ticket.at).value();
            match ttft {
                Some(ttft) if output_tokens > 1 && expected.tpot > 0.0 => {
                    replica.took(now, (e2e - ttft.value()) / f64::from(output_tokens - 1) / expected.tpot);
                }
                _ if output_tokens == 0 => replica.took(now, e2e / expected.e2e.max(1e-9)),
                _ => {}
            }
        }
        if (self.slowness(ticket.model) / self.models[ticket.model].engines_priced)
            .ln()
            .abs()
            > SLOWER
        {
            self.refresh.capacity_changed(now);
            self.models[ticket.model].count_anew(now);
        }
    }

    /// A model's slowness: that of one replica that does what its serving replicas do on average.
    pub(super) fn slowness(&self, model: usize) -> f64 {
        let serving = || {
            self.models[model]
                .replicas
                .iter()
                .filter(|replica| replica.is_serving())
        };
        let speed: f64 = serving().map(|replica| 1.0 / replica.slowness()).sum();
        if speed > 0.0 {
            serving().map(|_| 1.0).sum::<f64>() / speed
        } else {
            1.0
        }
    }

    /// What a prompt token takes, where nothing else was in flight.
    pub(super) fn learn_prefill(&mut self, now: Timestamp, ticket: &Ticket) {
        if ticket.ahead > 0 || ticket.prompt_tokens < LEAST_PROMPT || self.cached(now, ticket.session).is_some() {
            return;
        }
        let measured = now.since(ticket.at).value() / f64::from(ticket.prompt_tokens);
        let prefill = &mut self.models[ticket.model].prefill;
        *prefill = Some(prefill.map_or(measured, |known| known + PROMPT * (measured - known)));
    }

    pub(super) fn remember_session(&mut self, now: Timestamp, ticket: &Ticket, output_tokens: u32) {
        if let Some(session) = ticket.session {
            let cached = Cached {
                model: ticket.model,
                replica: ticket.replica,
                tokens: ticket.prompt_tokens + output_tokens,
                at: now,
            };
            self.sessions.remember(session, cached);
        }
    }

    /// Where a session's prompt is cached now, on a replica that serves.
    pub(super) fn cached(&self, now: Timestamp, session: Option<u64>) -> Option<Cached> {
        let cached = self.sessions.find(session?)?;
        let fresh = now.since(cached.at) <= self.settings.session_kept;
        let serving = self.models[cached.model].replicas.get(cached.replica)?.is_serving();
        (fresh && serving).then_some(cached)
    }

    /// Seconds of prefill that a request is spared where its session is cached.
    pub(super) fn spared(&self, cached: &Cached, facts: &RequestFacts<'_>) -> f64 {
        let model = &self.models[cached.model];
        let tokens = f64::from(cached.tokens.min(facts.prompt_tokens));
        let slowness = model.replicas[cached.replica].slowness();
        tokens * model.prefill.unwrap_or(0.0) * slowness
    }
}

/// A ratio of two means, each fading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lateness {
    observed: f64,
    expected: f64,
}

impl Lateness {
    /// Believes in a ratio of 1 until answers say otherwise.
    pub(super) fn none(usual: f64) -> Self {
        Self {
            observed: usual,
            expected: usual,
        }
    }

    fn learn(&mut self, observed: f64, expected: f64) {
        self.observed += LATE * (observed.min(SLOWEST * expected) - self.observed);
        self.expected += LATE * (expected - self.expected);
    }

    pub(super) fn ratio(&self) -> f64 {
        if self.expected > 0.0 {
            (self.observed / self.expected).clamp(1.0 / SLOWEST, SLOWEST)
        } else {
            1.0
        }
    }
}
