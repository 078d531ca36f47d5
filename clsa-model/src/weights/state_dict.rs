//! The state dictionary in what `torch.save` was given.

use super::error::{WeightFileError, fail};
use super::unpickle::{Id, Object, Pickle, StridedView};
use crate::batch_count::is_batch_count;
use std::collections::{BTreeMap, HashMap};

/// Where checkpoints keep the state dictionary, the first that is there being taken. DINO's student and teacher are two
/// networks; the teacher is the one that DINO evaluates.
pub(super) const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "teacher", "student"];

/// Dictionaries within dictionaries that are looked into.
const MOST_NESTED: usize = 3;

/// Entries that a state dictionary may have, far more than networks have tensors: each costs memory even where it is empty.
pub(super) const MOST_ENTRIES: usize = 100_000;

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
/// no second one. What is beside them and is no tensor is left out, unless its name is that of a network's tensor. Of several entries
/// with one name the last counts, as in Python.
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
    if entries.len() > MOST_ENTRIES {
        return fail(format!("has a dictionary of {} entries, where {MOST_ENTRIES} are read at most", entries.len()));
    }
    let mut last = HashMap::new();
    for (place, &(key, _)) in entries.iter().enumerate() {
        if let Object::Text(name) = pickle.get(key) {
            last.insert(name, place);
        }
    }
    let mut tensors = BTreeMap::new();
    let mut others = Vec::new();
    let mut misplaced = false;
    for (place, &(key, value)) in entries.iter().enumerate() {
        let Object::Text(name) = pickle.get(key) else {
            others.push("an entry without a name");
            continue;
        };
        if last[name] != place {
            continue;
        }
        let entry = match pickle.get(value) {
            Object::Tensor(view) => Some(Entry::View((**view).clone())),
            Object::TensorKey(key) => keyed.get(key).cloned().map(Entry::View),
            Object::Unusual(what) => Some(Entry::Unusual(what)),
            &Object::Int(count) if is_batch_count(name) => i64::try_from(count).ok().map(Entry::Count),
            &Object::Float(count) if is_batch_count(name) => Some(Entry::Count(count as i64)),
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

/// The entries of a dictionary.
type Entries = Vec<(Id, Id)>;

/// What is looked for in a dictionary, found in one pass: entries can be many, and a dictionary can be within itself.
struct Looked<'a> {
    /// The dictionary under each of [`KEYS`].
    nested: [Option<&'a Entries>; KEYS.len()],
    /// Whether there is a tensor among the values.
    has_tensor: bool,
}

impl<'a> Looked<'a> {
    fn at(pickle: &'a Pickle, entries: &[(Id, Id)]) -> Self {
        let mut looked = Self { nested: [None; KEYS.len()], has_tensor: false };
        for &(key, value) in entries {
            let value = pickle.get(value);
            looked.has_tensor |= is_tensor(value);
            if let Object::Text(key) = pickle.get(key)
                && let Some(place) = KEYS.iter().position(|known| known == key)
            {
                looked.nested[place] = if let Object::Dict(inner) = value { Some(inner) } else { None };
            }
        }
        looked
    }

    /// Whether it has tensors, at most so many dictionaries deep.
    fn has_tensors(&self, pickle: &'a Pickle, depth: usize) -> bool {
        let mut nested = self.nested.into_iter().flatten();
        self.has_tensor || depth > 0 && nested.any(|inner| Self::at(pickle, inner).has_tensors(pickle, depth - 1))
    }
}

/// The dictionary under the first of the keys that has tensors in it, at whatever depth.
fn nested<'a>(pickle: &'a Pickle, entries: &[(Id, Id)]) -> Option<&'a Entries> {
    let mut nested = Looked::at(pickle, entries).nested.into_iter().flatten();
    nested.find(|inner| Looked::at(pickle, inner).has_tensors(pickle, MOST_NESTED - 1))
}

/// The only dictionary that has tensors under names of several parts, as `bn1.weight` is one.
fn the_only<'a>(pickle: &'a Pickle, entries: &[(Id, Id)]) -> Option<&'a Entries> {
    let is_weight = |&(key, value): &(Id, Id)| {
        matches!(pickle.get(key), Object::Text(name) if name.contains('.')) && is_tensor(pickle.get(value))
    };
    if entries.iter().any(|&(_, value)| is_tensor(pickle.get(value))) {
        return None;
    }
    // One that is there under many keys is looked at once.
    let mut seen = HashMap::new();
    let mut found = entries.iter().filter_map(|&(_, value)| match pickle.get(value) {
        Object::Dict(inner) => seen.entry(value).or_insert_with(|| inner.iter().any(is_weight)).then_some(inner),
        _ => None,
    });
    found.next().filter(|_| found.next().is_none())
}

fn is_tensor(object: &Object) -> bool {
    matches!(object, Object::Tensor(_) | Object::TensorKey(_) | Object::Unusual(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(program: &[u8]) -> Result<BTreeMap<String, Entry>, WeightFileError> {
        let pickle = Pickle::read(&mut &[b"\x80\x02", program].concat()[..]).unwrap();
        state_dict(&pickle, &HashMap::new())
    }

    /// A short text.
    fn text(text: &str) -> Vec<u8> {
        [&[b'U', text.len() as u8], text.as_bytes()].concat()
    }

    const SPARSE: &[u8] = b"ctorch._utils\n_rebuild_sparse_tensor\n)R";
    const QUANTIZED: &[u8] = b"ctorch._utils\n_rebuild_qtensor\n)R";

    #[test]
    fn of_entries_with_one_name_the_last_is_read() {
        let (weight, model) = (text("a.weight"), text("model"));
        let both = [b"}(", &weight[..], SPARSE, &weight, QUANTIZED, b"u"].concat();
        let entries = read(&[&both[..], b"."].concat()).unwrap();
        assert!(matches!(entries["a.weight"], Entry::Unusual("a quantized tensor")) && entries.len() == 1);
        // As for the dictionary that has them.
        let first = [b"}", &weight[..], SPARSE, b"s"].concat();
        let entries = read(&[b"}(", &model[..], &first, &model, &both, b"u."].concat()).unwrap();
        assert!(matches!(entries["a.weight"], Entry::Unusual("a quantized tensor")));
        assert!(read(&[b"}(", &weight[..], SPARSE, &weight, b"Nu."].concat()).is_err());
    }

    /// Each way through the dictionary would be as long as it is, for each of its entries again.
    #[test]
    fn a_dictionary_that_is_within_itself_many_times_is_refused_at_once() {
        let many = 200_000;
        let mut same = [b"}q\0(", &text("model")[..], b"q\x01h\0"].concat();
        same.extend(b"h\x01h\0".repeat(many));
        let mut different = b"}q\0(".to_vec();
        for i in 0..many {
            different.extend([&text(&i.to_string())[..], b"h\0"].concat());
        }
        for program in [same, different] {
            let error = read(&[&program[..], b"u."].concat()).unwrap_err();
            assert!(format!("{error:?}").contains("a dictionary of 200"), "{error:?}");
        }
    }
}
