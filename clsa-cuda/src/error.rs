//! What can go wrong on a GPU.

/// A failure of a GPU, its driver or its libraries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// A call of the driver or of cuDNN failed.
    #[error("{call}: {reason}")]
    Call {
        /// What was called, such as `cuMemAllocAsync`.
        call: &'static str,
        /// What it answered.
        reason: String,
    },
    /// A GPU could not be opened.
    #[error("GPU {ordinal} cannot be opened: {reason}")]
    NoDevice {
        /// Its number.
        ordinal: usize,
        /// What the driver says.
        reason: String,
    },
    /// cuDNN has no engine that computes this convolution with equal bits every time.
    #[error("cuDNN has no deterministic engine for {convolution}{}", reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))]
    NoEngine {
        /// Direction, type and shape.
        convolution: String,
        /// What cuDNN said last of one that it names; none where it names none that would do.
        reason: Option<String>,
    },
    /// An operand is of the wrong size.
    #[error("{operand} must have {expected} elements and has {got}")]
    Length {
        /// Its name among the function's parameters.
        operand: &'static str,
        /// Elements that it must have, or at least have where it is a buffer.
        expected: usize,
        /// Elements that it has.
        got: usize,
    },
    /// A shape, a tensor's type or its device is not supported.
    #[error("{reason}")]
    Unsupported {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result whose error is of a GPU.
pub type Result<T> = std::result::Result<T, GpuError>;
