//! Batch counts: `num_batches_tracked` of the batch norms, which files have in any number type.

/// The last part of a batch count's name.
pub(crate) const BATCH_COUNT: &str = "num_batches_tracked";

/// Whether a tensor of a state dictionary says how many batches a batch norm has seen. It is no weight, and may be absent.
///
/// # Examples
///
/// ```
/// use clsa_model::weights::is_batch_count;
///
/// assert!(is_batch_count("layer4.1.bn2.num_batches_tracked"));
/// assert!(!is_batch_count("layer4.1.bn2.running_mean"));
/// ```
pub fn is_batch_count(name: &str) -> bool {
    name.rsplit('.').next() == Some(BATCH_COUNT)
}
