//! Settings that are chosen among several values on a held-out part of the training images.

use crate::EvalError;

/// Checks the values of the setting `key` and the part that is held out.
///
/// # Errors
/// There is no value or one is not a positive number, or the part is not between 0 and 1.
pub(crate) fn check_choice(key: &'static str, values: &[f64], held_out: f64) -> Result<(), EvalError> {
    if values.is_empty() || values.iter().any(|value| !(value.is_finite() && *value > 0.0)) {
        let value = format!("{values:?}");
        return Err(EvalError::Setting { key, value, expected: "use one or more positive numbers" });
    }
    if !(held_out > 0.0 && held_out < 1.0) {
        let value = held_out.to_string();
        return Err(EvalError::Setting { key: "held_out", value, expected: "use a part between 0 and 1" });
    }
    Ok(())
}

/// What is said where no image can be held out.
pub(crate) fn nothing_to_choose_by(key: &'static str, values: &[f64]) -> EvalError {
    let expected = "there are too few training images to choose by; give a single value";
    EvalError::Setting { key, value: format!("{values:?}"), expected }
}

/// The value that reached most, of several that reached as much the first; `tried` has one or more.
pub(crate) fn best(tried: &[(f64, f64)]) -> f64 {
    tried.iter().fold(tried[0], |best, at| if at.1 > best.1 { *at } else { best }).0
}
