//! One request inside an engine.

use routerwise_types::workload::Lengths;

use super::pace::Picos;

/// Index into the engine's sequences.
pub(super) type Slot = u32;

/// Where a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the front end or in the queue.
    Waiting,
    /// In the batch, its prompt not yet computed to the end.
    Prefilling,
    /// In the batch, one token an iteration.
    Decoding,
    /// Finished; the slot is free.
    Gone,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits; after a preemption with tokens that were made before.
    Waiting {
        /// Tokens made.
        made: u32,
    },
    /// Its prompt (after a preemption with the tokens made before) is being computed.
    Prefilling {
        /// Tokens computed.
        computed: u32,
        /// Tokens to compute before the next one is made.
        of: u32,
    },
    /// It gets a token with every iteration.
    Decoding {
        /// Tokens made.
        made: u32,
    },
}

/// One request inside an engine.
///
/// While it decodes nothing of it is written: what it has is what it had when it began plus the iterations since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// The caller's name for it.
    pub(super) request: u64,
    /// Our own.
    pub(super) serial: u64,
    pub(super) input: u32,
    pub(super) output: u32,
    /// When the scheduler may see it.
    pub(super) visible: Picos,
    pub(super) phase: Phase,
    /// Whether it has ever been in the batch.
    pub(super) started: bool,
    /// Whether it leaves the batch at the end of the iteration under way.
    pub(super) cancelled: bool,
    /// Rises with every entry into the batch.
    pub(super) admission: u64,
    /// Tokens made, at `since` when decoding.
    pub(super) made: u32,
    /// Tokens in the cache, at `since` when decoding.
    pub(super) computed: u32,
    /// Iteration count at which it began to decode.
    pub(super) since: u64,
}

impl Sequence {
    pub(super) fn new(request: u64, serial: u64, lengths: Lengths, visible: Picos) -> Self {
        Self {
            request,
            serial,
            input: lengths.input,
            output: lengths.output,
            visible,
            phase: Phase::Waiting,
            started: false,
            cancelled: false,
            admission: 0,
            made: 0,
            computed: 0,
            since: 0,
        }
    }

    /// Tokens to compute before the next one is made (while it does not decode).
    pub(super) fn tokens_to_compute(&self) -> u32 {
        self.input + self.made - self.computed
    }

    /// Iterations since it began to decode.
    pub(super) fn decoded(&self, tick: u64) -> u32 {
        u32::try_from(tick - self.since).expect("an answer has fewer than 2^32 tokens")
    }

    /// Tokens in the cache.
    pub(super) fn cached(&self, tick: u64) -> u32 {
        match self.phase {
            Phase::Decoding => self.computed + self.decoded(tick),
            _ => self.computed,
        }
    }

    pub(super) fn progress(&self, tick: u64) -> Option<Progress> {
        match self.phase {
            Phase::Waiting => Some(Progress::Waiting { made: self.made }),
            Phase::Prefilling => Some(Progress::Prefilling {
                computed: self.computed,
                of: self.input + self.made,
            }),
            Phase::Decoding => Some(Progress::Decoding {
                made: self.made + self.decoded(tick),
            }),
            Phase::Gone => None,
        }
    }
}
