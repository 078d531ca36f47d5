//! The addresses of Candle's tensors, for kernels to read and to write.
//!
//! No lock on a tensor's storage is held while a kernel works: two operands may be views of one storage, and on a GPU work goes
//! on after the call in any case. The order of the stream is what keeps accesses apart; a tensor that an operation works on
//! must not be used from another thread meanwhile.

use std::cell::Cell;

#[cfg(feature = "cuda")]
use candle_core::backend::BackendStorage;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    CudaDType,
    cudarc::driver::{DevicePtr, DevicePtrMut},
};
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor, WithDType};

use crate::error::{GpuError, Result};
use crate::gpu::Gpu;

/// The address of a contiguous f32 tensor of `len` elements, to be read.
pub(crate) fn read<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor, len: usize) -> Result<u64> {
    contiguous(operand, tensor, len)?;
    first::<G, f32>(gpu, operand, tensor)
}

/// The same of i64, which tables are stored as.
pub(crate) fn read_table<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    first::<G, i64>(gpu, operand, tensor)
}

/// The address of a contiguous f32 tensor of `len` elements, to be written. Every tensor that shares the storage sees the change.
pub(crate) fn write<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor, len: usize) -> Result<u64> {
    contiguous(operand, tensor, len)?;
    first_to_write(gpu, operand, tensor)
}

fn first_to_write<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    on_device(gpu, operand, tensor)?;
    let op = AddressOf(Cell::new(0));
    tensor.inplace_op1(&op)?;
    Ok(op.0.get())
}

/// The address of a contiguous tensor's first element, to be read, of any type that GPUs exchange.
#[cfg(feature = "nccl")]
pub(crate) fn read_any<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    contiguous_of_any_type(operand, tensor)?;
    match tensor.dtype() {
        DType::F32 => first::<G, f32>(gpu, operand, tensor),
        DType::F64 => first::<G, f64>(gpu, operand, tensor),
        DType::U32 => first::<G, u32>(gpu, operand, tensor),
        DType::U8 => first::<G, u8>(gpu, operand, tensor),
        dtype => Err(unsupported(format!("{operand} is of {dtype:?}"))),
    }
}

/// The address of a contiguous tensor's first element, to be written, of any such type. Every tensor that shares the storage sees the change.
#[cfg(feature = "cuda")]
pub(crate) fn write_any<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    contiguous_of_any_type(operand, tensor)?;
    first_to_write(gpu, operand, tensor)
}

#[cfg(feature = "cuda")]
fn contiguous_of_any_type(operand: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.is_contiguous() { Ok(()) } else { Err(unsupported(format!("{operand} must be contiguous"))) }
}

/// The address of an f32 tensor's first element, whatever its strides.
pub(crate) fn read_strided<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    if tensor.dtype() != DType::F32 {
        return Err(unsupported(format!("{operand} must be f32 and is {:?}", tensor.dtype())));
    }
    first::<G, f32>(gpu, operand, tensor)
}

/// Checks an address that kernels read or write vectors at. Tensors of their own are aligned, views into others may
/// not be.
pub(crate) fn aligned(operand: &'static str, address: u64) -> Result<()> {
    if address.is_multiple_of(16) {
        return Ok(());
    }
    Err(unsupported(format!("{operand} must begin at a multiple of 16 bytes: copy it to a tensor of its own")))
}

pub(crate) fn unsupported(reason: String) -> GpuError {
    GpuError::Unsupported { reason }
}

fn contiguous(operand: &'static str, tensor: &Tensor, len: usize) -> Result<()> {
    if tensor.dtype() != DType::F32 || !tensor.is_contiguous() {
        let reason = format!("{operand} must be f32 and contiguous and is {:?} with strides", tensor.dtype());
        return Err(unsupported(format!("{reason} {:?}", tensor.stride())));
    }
    let got = tensor.elem_count();
    if got == len { Ok(()) } else { Err(GpuError::Length { operand, expected: len, got }) }
}

fn on_device<G: Gpu>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<()> {
    let device = tensor.device();
    if gpu.reaches(device) {
        return Ok(());
    }
    Err(unsupported(format!("{operand} must be on the device and the stream of the kernels and is on {device:?}")))
}

#[cfg(feature = "cuda")]
trait Number: WithDType + CudaDType {}
#[cfg(feature = "cuda")]
impl<T: WithDType + CudaDType> Number for T {}
#[cfg(not(feature = "cuda"))]
trait Number: WithDType {}
#[cfg(not(feature = "cuda"))]
impl<T: WithDType> Number for T {}

fn first<G: Gpu, T: Number>(gpu: &G, operand: &'static str, tensor: &Tensor) -> Result<u64> {
    on_device(gpu, operand, tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(values) => {
            Ok(values.as_slice::<T>()?[layout.start_offset()..].as_ptr().expose_provenance() as u64)
        }
        #[cfg(feature = "cuda")]
        Storage::Cuda(values) => {
            let stream = values.device.cuda_stream();
            let (address, _in_order) = values.as_cuda_slice::<T>()?.device_ptr(&stream);
            Ok(address + (layout.start_offset() * size_of::<T>()) as u64)
        }
        _ => Err(unsupported(format!("{operand} is on a device that has no kernels"))),
    }
}

/// Takes the address of what it is to change.
struct AddressOf(Cell<u64>);

impl InplaceOp1 for AddressOf {
    fn name(&self) -> &'static str {
        "address of"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let CpuStorage::F32(values) = storage {
            self.0.set(values[layout.start_offset()..].as_mut_ptr().expose_provenance() as u64);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        self.0.set(match storage.dtype() {
            DType::F32 => first_of_gpu::<f32>(storage, layout)?,
            DType::F64 => first_of_gpu::<f64>(storage, layout)?,
            DType::U32 => first_of_gpu::<u32>(storage, layout)?,
            DType::U8 => first_of_gpu::<u8>(storage, layout)?,
            dtype => candle_core::bail!("no kernel writes {dtype:?}"),
        });
        Ok(())
    }
}

#[cfg(feature = "cuda")]
fn first_of_gpu<T: CudaDType>(storage: &mut candle_core::CudaStorage, layout: &Layout) -> candle_core::Result<u64> {
    let stream = storage.device.cuda_stream();
    let (address, _in_order) = storage.as_cuda_slice_mut::<T>()?.device_ptr_mut(&stream);
    Ok(address + (layout.start_offset() * size_of::<T>()) as u64)
}
