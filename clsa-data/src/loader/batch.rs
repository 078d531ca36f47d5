//! A batch, whose storage returns to the loader.

use std::ops::Deref;
use std::time::Duration;

use crossbeam::channel::Sender;

use crate::label::Label;

/// A batch; dereferences to what the transform made of it ([`Transform::Batch`](crate::Transform::Batch)).
pub struct Batch<B> {
    /// Its number in the epoch.
    pub index: usize,
    /// The numbers of its samples in the data set.
    pub samples: Vec<usize>,
    /// Their labels.
    pub labels: Vec<Label>,
    /// How long the consumer waited for it.
    pub wait: Duration,
    /// `None` only while it is dropped.
    pub(super) storage: Option<B>,
    /// Where the storage goes; `None` for that of a batch that is not full.
    pub(super) recycle: Option<Sender<B>>,
}

impl<B> Deref for Batch<B> {
    type Target = B;

    fn deref(&self) -> &B {
        self.storage.as_ref().expect("storage is taken only on drop")
    }
}

impl<B> Drop for Batch<B> {
    fn drop(&mut self) {
        if let (Some(storage), Some(recycle)) = (self.storage.take(), &self.recycle) {
            // With enough storage at hand already, this one is freed.
            let _ = recycle.try_send(storage);
        }
    }
}
