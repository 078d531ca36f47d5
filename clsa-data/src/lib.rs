//! Image data sets, decoding, and a deterministic prefetching loader.
//!
//! A [`Source`] is one string (`imagefolder:PATH`, `cifar-bin:PATH`, `procedural`, …) that opens as a [`Dataset`] of
//! one [`Split`]. A [`Loader`] reads, decodes and transforms its samples on threads of its own and hands out
//! [`Batch`]es; what a sample is turned into is up to a [`Transform`]. Order and content of an epoch depend only on the
//! seed and the epoch, never on the number of threads.

mod cifar;
mod dataset;
mod decode;
mod error;
mod flat;
mod imagefolder;
mod listing;
mod loader;
pub mod order;
mod procedural;
mod source;
mod transform;

pub use dataset::{Dataset, Encoded, Label, Presence, Split};
pub use decode::{Limits, decode, dimensions};
pub use error::{DataError, SampleError};
pub use loader::{BadSample, Batch, Batches, Loader, LoaderConfig, OnError};
pub use procedural::{Procedural, ProceduralOptions, Structure};
pub use source::Source;
pub use transform::{Sample, Transform};
