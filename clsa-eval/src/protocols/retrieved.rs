//! What a retrieval finds.

use serde::Serialize;

/// An image and those that are nearest to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retrieved {
    /// Number of the query among the test images, or the training images where there are no test images.
    pub query: usize,
    /// Numbers of its neighbors among the training images, nearest first.
    #[serde(rename = "neighbours")]
    pub neighbors: Vec<usize>,
}
