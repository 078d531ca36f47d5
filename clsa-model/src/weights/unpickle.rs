//! A pickle machine that can only build tensors and plain data.
//!
//! A pickle is a program, and Python's own machine lets it call any function. This one knows the handful of names that
//! a `state_dict()` uses ([`Global`]) and builds a description of the tensors from them; at any other name it stops.
//! Everything lives in one arena and refers to its parts by index, so that shared and nested objects cost no recursion.

use super::refusal::{Refusal, refuse};
use candle_core::DType;
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// Work a pickle may ask for, in instructions and copied references: far above any checkpoint of these networks (some
/// 100 000), and it bounds the memory.
const MAX_WORK: usize = 4_000_000;

/// Dimensions a tensor may have.
pub(super) const MAX_RANK: usize = 8;

/// Bytes the key of a storage may have; PyTorch numbers them.
const MAX_KEY: usize = 64;

/// The place of an object in [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// An object of the pickle.
#[derive(Clone, Debug)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(StridedView),
    /// A tensor that the legacy tar form keeps outside the pickle, by its key.
    TensorKey(i128),
    /// A `Parameter` whose tensor is in the state that follows.
    Parameter,
    /// A plain value that nothing here looks at: a float, bytes, a device.
    Other,
}

/// The names that a pickle may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Device,
    /// `torch.float32` and its like.
    Dtype,
    /// `torch.FloatStorage` and its like.
    Storage(Element),
}

/// What a storage holds: a type that Candle has, or one that no weight of these networks uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub dtype: Option<DType>,
    pub size: usize,
}

/// A storage as the pickle describes it; its values are elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: String,
    pub element: Element,
    /// Elements of the whole storage.
    pub len: u64,
    /// The part of it that is meant, as first element and length (legacy files).
    pub view: Option<(u64, u64)>,
}

/// A tensor as a strided view of a storage.
#[derive(Clone, Debug)]
pub(super) struct StridedView {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

impl StridedView {
    /// Checks that the view is inside its storage and has no more elements than it.
    pub fn new(storage: Storage, offset: u64, shape: Vec<usize>, stride: Vec<usize>) -> Result<Self, Refusal> {
        let damaged = || Refusal::new("is damaged: a tensor reaches beyond its storage");
        if shape.len() != stride.len() || shape.len() > MAX_RANK {
            return Err(damaged());
        }
        let len = storage.view.map_or(storage.len, |(_, len)| len);
        let mut elements = 1_u64;
        let mut last = offset;
        for (&dim, &step) in shape.iter().zip(&stride) {
            elements = elements.checked_mul(dim as u64).ok_or_else(damaged)?;
            let reach = (dim as u64).saturating_sub(1).checked_mul(step as u64).ok_or_else(damaged)?;
            last = last.checked_add(reach).ok_or_else(damaged)?;
        }
        if elements > 0 && last >= len {
            return Err(damaged());
        }
        if elements > len {
            return refuse("has a tensor that repeats its elements, as expand() makes: save its contiguous() copy");
        }
        Ok(Self { storage, offset, shape, stride })
    }
}

/// A pickle that ran to its end.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    result: Id,
}

impl Pickle {
    /// Runs one pickle and leaves `reader` behind its last byte.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, Refusal> {
        let mut machine = Machine {
            reader,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            work: 0,
        };
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
    pub fn result_parts(&self) -> Result<&[Id], Refusal> {
        parts(self.result())
    }

    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// Every object that was built on the way.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn int(&self, id: Id) -> Result<i128, Refusal> {
        match self.get(id) {
            Object::Int(value) => Ok(*value),
            _ => refuse("is damaged: its pickle has something else where a number belongs"),
        }
    }

    /// The parts of a tuple or list.
    pub fn parts(&self, id: Id) -> Result<&[Id], Refusal> {
        parts(self.get(id))
    }
}

