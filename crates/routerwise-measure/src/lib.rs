//! Measures engines: a load generator that counts latency from when a request was *to be* sent, and the profiler that turns a
//! server into latency profiles.
//!
//! - [`target`]: whom to ask
//! - [`prompts`]: what is asked
//! - [`lengths`]: how long questions and answers are
//! - [`schedule`]: what is sent when
//! - [`probe`]: whether the endpoint answers at all, before a run starts
//! - [`play`]: plays a load
//! - [`record`]: what came of each request
//! - [`saturation`]: whether the server fell behind, or we did
//! - [`summary`]: what it all comes to
//! - [`import`]: results of other load generators
//! - [`launch`]: engines that are started to be measured
//! - [`profile`]: loads that choose themselves, until a latency curve is known

mod client;
mod exchange;
mod pacer;

pub mod import;
pub mod launch;
pub mod lengths;
pub mod play;
pub mod probe;
pub mod profile;
pub mod prompts;
pub mod record;
pub mod saturation;
pub mod schedule;
pub mod stream;
pub mod summary;
pub mod target;
