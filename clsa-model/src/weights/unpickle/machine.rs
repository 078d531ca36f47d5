//! The pickle machine's stack, memo and reader.

use super::object::{Id, Object};
use crate::weights::error::{WeightFileError, fail};
use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Work a pickle may ask for: an instruction and a copied reference are 1 each, and what takes more memory counts as more.
/// It is far above any checkpoint of these networks (some 100 000) and bounds the memory: one of work takes at most 66 bytes (a text
/// of 63, with its object, is two), and what doubles as it grows may hold as much again, so that all are at most 512 MiB.
pub(super) const MAX_WORK: usize = 4_000_000;

/// An object itself, which the sum above counts on.
const _: () = assert!(size_of::<Object>() <= 48);

/// Bytes of text that are kept; a longer one is no name of anything and becomes [`Object::Other`].
const MAX_TEXT: u64 = 4096;

/// Work of a storage or tensor, which have parts of their own.
pub(super) const TENSOR_WORK: usize = 8;

/// A pickle that is being run.
pub(super) struct Machine<'a, R> {
    reader: &'a mut R,
    pub objects: Vec<Object>,
    pub stack: Vec<Id>,
    pub marks: Vec<usize>,
    pub memo: HashMap<u32, Id>,
    work: usize,
}

impl<'a, R: BufRead> Machine<'a, R> {
    pub fn new(reader: &'a mut R) -> Self {
        Self { reader, objects: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), work: 0 }
    }

    /// Counts work, and stops what asks for too much.
    pub fn work(&mut self, amount: usize) -> Result<(), WeightFileError> {
        self.work += amount;
        if self.work > MAX_WORK {
            return fail("is no weight file: its pickle has millions of instructions");
        }
        Ok(())
    }

    pub fn extend_list(&mut self, parts: Vec<Id>) -> Result<(), WeightFileError> {
        let list = self.top()?;
        match &mut self.objects[list.0 as usize] {
            Object::List(present) => {
                present.extend(parts);
                Ok(())
            }
            Object::Other => Ok(()),
            _ => fail("is no weight file: its pickle appends to something that is no list"),
        }
    }

    pub fn extend_dict(&mut self, parts: &[Id]) -> Result<(), WeightFileError> {
        let dict = self.top()?;
        match &mut self.objects[dict.0 as usize] {
            Object::Dict(present) if parts.len().is_multiple_of(2) => {
                present.extend(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            Object::Other => Ok(()),
            _ => fail("is no weight file: its pickle sets the items of something that is no dictionary"),
        }
    }

    pub fn memorize(&mut self, key: u32) -> Result<(), WeightFileError> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    pub fn recall(&mut self, key: u32) -> Result<(), WeightFileError> {
        let &id =
            self.memo.get(&key).ok_or_else(|| WeightFileError::new("is damaged: its pickle refers to nothing"))?;
        self.stack.push(id);
        Ok(())
    }

    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    pub fn text(&self, id: Id) -> Result<&str, WeightFileError> {
        match self.get(id) {
            Object::Text(text) => Ok(text),
            _ => fail("is damaged: its pickle has something else where text belongs"),
        }
    }

    pub fn count(&self, id: Id) -> Result<u64, WeightFileError> {
        match *self.get(id) {
            // Signed in PyTorch, so that sums of two do not overflow here.
            Object::Int(value) if (0..1 << 62).contains(&value) => Ok(value as u64),
            _ => fail("is damaged: its pickle has something else where a size belongs"),
        }
    }

    pub fn push(&mut self, object: Object) {
        let id = Id(self.objects.len() as u32);
        self.objects.push(object);
        self.stack.push(id);
    }

    /// Text, or [`Object::Other`] where it is too long for a name or no UTF-8 (Python 2's strings are bytes).
    pub fn push_text(&mut self, len: u64) -> Result<(), WeightFileError> {
        if len > MAX_TEXT {
            return self.skip_bytes(len);
        }
        self.work(1 + len as usize / 64)?;
        let mut bytes = vec![0; len as usize];
        self.reader.read_exact(&mut bytes)?;
        self.push(String::from_utf8(bytes).map_or(Object::Other, Object::Text));
        Ok(())
    }

    /// Passes over bytes, of which nothing is kept.
    pub fn skip_bytes(&mut self, len: u64) -> Result<(), WeightFileError> {
        self.pass_over(len)?;
        self.push(Object::Other);
        Ok(())
    }

    fn pass_over(&mut self, len: u64) -> Result<(), WeightFileError> {
        let passed = io::copy(&mut self.reader.by_ref().take(len), &mut io::sink())?;
        if passed < len { fail("is truncated: its pickle ends in the middle") } else { Ok(()) }
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], WeightFileError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A line of a GLOBAL instruction, without its end. Names are short; a longer one is cut, and then unknown.
    pub fn line(&mut self) -> Result<String, WeightFileError> {
        let mut line = Vec::new();
        self.reader.by_ref().take(256).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A two's complement number, least significant byte first; one of more than 16 bytes is no size of anything.
    pub fn push_long(&mut self, len: u64) -> Result<(), WeightFileError> {
        if len > 16 {
            return self.skip_bytes(len);
        }
        let len = len as usize;
        let mut bytes = [0; 16];
        self.reader.read_exact(&mut bytes[..len])?;
        if len > 0 && bytes[len - 1] >= 0x80 {
            bytes[len..].fill(0xff);
        }
        self.push(Object::Int(i128::from_le_bytes(bytes)));
        Ok(())
    }

    /// The stack's height that instructions without a mark must not go below.
    pub fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub fn pop(&mut self) -> Result<Id, WeightFileError> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    pub fn top(&self) -> Result<Id, WeightFileError> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(underflow()),
        }
    }

    pub fn pop_to_mark(&mut self) -> Result<Vec<Id>, WeightFileError> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }
}

pub(super) fn underflow() -> WeightFileError {
    WeightFileError::new("is damaged: its pickle takes more than it has put down")
}
