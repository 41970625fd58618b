//! One request to one replica. Simulator and gateway run this same code, so what one predicts the other does.
//!
//! - [`policy`]: which model answers: score minus price, ties split to the planned fractions
//! - [`balance`]: which of its replicas

pub mod balance;
pub mod policy;

pub use policy::Policy;
