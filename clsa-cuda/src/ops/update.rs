//! The two updates of a training step, each one launch over all parameters.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Element, Gpu};
use crate::kernels::{MovingAverage, Sgd};
use crate::tensor::{read, read_table, unsupported, write};

/// Elements of a chunk, which is the work of a block.
const CHUNK: usize = 1 << 14;

/// A parameter with what SGD needs of it; tensors of equal shape.
#[derive(Clone, Debug)]
pub struct SgdOperands {
    /// The parameter.
    pub weight: Tensor,
    /// Its velocity, zero at first.
    pub velocity: Tensor,
    /// Its gradient.
    pub gradient: Tensor,
}

/// SGD on a set of parameters. It is made once: tensors keep their place when they change in place.
#[derive(Clone, Debug)]
pub struct SgdTable<G> {
    gpu: G,
    table: Table,
    /// They live as long as the table that has their addresses.
    _operands: Vec<SgdOperands>,
}

impl<G: Gpu> SgdTable<G> {
    /// A table of these parameters.
    ///
    /// # Errors
    /// Tensors differ in shape, are not contiguous f32 tensors on this GPU, or memory does not suffice.
    pub fn new(gpu: &G, operands: Vec<SgdOperands>) -> Result<Self> {
        let mut rows = Vec::new();
        for SgdOperands { weight, velocity, gradient } in &operands {
            let len = weight.elem_count();
            let weight = write(gpu, "weight", weight, len)?;
            let velocity = write(gpu, "velocity", velocity, len)?;
            let gradient = read(gpu, "gradient", gradient, len)?;
            add_chunks(&mut rows, [weight, velocity, gradient], len);
        }
        let table = Table::new(rows, 4, operands.first().map(|o| &o.weight))?;
        Ok(Self { gpu: gpu.clone(), table, _operands: operands })
    }

    /// `v ← momentum·v + (g + decay·w)`, `w ← w - lr·v` (torch's SGD) for all parameters, rounded to f32 after every operation.
    ///
    /// # Errors
    /// The launch fails.
    pub fn apply(&self, lr: f64, momentum: f64, decay: f64) -> Result<()> {
        let Some(chunks) = self.table.address(&self.gpu)? else { return Ok(()) };
        let args = Sgd { chunks, lr: lr as f32, momentum: momentum as f32, decay: decay as f32, ..Default::default() };
        // SAFETY: the table's tensors are alive and as long as its rows say.
        unsafe { self.gpu.launch(Element::F32, self.table.grid, &args) }
    }
}

/// Moving averages of a set of parameters. It is made once: tensors keep their place when they change in place.
#[derive(Clone, Debug)]
pub struct AverageTable<G> {
    gpu: G,
    table: Table,
    _operands: Vec<(Tensor, Tensor)>,
}

impl<G: Gpu> AverageTable<G> {
    /// A table of pairs of an average and its parameter, of equal shape.
    ///
    /// # Errors
    /// As for [`SgdTable::new`].
    pub fn new(gpu: &G, pairs: Vec<(Tensor, Tensor)>) -> Result<Self> {
        let mut rows = Vec::new();
        for (average, value) in &pairs {
            let len = average.elem_count();
            add_chunks(&mut rows, [write(gpu, "average", average, len)?, read(gpu, "value", value, len)?], len);
        }
        let table = Table::new(rows, 3, pairs.first().map(|(average, _)| average))?;
        Ok(Self { gpu: gpu.clone(), table, _operands: pairs })
    }

    /// `average ← m·average + (1-m)·value` for all pairs, rounded to f32 after every operation.
    ///
    /// # Errors
    /// The launch fails.
    pub fn apply(&self, m: f64) -> Result<()> {
        let Some(chunks) = self.table.address(&self.gpu)? else { return Ok(()) };
        let args = MovingAverage { chunks, kept: m as f32, rest: (1.0 - m) as f32 };
        // SAFETY: the table's tensors are alive and as long as its rows say.
        unsafe { self.gpu.launch(Element::F32, self.table.grid, &args) }
    }
}

/// Rows of addresses and a length, on the GPU.
#[derive(Clone, Debug)]
struct Table {
    rows: Option<Tensor>,
    grid: [u32; 3],
}

impl Table {
    /// `beside`: a tensor on the device where the table is to be.
    fn new(rows: Vec<i64>, columns: usize, beside: Option<&Tensor>) -> Result<Self> {
        let count = rows.len() / columns;
        let grid = match u32::try_from(count) {
            Ok(count) if count < 1 << 31 => [count, 1, 1],
            _ => return Err(unsupported(format!("{count} chunks of parameters are too many"))),
        };
        let rows = match beside {
            Some(beside) if count > 0 => Some(Tensor::from_vec(rows, (count, columns), beside.device())?),
            _ => None,
        };
        Ok(Self { rows, grid })
    }

    /// Where it is, if it has rows.
    fn address<G: Gpu>(&self, gpu: &G) -> Result<Option<u64>> {
        self.rows.as_ref().map(|rows| read_table(gpu, "table", rows)).transpose()
    }
}

fn add_chunks<const N: usize>(rows: &mut Vec<i64>, addresses: [u64; N], len: usize) {
    for first in (0..len).step_by(CHUNK) {
        rows.extend(addresses.map(|address| (address + (first * size_of::<f32>()) as u64) as i64));
        rows.push(CHUNK.min(len - first) as i64);
    }
}
