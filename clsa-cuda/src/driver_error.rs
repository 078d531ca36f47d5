//! Errors of the driver's calls.

use candle_core::cuda_backend::cudarc::driver::DriverError;

use crate::error::GpuError;

/// The error of a call of the driver.
pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> GpuError {
    move |error| GpuError::Call { call, reason: reason(error) }
}

/// The error of a call of the driver for a kernel.
pub(crate) fn at_kernel(name: &'static str, call: &str, symbol: &str, error: DriverError) -> GpuError {
    GpuError::Call { call: name, reason: format!("{call} of {symbol}: {}", reason(error)) }
}

/// The driver's name for an error and what it means.
fn reason(error: DriverError) -> String {
    let meaning = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{:?} {meaning}", error.0).trim_end().to_owned()
}
