//! What is known of a sample: nothing, one class, or the presence of each class.

use std::sync::Arc;

/// Whether a class is in a picture (VOC classification: -1, 0 and 1). Part of [`Label::Multi`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// No object of the class: a negative.
    Absent,
    /// Only objects marked difficult: neither a positive nor a negative.
    Difficult,
    /// At least one object that is not marked difficult: a positive.
    Present,
}

/// What is known of a sample; [`Dataset::label`](crate::Dataset::label) returns it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Nothing.
    None,
    /// One class, an index into [`Dataset::class_names`](crate::Dataset::class_names).
    Class(u32),
    /// For each class of [`Dataset::class_names`](crate::Dataset::class_names), whether it is in the picture.
    Multi(Arc<[Presence]>),
}

impl Label {
    /// The class, where there is exactly one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Label::Class(class) => Some(*class),
            Label::None | Label::Multi(_) => None,
        }
    }
}

/// More classes than these are taken for damage, where numbers stand for classes.
pub(crate) const MAX_CLASSES: i64 = 1_000_000;

/// Labels of the samples of a split, in its order.
pub(crate) enum Labels {
    None,
    Class(Vec<u32>),
    Multi(Vec<Arc<[Presence]>>),
}

impl Labels {
    pub(crate) fn get(&self, index: usize) -> Label {
        match self {
            Self::None => Label::None,
            Self::Class(labels) => Label::Class(labels[index]),
            Self::Multi(labels) => Label::Multi(Arc::clone(&labels[index])),
        }
    }
}
