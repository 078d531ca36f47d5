//! How much memory of a GPU is taken.

use crate::error::{GpuError, Result};
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use std::ffi::c_void;

/// Makes the highest memory what is taken now.
///
/// # Errors
/// The device is no GPU, or the driver fails.
pub fn forget_peak(device: &Device) -> Result<()> {
    with_peak(device, |pool, attribute| {
        let mut zero = 0u64;
        // SAFETY: the pool is the driver's own and the attribute a 64-bit number that can be set to zero.
        #[allow(unsafe_code)]
        unsafe {
            result::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast::<c_void>())
        }
    })
}

/// The highest memory that was taken from the driver's pool, bytes.
///
/// # Errors
/// The device is no GPU, or the driver fails.
pub fn peak(device: &Device) -> Result<u64> {
    with_peak(device, |pool, attribute| {
        let mut bytes = 0u64;
        // SAFETY: the pool is the driver's own and the attribute a 64-bit number, which the call writes.
        #[allow(unsafe_code)]
        unsafe {
            result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast::<c_void>())?;
        }
        Ok(bytes)
    })
}

fn with_peak<R>(
    device: &Device,
    f: impl FnOnce(sys::CUmemoryPool, sys::CUmemPool_attribute) -> std::result::Result<R, DriverError>,
) -> Result<R> {
    // SAFETY: the device was opened, so that the driver knows it, and its default pool lives as long as the driver.
    #[allow(unsafe_code)]
    let pool =
        unsafe { result::device::get_default_mem_pool(device.as_cuda_device()?.cuda_stream().context().cu_device()) };
    let used = pool.and_then(|pool| f(pool, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH));
    used.map_err(|error| GpuError::Call { call: "cuMemPoolGetAttribute", reason: error.to_string() })
}
