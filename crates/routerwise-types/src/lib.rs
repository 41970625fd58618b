//! The words of RouterWise: units, nouns and metric definitions, in reading order.
//!
//! Everything here is a plain value: no clock, no IO. Files are read in `routerwise-inputs`; what a program writes
//! (profiles, plans, reports) is serialised from these types, with a `schema` number and a generated JSON Schema.

pub mod answer;
pub mod catalogue;
pub mod cluster;
pub mod comparison;
pub mod decisions;
pub mod fingerprint;
pub mod hash;
pub mod labels;
pub mod objective;
pub mod plan;
pub mod profile;
pub mod quality;
pub mod report;
pub mod scenario;
pub mod serve;
pub mod setup;
pub mod sketch;
pub mod time;
pub mod units;
pub mod workload;

pub use fingerprint::Fingerprint;
pub use scenario::Scenario;
pub use time::Timestamp;
pub use units::{Bytes, Fraction, GpuShare, OutOfRange, Price, RequestsPerSecond, Score, Seconds};
