//! What a router learns from events.

use routerwise_types::{Seconds, Timestamp};

use super::RouterCore;
use crate::decision::Ticket;
use crate::event::{Event, Failure};
use crate::replica::{Capacity, Replica};

impl RouterCore {
    /// Takes note of something that happened.
    ///
    /// # Panics
    /// When the event names a model or replica that is not there.
    pub fn observe(&mut self, now: Timestamp, event: Event) {
        if let Some(model) = event.model() {
            self.models[model].pass(now);
        }
        let capacity = match event {
            Event::FirstToken(ticket) => {
                self.learn_prefill(now, &ticket);
                self.models[ticket.model].first_tokens.learn(now.since(ticket.at));
                // The rest may take minutes, and it is known by now that the replica answers.
                if ticket.probe {
                    self.room = true;
                    self.replica_mut(ticket.model, ticket.replica).succeeded(now, true)
                } else {
                    Capacity::Same
                }
            }
            Event::Finished {
                ticket,
                ttft,
                output_tokens,
            } => {
                self.room = true;
                self.models[ticket.model].flow.done(ttft.map(Seconds::value));
                self.learn_slowness(now, &ticket, ttft, output_tokens);
                self.remember_session(now, &ticket, output_tokens);
                let replica = self.replica_mut(ticket.model, ticket.replica);
                replica.done();
                replica.succeeded(now, ticket.probe)
            }
            Event::Failed { ticket, failure } => self.failed(now, ticket, failure),
            Event::Cancelled(ticket) => {
                self.cancelled(now, &ticket);
                Capacity::Same
            }
            Event::Overtaken(ticket) => {
                // As if its first token came now: left out, quantiles would forget the slow ones.
                self.models[ticket.model].first_tokens.learn(now.since(ticket.at));
                self.cancelled(now, &ticket);
                Capacity::Same
            }
            Event::Abandoned { request } => {
                self.queue.remove(request);
                Capacity::Same
            }
            Event::Health { model, replica, up } => self.replica_mut(model, replica).checked(now, up),
            Event::Metrics {
                model,
                replica,
                gauges,
                own,
            } => {
                self.replica_mut(model, replica).reported(now, gauges, own);
                Capacity::Same
            }
            Event::ReplicaThere { model } => {
                self.models[model].replicas.push(Replica::planned());
                Capacity::Changed
            }
            Event::ReplicaAdded { model } => {
                self.models[model].replicas.push(Replica::added(now));
                Capacity::Changed
            }
            Event::ReplicaRemoved { model, replica } => self.replica_mut(model, replica).removed(),
            Event::ReplicaReturned { model, replica } => {
                // Whoever was gone has lost its cache, and may be somebody else.
                self.sessions.forget(model, replica);
                self.replica_mut(model, replica).returned(now)
            }
        };
        if capacity == Capacity::Changed {
            self.room = true;
            self.refresh.capacity_changed(now);
            let changed = event.model().map(|model| &mut self.models[model]);
            changed.into_iter().for_each(|model| model.count_anew(now));
        }
    }

    fn cancelled(&mut self, now: Timestamp, ticket: &Ticket) {
        self.room = true;
        let replica = self.replica_mut(ticket.model, ticket.replica);
        replica.done();
        if ticket.probe {
            replica.probe_lost(now);
        }
    }

    fn failed(&mut self, now: Timestamp, ticket: Ticket, failure: Failure) -> Capacity {
        self.room = true;
        let health = self.settings.health;
        let replica = self.replica_mut(ticket.model, ticket.replica);
        replica.done();
        if !failure.is_replicas_fault() && ticket.probe {
            replica.probe_lost(now);
            return Capacity::Same;
        }
        replica.failed(now, ticket.probe, failure, &health)
    }

    pub(super) fn replica_mut(&mut self, model: usize, replica: usize) -> &mut Replica {
        &mut self.models[model].replicas[replica]
    }
}
