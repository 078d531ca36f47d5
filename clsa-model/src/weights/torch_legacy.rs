//! The form of `torch.save` before PyTorch 1.6: five pickles (magic number, protocol, system, the object, storage keys),
//! then each storage as its length in elements and its values.

use super::error::{WeightFileError, fail};
use super::unpickle::{Object, Pickle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// Where each storage is: by key, the first byte and the number of bytes.
pub(super) type Spans = HashMap<String, (u64, u64)>;

pub(super) fn read(mut reader: BufReader<File>) -> Result<(Pickle, BufReader<File>, Spans), WeightFileError> {
    let end = reader.get_ref().metadata()?.len();
    let magic = Pickle::read(&mut reader)?;
    let protocol = Pickle::read(&mut reader)?;
    if !matches!((magic.result(), protocol.result()), (Object::Int(MAGIC), Object::Int(PROTOCOL))) {
        return fail("is a Python pickle, but not of torch.save");
    }
    let system = Pickle::read(&mut reader)?;
    if let Object::Dict(entries) = system.result() {
        for &(key, value) in entries {
            if let (Object::Text(key), Object::Bool(false)) = (system.get(key), system.get(value))
                && key == "little_endian"
            {
                return fail("was saved on a big-endian machine: save it again on a little-endian one");
            }
        }
    }
    let object = Pickle::read(&mut reader)?;
    let mut sizes = HashMap::new();
    for part in object.objects() {
        if let Object::Storage(storage) = part {
            sizes.insert(storage.key.as_str(), storage.element.size);
        }
    }
    let keys = Pickle::read(&mut reader)?;
    let Object::List(order) = keys.result() else {
        return fail("is damaged: the list of its storages is missing");
    };
    let mut spans = HashMap::new();
    for &key in order {
        let Object::Text(key) = keys.get(key) else {
            return fail("is damaged: the list of its storages has an entry that is no key");
        };
        let Some(&size) = sizes.get(key.as_str()) else {
            return fail(format!("is damaged: its storage {key} belongs to no tensor"));
        };
        spans.insert(key.clone(), skip_storage(&mut reader, size, end)?);
    }
    Ok((object, reader, spans))
}

/// Reads the length that stands before a storage's values, and skips them: their first byte and number of bytes.
pub(super) fn skip_storage(reader: &mut BufReader<File>, size: usize, end: u64) -> Result<(u64, u64), WeightFileError> {
    let mut elements = [0; 8];
    reader.read_exact(&mut elements)?;
    let start = reader.stream_position()?;
    let len = u64::from_le_bytes(elements).checked_mul(size as u64);
    match len.filter(|len| start.checked_add(*len).is_some_and(|stop| stop <= end)) {
        Some(len) => {
            reader.seek(SeekFrom::Start(start + len))?;
            Ok((start, len))
        }
        None => fail("is truncated: a storage ends after the file"),
    }
}
