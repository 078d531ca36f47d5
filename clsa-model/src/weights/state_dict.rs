//! The state dictionary in what `torch.save` was given.

use super::batch_count::is_count;
use super::error::{WeightFileError, fail};
use super::unpickle::{Id, Object, Pickle, StridedView};
use std::collections::{BTreeMap, HashMap};

/// Where checkpoints keep the state dictionary, the first that is there being taken. DINO's student and teacher are two
/// networks; the teacher is the one that DINO evaluates.
pub(super) const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "teacher", "student"];

/// Dictionaries within dictionaries that are looked into.
const MOST_NESTED: usize = 3;

/// Entries named in a message.
const MOST_LISTED: usize = 8;

/// What a state dictionary has under a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    View(StridedView),
    /// A batch count that is a number of Python, not a tensor.
    Count(i64),
    /// A tensor whose values do not lie in a storage as they are: what it is.
    Unusual(&'static str),
}

/// The tensors of the state dictionary: the object itself, what it has under one of [`KEYS`], or under another key where there is
/// no second one. What is beside them and is no tensor is left out, unless its name is that of a network's tensor.
pub(super) fn state_dict(
    pickle: &Pickle,
    keyed: &HashMap<i128, StridedView>,
) -> Result<BTreeMap<String, Entry>, WeightFileError> {
    let Object::Dict(root) = pickle.result() else {
        return fail("holds no state dictionary: save the state_dict() of a model");
    };
    let mut entries = root;
    for _ in 0..MOST_NESTED {
        match nested(pickle, entries).or_else(|| the_only(pickle, entries)) {
            Some(found) => entries = found,
            None => break,
        }
    }
    let mut tensors = BTreeMap::new();
    let mut others = Vec::new();
    let mut misplaced = false;
    for &(key, value) in entries {
        let Object::Text(name) = pickle.get(key) else {
            others.push("an entry without a name");
            continue;
        };
        let entry = match pickle.get(value) {
            Object::Tensor(view) => Some(Entry::View((**view).clone())),
            Object::TensorKey(key) => keyed.get(key).cloned().map(Entry::View),
            Object::Unusual(what) => Some(Entry::Unusual(what)),
            &Object::Int(count) if is_count(name) => i64::try_from(count).ok().map(Entry::Count),
            &Object::Float(count) if is_count(name) => Some(Entry::Count(count as i64)),
            _ => None,
        };
        match entry {
            Some(entry) => {
                tensors.insert(name.clone(), entry);
            }
            None => {
                misplaced |= name.contains('.') && !name.ends_with("_extra_state");
                others.push(name);
            }
        }
    }
    if misplaced || tensors.is_empty() {
        let entries =
            if others.is_empty() { "none".to_owned() } else { others[..others.len().min(MOST_LISTED)].join(", ") };
        return fail(format!(
            "holds no state dictionary: these entries are no tensors: {entries}; save the state_dict() of a model"
        ));
    }
    Ok(tensors)
}

/// The dictionary under the first of the keys that has tensors in it, at whatever depth.
fn nested<'a>(pickle: &'a Pickle, entries: &[(Id, Id)]) -> Option<&'a Vec<(Id, Id)>> {
    KEYS.iter().find_map(|&wanted| {
        entries.iter().find_map(|&(key, value)| match (pickle.get(key), pickle.get(value)) {
            (Object::Text(key), Object::Dict(inner)) if key == wanted && has_tensors(pickle, inner, MOST_NESTED) => {
                Some(inner)
            }
            _ => None,
        })
    })
}

/// The only dictionary that has tensors under names of several parts, as `bn1.weight` is one.
fn the_only<'a>(pickle: &'a Pickle, entries: &[(Id, Id)]) -> Option<&'a Vec<(Id, Id)>> {
    let is_weight = |&(key, value): &(Id, Id)| {
        matches!(pickle.get(key), Object::Text(name) if name.contains('.')) && is_tensor(pickle.get(value))
    };
    if entries.iter().any(|&(_, value)| is_tensor(pickle.get(value))) {
        return None;
    }
    let mut found = entries.iter().filter_map(|&(_, value)| match pickle.get(value) {
        Object::Dict(inner) if inner.iter().any(is_weight) => Some(inner),
        _ => None,
    });
    found.next().filter(|_| found.next().is_none())
}

fn has_tensors(pickle: &Pickle, entries: &[(Id, Id)], depth: usize) -> bool {
    depth > 0
        && entries.iter().any(|&(key, value)| match pickle.get(value) {
            Object::Dict(inner) => {
                matches!(pickle.get(key), Object::Text(key) if KEYS.contains(&key.as_str()))
                    && has_tensors(pickle, inner, depth - 1)
            }
            value => is_tensor(value),
        })
}

fn is_tensor(object: &Object) -> bool {
    matches!(object, Object::Tensor(_) | Object::TensorKey(_) | Object::Unusual(_))
}
