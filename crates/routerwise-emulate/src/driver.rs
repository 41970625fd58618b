//! The thread that owns the engine.
//!
//! It sleeps until the engine's next event is due by the clock, or somebody sends a command. It is a thread of its own because the
//! timers of an async runtime tick in milliseconds, and an iteration may take no longer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::task::Waker;
use std::thread;
use std::time::Instant;

use routerwise_simulate::engine::{Detail, Engine, Event, EventKind, Ticket};
use routerwise_types::Timestamp;

use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::metrics::{Course, Metrics};
use crate::options::Replica;
use crate::request::Ask;

/// Commands that may wait for the driver; more are refused as an overload.
const MOST_COMMANDS: usize = 8192;

/// Bits of an engine's request number that tell the answers of one request apart.
const ANSWER_BITS: u32 = 16;

/// What wakes the driver besides the clock.
#[derive(Debug)]
pub(crate) enum Command {
    Submit(Submission),
    Cancel(u64),
    /// Time passes at another speed from now on.
    Speed(f64),
    Stop,
}

/// A request for the engine.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) id: u64,
    pub(crate) arrived: Instant,
    pub(crate) ask: Arc<Ask>,
    pub(crate) delivery: Arc<Delivery>,
}

/// Starts the driver of an engine whose time starts now.
pub(crate) fn start(replica: &Replica, speed: f64, metrics: Metrics) -> std::io::Result<SyncSender<Command>> {
    let (commands, driver) = driver(replica, speed, metrics);
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || driver.run())?;
    Ok(commands)
}

fn driver(replica: &Replica, speed: f64, metrics: Metrics) -> (SyncSender<Command>, Driver) {
    let (commands, received) = sync_channel(MOST_COMMANDS);
    let driver = Driver {
        engine: Engine::new(Arc::clone(&replica.spec), Detail::Tokens),
        replica: replica.clone(),
        clock: Clock::new(Instant::now(), speed),
        last_submitted: Timestamp::START,
        commands: received,
        live: BTreeMap::new(),
        metrics,
        events: Vec::new(),
        wake_first: Vec::new(),
        wake_then: Vec::new(),
    };
    (commands, driver)
}

/// Owns the engine.
struct Driver {
    engine: Engine,
    replica: Replica,
    clock: Clock,
    last_submitted: Timestamp,
    commands: Receiver<Command>,
    live: BTreeMap<u64, Live>,
    metrics: Metrics,
    events: Vec<Event>,
    /// Who got a first token in this iteration: they are woken before those who got a further one.
    wake_first: Vec<Waker>,
    wake_then: Vec<Waker>,
}

/// A request that is not finished.
struct Live {
    ask: Arc<Ask>,
    delivery: Arc<Delivery>,
    arrived: Instant,
    answers: Vec<LiveAnswer>,
    n_unfinished: usize,
}

struct LiveAnswer {
    ticket: Ticket,
    started: Instant,
    first: Instant,
    last: Instant,
}

impl Driver {
    fn run(mut self) {
        while self.obey_next().is_continue() {
            self.advance(Instant::now());
            self.observe();
        }
        for live in self.live.values() {
            live.delivery.close();
        }
    }

