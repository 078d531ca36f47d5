//! Files of `torch.save`, in the three forms it has had: a state dictionary, and its tensors read one at a time.

use super::error::{WeightFileError, fail};
use super::unpickle::{Object, Pickle, Storage, StridedView};
use super::{torch_legacy, torch_tar, torch_zip};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Which of the three forms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Zip,
    Legacy,
    Tar,
}

/// An opened file.
pub(super) struct TorchFile {
    tensors: BTreeMap<String, StridedView>,
    storages: Storages,
    /// The storage that was read last.
    last: Option<(String, Rc<Vec<u8>>)>,
    /// Bytes that tensors may still take: a file can describe one storage as many tensors.
    budget: u64,
}

/// Where the storages' values are.
pub(super) enum Storages {
    /// Members of a zip archive.
    Members(torch_zip::Members),
    /// Parts of the file itself: by key, the first byte and the number of bytes.
    Spans(BufReader<File>, HashMap<String, (u64, u64)>),
}

impl TorchFile {
    pub fn open(file: File, form: Form) -> Result<Self, WeightFileError> {
        let budget = 2 * file.metadata()?.len();
        let reader = BufReader::new(file);
        let (pickle, keyed, storages) = match form {
            Form::Zip => {
                let (pickle, members) = torch_zip::read(reader)?;
                (pickle, HashMap::new(), Storages::Members(members))
            }
            Form::Legacy => {
                let (pickle, reader, spans) = torch_legacy::read(reader)?;
                (pickle, HashMap::new(), Storages::Spans(reader, spans))
            }
            Form::Tar => {
                let tar = torch_tar::read(reader)?;
                (tar.pickle, tar.tensors, Storages::Spans(tar.reader, tar.spans))
            }
        };
        Ok(Self { tensors: state_dict(&pickle, &keyed)?, storages, last: None, budget })
    }

    /// The names, those that share a storage together, so that it is read once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<&String> = self.tensors.keys().collect();
        names.sort_by_key(|&name| &self.tensors[name].storage.key);
        names.into_iter().cloned().collect()
    }

    /// Reads one tensor, contiguous, in the type it was saved in.
    pub fn load(&mut self, name: &str) -> Result<Tensor, WeightFileError> {
        let view = self.tensors.get(name).ok_or_else(|| WeightFileError::new(format!("has no tensor {name}")))?.clone();
        let Some(dtype) = view.storage.element.dtype else {
            return fail(format!("has a tensor {name} of a type that no weight has"));
        };
        let size = view.storage.element.size;
        let elements: usize = view.shape.iter().product();
        let bytes = (elements as u64).saturating_mul(size as u64);
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            WeightFileError::new("describes more tensors than it has data for: save each tensor's own values (clone())")
        })?;
        let storage = self.storage(&view.storage)?;
        let base = view.storage.view.map_or(0, |(first, _)| first) + view.offset;
        let values = gather(&storage, base as usize, &view.shape, &view.stride, size);
        Ok(Tensor::from_raw_buffer(&values, dtype, &view.shape, &Device::Cpu)?)
    }

    fn storage(&mut self, storage: &Storage) -> Result<Rc<Vec<u8>>, WeightFileError> {
        if let Some((key, values)) = &self.last
            && *key == storage.key
        {
            storage.check_len(values.len() as u64)?;
            return Ok(Rc::clone(values));
        }
        let values = match &mut self.storages {
            Storages::Members(members) => members.storage(storage)?,
            Storages::Spans(reader, spans) => {
                let &(start, len) = spans
                    .get(&storage.key)
                    .ok_or_else(|| WeightFileError::new(format!("is damaged: it lacks the storage {}", storage.key)))?;
                storage.check_len(len)?;
                reader.seek(SeekFrom::Start(start))?;
                read_exactly(reader, len)?
            }
        };
        let values = Rc::new(values);
        self.last = Some((storage.key.clone(), Rc::clone(&values)));
        Ok(values)
    }
}

/// The next `len` bytes; memory grows with what is really there.
pub(super) fn read_exactly(reader: impl Read, len: u64) -> Result<Vec<u8>, WeightFileError> {
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < len { fail("is truncated") } else { Ok(bytes) }
}

/// The elements of a strided view in order. The view is inside the storage: [`StridedView::new`] has checked it.
fn gather(storage: &[u8], base: usize, shape: &[usize], stride: &[usize], size: usize) -> Vec<u8> {
    let elements: usize = shape.iter().product();
    if elements == 0 {
        return Vec::new();
    }
    let mut contiguous = 1;
    let dense = shape.iter().zip(stride).rev().all(|(&dim, &step)| {
        let fits = dim == 1 || step == contiguous;
        contiguous *= dim;
        fits
    });
    if dense {
        return storage[base * size..(base + elements) * size].to_vec();
    }
    let mut values = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..elements {
        let place = base + index.iter().zip(stride).map(|(i, s)| i * s).sum::<usize>();
        values.extend_from_slice(&storage[place * size..(place + 1) * size]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    values
}

/// The tensors of the state dictionary: the object itself, or its entry `state_dict` (MoCo, CLSA) or `model`
/// (torchvision's training script).
fn state_dict(
    pickle: &Pickle,
    keyed: &HashMap<i128, StridedView>,
) -> Result<BTreeMap<String, StridedView>, WeightFileError> {
    let Object::Dict(root) = pickle.result() else {
        return fail("holds no state dictionary: save the state_dict() of a model");
    };
    let nested = |wanted: &str| {
        root.iter().find_map(|&(key, value)| match (pickle.get(key), pickle.get(value)) {
            (Object::Text(key), Object::Dict(entries)) if key == wanted => Some(entries),
            _ => None,
        })
    };
    let entries = nested("state_dict").or_else(|| nested("model")).unwrap_or(root);
    let mut tensors = BTreeMap::new();
    let mut others = Vec::new();
    for &(key, value) in entries {
        let Object::Text(name) = pickle.get(key) else {
            others.push("an entry without a name");
            continue;
        };
        match pickle.get(value) {
            Object::Tensor(view) => {
                tensors.insert(name.clone(), view.clone());
            }
            Object::TensorKey(key) if keyed.contains_key(key) => {
                tensors.insert(name.clone(), keyed[key].clone());
            }
            _ => others.push(name),
        }
    }
    if !others.is_empty() || tensors.is_empty() {
        let entries = if others.is_empty() { "none".to_owned() } else { others[..others.len().min(8)].join(", ") };
        return fail(format!(
            "holds no state dictionary: these entries are no tensors: {entries}; save the state_dict() of a model"
        ));
    }
    Ok(tensors)
}
