//! What predictions, scores and neighbors are worth: figures in percent with their confidence intervals.

mod accuracy;
mod average_precision;
mod corrupted_accuracy;
mod estimate;
mod label_free;
mod same_class;

pub(crate) use accuracy::rank;
pub use accuracy::{Accuracy, ClassAccuracy, Predictions};
pub(crate) use average_precision::mean_area;
pub use average_precision::{AveragePrecision, ClassPrecision, Precisions, average_precision};
pub use corrupted_accuracy::{CorruptedAccuracy, CorruptionAccuracy, CorruptionHits};
pub use estimate::Estimate;
pub use label_free::label_free;
pub use same_class::SameClassShare;
