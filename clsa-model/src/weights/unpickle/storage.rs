//! Storages and the tensors that are views of them, as a pickle describes them.

use super::element::Element;
use crate::weights::error::{WeightFileError, fail};
use crate::weights::tensor_bytes::can_be_laid_out;

/// Dimensions a tensor may have.
pub(in super::super) const MAX_RANK: usize = 8;

/// A storage as the pickle describes it; its values are elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Storage {
    pub key: String,
    pub element: Element,
    /// Elements of the whole storage.
    pub len: u64,
    /// The part of it that is meant, as first element and length (legacy files).
    pub view: Option<(u64, u64)>,
}

impl Storage {
    /// Checks that the file has as many bytes of it as the pickle says.
    pub fn check_len(&self, bytes: u64) -> Result<(), WeightFileError> {
        if self.len.checked_mul(self.element.size as u64) == Some(bytes) {
            Ok(())
        } else {
            fail(format!("is damaged: its storage {} has {bytes} bytes instead of what its tensors need", self.key))
        }
    }
}

/// A tensor as a strided view of a storage, as the pickle describes it: whether it lies inside is seen by [`Self::check`].
#[derive(Clone, Debug)]
pub(in super::super) struct StridedView {
    pub storage: Storage,
    /// What the tensor holds; the storage may be of bytes.
    pub element: Element,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

impl StridedView {
    /// Checks that the view is inside its storage, has no more elements than it, and can be laid out.
    pub fn check(&self) -> Result<(), WeightFileError> {
        let damaged = || WeightFileError::new("is damaged: a tensor reaches beyond its storage");
        if self.shape.len() != self.stride.len() || self.shape.len() > MAX_RANK || !can_be_laid_out(&self.shape) {
            return Err(damaged());
        }
        let storage = &self.storage;
        let len = storage.view.map_or(storage.len, |(_, len)| len);
        // Both are below 2^62 and sizes below 17.
        let len = (u128::from(len) * storage.element.size as u128 / self.element.size as u128) as u64;
        let elements = self.shape.iter().product::<usize>() as u64;
        let mut last = self.offset;
        for (&dim, &step) in self.shape.iter().zip(&self.stride) {
            let reach = (dim as u64).saturating_sub(1).checked_mul(step as u64).ok_or_else(damaged)?;
            last = last.checked_add(reach).ok_or_else(damaged)?;
        }
        if elements > 0 && last >= len {
            return Err(damaged());
        }
        if elements > len {
            return fail("has a tensor that repeats its elements, as expand() makes: save its contiguous() copy");
        }
        Ok(())
    }

    /// The first byte in the storage of the element 0, if there is one and [`Self::check`] has seen it.
    pub fn first_byte(&self) -> usize {
        let (first, _) = self.storage.view.unwrap_or_default();
        first as usize * self.storage.element.size + self.offset as usize * self.element.size
    }
}
