//! The names in a checkpoint of a training run, which is one safetensors file: what [`read`](super::read) looks for, and
//! what the owner of checkpoints writes.

/// What every version's `format` entry of the metadata begins with.
pub(super) const FORMAT_FAMILY: &str = "clsa-checkpoint-";

/// The `format` entry of the version that is read.
pub const FORMAT: &str = "clsa-checkpoint-1";

/// What the names of the query encoder's tensors begin with; torchvision's name follows.
pub const QUERY: &str = "query.";

/// As [`QUERY`], of the key encoder's.
pub const KEY: &str = "key.";

/// What the names of the optimizer's tensors begin with; they are ignored.
pub const OPTIMIZER: &str = "optimizer.";

/// What the names of the online probe's tensors begin with; they are ignored.
pub const PROBE: &str = "probe.";

/// Batch norm's running statistics of each rank, (ranks, S), where the encoders' are their mean; they are ignored.
pub const STATISTICS: &str = "ranks.statistics";

/// The memory bank, (K, dim).
pub const BANK: &str = "bank.rows";