fn parts(object: &Object) -> Result<&[Id], Refusal> {
    match object {
        Object::Tuple(parts) | Object::List(parts) => Ok(parts),
        _ => refuse("is damaged: its pickle has something else where a tuple belongs"),
    }
}

struct Machine<'a, R> {
    reader: &'a mut R,
    objects: Vec<Object>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    work: usize,
}

impl<R: BufRead> Machine<'_, R> {
    /// Runs one instruction (the names are those of Python's `pickletools`); the result, if it was the last.
    fn step(&mut self) -> Result<Option<Id>, Refusal> {
        let [opcode] = self.bytes()?;
        match opcode {
            // PROTO
            0x80 => {
                let [version] = self.bytes()?;
                if version > 5 {
                    return refuse(format!("is no weight file: its pickle is of the unknown version {version}"));
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
                self.bytes::<8>()?;
                self.push(Object::Other);
            }
            // BININT, BININT1, BININT2, LONG1
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
                let value = self.long(len.into())?;
                self.push(Object::Int(value));
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
            // BINBYTES, SHORT_BINBYTES
            b'B' => {
                let len = u32::from_le_bytes(self.bytes()?);
                self.skip_bytes(len.into())?;
            }
            b'C' => {
                let [len] = self.bytes()?;
                self.skip_bytes(len.into())?;
            }
            // EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
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
                return refuse(format!(
                    "is no weight file: its pickle has the instruction {other:#04x}, which no state dictionary needs"
                ));
            }
        }
        Ok(None)
    }

    fn work(&mut self, amount: usize) -> Result<(), Refusal> {
        self.work += amount;
        if self.work > MAX_WORK {
            return refuse("is no weight file: its pickle has millions of instructions");
        }
        Ok(())
    }

    /// Calls one of the known functions: nothing is run, the tensor or container is described.
    fn reduce(&mut self) -> Result<(), Refusal> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Object::Global(function) = *self.get(function) else {
            return refuse("is damaged: its pickle calls something that is no function");
        };
        let arguments = parts(self.get(arguments))?.to_vec();
        self.work(arguments.len())?;
        match function {
            Global::OrderedDict => {
                // Python 2 gives the items as one list of pairs.
                let mut items = Vec::new();
                if let Some(&list) = arguments.first() {
                    self.work(parts(self.get(list))?.len())?;
                    for &pair in parts(self.get(list))? {
                        match *parts(self.get(pair))? {
                            [key, value] => items.push((key, value)),
                            _ => return refuse("is damaged: its pickle has a dictionary item that is no pair"),
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
                return refuse("is damaged: its pickle calls something that is no function");
            }
        }
        Ok(())
    }

    /// Arguments: storage, first element, shape, strides, and what does not concern the values.
    fn strided_view(&self, arguments: &[Id]) -> Result<StridedView, Refusal> {
        let [storage, offset, shape, stride, ..] = *arguments else {
            return refuse("is damaged: a tensor in it lacks its shape");
        };
        let Object::Storage(storage) = self.get(storage) else {
            return refuse("is damaged: a tensor in it lacks its storage");
        };
        let sizes = |id| -> Result<Vec<usize>, Refusal> {
            parts(self.get(id))?.iter().map(|&part| Ok(self.count(part)? as usize)).collect()
        };
        StridedView::new(storage.clone(), self.count(offset)?, sizes(shape)?, sizes(stride)?)
    }

    /// Makes an object of a type: of those known, only a `Parameter` is made so, of its tensor or with a state to follow.
    fn new_object(&mut self) -> Result<(), Refusal> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        if !matches!(self.get(class), Object::Global(Global::RebuildParameter)) {
            return refuse("is no weight file: its pickle makes an object that is no tensor");
        }
        match parts(self.get(arguments))?.first() {
            Some(&tensor) => self.stack.push(tensor),
            None => self.push(Object::Parameter),
        }
        Ok(())
    }

    /// Sets attributes: a state dictionary carries its layer versions so and a parameter its gradient's settings, which the
    /// values do not depend on. A parameter made of nothing has its tensor as the first of them.
    fn build(&mut self) -> Result<(), Refusal> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.get(object) {
            Object::Dict(_) | Object::Tensor(_) | Object::TensorKey(_) => Ok(()),
            Object::Parameter => match *parts(self.get(state))? {
                [tensor, ..] => {
                    let tensor = self.get(tensor).clone();
                    // In place, so that what refers to the parameter finds the tensor.
                    self.objects[object.0 as usize] = tensor;
                    Ok(())
                }
                [] => refuse("is damaged: a parameter in it has no tensor"),
            },
            _ => refuse("is no weight file: its pickle sets the state of an object that is no dictionary"),
        }
    }

    /// Reads a persistent id: `('storage', type, key, location, elements[, view])`, or in the tar form a tensor's key.
    fn persistent(&mut self) -> Result<(), Refusal> {
        let id = self.pop()?;
        let object = match self.get(id) {
            Object::Int(key) => Object::TensorKey(*key),
            Object::Text(key) => match key.parse() {
                Ok(key) => Object::TensorKey(key),
                Err(_) => return refuse("is damaged: the key of a tensor in it is no number"),
            },
            Object::Tuple(parts) => Object::Storage(self.storage(parts)?),
            _ => return refuse("is damaged: its pickle refers to data that is no storage"),
        };
        self.push(object);
        Ok(())
    }

    fn storage(&self, parts: &[Id]) -> Result<Storage, Refusal> {
        let damaged = || Refusal::new("is damaged: its pickle describes a storage wrongly");
        let [kind, element, key, _location, len, ref rest @ ..] = *parts else { return Err(damaged()) };
        if self.text(kind)? != "storage" {
            let kind = self.text(kind)?;
            return refuse(format!("holds a Python object ({kind}), not only weights: save its state_dict() instead"));
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

    fn extend_list(&mut self, parts: Vec<Id>) -> Result<(), Refusal> {
        let list = self.top()?;
        match &mut self.objects[list.0 as usize] {
            Object::List(present) => {
                present.extend(parts);
                Ok(())
            }
            _ => refuse("is no weight file: its pickle appends to something that is no list"),
        }
    }

    fn extend_dict(&mut self, parts: &[Id]) -> Result<(), Refusal> {
        let dict = self.top()?;
        match &mut self.objects[dict.0 as usize] {
            Object::Dict(present) if parts.len().is_multiple_of(2) => {
                present.extend(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => refuse("is no weight file: its pickle sets the items of something that is no dictionary"),
        }
    }

    fn memorize(&mut self, key: u32) -> Result<(), Refusal> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), Refusal> {
        let &id = self.memo.get(&key).ok_or_else(|| Refusal::new("is damaged: its pickle refers to nothing"))?;
        self.stack.push(id);
        Ok(())
    }

    fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    fn text(&self, id: Id) -> Result<&str, Refusal> {
        match self.get(id) {
            Object::Text(text) => Ok(text),
            _ => refuse("is damaged: its pickle has something else where text belongs"),
        }
    }

    fn count(&self, id: Id) -> Result<u64, Refusal> {
        match *self.get(id) {
            // Signed in PyTorch, so that sums of two do not overflow here.
            Object::Int(value) if (0..1 << 62).contains(&value) => Ok(value as u64),
            _ => refuse("is damaged: its pickle has something else where a size belongs"),
        }
    }

    fn push(&mut self, object: Object) {
        let id = Id(self.objects.len() as u32);
        self.objects.push(object);
        self.stack.push(id);
    }

    fn push_text(&mut self, len: u64) -> Result<(), Refusal> {
        let bytes = self.take(len)?;
        let text = String::from_utf8(bytes).map_err(|_| Refusal::new("is damaged: a name in it is no UTF-8 text"))?;
        self.push(Object::Text(text));
        Ok(())
    }

    fn skip_bytes(&mut self, len: u64) -> Result<(), Refusal> {
        self.take(len)?;
        self.push(Object::Other);
        Ok(())
    }

    /// The next `len` bytes. Memory grows with what the file really has, not with what it says.
    fn take(&mut self, len: u64) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(len).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < len { refuse("is truncated: its pickle ends in the middle") } else { Ok(bytes) }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A line of a GLOBAL instruction, without its end. Names are short; a longer one is cut, and then unknown.
    fn line(&mut self) -> Result<String, Refusal> {
        let mut line = Vec::new();
        self.reader.by_ref().take(256).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A two's complement number of up to 16 bytes, least significant first.
    fn long(&mut self, len: usize) -> Result<i128, Refusal> {
        if len > 16 {
            return refuse("is no weight file: its pickle has a number of more than 16 bytes");
        }
        let mut bytes = [0; 16];
        self.reader.read_exact(&mut bytes[..len])?;
        if len > 0 && bytes[len - 1] >= 0x80 {
            bytes[len..].fill(0xff);
        }
        Ok(i128::from_le_bytes(bytes))
    }

    /// The stack's height that instructions without a mark must not go below.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn top(&self) -> Result<Id, Refusal> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(underflow()),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }
}

fn underflow() -> Refusal {
    Refusal::new("is damaged: its pickle takes more than it has put down")
}

/// The function or type of that name, if a state dictionary can need it.
fn global(module: &str, name: &str) -> Result<Global, Refusal> {
    let storage = |dtype, size| Global::Storage(Element { dtype, size });
    let known = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") | ("torch.nn.parameter", "Parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        // Types of the legacy tar form's tensors, and of no consequence there: the storage tells the type.
        ("torch", name) if name.ends_with("Tensor") => Global::Dtype,
        ("torch", "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "uint8" | "bool") => {
            Global::Dtype
        }
        ("torch" | "torch.cuda", storage_type) => match storage_type {
            "FloatStorage" => storage(Some(DType::F32), 4),
            "DoubleStorage" => storage(Some(DType::F64), 8),
            "HalfStorage" => storage(Some(DType::F16), 2),
            "BFloat16Storage" => storage(Some(DType::BF16), 2),
            "LongStorage" => storage(Some(DType::I64), 8),
            "IntStorage" => storage(Some(DType::I32), 4),
            "ShortStorage" => storage(Some(DType::I16), 2),
            "ByteStorage" => storage(Some(DType::U8), 1),
            "CharStorage" | "BoolStorage" => storage(None, 1),
            _ => return Err(unknown(module, name)),
        },
        _ => return Err(unknown(module, name)),
    };
    Ok(known)
}

fn unknown(module: &str, name: &str) -> Refusal {
    Refusal::new(format!(
        "asks for {module}.{name}, which is neither a tensor nor plain data (nothing in the file was run): save only \
         the state_dict() of a model"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `Parameter` of the tensor with the key 7, made by NEWOBJ, in two ways; and what makes none.
    #[test]
    fn parameters_may_be_made_as_objects() {
        let read =
            |program: &[u8]| Pickle::read(&mut &[b"\x80\x02ctorch.nn.parameter\nParameter\n", program].concat()[..]);
        let tensor = |program: &[u8]| match read(program).unwrap().result() {
            Object::TensorKey(key) => *key,
            other => panic!("{other:?} is no tensor"),
        };
        // Parameter(tensor, True); then also with a state.
        assert_eq!(tensor(b"K\x07Q\x88\x86\x81."), 7);
        assert_eq!(tensor(b"K\x07Q\x88\x86\x81}b."), 7);
        // Parameter(), whose state is (tensor, True).
        assert_eq!(tensor(b")\x81K\x07Q\x88\x86b."), 7);
        assert!(format!("{:?}", read(b")\x81)b.").unwrap_err()).contains("has no tensor"));
        let other = Pickle::read(&mut &b"\x80\x02ccollections\nOrderedDict\n)\x81."[..]).unwrap_err();
        assert!(format!("{other:?}").contains("makes an object that is no tensor"));
    }
}
