//! Engine model and discrete-event simulation of LLM serving, in simulated time.
//!
//! - [`constants`]: how fast GPUs and engine builds are, fitted to public measurements
//! - [`cost`]: the time of one iteration
//! - [`arrivals`]: what arrives when
//! - [`engine`]: one engine: batching, chunked prefill, paged KV cache
//! - [`load`]: one engine under one load
//! - [`optimise`]: robust least squares, for constants
//! - [`sweep`]: the profile of a configuration
//! - [`world`]: a whole plan: arrivals, router and engines on one clock
//! - [`live`]: the same with traffic that changes and replicas that fail, and prices that follow
//! - [`compare`]: what joint planning is worth: every baseline of the planner, by curves and played

pub mod arrivals;
pub mod compare;
pub mod constants;
pub mod cost;
pub mod engine;
pub mod live;
pub mod load;
pub mod optimise;
pub mod sweep;
pub mod world;
