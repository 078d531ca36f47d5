#![doc = include_str!("../README.md")]

mod agreement;
pub mod bench;
mod communicator;
mod contact_sheet;
mod error;
mod feed;
mod first_batch;
mod gradient_buckets;
mod image_bytes;
mod initial;
mod knn_monitor;
mod label_free_monitor;
mod losses;
mod make_views;
mod method;
mod monitored_images;
#[cfg(feature = "mpi")]
mod mpi_ranks;
#[cfg(feature = "nccl")]
mod nccl_ranks;
mod optimizer;
mod probe_monitor;
mod projector;
mod recorded;
#[cfg(any(test, feature = "nccl"))]
mod rendezvous;
pub mod replay;
#[cfg(any(test, feature = "mpi", feature = "nccl"))]
mod route;
mod same_everywhere;
#[cfg(test)]
mod second_rank;
mod setup;
mod shuffle_bn;
mod trainer;
mod view_batch;
mod view_loader;

pub use agreement::{gather_bytes, sentence};
pub use candle_core;
pub use clsa_augment;
pub use clsa_data;
pub use clsa_eval;
pub use clsa_loss;
pub use clsa_model;
pub use clsa_run;
pub use communicator::{Communicator, PendingMean, SingleProcess};
pub use error::{Result, TrainError};
pub use image_bytes::ImageBytes;
pub use initial::{InitialWeights, Taken};
pub use label_free_monitor::LabelFreeMonitor;
pub use losses::StepReport;
pub use make_views::MakeViews;
pub use method::{Clsa, Views};
pub use monitored_images::has_classes;
#[cfg(feature = "mpi")]
pub use mpi_ranks::Mpi;
#[cfg(feature = "nccl")]
pub use nccl_ranks::Nccl;
pub use optimizer::Optimizer;
pub use setup::{build, check_data};
pub use shuffle_bn::Shuffle;
pub use trainer::{Datasets, End, Observer, Trainer, TrainerConfig};
pub use view_batch::ViewBatch;
