//! The error of fetching.

use std::io;
use std::path::PathBuf;

/// Why a data set was not fetched. What has arrived stays, and the next attempt goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No data set of this name.
    #[error("`{name}` cannot be fetched; the data sets are {known}")]
    Unknown {
        /// The name as given.
        name: String,
        /// The names of those that can be fetched.
        known: String,
    },
    /// A file's name is not that of a file in the folder.
    #[error("`{name}` is not the name of a file; use one without folders")]
    Name {
        /// The name.
        name: String,
    },
    /// The file of certificates that the environment names cannot be used.
    #[error("SSL_CERT_FILE = {reason}")]
    Certificates {
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// The server cannot be reached or does not have the file.
    #[error("{url} cannot be fetched: {reason}; what has arrived is kept, and fetching again goes on from there")]
    Network {
        /// Address of the file, without user, password and query.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// A file has arrived, but is not the one that was published.
    #[error("{url}: the file has the MD5 {found}, not the published {expected}; it was removed")]
    Checksum {
        /// Address of the file, without user, password and query.
        url: String,
        /// Digest of the file that arrived.
        found: String,
        /// Digest that the publisher states.
        expected: String,
    },
    /// Another process fetches the same file.
    #[error("{}: is being fetched by another process; wait until that ends, or name another folder", path.display())]
    InUse {
        /// The file that is being written.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file at fault.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
}

impl FetchError {
    /// Whether what was asked for is at fault, rather than the network or the machine.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Name { .. } | Self::Certificates { .. } | Self::InUse { .. } => true,
            Self::Network { .. } | Self::Checksum { .. } | Self::Io { .. } => false,
        }
    }
}
