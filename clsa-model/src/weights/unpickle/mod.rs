//! A pickle machine that can only build tensors and plain data.
//!
//! A pickle is a program, and Python's own machine lets it call any function. This one knows the handful of names that
//! `torch.load(weights_only=True)` allows ([`Global`]) and builds a description of the tensors from them; at any other name it stops.
//! Everything lives in one arena and refers to its parts by index, so that shared and nested objects cost no recursion.
//!
//! The memory of one pickle is bounded, whatever its bytes say: see [`machine`] for the sum.

mod construct;
mod element;
mod global;
mod machine;
mod object;
mod step;
mod storage;

pub(super) use global::Global;
pub(super) use object::{Id, Object};
pub(super) use storage::{MAX_RANK, Storage, StridedView};

use super::error::{WeightFileError, fail};
use machine::Machine;
use std::io::BufRead;

/// A pickle that ran to its end.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    result: Id,
}

impl Pickle {
    /// Runs one pickle and leaves `reader` behind its last byte.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, WeightFileError> {
        let mut machine = Machine::new(reader);
        loop {
            machine.work(1)?;
            if let Some(result) = machine.step()? {
                return Ok(Self { objects: machine.objects, result });
            }
        }
    }

    /// What the pickle stands for.
    pub fn result(&self) -> &Object {
        self.get(self.result)
    }

    /// The parts of the result, a tuple or list.
    pub fn result_parts(&self) -> Result<&[Id], WeightFileError> {
        self.result().parts()
    }

    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// Every object that was built on the way.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn int(&self, id: Id) -> Result<i128, WeightFileError> {
        match self.get(id) {
            Object::Int(value) => Ok(*value),
            _ => fail("is damaged: its pickle has something else where a number belongs"),
        }
    }

    /// The parts of a tuple or list.
    pub fn parts(&self, id: Id) -> Result<&[Id], WeightFileError> {
        self.get(id).parts()
    }
}

#[cfg(test)]
mod tests;
