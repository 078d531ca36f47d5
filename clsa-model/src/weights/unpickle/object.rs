//! What a pickle is made of.

use super::global::Global;
use super::storage::{Storage, StridedView};
use crate::weights::error::{WeightFileError, fail};

/// The place of an object in [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Id(pub(super) u32);

/// An object of the pickle.
#[derive(Clone, Debug)]
pub(in super::super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<StridedView>),
    /// A tensor whose values do not lie in a storage as they are: what it is.
    Unusual(&'static str),
    /// A tensor that the legacy tar form keeps outside the pickle, by its key.
    TensorKey(i128),
    /// A `Parameter` whose tensor is in the state that follows.
    Parameter,
    /// A plain value that nothing here looks at: bytes, a set, a device, a long text.
    Other,
}

impl Object {
    /// The parts of a tuple or list.
    pub fn parts(&self) -> Result<&[Id], WeightFileError> {
        match self {
            Self::Tuple(parts) | Self::List(parts) => Ok(parts),
            _ => fail("is damaged: its pickle has something else where a tuple belongs"),
        }
    }
}
