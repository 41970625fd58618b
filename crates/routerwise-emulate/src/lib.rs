//! The engine of the simulator behind a socket: an OpenAI-compatible server that keeps the time of the engine model.
//!
//! One thread owns an [`Engine`](routerwise_simulate::engine::Engine) and lets the real clock drive it; handlers hand requests over and
//! send on what it makes. Tests of other crates start one in their own process:
//!
//! ```
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use routerwise_emulate::{EmulatedEngine, Options, Replica};
//!
//! let options = Options { speed: 20.0, ..Options::default() };
//! let engine = EmulatedEngine::start(Replica::example("small"), options).await?;
//! let url = format!("{}/v1/chat/completions", engine.url());
//! # drop(url);
//! engine.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! - [`options`]: how an engine behaves: speed, key, answer lengths, faults
//! - [`tokens`]: how tokens are counted, and the words that answers are made of
//! - `request`: what a client asked for, checked as vLLM checks it
//! - `driver`: the thread that owns the engine
//! - `delivery`: what the driver has made for one response so far
//! - `reply`: the bytes of answers, whole and streamed
//! - `metrics`: vLLM's metrics
//! - `server`: routes, connections, start and stop

mod clock;
mod delivery;
mod driver;
mod error;
mod metrics;
mod reply;
mod request;
mod server;

pub mod options;
pub mod tokens;

pub use options::{Faults, Options, OutputTokens, Replica};
pub use server::{CannotStart, EmulatedEngine};
