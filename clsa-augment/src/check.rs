//! Checks of the fields of a plan.

use std::fmt::Debug;

use crate::AugmentError;

/// Fails with the field's name, its value and what it needs, unless the value is `ok`.
pub(crate) fn field(ok: bool, field: &'static str, value: &dyn Debug, needs: &'static str) -> Result<(), AugmentError> {
    if ok {
        return Ok(());
    }
    Err(AugmentError::Setting { field: field.to_owned(), value: format!("{value:?}"), needs })
}

/// Fails unless the value is a probability.
pub(crate) fn probability(name: &'static str, value: f64) -> Result<(), AugmentError> {
    field((0.0..=1.0).contains(&value), name, &value, "a probability from 0 to 1")
}
