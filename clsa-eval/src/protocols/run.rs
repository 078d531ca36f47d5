//! A protocol run on a workbench.

use super::protocol::{Outcome, Picture, Protocol, Variant};
use super::workbench::Workbench;
use crate::EvalError;
use crate::evaluation::ProtocolResult;
use std::time::Instant;

/// A protocol that was run.
#[derive(Clone, Debug)]
pub struct FinishedProtocol {
    /// What goes into the [`Evaluation`](crate::evaluation::Evaluation): one result, or one of each variant.
    pub results: Vec<ProtocolResult>,
    /// Pictures to be written beside it.
    pub pictures: Vec<Picture>,
}

impl Workbench<'_> {
    /// Runs a protocol.
    ///
    /// # Errors
    /// Those of the protocol, or features of center crops cannot be made.
    pub fn run(&self, protocol: &dyn Protocol) -> Result<FinishedProtocol, EvalError> {
        if protocol.needs().features {
            // Not in the protocol's time: it shares them with others.
            self.features()?;
        }
        let start = Instant::now();
        let Outcome { variant, settings, results, further, pictures, seconds_before_resume } = protocol.run(self)?;
        let wall_time_s = start.elapsed().as_secs_f64() + seconds_before_resume;
        let name = protocol.name();
        let further = further.into_iter().map(|Variant { name, settings, results }| (Some(name), settings, results));
        let results = std::iter::once((variant, settings, results)).chain(further);
        let results = results.map(|(variant, settings, results)| {
            let protocol = variant.map_or_else(|| name.to_owned(), |variant| format!("{name} {variant}"));
            ProtocolResult { protocol, settings, results, wall_time_s }
        });
        Ok(FinishedProtocol { results: results.collect(), pictures })
    }
}
