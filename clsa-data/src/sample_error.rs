//! The error of a single sample.

use std::io;

use crate::printable::printable;
use crate::remote_error::RemoteError;

/// Why one sample cannot be turned into an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// Its bytes cannot be read: the file vanished, may not be read, or the archive ends early.
    #[error("{}: cannot be read: {error}", printable(name))]
    Read {
        /// Name of the sample.
        name: String,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// Its bytes are not an image that can be decoded.
    #[error("{}: cannot be decoded: {}", printable(name), printable(reason))]
    Decode {
        /// Name of the sample.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// The encoded sample is larger than [`Limits::max_bytes`](crate::Limits::max_bytes).
    #[error("{}: {bytes} bytes are more than the limit of {limit}", printable(name))]
    TooManyBytes {
        /// Name of the sample.
        name: String,
        /// Size of the encoded sample.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The image has more pixels than [`Limits::max_pixels`](crate::Limits::max_pixels).
    #[error("{}: {width}x{height} pixels are more than the limit of {limit}", printable(name))]
    TooManyPixels {
        /// Name of the sample.
        name: String,
        /// Width in pixels, from the header.
        width: u32,
        /// Height in pixels, from the header.
        height: u32,
        /// The limit.
        limit: u64,
    },
    /// The machine that it lies on does not give it: nothing is said of the image itself, and a loader never skips it.
    #[error(transparent)]
    Remote(RemoteError),
}

impl SampleError {
    /// Whether the image that was asked for is at fault, rather than the machine that reads it.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Read { error, .. } => names_nothing(error),
            Self::Remote(error) => error.is_request(),
            Self::Decode { .. } | Self::TooManyBytes { .. } | Self::TooManyPixels { .. } => true,
        }
    }

    /// Whether a store on another machine has failed, which says nothing of the image.
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

/// Whether reading failed because of what was named: nothing is there, it is of another sort, or it may not be read.
pub(crate) fn names_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | IsADirectory)
}
