//! Engines that are started to be measured: the command, environment and readiness come from a file, not from code.
//!
//! - [`template`]: what such a file says
//! - [`process`]: an engine that runs, its log, and how it is stopped

pub mod process;
pub mod template;
