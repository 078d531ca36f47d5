//! The bytes of a tensor, as every format stores them, and which shapes have any.

use super::error::{WeightFileError, fail};
use candle_core::{DType, Tensor};

/// Refuses a tensor of a type that no weights have.
pub(super) fn check_type(name: &str, tensor: &Tensor) -> Result<(), WeightFileError> {
    match tensor.dtype() {
        DType::U8 | DType::I16 | DType::I32 | DType::I64 | DType::BF16 | DType::F16 | DType::F32 | DType::F64 => Ok(()),
        other => fail(format!("cannot hold {name}: its type is {other:?}")),
    }
}

/// The values of a contiguous CPU tensor, least significant byte first.
pub(super) fn bytes_of(name: &str, tensor: &Tensor) -> Result<Vec<u8>, WeightFileError> {
    check_type(name, tensor)?;
    Ok(safetensors::View::data(tensor).into_owned())
}

/// Whether sizes and strides of a tensor of this shape are numbers of this machine. One without elements has strides too, which are
/// products of its other dimensions.
pub(super) fn can_be_laid_out(shape: &[usize]) -> bool {
    shape.iter().try_fold(1_usize, |elements, &dim| elements.checked_mul(dim.max(1))).is_some()
}
