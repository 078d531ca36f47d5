//! `eval.json`: what was evaluated, how, and the figures.

mod corruption_table;
mod encoder_kind;
mod figures;
mod measure;
mod record;
mod tables;

pub(crate) use corruption_table::{CorruptionRow, CorruptionRows};
pub use encoder_kind::EncoderKind;
pub use figures::{ClassFigure, CustomFigures, Figures};
pub use measure::Measure;
pub use record::{Chance, EncoderResult, Evaluation, ProtocolResult};