    /// Sleeps until a command comes or the engine's next event is due, and obeys all commands that are there by then.
    fn obey_next(&mut self) -> ControlFlow<()> {
        let next = match self.engine.next_event() {
            None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => {
                let wait = self.clock.to_wall(at).saturating_duration_since(Instant::now());
                self.commands.recv_timeout(wait)
            }
        };
        match next {
            Ok(command) => self.obey(command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
        }
        for _ in 0..MOST_COMMANDS {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command)?,
                Err(_) => break,
            }
        }
        ControlFlow::Continue(())
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Submit(submission) => self.submit(submission),
            Command::Cancel(id) => self.cancel(id),
            Command::Speed(speed) => self.clock.set_speed(Instant::now(), speed),
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn submit(&mut self, submission: Submission) {
        let Submission {
            id,
            arrived,
            ask,
            delivery,
        } = submission;
        // Handlers run side by side, so a request may come in behind one that arrived a little later.
        let now = self.clock.to_engine(arrived).max(self.last_submitted);
        self.last_submitted = now;
        let mut answers = Vec::with_capacity(ask.answers.len());
        for (ix, answer) in (0u64..).zip(&ask.answers) {
            match self.engine.submit(now, id << ANSWER_BITS | ix, answer.lengths) {
                Ok(ticket) => answers.push(LiveAnswer {
                    ticket,
                    started: arrived,
                    first: arrived,
                    last: arrived,
                }),
                Err(_) => break,
            }
        }
        if answers.len() < ask.answers.len() {
            // Lengths are checked before; what is refused all the same gets no answer.
            for answer in answers {
                self.engine.cancel(answer.ticket);
            }
            delivery.close();
            return;
        }
        let live = Live {
            n_unfinished: answers.len(),
            ask,
            delivery,
            arrived,
            answers,
        };
        self.live.insert(id, live);
    }

    fn cancel(&mut self, id: u64) {
        if let Some(live) = self.live.remove(&id) {
            for answer in &live.answers {
                self.engine.cancel(answer.ticket);
            }
            self.metrics.observe_aborted();
        }
    }

    /// Lets the engine do all that is due by now, one iteration after the other.
    fn advance(&mut self, now: Instant) {
        let now = self.clock.to_engine(now);
        while let Some(at) = self.engine.next_event().filter(|at| *at <= now) {
            let before = self.engine.counts();
            let mut events = std::mem::take(&mut self.events);
            self.engine.advance(at, &mut events);
            let after = self.engine.counts();
            let tokens = after.prefilled_tokens + after.made_tokens - before.prefilled_tokens - before.made_tokens;
            if tokens > 0 {
                self.metrics.step_tokens.observe(as_f64(tokens));
            }
            self.metrics.preemptions.inc_by(after.preemptions - before.preemptions);
            self.deliver(&events);
            events.clear();
            self.events = events;
        }
    }

    fn deliver(&mut self, events: &[Event]) {
        let Some(due) = events.first().map(|event| self.clock.to_wall(event.at)) else {
            return;
        };
        Metrics::lag(&self.metrics.lag_engine, due, Instant::now());
        for event in events {
            self.note(*event);
        }
        // Who reads a whole answer and then the metrics finds it in them.
        self.observe();
        for waker in self.wake_first.drain(..).chain(self.wake_then.drain(..)) {
            waker.wake();
        }
    }

    fn observe(&self) {
        self.metrics.observe_engine(&self.engine, self.replica.limits());
    }

    fn note(&mut self, event: Event) {
        let due = self.clock.to_wall(event.at);
        let id = event.request >> ANSWER_BITS;
        let ix = usize::try_from(event.request & ((1 << ANSWER_BITS) - 1)).expect("16 bits");
        let Some(live) = self.live.get_mut(&id) else { return };
        let answer = &mut live.answers[ix];
        match event.kind {
            EventKind::Started => answer.started = due,
            EventKind::FirstToken => {
                (answer.first, answer.last) = (due, due);
                self.metrics.ttft.observe(seconds(live.arrived, due));
                let input = live.ask.answers[ix].lengths.input;
                self.metrics.prompt_tokens.inc_by(u64::from(input));
                self.metrics.generation_tokens.inc();
                self.wake_first.extend(live.delivery.add(ix, due));
            }
            EventKind::Token => {
                self.metrics.itl.observe(seconds(answer.last, due));
                answer.last = due;
                self.metrics.generation_tokens.inc();
                self.wake_then.extend(live.delivery.add(ix, due));
            }
            EventKind::Preempted => {}
            EventKind::Finished => {
                self.metrics.observe_finished(&course(live, ix));
                live.n_unfinished -= 1;
                if live.n_unfinished == 0 {
                    self.live.remove(&id);
                }
            }
        }
    }
}

