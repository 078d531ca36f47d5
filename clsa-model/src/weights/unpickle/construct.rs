//! What a pickle's calls stand for: nothing is run, the tensor or container is described.

use super::element::Element;
use super::global::Global;
use super::machine::{Machine, TENSOR_WORK, underflow};
use super::object::{Id, Object};
use super::storage::{MAX_RANK, Storage, StridedView};
use crate::weights::error::{WeightFileError, fail};
use std::io::BufRead;

/// Bytes the key of a storage may have; PyTorch numbers them.
const MAX_KEY: usize = 64;

impl<R: BufRead> Machine<'_, R> {
    /// Calls one of the known functions: nothing is run, the tensor or container is described.
    pub fn reduce(&mut self) -> Result<(), WeightFileError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Object::Global(mut function) = *self.get(function) else {
            return fail("is damaged: its pickle calls something that is no function");
        };
        let mut arguments = self.get(arguments).parts()?.to_vec();
        self.work(arguments.len())?;
        if function == Global::RebuildFromType {
            // Function, type, arguments, state: the attributes do not concern the values.
            let [inner, _, inner_arguments, ..] = *arguments else { return Err(underflow()) };
            match *self.get(inner) {
                Object::Global(inner) if inner != Global::RebuildFromType => function = inner,
                _ => return fail("is damaged: its pickle calls something that makes no tensor"),
            }
            arguments = self.get(inner_arguments).parts()?.to_vec();
            self.work(arguments.len())?;
        }
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
            Global::DefaultDict => self.push(Object::Dict(Vec::new())),
            Global::RebuildTensor => {
                let tensor = self.tensor(&arguments, None)?;
                self.push(tensor);
            }
            Global::RebuildTypedTensor => {
                let Some(&Object::Global(Global::Dtype(element))) = arguments.get(6).map(|&id| self.get(id)) else {
                    return fail("is damaged: a tensor in it lacks its type");
                };
                let tensor = self.tensor(&arguments, Some(element))?;
                self.push(tensor);
            }
            Global::RebuildParameter => {
                let &tensor = arguments.first().ok_or_else(underflow)?;
                self.stack.push(tensor);
            }
            Global::RebuildUnusual(what) => self.push(Object::Unusual(what)),
            Global::Plain => self.push(Object::Other),
            Global::RebuildFromType | Global::Dtype(_) | Global::Storage(_) => {
                return fail("is damaged: its pickle calls something that is no function");
            }
        }
        Ok(())
    }

    /// Arguments: storage, first element, shape, strides, gradient wanted, hooks; the type, if it is `typed`; and at the end
    /// what PyTorch does to the values when it reads them.
    fn tensor(&mut self, arguments: &[Id], typed: Option<Element>) -> Result<Object, WeightFileError> {
        self.work(TENSOR_WORK)?;
        let [storage, offset, shape, stride, ..] = *arguments else {
            return fail("is damaged: a tensor in it lacks its shape");
        };
        let Object::Storage(storage) = self.get(storage) else {
            return fail("is damaged: a tensor in it lacks its storage");
        };
        let changed = arguments.get(6 + usize::from(typed.is_some()));
        if changed.is_some_and(|&id| matches!(self.get(id), Object::Dict(items) if !items.is_empty())) {
            return Ok(Object::Unusual("a tensor that is negated or conjugated when it is used"));
        }
        let sizes = |id| -> Result<Vec<usize>, WeightFileError> {
            self.get(id).parts()?.iter().map(|&part| Ok(self.count(part)? as usize)).collect()
        };
        if self.get(shape).parts()?.len() > MAX_RANK {
            return Ok(Object::Unusual("a tensor of more than 8 dimensions"));
        }
        let (offset, shape, stride) = (self.count(offset)?, sizes(shape)?, sizes(stride)?);
        let element = typed.unwrap_or(storage.element);
        let storage = (**storage).clone();
        self.work(shape.len() + stride.len())?;
        Ok(Object::Tensor(Box::new(StridedView { storage, element, offset, shape, stride })))
    }

    /// Makes an object of a type: plain data, or a `Parameter`, of its tensor or with a state to follow.
    pub fn new_object(&mut self) -> Result<(), WeightFileError> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        match *self.get(class) {
            Object::Global(Global::RebuildParameter) => {}
            Object::Global(Global::OrderedDict | Global::DefaultDict) => {
                self.push(Object::Dict(Vec::new()));
                return Ok(());
            }
            Object::Global(Global::Plain) => {
                self.push(Object::Other);
                return Ok(());
            }
            _ => return fail("is no weight file: its pickle makes an object that is neither a tensor nor plain data"),
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
            Object::Dict(_) | Object::Tensor(_) | Object::Unusual(_) | Object::TensorKey(_) | Object::Other => Ok(()),
            Object::Parameter => match *self.get(state).parts()? {
                [tensor, ..] => {
                    let tensor = self.get(tensor).clone();
                    self.work(TENSOR_WORK)?;
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
            Object::Tuple(parts) => {
                let storage = self.storage(parts)?;
                self.work(TENSOR_WORK)?;
                Object::Storage(Box::new(storage))
            }
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
