//! Batch counts: `num_batches_tracked` of the batch norms, which files have in any number type.

/// Whether a tensor of that name is a batch count.
pub(super) fn is_count(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}
