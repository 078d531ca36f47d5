//! The first form of `torch.save` (PyTorch 0.1): a tar archive with the members `storages`, `tensors` and `pickle`.

use super::error::{WeightFileError, fail};
use super::state_dict::MOST_ENTRIES;
use super::torch_legacy::{Spans, skip_storage};
use super::unpickle::{Global, MAX_RANK, Object, Pickle, Storage, StridedView};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// What the archive holds.
pub(super) struct TarContents {
    pub pickle: Pickle,
    /// The tensors that the pickle refers to by key.
    pub tensors: HashMap<i128, StridedView>,
    pub reader: BufReader<File>,
    pub spans: Spans,
}

pub(super) fn read(mut reader: BufReader<File>) -> Result<TarContents, WeightFileError> {
    let end = reader.get_ref().metadata()?.len();
    let members = members(reader.get_ref())?;
    let enter = |reader: &mut BufReader<File>, name: &str| match members.get(name) {
        Some(&start) => Ok(reader.seek(SeekFrom::Start(start)).map(|_| ())?),
        None => fail(format!("is a tar archive, but not of torch.save: it has no member {name}")),
    };

    enter(&mut reader, "storages")?;
    let mut storages = HashMap::new();
    let mut spans = HashMap::new();
    for _ in 0..count(&mut reader)? {
        let entry = Pickle::read(&mut reader)?;
        let [key, _location, element] = *entry.result_parts()? else { return Err(damaged()) };
        let Object::Global(Global::Storage(element)) = *entry.get(element) else { return Err(damaged()) };
        let key = entry.int(key)?;
        let (start, len) = skip_storage(&mut reader, element.size, end)?;
        let elements = len / element.size as u64;
        spans.insert(key.to_string(), (start, len));
        storages.insert(key, Storage { key: key.to_string(), element, len: elements, view: None });
    }
    let views = Pickle::read(&mut reader)?;
    let views_of_storages = views.result_parts()?;
    if views_of_storages.len() > MOST_ENTRIES {
        return Err(damaged());
    }
    for &view in views_of_storages {
        let [target, root, first, len] = *views.parts(view)? else { return Err(damaged()) };
        let mut storage = storages.get(&views.int(root)?).cloned().ok_or_else(damaged)?;
        let first = u64::try_from(views.int(first)?).map_err(|_| damaged())?;
        let len = u64::try_from(views.int(len)?).map_err(|_| damaged())?;
        if first.checked_add(len).is_none_or(|end| end > storage.len) {
            return Err(damaged());
        }
        storage.view = Some((first, len));
        storages.insert(views.int(target)?, storage);
    }

    enter(&mut reader, "tensors")?;
    let mut tensors = HashMap::new();
    for _ in 0..count(&mut reader)? {
        let entry = Pickle::read(&mut reader)?;
        let [key, storage, _kind] = *entry.result_parts()? else { return Err(damaged()) };
        let storage = storages.get(&entry.int(storage)?).cloned().ok_or_else(damaged)?;
        let rank = integer(&mut reader)? as u32 as usize;
        if rank > MAX_RANK {
            return Err(damaged());
        }
        let mut sizes = |n| (0..n).map(|_| size(&mut reader)).collect::<Result<Vec<_>, _>>();
        let (shape, stride, offset) = (sizes(rank)?, sizes(rank)?, sizes(1)?[0]);
        let element = storage.element;
        let view = StridedView { storage, element, offset: offset as u64, shape, stride };
        view.check()?;
        tensors.insert(entry.int(key)?, view);
    }

    enter(&mut reader, "pickle")?;
    let pickle = Pickle::read(&mut reader)?;
    Ok(TarContents { pickle, tensors, reader, spans })
}

/// The first byte of each member.
fn members(file: &File) -> Result<HashMap<String, u64>, WeightFileError> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut members = HashMap::new();
    // Names as they stand in the headers: the three that are needed are short, and long ones need not be read.
    for entry in tar::Archive::new(file).entries_with_seek()?.raw(true) {
        let entry = entry?;
        members.insert(entry.path()?.to_string_lossy().into_owned(), entry.raw_file_position());
    }
    Ok(members)
}

/// A number of storages or tensors, of which more than a state dictionary may have are refused.
fn count(reader: &mut BufReader<File>) -> Result<i128, WeightFileError> {
    match Pickle::read(reader)?.result() {
        &Object::Int(count) if count <= MOST_ENTRIES as i128 => Ok(count),
        _ => Err(damaged()),
    }
}

fn integer(reader: &mut BufReader<File>) -> Result<i64, WeightFileError> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(i64::from_le_bytes(bytes))
}

fn size(reader: &mut BufReader<File>) -> Result<usize, WeightFileError> {
    usize::try_from(integer(reader)?).map_err(|_| damaged())
}

fn damaged() -> WeightFileError {
    WeightFileError::new("is damaged: its tar archive describes a tensor wrongly")
}
