//! The instructions of a pickle.

use super::global::global;
use super::machine::{Machine, underflow};
use super::object::{Id, Object};
use crate::weights::error::{WeightFileError, fail};
use std::io::BufRead;

impl<R: BufRead> Machine<'_, R> {
    /// Runs one instruction (the names are those of Python's `pickletools`); the result, if it was the last.
    pub fn step(&mut self) -> Result<Option<Id>, WeightFileError> {
        let [opcode] = self.bytes()?;
        match opcode {
            // PROTO
            0x80 => {
                let [version] = self.bytes()?;
                if version > 5 {
                    return fail(format!("is no weight file: its pickle is of the unknown version {version}"));
                }
            }
            // FRAME: a hint for buffered reading.
            0x95 => {
                self.bytes::<8>()?;
            }
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            // POP, DUP
            b'0' => {
                self.pop()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' => self.push(Object::None),
            0x88 | 0x89 => self.push(Object::Bool(opcode == 0x88)),
            b'G' => {
                let value = f64::from_be_bytes(self.bytes()?);
                self.push(Object::Float(value));
            }
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.push(Object::Int(value.into()));
            }
            b'K' => {
                let [value] = self.bytes()?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.push(Object::Int(value.into()));
            }
            0x8a => {
                let [len] = self.bytes()?;
                self.push_long(len.into())?;
            }
            0x8b => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.push_long(len.into())?;
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and Python 2's BINSTRING and SHORT_BINSTRING
            b'X' | b'T' => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.push_text(len.into())?;
            }
            0x8c | b'U' => {
                let [len] = self.bytes()?;
                self.push_text(len.into())?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.bytes()?);
                self.push_text(len)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.skip_bytes(len.into())?;
            }
            b'C' => {
                let [len] = self.bytes()?;
                self.skip_bytes(len.into())?;
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.bytes()?);
                self.skip_bytes(len)?;
            }
            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.push(Object::Other),
            0x90 => {
                let parts = self.pop_to_mark()?;
                self.extend_list(parts)?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Object::Other);
            }
            // EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                // Beside the object there is the memory of its parts.
                self.work(1)?;
                let len = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(len).filter(|&s| s >= self.floor()).ok_or_else(underflow)?;
                let parts = self.stack.split_off(start);
                self.push(Object::Tuple(parts));
            }
            b't' => {
                let parts = self.pop_to_mark()?;
                self.push(Object::Tuple(parts));
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.push(Object::List(Vec::new())),
            b'l' => {
                let parts = self.pop_to_mark()?;
                self.push(Object::List(parts));
            }
            b'a' => {
                let part = self.pop()?;
                self.extend_list(vec![part])?;
            }
            b'e' => {
                let parts = self.pop_to_mark()?;
                self.extend_list(parts)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push(Object::Dict(Vec::new())),
            b'd' => {
                let parts = self.pop_to_mark()?;
                self.push(Object::Dict(Vec::new()));
                self.extend_dict(&parts)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let parts = self.pop_to_mark()?;
                self.extend_dict(&parts)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let [key] = self.bytes()?;
                self.memorize(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.memorize(key)?;
            }
            0x94 => self.memorize(self.memo.len() as u32)?,
            // BINGET, LONG_BINGET
            b'h' => {
                let [key] = self.bytes()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.recall(key)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(global(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = global(self.text(module)?, self.text(name)?)?;
                self.push(Object::Global(global));
            }
            // REDUCE, NEWOBJ, BUILD, BINPERSID
            b'R' => self.reduce()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            other => {
                return fail(format!(
                    "is no weight file: its pickle has the instruction {other:#04x}, which no state dictionary needs"
                ));
            }
        }
        Ok(None)
    }
}
