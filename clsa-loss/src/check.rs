//! Checks of the caller's tensors.

use candle_core::{DType, Device, Tensor};

use crate::LossError;

/// Floating-point types that embeddings, keys and banks may have.
pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
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
    if !is_float(tensor.dtype()) {
        return Err(LossError::DType {
            argument: argument.to_string(),
            expected: "F64, F32, F16 or BF16".to_string(),
            got: tensor.dtype(),
        });
    }
    Ok(())
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
    if is_finite(tensor)? {
        return Ok(());
    }
    Err(LossError::NotFinite { argument: argument.to_string() })
}

/// Whether every value is finite: zero times any other value is NaN, and so is a sum with one NaN.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool, LossError> {
    if tensor.elem_count() == 0 {
        return Ok(true);
    }
    let zeros = tensor.detach().affine(0.0, 0.0)?;
    let sum = zeros.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok(sum == 0.0)
}
