//! Which tensor of a file is which: query encoder, key encoder or bank.

use super::checkpoint;
use super::error::{WeightFileError, fail};

/// The tensors of a file by their part in the method, each as (torchvision's name, name in the file).
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub query: Vec<(String, String)>,
    pub key: Vec<(String, String)>,
    pub bank: Option<Bank>,
}

/// The memory bank.
#[derive(Debug)]
pub(super) struct Bank {
    pub stored: String,
    /// Whether it is stored as (dim, K), as MoCo's queue is.
    pub transposed: bool,
}

impl Roles {
    /// Sorts the names. A file without the prefixes of a checkpoint is one network.
    pub fn of(names: &[String]) -> Result<Self, WeightFileError> {
        // DistributedDataParallel's prefix.
        let prefix = if names.iter().all(|name| name.starts_with("module.")) { "module." } else { "" };
        let has = |part: &str| names.iter().any(|name| name[prefix.len()..].starts_with(part));
        let moco = has("encoder_q.");
        let own = has(checkpoint::QUERY);
        let mut roles = Self::default();
        let mut unexpected = Vec::new();
        for stored in names {
            let name = &stored[prefix.len()..];
            let entry = |name: &str| (name.to_owned(), stored.clone());
            if moco {
                if let Some(name) = name.strip_prefix("encoder_q.") {
                    roles.query.push(entry(name));
                } else if let Some(name) = name.strip_prefix("encoder_k.") {
                    roles.key.push(entry(name));
                } else if name == "queue" {
                    roles.bank = Some(Bank { stored: stored.clone(), transposed: true });
                } else if name != "queue_ptr" {
                    unexpected.push(stored.as_str());
                }
            } else if own {
                if let Some(name) = name.strip_prefix(checkpoint::QUERY) {
                    roles.query.push(entry(name));
                } else if let Some(name) = name.strip_prefix(checkpoint::KEY) {
                    roles.key.push(entry(name));
                } else if name == checkpoint::BANK {
                    roles.bank = Some(Bank { stored: stored.clone(), transposed: false });
                } else if !name.starts_with(checkpoint::OPTIMIZER) {
                    unexpected.push(stored.as_str());
                }
            } else {
                roles.query.push(entry(name));
            }
        }
        if unexpected.is_empty() {
            Ok(roles)
        } else {
            unexpected.sort_unstable();
            fail(format!("is a checkpoint with tensors that belong to no part of it: {}", unexpected.join(", ")))
        }
    }
}
