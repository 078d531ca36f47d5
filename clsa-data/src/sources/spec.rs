//! What the table of sources says of one kind.

use std::sync::Arc;

use crate::dataset::Dataset;
use crate::decode::Limits;
use crate::error::DataError;
use crate::split::Split;

/// What opening a split of a source returns.
pub(crate) type Opened = Result<Arc<dyn Dataset>, DataError>;

/// What a file of this folder tells the table.
pub(crate) struct Spec {
    /// What stands before the colon.
    pub name: &'static str,
    /// What stands behind it.
    pub argument: Argument,
    /// What it is, in a few words without a full stop, for `--help`.
    pub summary: &'static str,
    /// What is read and how it is named, in Markdown, for the README: goes on after `summary` and a colon.
    pub details: &'static str,
    /// The cargo feature that it needs.
    pub feature: Option<&'static str>,
    /// Opens a split of the source with this argument; `None` where this build lacks the feature.
    pub open: Option<fn(&str, Split, Limits) -> Opened>,
}

/// What stands behind the colon of a source.
pub(crate) enum Argument {
    /// A path or a pattern, never empty; messages call it by this name.
    Place(&'static str),
    /// The same for files that may also be objects on another machine, by their addresses.
    Objects(&'static str),
    /// Options that may be left out with the colon. The function returns them in full, or the reason why they are wrong.
    Options(fn(&str) -> Result<String, String>),
}
