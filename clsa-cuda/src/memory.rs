//! Memory of a GPU: how much of it is taken, and what becomes of it when it is freed.

use crate::driver_error::driver;
use crate::error::Result;
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr, result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// Memory with unspecified contents, and its address.
#[allow(unsafe_code)]
pub(crate) fn allocate(stream: &Arc<CudaStream>, bytes: usize) -> Result<(CudaSlice<u8>, u64)> {
    // SAFETY: nothing is read from it here; whoever reads it writes it first, on the same stream.
    let memory = unsafe { stream.alloc::<u8>(bytes) }.map_err(driver("cuMemAllocAsync"))?;
    let (address, _) = memory.device_ptr(stream);
    Ok((memory, address))
}

/// The highest memory that was taken from the driver's pool since [`peak_from_now`] or since the process began, bytes.
///
/// # Errors
/// The device is no GPU, or the driver fails.
#[allow(unsafe_code)]
pub fn peak(device: &Device) -> Result<u64> {
    let pool = pool(device)?;
    let mut bytes = 0u64;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the pool is the driver's own and the attribute a 64-bit number, which the call writes.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast::<c_void>()) }
        .map_err(driver("cuMemPoolGetAttribute"))?;
    Ok(bytes)
}

/// Makes the highest memory what is taken when everything that was asked for is done, and returns it, bytes.
///
/// # Errors
/// The device is no GPU, or the driver fails.
pub fn peak_from_now(device: &Device) -> Result<u64> {
    // Freed memory counts until the stream has come to where it was freed.
    device.synchronize()?;
    // The driver takes 0 for what is taken now, and nothing else.
    set(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)?;
    peak(device)
}

/// Sets the threshold above which the driver's pool gives freed memory back to the system when it is waited for. Its
/// default is 0.
pub(crate) fn keep_freed(device: &Device) -> Result<()> {
    set(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)
}

#[allow(unsafe_code)]
fn set(device: &Device, attribute: sys::CUmemPool_attribute, mut value: u64) -> Result<()> {
    let pool = pool(device)?;
    // SAFETY: the pool is the driver's own and the attribute a number of at most 64 bits, which the call reads.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut value).cast::<c_void>()) }
        .map_err(driver("cuMemPoolSetAttribute"))
}

/// The pool that a GPU's memory comes from.
#[allow(unsafe_code)]
fn pool(device: &Device) -> Result<sys::CUmemoryPool> {
    let device = device.as_cuda_device()?.cuda_stream().context().cu_device();
    // SAFETY: the device was opened, so that the driver knows it, and its default pool lives as long as the driver.
    unsafe { result::device::get_default_mem_pool(device) }.map_err(driver("cuDeviceGetDefaultMemPool"))
}
