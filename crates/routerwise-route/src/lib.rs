//! One request to one replica. Simulator and gateway run this same code, so what one predicts the other does. In reading order:
//!
//! - [`facts`], [`decision`], [`event`]: what a router is told, what it answers, what it hears afterwards
//! - [`settings`]: what can be set about it, each default with its reason
//! - [`curves`]: what a plan expects of its replicas
//! - [`core`]: the deciding half of a gateway, time an argument
//! - [`policy`]: which model answers: score minus price, ties split to the planned fractions
//! - [`replica`], [`balance`]: one replica's state, and which of them
//! - `prices`: prices re-solved from what is seen; `rate`, `flow`, `occupancy`, `sessions`: what is seen
//! - `queue`: who waits
//! - [`router`]: where a simulation of other rules plugs them in

pub mod balance;
pub mod core;
pub mod curves;
pub mod decision;
pub mod event;
pub mod facts;
mod flow;
mod occupancy;
pub mod policy;
mod prices;
mod queue;
mod rate;
pub mod replica;
pub mod router;
mod sessions;
pub mod settings;

pub use crate::core::RouterCore;
pub use policy::Policy;
pub use router::{Ask, Router};
