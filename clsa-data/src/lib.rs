#![doc = include_str!("../README.md")]

mod address;
mod dataset;
mod decode;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
mod guard;
mod image_files;
mod in_order;
pub mod inspect;
mod joined;
mod jpeg;
mod label;
mod listing;
mod loader;
mod object;
pub mod order;
pub mod pack;
mod pattern;
mod planes;
mod printable;
mod random;
#[cfg(feature = "remote")]
mod remote;
mod remote_error;
mod sample_error;
pub mod shard_index;
mod source;
mod sources;
mod split;
mod text;
mod transform;
#[cfg(any(feature = "fetch", feature = "remote"))]
mod trusted_roots;
pub mod verify;
mod wildcards;

pub use dataset::{Dataset, Encoded};
pub use decode::{Limits, decode, decode_file, dimensions};
pub use error::{DataError, Fault, NoSplit};
pub use guard::is_guarded;
pub use image;
pub use label::{Label, Presence};
pub use loader::{BadSample, Batch, Batches, Loader, LoaderConfig, OnError};
pub use remote_error::{RemoteError, RemoteFault};
pub use sample_error::SampleError;
pub use source::{Source, SourcePart, Splits, are_same};
pub use sources::SourceKind;
pub use sources::procedural::{Procedural, ProceduralOptions, Structure};
pub use split::Split;
pub use transform::{Sample, Transform};

/// The parsers of files and texts, for the fuzz target; they change without notice.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::pattern::expand_braces;
    pub use crate::shard_index::format::ShardIndex;
    pub use crate::shard_index::scan::scan_reader;
    pub use crate::sources::idx::parse_idx;
    pub use crate::sources::list::parse as parse_list;
    pub use crate::sources::voc::parse_annotation;
    pub use crate::text::{decode_text, decode_xml};
}
