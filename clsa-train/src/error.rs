//! What can go wrong in this crate.

use clsa_data::{DataError, SampleError};
use clsa_eval::EvalError;
use clsa_loss::LossError;
use clsa_model::ModelError;
use clsa_run::{CheckpointError, MetricsError, RunError};
use thiserror::Error;

/// An error of the training crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A key of the configuration does not fit the data.
    #[error("{key}: {reason}")]
    Unfit {
        /// The key, with its value where that is at fault.
        key: String,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A batch without weak views.
    #[error("a step needs at least one weak view")]
    NoWeakView,
    /// A view of other images than the key view is of.
    #[error("a view of shape {shape:?} in a batch of {samples} samples; a view has (samples, 3, height, width)")]
    View {
        /// Its shape.
        shape: Vec<usize>,
        /// Samples of the key view.
        samples: usize,
    },
    /// A batch that cannot be divided into the parts that it is computed in.
    #[error("a batch of {samples} samples cannot be computed in {parts} equal parts")]
    Parts {
        /// The parts.
        parts: usize,
        /// Samples of the batch.
        samples: usize,
    },
    /// A view whose embedding, key or loss is NaN or infinite.
    #[error("the {what} is not finite")]
    NotFinite {
        /// The value at fault and its view, such as `embedding of weak view 0`.
        what: String,
    },
    /// A rank met a value that is NaN or infinite, so that all end.
    #[error("rank {rank}: the {what} is not finite")]
    NotFiniteOnRank {
        /// The first such rank.
        rank: usize,
        /// The value at fault there and its view.
        what: String,
    },
    /// A rank failed, so that all end.
    #[error("rank {rank}: {reason}")]
    OnRank {
        /// The rank.
        rank: usize,
        /// Why, as it has told the others.
        reason: String,
        /// Whether what was asked for is wrong.
        is_request: bool,
        /// Whether a store of images has failed.
        is_of_store: bool,
        /// Whether there is nothing wrong but images.
        is_of_images: bool,
        /// Whether training left the finite numbers, see [`TrainError::is_divergence`].
        is_divergence: bool,
    },
    /// Ranks that cannot train together.
    #[error("rank {rank} has {what}; start every rank with the same program, configuration and images")]
    RankDiffers {
        /// The first rank that differs from rank 0.
        rank: usize,
        /// What it has, and what rank 0 has.
        what: String,
    },
    /// Ranks whose states have become different.
    #[error(
        "after epoch {epoch}, {tensor} of rank {rank} is not that of rank 0: the ranks have drifted apart; go on from the last checkpoint, \
         and check the memory and the network of that rank's machine if it happens again"
    )]
    Drifted {
        /// Epochs that are done.
        epoch: u64,
        /// The first tensor that differs.
        tensor: String,
        /// The first rank where it does.
        rank: usize,
    },
    /// Training left the finite numbers.
    #[error("training stopped at step {step} with learning rate {lr}")]
    Diverged {
        /// The step, the first is 1.
        step: u64,
        /// Its learning rate.
        lr: f64,
        /// The value at fault.
        source: Box<TrainError>,
    },
    /// A step failed.
    #[error("step {step}")]
    Step {
        /// The step, the first is 1.
        step: u64,
        /// Why.
        source: Box<TrainError>,
    },
    /// A gradient is not of its parameter's shape.
    #[error("the gradient of {parameter} has shape {gradient:?}, which is not the parameter's")]
    Update {
        /// The parameter's name.
        parameter: String,
        /// The gradient's shape.
        gradient: Vec<usize>,
    },
    /// A memory bank of the configured size could not be made.
    #[error("method.bank = {keys}: no such bank can be made")]
    Bank {
        /// Keys in the bank.
        keys: usize,
        /// Why.
        source: LossError,
    },
    /// The device cannot compute with the numbers that the bank is kept in.
    #[error("compute.bank = {dtype}: {device} does not compute with it; use f32")]
    BankType {
        /// The numbers.
        dtype: &'static str,
        /// The device.
        device: String,
        /// Why.
        source: candle_core::Error,
    },
    /// Too many images of a monitor cannot be read.
    #[error(
        "{bad} of the {images} images of the {monitor} are bad, more than data.max_bad_fraction allows ({limit} %)"
    )]
    TooManyBad {
        /// Which monitor.
        monitor: &'static str,
        /// Bad images.
        bad: usize,
        /// Images of the monitor.
        images: usize,
        /// The most that are allowed, percent.
        limit: f64,
    },
    /// A trajectory asks for a tensor that the architecture lacks.
    #[error("the case asks for {name}, which this architecture does not have")]
    NoSuchTensor {
        /// The tensor.
        name: String,
    },
    /// The images cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An image cannot be read.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A monitor, the probe or a picture of images failed.
    #[error(transparent)]
    Eval(Box<EvalError>),
    /// The loss failed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// An encoder failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tensor operation failed, or another rank is gone.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The run's folder is not as it should be, or a file in it cannot be written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Records cannot be written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl From<EvalError> for TrainError {
    fn from(error: EvalError) -> Self {
        Self::Eval(Box::new(error))
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, TrainError>;

impl TrainError {
    /// Whether a store of images on another machine has failed: nothing is wrong with the run, which may go on later.
    pub fn is_of_store(&self) -> bool {
        if let Self::OnRank { is_of_store, .. } = self {
            return *is_of_store;
        }
        matches!(self, Self::Data(DataError::Remote(_)))
            || matches!(self, Self::Sample(error) if error.is_of_store())
            || matches!(self, Self::Eval(error) if matches!(&**error, EvalError::Sample(error) if error.is_of_store()))
    }

    /// Whether nothing is wrong but images, which cannot be read or used, or whose store has failed: what is trained is worth a
    /// checkpoint.
    pub fn is_of_images(&self) -> bool {
        if let Self::OnRank { is_of_images, .. } = self {
            return *is_of_images;
        }
        let is_of_sample = |error: &DataError| {
            matches!(error, DataError::TooManyBad { .. } | DataError::BadSample(_) | DataError::Transform { .. })
        };
        self.is_of_store()
            || matches!(self, Self::TooManyBad { .. } | Self::Sample(_))
            || matches!(self, Self::Data(error) if is_of_sample(error))
            || matches!(self, Self::Eval(error) if error.is_of_image())
    }

    /// Whether training left the finite numbers: in a step, or in the state of which a checkpoint was to be written.
    pub fn is_divergence(&self) -> bool {
        if let Self::OnRank { is_divergence, .. } = self {
            return *is_divergence;
        }
        matches!(self, Self::Diverged { .. } | Self::Checkpoint(CheckpointError::NotWritten { .. }))
    }

    /// Whether every rank has this error, so that none waits for this one.
    pub fn is_of_all_ranks(&self) -> bool {
        match self {
            Self::OnRank { .. } | Self::NotFiniteOnRank { .. } | Self::RankDiffers { .. } | Self::Drifted { .. } => {
                true
            }
            Self::Diverged { source, .. } | Self::Step { source, .. } => source.is_of_all_ranks(),
            Self::Unfit { .. }
            | Self::NoWeakView
            | Self::View { .. }
            | Self::Parts { .. }
            | Self::NotFinite { .. }
            | Self::Update { .. }
            | Self::Bank { .. }
            | Self::BankType { .. }
            | Self::TooManyBad { .. }
            | Self::NoSuchTensor { .. }
            | Self::Data(_)
            | Self::Sample(_)
            | Self::Eval(_)
            | Self::Loss(_)
            | Self::Model(_)
            | Self::Tensor(_)
            | Self::Run(_)
            | Self::Checkpoint(_)
            | Self::Metrics(_) => false,
        }
    }

    /// Whether what was asked for is wrong, rather than the machine or the course of the training.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Unfit { .. }
            | Self::NoWeakView
            | Self::View { .. }
            | Self::Parts { .. }
            | Self::NoSuchTensor { .. }
            | Self::RankDiffers { .. } => true,
            Self::OnRank { is_request, .. } => *is_request,
            Self::NotFinite { .. }
            | Self::NotFiniteOnRank { .. }
            | Self::Drifted { .. }
            | Self::Diverged { .. }
            | Self::Update { .. }
            | Self::Bank { .. }
            | Self::BankType { .. }
            | Self::TooManyBad { .. }
            // The data were opened and looked at before: what fails now, fails in the course of the training.
            | Self::Data(_)
            | Self::Sample(_)
            | Self::Eval(_)
            | Self::Tensor(_) => false,
            Self::Step { source, .. } => source.is_request(),
            Self::Loss(error) => error.is_request(),
            Self::Model(error) => error.is_request(),
            Self::Run(error) => error.is_request(),
            Self::Checkpoint(error) => error.is_request(),
            Self::Metrics(error) => error.is_request(),
        }
    }
}
