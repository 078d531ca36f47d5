//! Which tensor of a file is which: query encoder, key encoder, bank, or a head of another method.

use super::checkpoint;
use super::error::{WeightFileError, fail};
use super::foreign_head;
use super::hugging_face::torchvision_name;
use std::collections::{HashMap, HashSet};

/// Parts of names that say how a network was trained and nothing of it: of DistributedDataParallel, `torch.compile`, FSDP and
/// activation checkpointing. They are left out wherever they stand.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// What query and key encoder are called: by MoCo v1 and v2 and CLSA, by MoCo v3, by solo-learn.
const ENCODERS: [(&str, &str); 3] =
    [("encoder_q.", "encoder_k."), ("base_encoder.", "momentum_encoder."), ("backbone.", "momentum_backbone.")];

/// MoCo's bank, (dim, K), beside its two encoders.
const QUEUE: &str = "queue";

/// The column that MoCo's bank writes next, which nothing here needs.
const QUEUE_POINTER: &str = "queue_ptr";

/// What solo-learn's methods have beside the backbone. Their queues are not MoCo's: (2, dim, K) in MoCo v2+, (K, dim) in ReSSL and
/// NNCLR.
const STORES: [&str; 3] = [QUEUE, QUEUE_POINTER, "queue_y"];

/// The tensors that every network of this crate has, by which it is found under a prefix.
const ANCHORS: [&str; 2] = ["conv1.weight", "layer1.0.conv1.weight"];

/// The tensors of a file by their part in the method, each as (torchvision's name, name in the file).
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub query: Vec<(String, String)>,
    pub key: Vec<(String, String)>,
    pub bank: Option<Bank>,
    /// The tensors, as the file names them, of heads and queues that this project does not have.
    pub foreign: Vec<String>,
}

/// The memory bank.
#[derive(Debug)]
pub(super) struct Bank {
    pub stored: String,
    /// Whether it is stored as (dim, K), as MoCo's queue is.
    pub transposed: bool,
}

/// A tensor's name in the file, and the same without wrappers and as torchvision has it.
struct Name<'a> {
    stored: &'a str,
    plain: String,
}

impl Roles {
    /// Sorts the names. A file without the prefixes of a checkpoint is one network, whose names may have a prefix in common.
    pub fn of(names: &[String]) -> Result<Self, WeightFileError> {
        let names = without_wrappers(names)?;
        let mut roles = Self::default();
        let mut unexpected = Vec::new();
        if names.iter().any(|name| name.plain.starts_with(checkpoint::QUERY)) {
            for name in &names {
                if !roles.own(name) {
                    unexpected.push(name.stored);
                }
            }
        } else if let Some((base, query, key)) = encoders(&names) {
            for name in &names {
                if !roles.momentum(name, &base, (query, key)) {
                    unexpected.push(name.stored);
                }
            }
        } else {
            let prefix = prefix(&names)?;
            for name in &names {
                match name.plain.strip_prefix(prefix) {
                    Some(inner) => roles.query.push((inner.to_owned(), name.stored.to_owned())),
                    None if foreign_head::is_beside(&name.plain) || is_store(&name.plain) => {
                        roles.foreign.push(name.stored.to_owned());
                    }
                    None => unexpected.push(name.stored),
                }
            }
        }
        if !unexpected.is_empty() {
            unexpected.sort_unstable();
            let unexpected = unexpected.join(", ");
            return fail(format!("is a checkpoint with tensors that belong to no part of it: {unexpected}"));
        }
        let (query, key) = (std::mem::take(&mut roles.query), std::mem::take(&mut roles.key));
        roles.query = roles.without_foreign_head(query);
        roles.key = roles.without_foreign_head(key);
        Ok(roles)
    }

    /// Takes a tensor of a checkpoint of this project, if it is one.
    fn own(&mut self, name: &Name) -> bool {
        let stored = || name.stored.to_owned();
        if let Some(inner) = name.plain.strip_prefix(checkpoint::QUERY) {
            self.query.push((inner.to_owned(), stored()));
        } else if let Some(inner) = name.plain.strip_prefix(checkpoint::KEY) {
            self.key.push((inner.to_owned(), stored()));
        } else if name.plain == checkpoint::BANK {
            self.bank = Some(Bank { stored: stored(), transposed: false });
        } else {
            let parts = [checkpoint::OPTIMIZER, checkpoint::PROBE, checkpoint::STATISTICS];
            return parts.iter().any(|part| name.plain.starts_with(part));
        }
        true
    }

