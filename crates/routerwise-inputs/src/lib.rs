//! The only place that opens input files: from a scenario folder to a validated [`Scenario`](routerwise_types::Scenario), or to
//! every problem of all its files at once.

pub mod problem;
pub mod scenario;
pub mod schema;

pub use problem::{Problem, Problems};
pub use scenario::{Loaded, Paths, load};
