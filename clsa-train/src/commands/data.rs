//! `cargo xtask data`.

use crate::Failure;

/// Describe, verify, pack or fetch a data set.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<(), Failure> {
    Ok(())
}
