//! What a protocol is applied to: the trained encoder and what it is compared with.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a row of figures is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EncoderKind {
    /// The encoder that is evaluated.
    Trained,
    /// One of the same shape with random weights: for a run those that its seed gives, also where it began with the weights of a file.
    Untrained,
    /// Bare pixels, without an encoder.
    #[serde(rename = "raw pixels")]
    RawPixels,
    /// Answers at random, where their figure does not follow from the number of classes alone.
    Chance,
}

impl EncoderKind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Trained, Self::Untrained, Self::RawPixels, Self::Chance];

    /// Its name, in tables and in `eval.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trained => "trained",
            Self::Untrained => "untrained",
            Self::RawPixels => "raw pixels",
            Self::Chance => "chance",
        }
    }
}

impl fmt::Display for EncoderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_eval_json() {
        for kind in EncoderKind::ALL {
            let text = serde_json::json!(kind);
            assert_eq!(text, kind.name());
            assert_eq!(serde_json::from_value::<EncoderKind>(text).unwrap(), kind);
        }
    }
}
