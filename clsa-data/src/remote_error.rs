//! The error of an object on another machine.

use crate::printable::printable;

/// Why an object on another machine cannot be read, in one sentence that names its address; user, password and query of an
/// address are never in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", printable(address), printable(reason))]
#[non_exhaustive]
pub struct RemoteError {
    /// The address of the object, or the pattern of such.
    pub address: String,
    /// What is wrong, for programs.
    pub fault: RemoteFault,
    /// What is wrong, for people.
    pub reason: String,
}

/// What is wrong with an object on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteFault {
    /// It is not there.
    Missing,
    /// It may not be read with these credentials, or without any.
    Forbidden,
    /// The server does not give parts of files.
    NoRanges,
    /// It is another one than when it was opened.
    Changed,
    /// No whole answer came, however often it was asked for.
    Unreachable,
}

impl RemoteError {
    /// Whether what was asked for is at fault, rather than the network or the server.
    pub fn is_request(&self) -> bool {
        match self.fault {
            RemoteFault::Missing | RemoteFault::Forbidden | RemoteFault::NoRanges => true,
            RemoteFault::Changed | RemoteFault::Unreachable => false,
        }
    }
}
