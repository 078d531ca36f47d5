//! The types of PyTorch's values.

use candle_core::DType;

/// What a storage or tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Element {
    /// PyTorch's name, without `torch.`.
    pub name: &'static str,
    /// Bytes of a value.
    pub size: usize,
    /// Candle's type; none where it has none, or none that a weight of these networks has.
    pub dtype: Option<DType>,
}

/// Bytes whose meaning a tensor of them tells.
pub(super) const UNTYPED: Element = Element { name: "bytes", size: 1, dtype: None };

const fn element(name: &'static str, size: usize, dtype: Option<DType>) -> Element {
    Element { name, size, dtype }
}

/// Each type, and the class of its storages where it has one of its own.
const ELEMENTS: &[(Element, &str)] = &[
    (element("float32", 4, Some(DType::F32)), "FloatStorage"),
    (element("float64", 8, Some(DType::F64)), "DoubleStorage"),
    (element("float16", 2, Some(DType::F16)), "HalfStorage"),
    (element("bfloat16", 2, Some(DType::BF16)), "BFloat16Storage"),
    (element("int64", 8, Some(DType::I64)), "LongStorage"),
    (element("int32", 4, Some(DType::I32)), "IntStorage"),
    (element("int16", 2, Some(DType::I16)), "ShortStorage"),
    (element("uint8", 1, Some(DType::U8)), "ByteStorage"),
    (element("int8", 1, None), "CharStorage"),
    (element("bool", 1, None), "BoolStorage"),
    (element("complex64", 8, None), "ComplexFloatStorage"),
    (element("complex128", 16, None), "ComplexDoubleStorage"),
    (element("quint8", 1, None), "QUInt8Storage"),
    (element("qint8", 1, None), "QInt8Storage"),
    (element("qint32", 4, None), "QInt32Storage"),
    (element("quint4x2", 1, None), "QUInt4x2Storage"),
    (element("quint2x4", 1, None), "QUInt2x4Storage"),
    (element("uint16", 2, None), ""),
    (element("uint32", 4, None), ""),
    (element("uint64", 8, None), ""),
    (element("complex32", 4, None), ""),
    (element("float8_e4m3fn", 1, None), ""),
    (element("float8_e5m2", 1, None), ""),
    (element("float8_e4m3fnuz", 1, None), ""),
    (element("float8_e5m2fnuz", 1, None), ""),
    (element("float8_e8m0fnu", 1, None), ""),
    (element("float4_e2m1fn_x2", 1, None), ""),
    (element("bits8", 1, None), ""),
    (element("bits16", 2, None), ""),
    (element("bits1x8", 1, None), ""),
    (element("bits2x4", 1, None), ""),
    (element("bits4x2", 1, None), ""),
    (element("int1", 1, None), ""),
    (element("int2", 1, None), ""),
    (element("int3", 1, None), ""),
    (element("int4", 1, None), ""),
    (element("int5", 1, None), ""),
    (element("int6", 1, None), ""),
    (element("int7", 1, None), ""),
    (element("uint1", 1, None), ""),
    (element("uint2", 1, None), ""),
    (element("uint3", 1, None), ""),
    (element("uint4", 1, None), ""),
    (element("uint5", 1, None), ""),
    (element("uint6", 1, None), ""),
    (element("uint7", 1, None), ""),
];

impl Element {
    /// The type of that name, as `torch.float32` has it after the dot.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        ELEMENTS.iter().find(|(element, _)| element.name == name).map(|&(element, _)| element)
    }

    /// The type that storages of that class hold.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        ELEMENTS.iter().find(|&&(_, storage)| !storage.is_empty() && storage == class).map(|&(element, _)| element)
    }

    /// A value, least significant byte first, as an integer, if the type has whole numbers.
    pub fn integer(self, bytes: &[u8]) -> Option<i64> {
        let signed = match self.name {
            "int8" => true,
            "bool" | "uint16" | "uint32" | "uint64" => false,
            _ => return None,
        };
        let negative = signed && bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Some(i64::from_le_bytes(wide))
    }
}
