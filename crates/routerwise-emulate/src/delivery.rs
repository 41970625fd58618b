//! What the driver has made for one response so far.
//!
//! Driver and response share counts, not messages: however late a response is looked at, it finds how far each of its answers has come.

use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// How far the answers of one response have come.
#[derive(Debug)]
pub(crate) struct Delivery(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Tokens made, by answer.
    made: Vec<u32>,
    /// When the engine should have made the last of them.
    due: Instant,
    /// No more will be made.
    closed: bool,
    waker: Option<Waker>,
}

/// The engine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Delivery {
    pub(crate) fn new(n_answers: usize, now: Instant) -> Self {
        Self(Mutex::new(State {
            made: vec![0; n_answers],
            due: now,
            closed: false,
            waker: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// One more token of an answer; whom to wake for it.
    pub(crate) fn add(&self, answer: usize, due: Instant) -> Option<Waker> {
        let mut state = self.state();
        state.made[answer] += 1;
        state.due = due;
        state.waker.take()
    }

    /// There will be no more tokens.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Waits until some answer has more tokens than `made`, which is brought up to date; says when the last of them was due.
    pub(crate) fn poll_more(&self, made: &mut [u32], context: &Context<'_>) -> Poll<Result<Instant, Gone>> {
        let mut state = self.state();
        if *made != state.made[..] {
            made.copy_from_slice(&state.made);
            Poll::Ready(Ok(state.due))
        } else if state.closed {
            Poll::Ready(Err(Gone))
        } else {
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        }
    }
}
