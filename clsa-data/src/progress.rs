//! How far a long operation is.

/// How far a long operation is; its units are samples, or bytes of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units that are done.
    pub done: u64,
    /// All units, where that is known; otherwise 0.
    pub total: u64,
}
