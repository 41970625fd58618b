//! The only place that opens input files: from a scenario folder to a validated [`Scenario`](routerwise_types::Scenario), or to
//! every problem of all its files at once.
//!
//! People write TOML with units in the values; programs write JSON with a schema number; measurements come as Parquet or CSV.
//! Where a file says nothing a default is in force, and [`Loaded::defaults`] says which and why.

mod columns;
mod defaults;
mod file;
mod models;
mod scores;
mod single;
mod text;
mod workload;

pub mod catalogue;
pub mod cluster;
pub mod endpoints;
pub mod labels;
pub mod problem;
pub mod profiles;
pub mod prompts;
pub mod quantity;
pub mod questions;
pub mod report;
pub mod scenario;
pub mod schema;
pub mod serve;
pub mod tables;
pub mod trace;

pub use defaults::InForce;
pub use file::write_atomically;
pub use problem::{Problem, Problems};
pub use scenario::{Loaded, Paths, load};
pub use single::{Choice, Single, choose};
