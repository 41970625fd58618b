//! The profiler: measures the latency of an engine at loads that it chooses, until the curve is known.
//!
//! - [`probe`]: what it asks of an engine; the engine model answers in simulated time
//! - [`endpoint`]: the same of an OpenAI-compatible endpoint, in real time
//! - [`visit`]: what was measured, one visit at a time
//! - [`journal`]: the visits on disk, so that nothing is lost
//! - [`points`]: visits to the same load, taken together, and how sure the curve is
//! - [`sampler`]: what to measure next
//! - [`alone`]: one request at a time
//! - [`measure`]: all of it, from the first request to the profile
//! - [`refit`]: the engine model fitted to what was measured, for what was not
//! - [`compare`]: whether two profiles differ by more than chance

pub mod alone;
pub mod compare;
pub mod endpoint;
pub mod journal;
pub mod measure;
pub mod points;
pub mod probe;
pub mod refit;
pub mod sampler;
pub mod visit;

#[cfg(test)]
mod tests;
