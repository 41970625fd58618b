//! Measured requests, played through the simulator's engine.

use std::sync::Arc;

use anyhow::{Result, ensure};
use routerwise_simulate::constants::{EngineConstants, GpuConstants};
use routerwise_simulate::cost::StepCost;
use routerwise_simulate::engine::{Detail, Engine, EngineSpec, Event, EventKind, Limits};
use routerwise_types::Timestamp;
use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Interconnect;
use routerwise_types::workload::Lengths;

/// When a request was sent, answered first and last, in seconds; measured or played.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Played {
    /// Arrival.
    pub arrival: f64,
    /// First token.
    pub first: f64,
    /// Last token.
    pub last: f64,
    /// Tokens of the answer.
    pub output: f64,
}

impl Played {
    /// Time to first token.
    #[must_use]
    pub fn ttft(&self) -> f64 {
        self.first - self.arrival
    }

    /// Time per token after the first; `None` for answers of one token.
    #[must_use]
    pub fn tpot(&self) -> Option<f64> {
        (self.output > 1.5).then(|| (self.last - self.first) / (self.output - 1.0))
    }
}

/// An engine of one replica with the limits that the measured one ran with.
///
/// # Errors
/// When the links were not measured.
pub fn spec(
    model: &Model,
    gpu: &GpuConstants,
    engine: &EngineConstants,
    interconnect: Interconnect,
    tensor_parallel: u32,
    kv_tokens: u64,
) -> Result<Arc<EngineSpec>> {
    let cost = StepCost::new(model, gpu, engine, interconnect, tensor_parallel, 1.0)?;
    let limits = Limits {
        max_num_seqs: model.engine.max_num_seqs,
        max_num_batched_tokens: model.engine.max_num_batched_tokens,
        block_size: 16,
        max_model_len: model.engine.max_model_len,
        kv_blocks: kv_tokens / 16,
    };
    Ok(Arc::new(EngineSpec::with_limits(limits, &cost, engine.request_seconds)))
}

/// Plays requests that arrive whatever the engine does; `requests` rise by arrival.
///
/// # Errors
/// When a request does not fit the engine.
pub fn open_loop(spec: &Arc<EngineSpec>, requests: &[(f64, Lengths)]) -> Result<Vec<Played>> {
    let mut engine = Engine::new(Arc::clone(spec), Detail::Requests);
    let mut played: Vec<Played> = Vec::new();
    let mut events = Vec::new();
    for (id, &(arrival, lengths)) in (0u64..).zip(requests) {
        let at = Timestamp::from_seconds(arrival);
        engine.advance(at, &mut events);
        engine.submit(at, id, lengths)?;
        played.push(Played {
            arrival,
            output: f64::from(lengths.output),
            ..Played::default()
        });
    }
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut events);
    }
    for event in &events {
        note(&mut played, event);
    }
    Ok(played)
}

/// Plays users who each send the next of `requests` as soon as their last one is answered, for `seconds`; returns what was
/// answered by then.
///
/// # Errors
/// When a request does not fit the engine, or there are no requests.
pub fn closed_loop(spec: &Arc<EngineSpec>, users: u32, requests: &[Lengths], seconds: f64) -> Result<Vec<Played>> {
    ensure!(!requests.is_empty(), "a closed loop needs requests");
    let mut engine = Engine::new(Arc::clone(spec), Detail::Requests);
    let mut played: Vec<Played> = Vec::new();
    let mut events = Vec::new();
    let mut sequence = requests.iter().cycle();
    let mut send = |engine: &mut Engine, played: &mut Vec<Played>, at: Timestamp| -> Result<()> {
        let lengths = *sequence.next().expect("a cycle does not end");
        engine.submit(at, played.len() as u64, lengths)?;
        played.push(Played {
            arrival: at.as_seconds(),
            output: f64::from(lengths.output),
            ..Played::default()
        });
        Ok(())
    };
    for _ in 0..users {
        send(&mut engine, &mut played, Timestamp(0))?;
    }
    let end = Timestamp::from_seconds(seconds);
    while let Some(next) = engine.next_event().filter(|next| *next <= end) {
        events.clear();
        engine.advance(next, &mut events);
        for event in &events {
            note(&mut played, event);
            if event.kind == EventKind::Finished {
                send(&mut engine, &mut played, event.at.max(next))?;
            }
        }
    }
    played.retain(|request| request.last > 0.0);
    Ok(played)
}

fn note(played: &mut [Played], event: &Event) {
    let Some(request) = usize::try_from(event.request).ok().and_then(|id| played.get_mut(id)) else {
        return;
    };
    match event.kind {
        EventKind::FirstToken => request.first = event.at.as_seconds(),
        EventKind::Finished => request.last = event.at.as_seconds(),
        EventKind::Started | EventKind::Token | EventKind::Preempted => {}
    }
}

/// Mean of an iterator; `None` when it is empty.
#[must_use]
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    (n > 0.5).then_some(sum / n)
}
