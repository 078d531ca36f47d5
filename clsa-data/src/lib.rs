//! Image data sets, decoding, and a deterministic prefetching loader.
//!
//! A [`Source`] is one string (`imagefolder:PATH`, `cifar-bin:PATH`, `procedural`, …) that opens as a [`Dataset`] of
//! one [`Split`]. A [`Loader`] reads, decodes and transforms its samples on threads of its own and hands out
//! [`Batch`]es; what a sample is turned into is up to a [`Transform`]. Order and content of an epoch depend only on the
//! seed and the epoch, never on the number of threads.

/// The examples of the README are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cifar;
mod dataset;
mod decode;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
mod flat;
pub mod idx;
mod image_files;
mod imagefolder;
pub mod inspect;
mod jpeg;
mod listing;
mod loader;
pub mod order;
pub mod pack;
#[cfg(feature = "parquet")]
mod parquet_images;
pub mod pattern;
mod planes;
mod procedural;
mod progress;
pub mod shard_index;
mod source;
mod transform;
pub mod verify;
pub mod voc;
mod wds;

pub use dataset::{Dataset, Encoded, Label, Presence, Split};
pub use decode::{Limits, decode, dimensions};
pub use error::{DataError, SampleError};
pub use loader::{BadSample, Batch, Batches, Loader, LoaderConfig, OnError};
pub use procedural::{Procedural, ProceduralOptions, Structure};
pub use progress::Progress;
pub use source::{Source, Splits};
pub use transform::{Sample, Transform};
