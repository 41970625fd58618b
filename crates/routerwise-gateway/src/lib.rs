//! The OpenAI-compatible front door: every request routed by score minus price.
//!
//! ```text
//! connection -> key -> place -> body -> scores -> decision -> replica -> answer, byte for byte -> account
//! ```
//!
//! In reading order: [`server`] listens; `api` says which path does what; `forward` takes a request through all of it, with what it needs
//! (`headers`, `keys`, `admission`, `body`, `ask`, `scorer`, `desk`, `upstream`, `relay`, `peek`); `exchange` accounts for it in `metrics` and
//! `log`. [`force`] is what is in force and exchanged as one by [`gateway`]; `admin`, `reload`, `replicas`,
//! `discover`, `checks` and `gauges` keep it up to date.

mod admin;
mod admission;
mod api;
mod ask;
mod body;
mod checks;
mod desk;
mod discover;
mod error;
mod exchange;
mod force;
mod forward;
mod gateway;
mod gauges;
mod headers;
mod keys;
mod log;
mod meters;
mod metrics;
mod patience;
mod peek;
mod relay;
mod reload;
mod replicas;
mod response;
mod scorer;
mod server;
mod tls;
mod upstream;

pub use error::Cause;
pub use force::Loaded;
pub use gateway::{Calendar, Source};
pub use keys::new_key;
pub use scorer::Scorer;
pub use server::{CannotServe, Reloader, Server};
