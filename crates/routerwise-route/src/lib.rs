//! One request to one replica. Simulator and gateway run this same code, so what one predicts the other does.
//!
//! - [`policy`]: which model answers: score minus price, ties split to the planned fractions
//! - [`router`]: where a simulator or a gateway plugs a rule in
//! - [`balance`]: which of its replicas

pub mod balance;
pub mod policy;
pub mod router;

pub use policy::Policy;
pub use router::{Ask, Router};
