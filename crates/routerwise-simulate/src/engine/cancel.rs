//! Requests whose caller went away.
//!
//! What waits leaves at once. What runs is in the iteration under way, and that takes as long as it takes: the sequence leaves at its end,
//! where vLLM's scheduler hears of it, too, and its blocks are free for the next one.

use super::sequence::{Phase, Slot};
use super::{Engine, Ticket};

impl Engine {
    /// Gives a request up: there will be no further events of it. Says whether it was still there.
    ///
    /// As with [`Engine::submit`], what lies between now and the time up to which the engine has been advanced has happened already.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let Some(sequence) = self.sequences.get_mut(ticket.slot as usize) else {
            return false;
        };
        if sequence.serial != ticket.serial || sequence.cancelled || sequence.phase == Phase::Gone {
            return false;
        }
        self.counts.cancelled += 1;
        if sequence.phase == Phase::Waiting {
            let queue = match self.front_end.contains(&ticket.slot) {
                true => &mut self.front_end,
                false => &mut self.waiting,
            };
            queue.retain(|slot| *slot != ticket.slot);
            self.forget(ticket.slot);
        } else {
            sequence.cancelled = true;
            self.leaving.push(ticket.slot);
            if self.ends.is_none() {
                self.let_decoding_leave();
                self.let_prefilling_leave();
            }
        }
        true
    }

    /// Between iterations: those that are past their prompt go first, so that they are not counted as finished.
    pub(super) fn let_decoding_leave(&mut self) {
        self.let_leave(|phase| phase == Phase::Decoding);
    }

    /// What the iteration computed of their prompts has been noted.
    pub(super) fn let_prefilling_leave(&mut self) {
        self.let_leave(|phase| phase == Phase::Prefilling);
    }

    fn let_leave(&mut self, which: impl Fn(Phase) -> bool) {
        if self.leaving.is_empty() {
            return;
        }
        let sequences = &self.sequences;
        let goes = |slot: &Slot| which(sequences[*slot as usize].phase);
        let (going, staying) = self.leaving.iter().partition::<Vec<Slot>, _>(|slot| goes(slot));
        self.leaving = staying;
        for slot in going {
            self.batch.remove(slot, &self.sequences);
            self.forget(slot);
        }
    }
}