    /// Takes a tensor of a checkpoint with two encoders, if it belongs to one, to MoCo's queue or to what another method has.
    fn momentum(&mut self, name: &Name, base: &str, (query, key): (&str, &str)) -> bool {
        let stored = || name.stored.to_owned();
        let Some(inner) = name.plain.strip_prefix(base) else { return false };
        let of_solo_learn = query == ENCODERS[2].0;
        if let Some(inner) = inner.strip_prefix(query) {
            self.query.push((inner.to_owned(), stored()));
        } else if let Some(inner) = inner.strip_prefix(key) {
            self.key.push((inner.to_owned(), stored()));
        } else if foreign_head::is_beside(inner) || of_solo_learn && is_store(inner) {
            self.foreign.push(stored());
        } else if inner == QUEUE {
            self.bank = Some(Bank { stored: stored(), transposed: true });
        } else {
            return inner == QUEUE_POINTER;
        }
        true
    }

    /// Sets apart the head of an encoder whose names are not those of a head of this project.
    fn without_foreign_head(&mut self, encoder: Vec<(String, String)>) -> Vec<(String, String)> {
        let within: Vec<&str> = encoder.iter().map(|(name, _)| name.as_str()).collect();
        let foreign: HashSet<_> = foreign_head::within(&within).into_iter().collect();
        let (foreign, own): (Vec<_>, Vec<_>) =
            encoder.iter().cloned().partition(|(name, _)| foreign.contains(name.as_str()));
        self.foreign.extend(foreign.into_iter().map(|(_, stored)| stored));
        own
    }
}

/// Whether a tensor that is not under the backbone's prefix is a store of another method than MoCo.
fn is_store(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| STORES.contains(&last))
}

fn without_wrappers(names: &[String]) -> Result<Vec<Name<'_>>, WeightFileError> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut plain_names = Vec::with_capacity(names.len());
    for stored in names {
        let parts: Vec<&str> = stored.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
        let plain = if parts.is_empty() { stored.clone() } else { parts.join(".") };
        let plain = torchvision_name(&plain).unwrap_or(plain);
        if let Some(other) = seen.insert(plain.clone(), stored) {
            return fail(format!("has the tensor {plain} twice, as {other} and as {stored}: save one of them"));
        }
        plain_names.push(Name { stored, plain });
    }
    Ok(plain_names)
}

/// The prefix before the two encoders' names, and these; none where there are not two. MoCo's own names tell it alone.
fn encoders(names: &[Name]) -> Option<(String, &'static str, &'static str)> {
    ENCODERS.into_iter().find_map(|(query, key)| {
        let base = names.iter().find_map(|name| {
            let at = name
                .plain
                .match_indices(query)
                .map(|(at, _)| at)
                .find(|&at| at == 0 || name.plain.as_bytes()[at - 1] == b'.')?;
            Some(&name.plain[..at])
        })?;
        let has_key =
            || names.iter().any(|name| name.plain.strip_prefix(base).is_some_and(|name| name.starts_with(key)));
        (query == ENCODERS[0].0 || has_key()).then(|| (base.to_owned(), query, key))
    })
}

/// What stands before torchvision's names: nothing where there is no network.
fn prefix<'a>(names: &'a [Name]) -> Result<&'a str, WeightFileError> {
    let all: HashSet<&str> = names.iter().map(|name| name.plain.as_str()).collect();
    let mut prefixes: Vec<&str> = names
        .iter()
        .filter_map(|name| name.plain.strip_suffix(ANCHORS[0]))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .filter(|prefix| all.contains(format!("{prefix}{}", ANCHORS[1]).as_str()))
        .collect();
    prefixes.sort_unstable();
    match prefixes[..] {
        [] => Ok(""),
        [prefix] => Ok(prefix),
        _ => fail(format!(
            "holds several networks, whose names begin with {}: save the state_dict() of one",
            prefixes.iter().map(|p| if p.is_empty() { "nothing" } else { p }).collect::<Vec<_>>().join(", ")
        )),
    }
}
