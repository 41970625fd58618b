//! Engine model and discrete-event simulation of LLM serving, in simulated time.

pub mod constants;
pub mod cost;
