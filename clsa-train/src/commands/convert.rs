//! `cargo xtask convert`.

use crate::Failure;

/// Convert weights.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<(), Failure> {
    Ok(())
}
