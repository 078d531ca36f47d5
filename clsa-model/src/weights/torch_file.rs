//! Files of `torch.save`, in the three forms it has had: a state dictionary, and its tensors read one at a time.

use super::error::{WeightFileError, fail};
use super::state_dict::{Entry, state_dict};
use super::unpickle::{Storage, StridedView};
use super::{torch_legacy, torch_tar, torch_zip};
use crate::batch_count::is_batch_count;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Bytes that tensors may take, whatever the file's length.
const LEAST_BUDGET: u64 = 16 << 20;

/// Bytes of a tensor beside its values and its name: a file can give one without values many names.
const TENSOR_BYTES: u64 = 1024;

/// Which of the three forms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Zip,
    Legacy,
    Tar,
}

/// An opened file.
pub(super) struct TorchFile {
    tensors: BTreeMap<String, Entry>,
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
        let mut budget = LEAST_BUDGET + 2 * file.metadata()?.len();
        let reader = BufReader::new(file);
        let (pickle, keyed, storages) = match form {
            Form::Zip => {
                let (pickle, mut members) = torch_zip::read(reader)?;
                budget += 2 * members.deflated()?;
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
        names.sort_by_key(|&name| match &self.tensors[name] {
            Entry::View(view) => Some(&view.storage.key),
            Entry::Count(_) | Entry::Unusual(_) => None,
        });
        names.into_iter().cloned().collect()
    }

    /// Reads one tensor, contiguous, in the type it was saved in.
    pub fn load(&mut self, name: &str) -> Result<Tensor, WeightFileError> {
        self.charge(TENSOR_BYTES)?;
        let entry = self.tensors.get(name).ok_or_else(|| WeightFileError::new(format!("has no tensor {name}")))?;
        let view = match entry {
            Entry::View(view) => view.clone(),
            Entry::Count(count) => return Ok(Tensor::new(*count, &Device::Cpu)?),
            Entry::Unusual(what) => {
                return fail(format!("has {name} as {what}, not as an ordinary tensor: save its plain values"));
            }
        };
        view.check()?;
        let element = view.element;
        let elements: usize = view.shape.iter().product();
        self.charge((elements as u64).saturating_mul(element.size as u64))?;
        if element.dtype.is_none() && !(is_batch_count(name) && elements == 1) {
            return fail(unfit_type(name, element.name));
        }
        let storage = self.storage(&view.storage)?;
        let values = gather(&storage, &view);
        match element.dtype {
            Some(dtype) => Ok(Tensor::from_raw_buffer(&values, dtype, &view.shape, &Device::Cpu)?),
            None => match element.integer(&values) {
                Some(count) => Ok(Tensor::from_slice(&[count], view.shape, &Device::Cpu)?),
                None => fail(unfit_type(name, element.name)),
            },
        }
    }

    /// Takes bytes of the budget.
    fn charge(&mut self, bytes: u64) -> Result<(), WeightFileError> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            WeightFileError::new("describes more tensors than it has data for: save each tensor's own values (clone())")
        })?;
        Ok(())
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
fn read_exactly(reader: impl Read, len: u64) -> Result<Vec<u8>, WeightFileError> {
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < len { fail("is truncated") } else { Ok(bytes) }
}

fn unfit_type(name: &str, element: &str) -> String {
    format!("has a tensor {name} of type {element}, which no weight has: save it as float32")
}

/// The elements of a strided view in order. The view is inside the storage: [`StridedView::check`] has seen it.
fn gather(storage: &[u8], view: &StridedView) -> Vec<u8> {
    let StridedView { shape, stride, .. } = view;
    let elements: usize = shape.iter().product();
    if elements == 0 {
        return Vec::new();
    }
    let (start, size) = (view.first_byte(), view.element.size);
    let mut contiguous = 1;
    let dense = shape.iter().zip(stride).rev().all(|(&dim, &step)| {
        let fits = dim == 1 || step == contiguous;
        contiguous *= dim;
        fits
    });
    if dense {
        return storage[start..start + elements * size].to_vec();
    }
    let mut values = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..elements {
        let place = start + index.iter().zip(stride).map(|(i, s)| i * s).sum::<usize>() * size;
        values.extend_from_slice(&storage[place..place + size]);
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
