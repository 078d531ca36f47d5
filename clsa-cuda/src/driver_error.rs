//! Errors of the driver's calls.

use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use crate::error::GpuError;

/// The error of a call of the driver.
pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> GpuError {
    move |error| GpuError::Call { call, reason: reason(error) }
}

/// The error of a call of the driver for a kernel.
pub(crate) fn at_kernel(name: &'static str, call: &str, symbol: &str, error: DriverError) -> GpuError {
    GpuError::Call { call: name, reason: format!("{call} of {symbol}: {}", reason(error)) }
}

/// Makes a call after which memory is written or given away, such as a wait, and makes it again where it fails: where an error
/// was recorded when something was dropped, cudarc's first call only tells of that. The result is the first call's.
pub(crate) fn insist(call: impl Fn() -> Result<(), DriverError>) -> Result<(), DriverError> {
    call().inspect_err(|_| {
        let _ = call();
    })
}

/// The same where nobody can be told: the next call on the context tells of an error.
pub(crate) fn insist_and_record(context: &CudaContext, call: impl Fn() -> Result<(), DriverError>) {
    context.record_err(insist(call));
}

/// The driver's name for an error and what it means.
fn reason(error: DriverError) -> String {
    let meaning = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{:?} {meaning}", error.0).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use candle_core::cuda_backend::cudarc::driver::sys::cudaError_enum::CUDA_ERROR_UNKNOWN;

    use super::*;

    #[test]
    fn what_an_earlier_error_has_kept_from_being_done_is_done_and_the_error_is_told() {
        let (recorded, done) = (Cell::new(true), Cell::new(0));
        let wait = || {
            if recorded.replace(false) {
                return Err(DriverError(CUDA_ERROR_UNKNOWN));
            }
            done.set(done.get() + 1);
            Ok(())
        };
        assert!(insist(wait) == Err(DriverError(CUDA_ERROR_UNKNOWN)));
        assert_eq!(done.get(), 1);
        assert!(insist(wait) == Ok(()));
        assert_eq!(done.get(), 2);
    }
}
