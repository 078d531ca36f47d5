//! Checks of the caller's tensors.

use candle_core::{DType, Device, Tensor};

use crate::LossError;
use crate::terms::to_host;

/// Checks that a type is one that embeddings, keys and banks may have.
pub(crate) fn float(argument: &str, got: DType) -> Result<(), LossError> {
    if matches!(got, DType::F64 | DType::F32 | DType::F16 | DType::BF16) {
        return Ok(());
    }
    Err(LossError::DType { argument: argument.to_string(), expected: "F64, F32, F16 or BF16".to_string(), got })
}

/// Checks that a tensor is a matrix of floating-point numbers with `dim` columns (at least one if `None`).
pub(crate) fn matrix(argument: &str, tensor: &Tensor, dim: Option<usize>) -> Result<(), LossError> {
    let expected = match (tensor.dims(), dim) {
        ([_, columns], Some(dim)) if *columns == dim => None,
        ([_, columns], None) if *columns > 0 => None,
        (_, Some(dim)) => Some(format!("(rows, {dim})")),
        (_, None) => Some("(rows, dim) with dim at least 1".to_string()),
    };
    if let Some(expected) = expected {
        return Err(LossError::Shape { argument: argument.to_string(), expected, got: tensor.shape().clone() });
    }
    float(argument, tensor.dtype())
}

/// Checks that a tensor is on `device`.
pub(crate) fn device(argument: &str, tensor: &Tensor, device: &Device) -> Result<(), LossError> {
    if tensor.device().same_device(device) {
        return Ok(());
    }
    Err(LossError::Device {
        argument: argument.to_string(),
        expected: format!("{:?}", device.location()),
        got: format!("{:?}", tensor.device().location()),
    })
}

/// Checks that every value is finite.
pub(crate) fn finite(argument: &str, tensor: &Tensor) -> Result<(), LossError> {
    if tensor.elem_count() == 0 || to_host(&not_finite(&tensor.detach().reshape((1, ()))?)?)? == [0.0] {
        return Ok(());
    }
    Err(LossError::NotFinite { argument: argument.to_string() })
}

/// For each row 0 where every value is finite, and NaN elsewhere: zero times any other value is NaN, and so is a sum with
/// one NaN.
pub(crate) fn not_finite(rows: &Tensor) -> candle_core::Result<Tensor> {
    rows.affine(0.0, 0.0)?.sum(1)
}
