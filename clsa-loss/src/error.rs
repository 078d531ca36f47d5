//! What can be wrong with a call.

use candle_core::{DType, Shape};
use clsa_cpu::UnavailableInstructionSet;

use crate::Argument;

/// Why a loss was not computed or a bank not made. Every message names the argument at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A temperature is zero, negative, infinite or NaN, or its reciprocal is 0 or infinite in the views' dtype.
    #[error(
        "`{argument}` is {value}: a temperature and, in the views' dtype, one over it must be finite and above zero"
    )]
    Temperature {
        /// `temperature` or `ddm_temperature`.
        argument: &'static str,
        /// The value given.
        value: f64,
    },
    /// The weight of the DDM term is negative, infinite or NaN.
    #[error("`alpha` is {value}: the weight of the DDM term must be finite and at least zero")]
    Alpha {
        /// The value given.
        value: f64,
    },
    /// A tensor has the wrong shape.
    #[error("`{argument}` has shape {got:?}, where {expected} is needed")]
    Shape {
        /// The argument, for example `strong[2]`.
        argument: String,
        /// What would have been right.
        expected: String,
        /// What was given.
        got: Shape,
    },
    /// A tensor has a dtype that is not supported here, or not the one of the other arguments.
    #[error("`{argument}` is {got:?}, where {expected} is needed")]
    DType {
        /// The argument, for example `weak[0]`.
        argument: String,
        /// What would have been right.
        expected: String,
        /// What was given.
        got: DType,
    },
    /// A tensor is on another device than the other arguments, or than the requested backend runs on.
    #[error("`{argument}` is on {got}, where {expected} is needed")]
    Device {
        /// The argument, for example `keys`.
        argument: String,
        /// What would have been right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A tensor holds an infinite value or NaN.
    #[error("`{argument}` holds a value that is infinite or not a number")]
    NotFinite {
        /// The argument, for example `weak[0]`.
        argument: String,
    },
    /// A pending loss was asked for the gradient to a view that it does not have.
    #[error("`{view}` is no view of this loss, which has {views} of its kind")]
    NoView {
        /// The view asked for.
        view: Argument,
        /// How many weak or strong views there are.
        views: usize,
    },
    /// A pending loss was given the numbers of another one.
    #[error("`measures` has {got} numbers, where the {expected} of this loss are needed")]
    Measures {
        /// How many this loss has.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// There is nothing to compare with: no keys, or none that are negatives, and an empty bank, or none.
    #[error("`keys` has no rows or `batch_negatives` is false, and `bank` is empty or missing: there is no negative")]
    NoCandidates,
    /// In-batch comparison needs a second weak view, which holds the positives.
    #[error("`weak` holds {got} views: in-batch candidates need at least 2, each the positive of the others")]
    TooFewViews {
        /// The number of weak views given.
        got: usize,
    },
    /// Of a kind of views that a term is of, none is given.
    #[error("`{argument}` is empty, where at least one view is needed")]
    NoViews {
        /// `weak` or `strong`.
        argument: &'static str,
    },
    /// The positive columns reach beyond the keys.
    #[error(
        "`first_positive` is {first_positive}: with a batch of {batch}, `keys` needs at least {} rows and has {keys}",
        first_positive.saturating_add(*batch)
    )]
    Positive {
        /// The column of the first sample's positive.
        first_positive: usize,
        /// Samples in the batch.
        batch: usize,
        /// Rows of `keys`.
        keys: usize,
    },
    /// The write position of a bank lies outside its rows.
    #[error("`pointer` is {pointer}: a bank of {rows} rows needs a pointer below that")]
    Pointer {
        /// The value given.
        pointer: usize,
        /// Rows of the bank.
        rows: usize,
    },
    /// A bank of this size does not fit in memory.
    #[error("`k` is {k} and `d` is {d}: a bank of {k} keys of {d} components does not fit in memory")]
    BankSize {
        /// Keys.
        k: usize,
        /// Components of a key.
        d: usize,
    },
    /// `CLSA_KERNELS` names no instruction set of this processor.
    #[error(transparent)]
    Kernels(#[from] UnavailableInstructionSet),
    /// A GPU's kernels, its driver or its libraries failed.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Gpu(#[from] clsa_cuda::GpuError),
    /// Candle failed, for example because memory ran out.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl LossError {
    /// Whether the request is wrong: an argument, a setting or the environment. Otherwise the run failed: a value is not
    /// finite, or Candle could not compute.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Temperature { .. }
            | Self::Alpha { .. }
            | Self::Shape { .. }
            | Self::DType { .. }
            | Self::Device { .. }
            | Self::NoView { .. }
            | Self::Measures { .. }
            | Self::NoCandidates
            | Self::TooFewViews { .. }
            | Self::NoViews { .. }
            | Self::Positive { .. }
            | Self::Pointer { .. }
            | Self::BankSize { .. }
            | Self::Kernels(_) => true,
            #[cfg(feature = "cuda")]
            Self::Gpu(_) => false,
            Self::NotFinite { .. } | Self::Candle(_) => false,
        }
    }
}
