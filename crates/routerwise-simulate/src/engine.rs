//! One engine: continuous batching as vLLM V1 does it, as a machine to which time is an argument.
//!
//! Requests wait in order of arrival. Every iteration first gives each running sequence its next token, then spends what is left of
//! the token budget on prompts, the last of them cut to fit. KV cache is given out in blocks when a token needs one; when none is left
//! the youngest sequence loses all of its own, goes back to the head of the queue and later computes its tokens again.
//!
//! [`Engine::submit`], [`Engine::cancel`] and [`Engine::advance`] are all there is: simulator and emulator drive the same machine, one with a virtual clock,
//! one with the real one. Between two arrivals or completions a decoding batch only grows, so with [`Detail::Requests`] such a
//! stretch is taken in one step, to the same picosecond.

mod batch;
mod cancel;
mod limits;
mod pace;
mod sequence;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use routerwise_types::Timestamp;
use routerwise_types::workload::Lengths;

pub use limits::{EngineSpec, Limits, NoEngine, Refused};
pub use sequence::Progress;

use crate::cost::StepWork;
use batch::Batch;
use pace::Picos;
use sequence::{Phase, Sequence, Slot};

/// Which events are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// First tokens, preemptions and completions.
    Requests,
    /// Every token besides, and when a request came into the batch: as slow as there are tokens.
    Tokens,
}

/// What happened to a request, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, rounded up to the nanosecond.
    pub at: Timestamp,
    /// The number that the request was submitted with.
    pub request: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It came into the batch for the first time (with [`Detail::Tokens`]).
    Started,
    /// Its first token was made.
    FirstToken,
    /// A further token was made (with [`Detail::Tokens`]).
    Token,
    /// It lost its KV cache and waits again; tokens that were made stay made.
    Preempted,
    /// Its last token was made.
    Finished,
}

/// Names a submitted request until it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: Slot,
    serial: u64,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Iterations begun.
    pub iterations: u64,
    /// Prompt tokens computed, again after preemption included.
    pub prefilled_tokens: u64,
    /// Tokens made.
    pub made_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Requests finished.
    pub finished: u64,
    /// Requests cancelled before they were finished.
    pub cancelled: u64,
}

/// One engine, that is one replica of a model.
#[derive(Clone, Debug)]
pub struct Engine {
    spec: Arc<EngineSpec>,
    detail: Detail,
    sequences: Vec<Sequence>,
    free_slots: Vec<Slot>,
    n_submitted: u64,
    /// Accepted but not yet seen by the scheduler, in order.
    front_end: VecDeque<Slot>,
    waiting: VecDeque<Slot>,
    batch: Batch,
    /// Cancelled in the iteration under way, at whose end they leave the batch.
    leaving: Vec<Slot>,
    /// End of the last finished iteration, or the arrival that ended the last idle time.
    clock: Picos,
    /// End of the iteration under way.
    ends: Option<Picos>,
    counts: Counts,
}

impl Engine {
    /// An idle engine.
    #[must_use]
    pub fn new(spec: Arc<EngineSpec>, detail: Detail) -> Self {
        Self {
            batch: Batch::new(spec.limits().block_size, spec.limits().kv_blocks),
            spec,
            detail,
            sequences: Vec::new(),
            free_slots: Vec::new(),
            n_submitted: 0,
            front_end: VecDeque::new(),
            waiting: VecDeque::new(),
            leaving: Vec::new(),
            clock: 0,
            ends: None,
            counts: Counts::default(),
        }
    }

