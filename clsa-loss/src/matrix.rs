//! Rows of floating-point numbers in memory, of any dtype, and their conversion to what the kernels read.

use std::ops::Range;

use candle_core::{CpuStorage, Layout};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Row-major numbers, and how many make a row.
#[derive(Clone, Copy)]
pub(crate) enum Matrix<'a> {
    F64(&'a [f64], usize),
    F32(&'a [f32], usize),
    F16(&'a [f16], usize),
    Bf16(&'a [bf16], usize),
}

impl<'a> Matrix<'a> {
    /// The rows of a contiguous matrix.
    pub fn new(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Self> {
        let (_, dim) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the matrix is not contiguous");
        };
        Ok(match storage {
            CpuStorage::F64(values) => Self::F64(&values[start..end], dim),
            CpuStorage::F32(values) => Self::F32(&values[start..end], dim),
            CpuStorage::F16(values) => Self::F16(&values[start..end], dim),
            CpuStorage::BF16(values) => Self::Bf16(&values[start..end], dim),
            _ => candle_core::bail!("the matrix holds no floating-point numbers"),
        })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::F64(values, dim) => values.len() / dim,
            Self::F32(values, dim) => values.len() / dim,
            Self::F16(values, dim) => values.len() / dim,
            Self::Bf16(values, dim) => values.len() / dim,
        }
    }

    /// Converts rows to f64.
    pub fn copy_to_f64(&self, rows: Range<usize>, to: &mut [f64]) {
        match self {
            Self::F64(values, dim) => to.copy_from_slice(slice_rows(values, *dim, rows)),
            Self::F32(values, dim) => convert(slice_rows(values, *dim, rows), to, f64::from),
            Self::F16(values, dim) => convert(slice_rows(values, *dim, rows), to, f64::from),
            Self::Bf16(values, dim) => convert(slice_rows(values, *dim, rows), to, f64::from),
        }
    }

    /// Rows as units of 32 bits, f32 or pairs of bf16 numbers; `None` if they do not lie in memory as such.
    pub fn units(&self, rows: Range<usize>, paired: bool) -> Option<&'a [u32]> {
        match *self {
            Self::F32(values, dim) if !paired => Some(bytemuck::cast_slice(slice_rows(values, dim, rows))),
            Self::Bf16(values, dim) if paired && dim % 2 == 0 => {
                bytemuck::try_cast_slice(slice_rows(values, dim, rows).reinterpret_cast()).ok()
            }
            _ => None,
        }
    }

    /// Converts rows to units of 32 bits: f32, or pairs of bf16 numbers of which the last of a row is padded with zero.
    pub fn copy_units(&self, rows: Range<usize>, paired: bool, to: &mut [u32]) {
        match *self {
            Self::F64(values, dim) => convert(slice_rows(values, dim, rows), to, |x| (x as f32).to_bits()),
            Self::F32(values, dim) => convert(slice_rows(values, dim, rows), to, f32::to_bits),
            Self::F16(values, dim) => convert(slice_rows(values, dim, rows), to, |x| x.to_f32().to_bits()),
            Self::Bf16(values, dim) if !paired => {
                convert(slice_rows(values, dim, rows), to, |x| u32::from(x.to_bits()) << 16);
            }
            Self::Bf16(values, dim) => {
                let units = slice_rows(values, dim, rows).chunks(dim).flat_map(|row| row.chunks(2));
                for (to, pair) in to.iter_mut().zip(units) {
                    let high = pair.get(1).map_or(0, |x| x.to_bits());
                    *to = u32::from(pair[0].to_bits()) | u32::from(high) << 16;
                }
            }
        }
    }
}

/// The numbers of `rows`.
fn slice_rows<T>(values: &[T], dim: usize, rows: Range<usize>) -> &[T] {
    &values[rows.start * dim..rows.end * dim]
}

/// Writes `with` of every number.
fn convert<T: Copy, U>(from: &[T], to: &mut [U], with: impl Fn(T) -> U) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = with(from);
    }
}
