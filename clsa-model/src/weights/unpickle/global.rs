//! The functions and types that a state dictionary can need; a pickle that asks for any other is refused.

use super::storage::Element;
use crate::weights::error::WeightFileError;
use candle_core::DType;

/// The names that a pickle may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Device,
    /// `torch.float32` and its like.
    Dtype,
    /// `torch.FloatStorage` and its like.
    Storage(Element),
}

/// The function or type of that name, if a state dictionary can need it.
pub(super) fn global(module: &str, name: &str) -> Result<Global, WeightFileError> {
    let storage = |dtype, size| Global::Storage(Element { dtype, size });
    let known = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") | ("torch.nn.parameter", "Parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        // Types of the legacy tar form's tensors, and of no consequence there: the storage tells the type.
        ("torch", name) if name.ends_with("Tensor") => Global::Dtype,
        ("torch", "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "uint8" | "bool") => {
            Global::Dtype
        }
        ("torch" | "torch.cuda", storage_type) => match storage_type {
            "FloatStorage" => storage(Some(DType::F32), 4),
            "DoubleStorage" => storage(Some(DType::F64), 8),
            "HalfStorage" => storage(Some(DType::F16), 2),
            "BFloat16Storage" => storage(Some(DType::BF16), 2),
            "LongStorage" => storage(Some(DType::I64), 8),
            "IntStorage" => storage(Some(DType::I32), 4),
            "ShortStorage" => storage(Some(DType::I16), 2),
            "ByteStorage" => storage(Some(DType::U8), 1),
            "CharStorage" | "BoolStorage" => storage(None, 1),
            _ => return Err(unknown(module, name)),
        },
        _ => return Err(unknown(module, name)),
    };
    Ok(known)
}

fn unknown(module: &str, name: &str) -> WeightFileError {
    WeightFileError::new(format!(
        "asks for {module}.{name}, which is neither a tensor nor plain data (nothing in the file was run): save only \
         the state_dict() of a model"
    ))
}