fn course(live: &Live, ix: usize) -> Course {
    let (answer, asked) = (&live.answers[ix], &live.ask.answers[ix]);
    Course {
        arrived: live.arrived,
        started: answer.started,
        first: answer.first,
        last: answer.last,
        input: asked.lengths.input,
        output: asked.lengths.output,
        n: live.ask.n,
        max_tokens: live.ask.max_tokens,
        reason: asked.reason,
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "tokens of one iteration")]
fn as_f64(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use routerwise_simulate::arrivals::UnitSchedule;
    use routerwise_simulate::load;
    use routerwise_types::RequestsPerSecond;
    use routerwise_types::workload::{Arrivals, Lengths};

    use super::*;
    use crate::options::OutputTokens;
    use crate::request::{Kind, Rules};

    /// A request of these lengths.
    fn ask(replica: &Replica, lengths: Lengths) -> Arc<Ask> {
        let rules = Rules {
            model: &replica.model,
            limits: replica.limits(),
            output_tokens: &OutputTokens::default(),
            seed: 1,
        };
        let words = vec!["word"; lengths.input as usize].join(" ");
        let body = format!(
            "{{\"prompt\": \"{words}\", \"max_tokens\": {}, \"ignore_eos\": true}}",
            lengths.output
        );
        Arc::new(
            rules
                .read(Kind::Completion, &HeaderMap::new(), body.as_bytes())
                .unwrap(),
        )
    }

    #[test]
    fn on_a_clock_without_delays_the_driver_is_the_simulator() {
        let replica = Replica::example("m");
        let mix = [Lengths { input: 900, output: 40 }, Lengths { input: 30, output: 150 }];
        let schedule = UnitSchedule::draw(Arrivals::Poisson, &mix, 200, 3);
        let rate = RequestsPerSecond::new(15.0).unwrap();
        let simulated = load::run(&replica.spec, &schedule, rate, 0..200);
        let (metrics, _) = Metrics::new(&replica);
        let speed = 4.0;
        let (_keep, mut driver) = driver(&replica, speed, metrics.clone());
        let start = driver.clock.to_wall(Timestamp::START);
        // As in the simulation, others come after those that are looked at.
        for (id, arrival) in (0u64..).zip(schedule.twice_at_rate(rate)) {
            driver.submit(Submission {
                id,
                arrived: start + Duration::from_secs_f64(arrival.at.as_seconds() / speed),
                ask: ask(&replica, arrival.lengths),
                delivery: Arc::new(Delivery::new(1, start)),
            });
        }
        // The clock counts nanoseconds of its own, so the engine's times are off by some.
        let last = simulated.records.iter().map(|record| record.first_token.0 + 1_000);
        let last = Timestamp(last.max().unwrap());
        let mut seen = Vec::new();
        while let Some(at) = driver.engine.next_event().filter(|at| *at <= last) {
            driver.advance(driver.clock.to_wall(at) + Duration::from_nanos(1));
            let first = driver
                .live
                .iter()
                .filter(|(_, live)| live.answers[0].first > live.arrived);
            seen.extend(first.map(|(id, live)| (*id, live.arrived, live.answers[0].first)));
        }
        seen.sort_by_key(|(id, ..)| *id);
        seen.dedup_by_key(|(id, ..)| *id);
        let mean = |sum: f64| sum / 200.0;
        let real = mean(
            seen.iter()
                .take(200)
                .map(|(_, arrived, first)| seconds(*arrived, *first))
                .sum(),
        );
        let wanted = simulated
            .records
            .iter()
            .map(|record| record.first_token.since(record.arrived).value());
        let wanted = mean(wanted.sum::<f64>()) / speed;
        assert!((real / wanted - 1.0).abs() < 1e-6, "{real} {wanted}");
    }
}
