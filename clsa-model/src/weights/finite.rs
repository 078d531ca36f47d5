//! Whether weights are numbers.

use crate::error::Result;
use candle_core::{DType, Tensor};
use std::collections::HashMap;

/// The first name, in alphabetical order, of a tensor that holds a value which is infinite or not a number: the file is damaged, or
/// its training diverged.
///
/// # Errors
/// A tensor operation fails.
pub fn first_not_finite(tensors: &HashMap<String, Tensor>) -> Result<Option<&str>> {
    let mut names: Vec<&str> =
        tensors.iter().filter(|(_, tensor)| tensor.dtype().is_float()).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    for name in names {
        let sum = tensors[name].to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
