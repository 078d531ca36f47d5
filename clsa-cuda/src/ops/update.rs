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

/// `v ← momentum·v + (g + decay·w)`, `w ← w - lr·v` (torch's SGD) for all parameters, rounded to f32 after every
/// operation.
///
/// # Errors
/// Tensors differ in shape, are not contiguous f32 tensors on this GPU, memory does not suffice, or the launch fails.
pub fn sgd<G: Gpu>(gpu: &G, operands: &[SgdOperands], lr: f64, momentum: f64, decay: f64) -> Result<()> {
    let mut rows = Vec::new();
    for SgdOperands { weight, velocity, gradient } in operands {
        let len = weight.elem_count();
        let weight = write(gpu, "weight", weight, len)?;
        let velocity = write(gpu, "velocity", velocity, len)?;
        let gradient = read(gpu, "gradient", gradient, len)?;
        add_chunks(&mut rows, [weight, velocity, gradient], len);
    }
    let Some(table) = Table::new(gpu, rows, 4, operands.first().map(|operands| &operands.weight))? else {
        return Ok(());
    };
    let (lr, momentum, decay) = (lr as f32, momentum as f32, decay as f32);
    let args = Sgd { chunks: table.address, lr, momentum, decay, ..Default::default() };
    // SAFETY: the operands are as long as the table's rows say; they and the table are freed in the stream's order.
    unsafe { gpu.launch(Element::F32, table.grid, &args) }
}

/// `average ← m·average + (1-m)·value` for all pairs of an average and its value, of equal shape, rounded to f32 after
/// every operation.
///
/// # Errors
/// As for [`sgd`].
pub fn moving_average<G: Gpu>(gpu: &G, pairs: &[(Tensor, Tensor)], m: f64) -> Result<()> {
    let mut rows = Vec::new();
    for (average, value) in pairs {
        let len = average.elem_count();
        add_chunks(&mut rows, [write(gpu, "average", average, len)?, read(gpu, "value", value, len)?], len);
    }
    let Some(table) = Table::new(gpu, rows, 3, pairs.first().map(|(average, _)| average))? else { return Ok(()) };
    let args = MovingAverage { chunks: table.address, kept: m as f32, rest: (1.0 - m) as f32 };
    // SAFETY: as above.
    unsafe { gpu.launch(Element::F32, table.grid, &args) }
}

/// Rows of addresses and a length, on the GPU, and a grid of a block for each.
struct Table {
    address: u64,
    grid: [u32; 3],
    _rows: Tensor,
}

impl Table {
    /// `beside`: a tensor on the device where the table is to be. `None` where there are no rows: a driver starts no
    /// kernel without blocks.
    fn new<G: Gpu>(gpu: &G, rows: Vec<i64>, columns: usize, beside: Option<&Tensor>) -> Result<Option<Self>> {
        let count = rows.len() / columns;
        let grid = match u32::try_from(count) {
            Ok(count) if count < 1 << 31 => [count, 1, 1],
            _ => return Err(unsupported(format!("{count} chunks of parameters are too many"))),
        };
        let Some(beside) = beside.filter(|_| count > 0) else { return Ok(None) };
        let rows = Tensor::from_vec(rows, (count, columns), beside.device())?;
        Ok(Some(Self { address: read_table(gpu, "table", &rows)?, grid, _rows: rows }))
    }
}

fn add_chunks<const N: usize>(rows: &mut Vec<i64>, addresses: [u64; N], len: usize) {
    for first in (0..len).step_by(CHUNK) {
        rows.extend(addresses.map(|address| (address + (first * size_of::<f32>()) as u64) as i64));
        rows.push(CHUNK.min(len - first) as i64);
    }
}
