//! Opening a GPU for Candle, so that its work is in order and its memory stays in the pool.

use crate::driver_error::driver;
use crate::error::{GpuError, Result};
use crate::memory::keep_freed;
use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::{CudaDevice, Device};

/// Opens the GPU of this number, 0-based, for work on one stream.
///
/// Every thread's work is on that stream, in the order in which it was asked for. (Candle's `Device::new_cuda` takes the
/// per-thread default stream: what two threads do is then in no order.) With one stream no events are needed, and memory
/// that is freed stays in the driver's pool, where taking it again costs microseconds.
///
/// # Errors
/// There is no such GPU, or its driver does not answer.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal).map_err(|error| no_device(ordinal, &error))?;
    one_stream(device.as_cuda_device()?);
    keep_freed(&device)?;
    Ok(device)
}

/// How many GPUs this process sees.
///
/// # Errors
/// The driver does not answer.
pub fn device_count() -> Result<usize> {
    let count = CudaContext::device_count().map_err(driver("cuDeviceGetCount"))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Turns off the events that order several streams.
#[allow(unsafe_code)]
fn one_stream(device: &CudaDevice) {
    // SAFETY: this device has one stream, made when it was opened, and it is not known elsewhere yet.
    unsafe { device.disable_event_tracking() };
}

/// Candle's error without its backtrace.
fn no_device(ordinal: usize, error: &candle_core::Error) -> GpuError {
    let text = error.to_string();
    GpuError::NoDevice { ordinal, reason: text.lines().next().unwrap_or_default().to_owned() }
}
