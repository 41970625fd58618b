//! Fits the constants of the engine model to public measurements, and reports how far it is off.
//!
//! In reading order: [`table`] reads the data, [`held_out`] says what is never fitted on, [`optimise`](routerwise_simulate::optimise) fits, [`error_stats`]
//! judges. [`iterations`], [`links`], [`experts`] and [`gpus`] fit the operators of each GPU, [`share`] the response to an MPS
//! share, [`engines`] the host side of engine builds, [`tgis`] one that takes simulation. [`replay`] and [`serving`] compare with measured serving. [`report`] writes it
//! all down, [`extract`] the measurements that ship for tests.

pub mod engines;
pub mod error_stats;
pub mod experts;
pub mod extract;
pub mod gpus;
pub mod held_out;
pub mod iterations;
pub mod known_gpus;
pub mod known_models;
pub mod links;
pub mod replay;
pub mod report;
pub mod rounded;
pub mod serving;
pub mod share;
pub mod table;
pub mod tgis;
