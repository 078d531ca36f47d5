//! One file for each command.

pub mod eval;
pub mod report;
