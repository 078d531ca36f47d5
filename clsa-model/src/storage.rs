//! The numbers of a CPU tensor as a slice, so that kernels work in place.

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor};
use std::cell::Cell;

/// Calls `f` with the elements of a contiguous f32 CPU tensor.
///
/// # Errors
/// The tensor is not on the CPU, not f32 or not contiguous.
pub(crate) fn read_f32<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => {
            let (start, end) = contiguous(layout)?;
            Ok(f(&values[start..end]))
        }
        _ => candle_core::bail!("expected an f32 tensor on the CPU, got {:?} on {:?}", tensor.dtype(), tensor.device()),
    }
}

/// Calls `f` with the elements of a contiguous f32 CPU tensor, to be changed in place. Every tensor that shares the
/// storage sees the change.
///
/// # Errors
/// The tensor is not on the CPU, not f32 or not contiguous.
pub(crate) fn write_f32<R>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> R) -> candle_core::Result<R> {
    if tensor.dtype() != DType::F32 || !tensor.device().is_cpu() {
        candle_core::bail!("expected an f32 tensor on the CPU, got {:?} on {:?}", tensor.dtype(), tensor.device());
    }
    let op = InPlace { f: Cell::new(Some(f)), result: Cell::new(None) };
    tensor.inplace_op1(&op)?;
    op.result.into_inner().ok_or_else(|| candle_core::Error::Msg("the in-place operation did not run".to_owned()))
}

/// Whether two tensors lie in the same memory, so that who reads the one cannot write to the other.
pub(crate) fn share_memory(a: &Tensor, b: &Tensor) -> bool {
    let storage = |tensor: &Tensor| std::ptr::from_ref(&*tensor.storage_and_layout().0);
    storage(a) == storage(b)
}

struct InPlace<F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<R, F: FnOnce(&mut [f32]) -> R> InplaceOp1 for InPlace<F, R> {
    fn name(&self) -> &'static str {
        "in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = contiguous(layout)?;
        if let (CpuStorage::F32(values), Some(f)) = (storage, self.f.take()) {
            self.result.set(Some(f(&mut values[start..end])));
        }
        Ok(())
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| candle_core::Error::Msg("expected a contiguous tensor".to_owned()))
}
