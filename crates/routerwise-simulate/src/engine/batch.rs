//! The sequences that run, and their KV blocks.
//!
//! Every decoding sequence gets one token an iteration, so nothing is kept per sequence that a count of iterations can tell: the
//! iteration at which each is done is known when it begins to decode, and so is the residue of the iterations at which it needs
//! another block. An iteration costs the same whatever the size of the batch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::sequence::{Phase, Sequence, Slot};
use crate::cost::StepWork;

/// The sequences that run, and their KV blocks.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    block_size: u32,
    free_blocks: u64,
    /// In order of admission. All decode but the last, which may be in the middle of its prompt.
    running: Vec<Slot>,
    n_admitted: u64,
    n_decoding: usize,
    /// Cached tokens of the decoding sequences.
    cached: u64,
    /// Iterations finished.
    tick: u64,
    /// `(tick at which it is done, admission, slot)` of the decoding sequences; entries of preempted ones go stale.
    done: BinaryHeap<Reverse<(u64, u64, Slot)>>,
    /// Decoding sequences by `tick mod block_size` at which they need a block.
    residues: Vec<u32>,
    /// Slots and tokens of the prompts, or parts of prompts, in the iteration under way, last first.
    prefilled: Vec<(Slot, u32)>,
}

impl Batch {
    pub(super) fn new(block_size: u32, kv_blocks: u64) -> Self {
        Self {
            block_size,
            free_blocks: kv_blocks,
            running: Vec::new(),
            n_admitted: 0,
            n_decoding: 0,
            cached: 0,
            tick: 0,
            done: BinaryHeap::new(),
            residues: vec![0; block_size as usize],
            prefilled: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn running(&self) -> &[Slot] {
        &self.running
    }

    pub(super) fn n_decoding(&self) -> usize {
        self.n_decoding
    }

    pub(super) fn n_decoding_u32(&self) -> u32 {
        u32::try_from(self.n_decoding).expect("at most `max_num_seqs`, a u32")
    }

    pub(super) fn only_decodes(&self) -> bool {
        self.n_decoding > 0 && self.n_decoding == self.running.len()
    }

    pub(super) fn cached(&self) -> u64 {
        self.cached
    }

    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    pub(super) fn free_blocks(&self) -> u64 {
        self.free_blocks
    }

    /// Blocks that the decoding sequences need for the next iteration.
    pub(super) fn decode_blocks_needed(&self) -> u64 {
        u64::from(self.residues[self.residue(self.tick)])
    }

    pub(super) fn take_decode_blocks(&mut self) {
        self.free_blocks -= self.decode_blocks_needed();
    }

    /// How many iterations can follow in which nobody is done and nobody runs out of blocks.
    pub(super) fn quiet_iterations(&mut self, sequences: &[Sequence]) -> u64 {
        self.drop_stale(sequences);
        let Some(Reverse((done, _, _))) = self.done.peek() else {
            return 0;
        };
        let before_done = done - self.tick - 1;
        let n_decoding = self.n_decoding as u64;
        let (period, free) = (u64::from(self.block_size), self.free_blocks);
        if (before_done / period + 1) * n_decoding <= free {
            return before_done;
        }
        // Every period costs each sequence one block.
        let periods = free / n_decoding;
        let mut left = free - periods * n_decoding;
        let mut n = periods * period;
        while n < before_done {
            let needed = u64::from(self.residues[self.residue(self.tick + n)]);
            if needed > left {
                return n;
            }
            left -= needed;
            n += 1;
        }
        before_done
    }

    /// Takes `n` iterations in which every sequence decodes; [`Batch::quiet_iterations`] must allow them.
    pub(super) fn decode(&mut self, n: u64) {
        let n_decoding = self.n_decoding as u64;
        let period = u64::from(self.block_size);
        let rest = n - n % period..n;
        let of_rest: u64 = rest
            .map(|i| u64::from(self.residues[self.residue(self.tick + i)]))
            .sum();
        self.free_blocks -= n / period * n_decoding + of_rest;
        self.cached += n * n_decoding;
        self.tick += n;
    }

    /// Ends an iteration whose blocks have been taken.
    pub(super) fn decode_once(&mut self) {
        self.cached += self.n_decoding as u64;
        self.tick += 1;
        self.prefilled.reverse();
    }

    /// Takes a sequence into the batch with as much of its prompt as budget and cache allow; says no when the cache has no room.
    pub(super) fn admit(
        &mut self,
        slot: Slot,
        sequences: &mut [Sequence],
        budget: &mut u32,
        work: &mut StepWork,
    ) -> bool {
        let sequence = &mut sequences[slot as usize];
        if !self.prefill(slot, sequence, budget, work) {
            return false;
        }
        sequence.phase = Phase::Prefilling;
        sequence.admission = self.n_admitted;
        self.n_admitted += 1;
        self.running.push(slot);
        true
    }

    /// Goes on with the prompt that the last iteration cut, if there is one; says no when the cache has no room for it.
    pub(super) fn continue_prefill(&mut self, sequences: &[Sequence], budget: &mut u32, work: &mut StepWork) -> bool {
        if self.n_decoding == self.running.len() {
            return true;
        }
        let slot = *self.running.last().expect("more run than decode");
        self.prefill(slot, &sequences[slot as usize], budget, work)
    }

    fn prefill(&mut self, slot: Slot, sequence: &Sequence, budget: &mut u32, work: &mut StepWork) -> bool {
        let chunk = sequence.tokens_to_compute().min(*budget);
        let blocks = self.blocks(sequence.computed + chunk) - self.blocks(sequence.computed);
        if blocks + self.decode_blocks_needed() > self.free_blocks {
            return false;
        }
        if chunk > 0 {
            self.free_blocks -= blocks;
            *budget -= chunk;
            self.prefilled.push((slot, chunk));
            let (chunk_tokens, cached) = (f64::from(chunk), f64::from(sequence.computed));
            work.prefill_tokens += chunk_tokens;
            work.prefill_pairs += chunk_tokens * cached + chunk_tokens * (chunk_tokens + 1.0) / 2.0;
            work.prefill_cached_tokens += cached;
            if chunk == sequence.tokens_to_compute() {
                work.prefill_sequences += 1.0;
            }
        }
        true
    }

    /// The prompts, or parts of prompts, of the iteration that just ended, in the order in which they were taken.
    pub(super) fn pop_prefilled(&mut self) -> Option<(Slot, u32)> {
        self.prefilled.pop()
    }

    /// From here on the sequence gets a token with every iteration. Its first was made just now.
    pub(super) fn start_decoding(&mut self, slot: Slot, sequences: &mut [Sequence]) {
        let sequence = &mut sequences[slot as usize];
        sequence.phase = Phase::Decoding;
        sequence.since = self.tick;
        let done = self.tick + u64::from(sequence.output - sequence.made);
        self.done.push(Reverse((done, sequence.admission, slot)));
        self.n_decoding += 1;
        self.cached += u64::from(sequence.computed);
        let residue = self.block_residue(sequence);
        self.residues[residue] += 1;
    }

    /// The next sequence that has all of its tokens.
    pub(super) fn pop_finished(&mut self, sequences: &[Sequence]) -> Option<Slot> {
        self.drop_stale(sequences);
        let Reverse((done, _, slot)) = *self.done.peek()?;
        (done == self.tick).then(|| {
            self.done.pop();
            slot
        })
    }

    /// Takes a decoding sequence out and frees its blocks.
    pub(super) fn remove(&mut self, slot: Slot, sequences: &[Sequence]) {
        let sequence = &sequences[slot as usize];
        let admission = |slot: &Slot| sequences[*slot as usize].admission;
        let at = self
            .running
            .binary_search_by_key(&sequence.admission, admission)
            .expect("what is removed runs");
        self.running.remove(at);
        self.release(sequence);
    }

    /// Takes the youngest sequence out, frees its blocks and forgets what it had computed.
    pub(super) fn preempt_youngest(&mut self, sequences: &mut [Sequence]) -> Slot {
        let slot = self.running.pop().expect("whoever needs a block runs");
        let sequence = &mut sequences[slot as usize];
        self.release(sequence);
        if sequence.phase == Phase::Decoding {
            sequence.made += sequence.decoded(self.tick);
        }
        sequence.phase = Phase::Waiting;
        sequence.computed = 0;
        slot
    }

    fn release(&mut self, sequence: &Sequence) {
        let cached = sequence.cached(self.tick);
        self.free_blocks += self.blocks(cached);
        if sequence.phase == Phase::Decoding {
            self.n_decoding -= 1;
            self.cached -= u64::from(cached);
            let residue = self.block_residue(sequence);
            self.residues[residue] -= 1;
        }
    }

    fn drop_stale(&mut self, sequences: &[Sequence]) {
        while let Some(Reverse((_, admission, slot))) = self.done.peek() {
            let sequence = &sequences[*slot as usize];
            if sequence.phase == Phase::Decoding && sequence.admission == *admission {
                break;
            }
            self.done.pop();
        }
    }

    /// Blocks that hold this many tokens.
    pub(super) fn blocks(&self, tokens: u32) -> u64 {
        u64::from(tokens.div_ceil(self.block_size))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder below the block size, a u32")]
    fn residue(&self, tick: u64) -> usize {
        (tick % u64::from(self.block_size)) as usize
    }

    /// A sequence needs a block before the iteration at which the tokens that it has fill its blocks.
    fn block_residue(&self, sequence: &Sequence) -> usize {
        let filled = u64::from(sequence.computed % self.block_size);
        self.residue(sequence.since + u64::from(self.block_size) - filled)
    }
}