    /// Hands over a request at `now`, which must not lie before an earlier `submit`. `request` names it in events.
    ///
    /// What lies between `now` and the time up to which the engine has been advanced has happened without it.
    ///
    /// # Errors
    /// [`Refused`] when the request can never be served.
    pub fn submit(&mut self, now: Timestamp, request: u64, lengths: Lengths) -> Result<Ticket, Refused> {
        self.spec.limits().accept(lengths)?;
        let visible = from_timestamp(now).saturating_add(self.spec.front_end());
        let sequence = Sequence::new(request, self.n_submitted, lengths, visible);
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.sequences[slot as usize] = sequence;
                slot
            }
            None => {
                self.sequences.push(sequence);
                Slot::try_from(self.sequences.len() - 1).expect("fewer than 2^32 requests at once")
            }
        };
        self.front_end.push_back(slot);
        self.n_submitted += 1;
        Ok(Ticket {
            slot,
            serial: self.n_submitted - 1,
        })
    }

    /// Lets time pass up to and including `now`, and appends what happened, in order.
    pub fn advance(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        let now = from_timestamp(now);
        loop {
            if let Some(end) = self.ends {
                if end > now {
                    return;
                }
                self.finish_iteration(end, events);
            }
            self.open_the_door();
            if self.batch.is_empty() && self.waiting.is_empty() {
                match self.next_visible().filter(|visible| *visible <= now) {
                    Some(visible) => self.clock = visible,
                    None => return,
                }
            } else if !self.leap(now) {
                self.start_iteration(events);
            }
        }
    }

    /// Goes on at another speed from the next iteration on; what the engine can hold stays as it is.
    ///
    /// # Panics
    /// When the limits differ.
    pub fn change_pace(&mut self, spec: Arc<EngineSpec>) {
        assert_eq!(self.spec.limits(), spec.limits(), "a running engine keeps its limits");
        self.spec = spec;
    }

    /// When to call [`Engine::advance`] again if nothing is submitted before; nothing when there is no work.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let busy = !self.batch.is_empty() || !self.waiting.is_empty();
        self.ends
            .or(busy.then_some(self.clock))
            .or_else(|| self.next_visible())
            .map(to_timestamp)
    }

    /// Where a request stands; nothing once it is finished.
    #[must_use]
    pub fn progress(&self, ticket: Ticket) -> Option<Progress> {
        let sequence = self.sequences.get(ticket.slot as usize)?;
        let still_there = sequence.serial == ticket.serial && !sequence.cancelled;
        still_there.then(|| sequence.progress(self.batch.tick()))?
    }

    /// What it can hold and how fast it is.
    #[must_use]
    pub fn spec(&self) -> Arc<EngineSpec> {
        Arc::clone(&self.spec)
    }

    /// Requests submitted and not finished, nor gone after they were cancelled.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.sequences.len() - self.free_slots.len()
    }

    /// Sequences in the batch.
    #[must_use]
    pub fn running(&self) -> usize {
        self.batch.running().len()
    }

    /// KV blocks in use.
    #[must_use]
    pub fn kv_blocks_used(&self) -> u64 {
        self.spec.limits().kv_blocks - self.batch.free_blocks()
    }

    /// Totals since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn next_visible(&self) -> Option<Picos> {
        self.front_end
            .front()
            .map(|slot| self.sequences[*slot as usize].visible)
    }

    /// Moves what the scheduler may see by now into the queue.
    fn open_the_door(&mut self) {
        while self.next_visible().is_some_and(|visible| visible <= self.clock) {
            self.waiting.extend(self.front_end.pop_front());
        }
    }

    /// Takes as many iterations at once as nothing but decoding happens in, and says whether that was any.
    fn leap(&mut self, now: Picos) -> bool {
        let blocked = self.waiting.front().is_some_and(|head| !self.may_start(*head));
        if self.detail == Detail::Tokens || !self.batch.only_decodes() || !(self.waiting.is_empty() || blocked) {
            return false;
        }
        let n_most = self.batch.quiet_iterations(&self.sequences);
        if n_most == 0 {
            return false;
        }
        let stretch = self.spec.pace().stretch(self.batch.n_decoding(), self.batch.cached());
        let mut n = stretch.within(now.saturating_sub(self.clock), n_most);
        // While the queue is stuck, whoever comes in has to queue up as well.
        if let Some(visible) = self.next_visible().filter(|_| !blocked) {
            // The last of the iterations must begin before the scheduler can see the next request.
            n = n.min(stretch.within(visible - self.clock - 1, n_most) + 1);
        }
        if n == 0 {
            return false;
        }
        self.clock += stretch.span(n);
        self.batch.decode(n);
        self.counts.iterations += n;
        self.counts.made_tokens += stretch.tokens(n);
        true
    }

    /// Whether the head of the queue would get in, all blocks that are free now being free.
    fn may_start(&self, head: Slot) -> bool {
        let limits = self.spec.limits();
        let budget = limits
            .max_num_batched_tokens
            .saturating_sub(self.batch.n_decoding_u32());
        let chunk = self.sequences[head as usize].tokens_to_compute().min(budget);
        chunk > 0
            && self.batch.running().len() < limits.max_num_seqs as usize
            && self.batch.blocks(chunk) <= self.batch.free_blocks()
    }

    /// Decides what the next iteration does and how long it takes.
    fn start_iteration(&mut self, events: &mut Vec<Event>) {
        let preempted = self.make_room(events);
        let limits = *self.spec.limits();
        let mut work = StepWork::default();
        let mut budget = limits.max_num_batched_tokens - self.batch.n_decoding_u32();
        let mut full = self.continue_prefill(&mut budget, &mut work, events) || preempted;
        while !full && budget > 0 && self.batch.running().len() < limits.max_num_seqs as usize {
            let Some(&head) = self.waiting.front() else { break };
            full = !self.batch.admit(head, &mut self.sequences, &mut budget, &mut work);
            if !full {
                self.waiting.pop_front();
                self.report_start(head, events);
            }
        }
        let n_decoding = self.batch.n_decoding();
        assert!(
            n_decoding > 0 || work.prefill_tokens > 0.0,
            "a request that fits the engine gets on when it is alone"
        );
        work.decode_sequences = f64::from(self.batch.n_decoding_u32());
        work.decode_cached_tokens = as_f64(self.batch.cached());
        let time = self.spec.pace().iteration(&work, n_decoding, self.batch.cached());
        self.batch.take_decode_blocks();
        self.ends = Some(self.clock + time);
        self.counts.iterations += 1;
    }

    /// Preempts the youngest until the others can decode; says whether it had to.
    fn make_room(&mut self, events: &mut Vec<Event>) -> bool {
        let mut preempted = false;
        while self.batch.decode_blocks_needed() > self.batch.free_blocks() {
            self.preempt_youngest(events);
            preempted = true;
        }
        preempted
    }

    /// Goes on with the prompt that the last iteration cut; says whether it had to be preempted instead.
    fn continue_prefill(&mut self, budget: &mut u32, work: &mut StepWork, events: &mut Vec<Event>) -> bool {
        let stuck = !self.batch.continue_prefill(&self.sequences, budget, work);
        if stuck {
            self.preempt_youngest(events);
        }
        stuck
    }

    fn preempt_youngest(&mut self, events: &mut Vec<Event>) {
        let slot = self.batch.preempt_youngest(&mut self.sequences);
        self.waiting.push_front(slot);
        self.counts.preemptions += 1;
        self.report(slot, self.clock, EventKind::Preempted, events);
    }

    fn finish_iteration(&mut self, end: Picos, events: &mut Vec<Event>) {
        self.clock = end;
        self.ends = None;
        if self.detail == Detail::Tokens {
            for &slot in self.batch.running() {
                let sequence = &self.sequences[slot as usize];
                if sequence.phase == Phase::Decoding && !sequence.cancelled {
                    self.report(slot, end, EventKind::Token, events);
                }
            }
        }
        self.counts.made_tokens += self.batch.n_decoding() as u64;
        self.batch.decode_once();
        self.let_decoding_leave();
        while let Some(slot) = self.batch.pop_finished(&self.sequences) {
            self.finish(slot, end, events);
        }
        while let Some((slot, tokens)) = self.batch.pop_prefilled() {
            self.counts.prefilled_tokens += u64::from(tokens);
            let sequence = &mut self.sequences[slot as usize];
            sequence.computed += tokens;
            if sequence.cancelled || sequence.tokens_to_compute() > 0 {
                continue;
            }
            self.counts.made_tokens += 1;
            sequence.made += 1;
            let kind = if sequence.made == 1 {
                EventKind::FirstToken
            } else {
                EventKind::Token
            };
            let done = sequence.made == sequence.output;
            if kind == EventKind::FirstToken || self.detail == Detail::Tokens {
                self.report(slot, end, kind, events);
            }
            self.batch.start_decoding(slot, &mut self.sequences);
            if done {
                self.finish(slot, end, events);
            }
        }
        self.let_prefilling_leave();
    }

    fn finish(&mut self, slot: Slot, at: Picos, events: &mut Vec<Event>) {
        self.batch.remove(slot, &self.sequences);
        self.report(slot, at, EventKind::Finished, events);
        self.forget(slot);
        self.counts.finished += 1;
    }

    fn forget(&mut self, slot: Slot) {
        self.sequences[slot as usize].phase = Phase::Gone;
        self.free_slots.push(slot);
    }

    fn report_start(&mut self, slot: Slot, events: &mut Vec<Event>) {
        let started = std::mem::replace(&mut self.sequences[slot as usize].started, true);
        if !started && self.detail == Detail::Tokens {
            self.report(slot, self.clock, EventKind::Started, events);
        }
    }

    fn report(&self, slot: Slot, at: Picos, kind: EventKind, events: &mut Vec<Event>) {
        events.push(Event {
            at: to_timestamp(at),
            request: self.sequences[slot as usize].request,
            kind,
        });
    }
}

fn from_timestamp(at: Timestamp) -> Picos {
    at.0.saturating_mul(1_000)
}

fn to_timestamp(at: Picos) -> Timestamp {
    Timestamp(at.div_ceil(1_000))
}

#[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
fn as_f64(tokens: u64) -> f64 {
    tokens as f64
}
