//! The functions and types that a state dictionary can need; a pickle that asks for any other is refused.

use super::element::{Element, UNTYPED};
use crate::weights::error::WeightFileError;

/// The names that a pickle may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Global {
    OrderedDict,
    /// A dictionary whose argument makes missing values.
    DefaultDict,
    RebuildTensor,
    /// As the one above, of a storage without type.
    RebuildTypedTensor,
    /// Calls another of these, and sets attributes.
    RebuildFromType,
    RebuildParameter,
    /// Makes a tensor whose values do not lie in a storage as they are; in words, what it is.
    RebuildUnusual(&'static str),
    /// Makes plain data that nothing here looks at: a set, bytes, a device.
    Plain,
    /// `torch.float32` and its like.
    Dtype(Element),
    /// `torch.FloatStorage` and its like.
    Storage(Element),
}

/// The function or type of that name, if `torch.load(weights_only=True)` allows it, or it makes plain data.
pub(super) fn global(module: &str, name: &str) -> Result<Global, WeightFileError> {
    let known = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("collections", "Counter") => Global::Plain,
        (
            // Python 2's name, which pickles of protocol 2 have.
            "builtins" | "__builtin__",
            "bool" | "bytearray" | "bytes" | "complex" | "dict" | "float" | "frozenset" | "int" | "list" | "set"
            | "str" | "tuple",
        ) => Global::Plain,
        // Bytes, as protocol 2 has them.
        ("_codecs", "encode") => Global::Plain,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTypedTensor,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter") => Global::RebuildParameter,
        ("torch._utils", "_rebuild_sparse_tensor") => Global::RebuildUnusual("a sparse tensor"),
        ("torch._utils", "_rebuild_qtensor") => Global::RebuildUnusual("a quantized tensor"),
        ("torch._utils", "_rebuild_nested_tensor") => Global::RebuildUnusual("a nested tensor"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => {
            Global::RebuildUnusual("a tensor without values (device \"meta\")")
        }
        ("torch._utils", "_rebuild_wrapper_subclass") => Global::RebuildUnusual("a tensor of a class of its own"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy" | "_rebuild_device_tensor_from_cpu_tensor") => {
            Global::RebuildUnusual("a tensor of a foreign device")
        }
        ("torch", "Size" | "device") | ("torch.serialization", "_get_layout") => Global::Plain,
        (
            "torch",
            "per_tensor_affine"
            | "per_tensor_symmetric"
            | "per_channel_affine"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams",
        ) => Global::Plain,
        // Types of the legacy tar form's tensors, and of no consequence there: the storage tells the type.
        ("torch" | "torch.cuda" | "torch.sparse" | "torch.cuda.sparse", name) if name.ends_with("Tensor") => {
            Global::Plain
        }
        ("torch.storage", "UntypedStorage") => Global::Storage(UNTYPED),
        ("torch" | "torch.cuda", name) => {
            let storage = Element::of_storage(name).map(Global::Storage);
            storage.or_else(|| Element::of_name(name).map(Global::Dtype)).ok_or_else(|| unknown(module, name))?
        }
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
