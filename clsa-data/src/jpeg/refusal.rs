//! Why a JPEG file is refused.

use std::fmt;

/// Why a JPEG file is refused. What it prints is the reason that a bad sample states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The file ends before what must come.
    CutShort,
    /// The file is against the rules, or of a kind that is not decoded.
    Faulty(String),
}

impl Refusal {
    /// A file that is against the rules: how.
    pub(super) fn faulty(how: impl Into<String>) -> Self {
        Self::Faulty(how.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("it is cut short: the data of the image end too early"),
            Self::Faulty(how) => f.write_str(how),
        }
    }
}
