//! Settings that are chosen among several values on a held-out part of the training images.

use crate::EvalError;
use serde::Serialize;

/// A value that was tried, and what it reached. As JSON it is a pair of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "(f64, f64)")]
pub struct Tried {
    /// The value.
    pub value: f64,
    /// The figure on held-out images, percent.
    pub score: f64,
}

impl From<Tried> for (f64, f64) {
    fn from(Tried { value, score }: Tried) -> Self {
        (value, score)
    }
}

impl Tried {
    /// The value that reached most, of several that reached as much the first.
    ///
    /// # Panics
    /// If nothing was tried.
    pub(crate) fn best(tried: &[Self]) -> f64 {
        tried.iter().fold(tried[0], |best, at| if at.score > best.score { *at } else { best }).value
    }
}

/// Checks the values of the setting `key` and the part that is held out.
///
/// # Errors
/// There is no value or one is not a positive number, or the part is not between 0 and 1.
pub(crate) fn check_choice(key: &'static str, values: &[f64], held_out: f64) -> Result<(), EvalError> {
    if values.is_empty() || values.iter().any(|value| !(value.is_finite() && *value > 0.0)) {
        return Err(EvalError::setting(key, format!("{values:?}"), "use one or more positive numbers"));
    }
    if !(held_out > 0.0 && held_out < 1.0) {
        return Err(EvalError::setting("held_out", held_out, "use a part between 0 and 1"));
    }
    Ok(())
}

/// The error where no image can be held out.
pub(crate) fn nothing_to_choose_by(key: &'static str, values: &[f64]) -> EvalError {
    let expected = "there are too few training images to choose by; give a single value";
    EvalError::setting(key, format!("{values:?}"), expected)
}
