//! The nearest neighbours of images by their features.

use crate::Figure;
use serde::{Deserialize, Serialize};

/// How often the nearest training images are of a test image's class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalPrecision {
    /// Neighbours of each test image that are looked at.
    pub neighbours: usize,
    /// Share of them that are of its class, percent; none where images have not one class.
    pub precision: Option<Figure>,
}
