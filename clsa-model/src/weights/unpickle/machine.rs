//! The pickle machine's stack, memo and reader.

use super::object::{Id, Object};
use crate::weights::error::{WeightFileError, fail};
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// Work a pickle may ask for, in instructions and copied references: far above any checkpoint of these networks (some
/// 100 000), and it bounds the memory.
const MAX_WORK: usize = 4_000_000;

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

    pub fn push_text(&mut self, len: u64) -> Result<(), WeightFileError> {
        let bytes = self.take(len)?;
        let text =
            String::from_utf8(bytes).map_err(|_| WeightFileError::new("is damaged: a name in it is no UTF-8 text"))?;
        self.push(Object::Text(text));
        Ok(())
    }

    pub fn skip_bytes(&mut self, len: u64) -> Result<(), WeightFileError> {
        self.take(len)?;
        self.push(Object::Other);
        Ok(())
    }

    /// The next `len` bytes. Memory grows with what the file really has, not with what it says.
    pub fn take(&mut self, len: u64) -> Result<Vec<u8>, WeightFileError> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(len).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < len { fail("is truncated: its pickle ends in the middle") } else { Ok(bytes) }
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

    /// A two's complement number of up to 16 bytes, least significant first.
    pub fn long(&mut self, len: usize) -> Result<i128, WeightFileError> {
        if len > 16 {
            return fail("is no weight file: its pickle has a number of more than 16 bytes");
        }
        let mut bytes = [0; 16];
        self.reader.read_exact(&mut bytes[..len])?;
        if len > 0 && bytes[len - 1] >= 0x80 {
            bytes[len..].fill(0xff);
        }
        Ok(i128::from_le_bytes(bytes))
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
