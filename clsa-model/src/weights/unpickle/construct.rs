//! What a pickle's calls stand for: nothing is run, the tensor or container is described.

use super::global::Global;
use super::machine::{Machine, underflow};
use super::object::{Id, Object};
use super::storage::{Storage, StridedView};
use crate::weights::error::{WeightFileError, fail};
use std::io::BufRead;

/// Bytes the key of a storage may have; PyTorch numbers them.
const MAX_KEY: usize = 64;

impl<R: BufRead> Machine<'_, R> {
    /// Calls one of the known functions: nothing is run, the tensor or container is described.
    pub fn reduce(&mut self) -> Result<(), WeightFileError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Object::Global(function) = *self.get(function) else {
            return fail("is damaged: its pickle calls something that is no function");
        };
        let arguments = self.get(arguments).parts()?.to_vec();
        self.work(arguments.len())?;
        match function {
            Global::OrderedDict => {
                // Python 2 gives the items as one list of pairs.
                let mut items = Vec::new();
                if let Some(&list) = arguments.first() {
                    self.work(self.get(list).parts()?.len())?;
                    for &pair in self.get(list).parts()? {
                        match *self.get(pair).parts()? {
                            [key, value] => items.push((key, value)),
                            _ => return fail("is damaged: its pickle has a dictionary item that is no pair"),
                        }
                    }
                }
                self.push(Object::Dict(items));
            }
            Global::RebuildTensor => {
                let view = self.strided_view(&arguments)?;
                self.push(Object::Tensor(view));
            }
            Global::RebuildParameter => {
                let &tensor = arguments.first().ok_or_else(underflow)?;
                self.stack.push(tensor);
            }
            Global::Size | Global::Device => self.push(Object::Other),
            Global::Dtype | Global::Storage(_) => {
                return fail("is damaged: its pickle calls something that is no function");
            }
        }
        Ok(())
    }

    /// Arguments: storage, first element, shape, strides, and what does not concern the values.
    fn strided_view(&self, arguments: &[Id]) -> Result<StridedView, WeightFileError> {
        let [storage, offset, shape, stride, ..] = *arguments else {
            return fail("is damaged: a tensor in it lacks its shape");
        };
        let Object::Storage(storage) = self.get(storage) else {
            return fail("is damaged: a tensor in it lacks its storage");
        };
        let sizes = |id| -> Result<Vec<usize>, WeightFileError> {
            self.get(id).parts()?.iter().map(|&part| Ok(self.count(part)? as usize)).collect()
        };
        StridedView::new(storage.clone(), self.count(offset)?, sizes(shape)?, sizes(stride)?)
    }

    /// Makes an object of a type: of those known, only a `Parameter` is made so, of its tensor or with a state to follow.
    pub fn new_object(&mut self) -> Result<(), WeightFileError> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        if !matches!(self.get(class), Object::Global(Global::RebuildParameter)) {
            return fail("is no weight file: its pickle makes an object that is no tensor");
        }
        match self.get(arguments).parts()?.first() {
            Some(&tensor) => self.stack.push(tensor),
            None => self.push(Object::Parameter),
        }
        Ok(())
    }

    /// Sets attributes: a state dictionary carries its layer versions so and a parameter its gradient's settings, which the
    /// values do not depend on. A parameter made of nothing has its tensor as the first of them.
    pub fn build(&mut self) -> Result<(), WeightFileError> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.get(object) {
            Object::Dict(_) | Object::Tensor(_) | Object::TensorKey(_) => Ok(()),
            Object::Parameter => match *self.get(state).parts()? {
                [tensor, ..] => {
                    let tensor = self.get(tensor).clone();
                    // In place, so that what refers to the parameter finds the tensor.
                    self.objects[object.0 as usize] = tensor;
                    Ok(())
                }
                [] => fail("is damaged: a parameter in it has no tensor"),
            },
            _ => fail("is no weight file: its pickle sets the state of an object that is no dictionary"),
        }
    }

    /// Reads a persistent id: `('storage', type, key, location, elements[, view])`, or in the tar form a tensor's key.
    pub fn persistent(&mut self) -> Result<(), WeightFileError> {
        let id = self.pop()?;
        let object = match self.get(id) {
            Object::Int(key) => Object::TensorKey(*key),
            Object::Text(key) => match key.parse() {
                Ok(key) => Object::TensorKey(key),
                Err(_) => return fail("is damaged: the key of a tensor in it is no number"),
            },
            Object::Tuple(parts) => Object::Storage(self.storage(parts)?),
            _ => return fail("is damaged: its pickle refers to data that is no storage"),
        };
        self.push(object);
        Ok(())
    }

    fn storage(&self, parts: &[Id]) -> Result<Storage, WeightFileError> {
        let damaged = || WeightFileError::new("is damaged: its pickle describes a storage wrongly");
        let [kind, element, key, _location, len, ref rest @ ..] = *parts else { return Err(damaged()) };
        if self.text(kind)? != "storage" {
            let kind = self.text(kind)?;
            return fail(format!("holds a Python object ({kind}), not only weights: save its state_dict() instead"));
        }
        let Object::Global(Global::Storage(element)) = *self.get(element) else { return Err(damaged()) };
        let key = self.text(key)?.to_owned();
        if key.len() > MAX_KEY {
            return Err(damaged());
        }
        let len = self.count(len)?;
        let view = match *rest {
            [] => None,
            [view] => match self.get(view) {
                Object::None => None,
                Object::Tuple(parts) if parts.len() == 3 => {
                    let (first, view_len) = (self.count(parts[1])?, self.count(parts[2])?);
                    if first.checked_add(view_len).is_none_or(|end| end > len) {
                        return Err(damaged());
                    }
                    Some((first, view_len))
                }
                _ => return Err(damaged()),
            },
            _ => return Err(damaged()),
        };
        Ok(Storage { key, element, len, view })
    }
}
