//! The streaming softmax of the loss.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::SoftmaxBlock as Args;
use crate::ops::{Ops, plan};
use crate::tensor::{read, unsupported, write};

/// A block of candidates, and what is known of all blocks so far: the highest score of each row, and sums of
/// `exp((score - highest) · inverse temperature)`. At first `max` is -infinity and the sums are zero.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxBlock<'a> {
    /// Scores, (rows, columns), before they are divided by the temperature; they become the exponentials.
    pub scores: &'a Tensor,
    /// The highest score, (rows).
    pub max: &'a Tensor,
    /// The sum of the exponentials, (rows).
    pub sum: &'a Tensor,
    /// The sum of the candidates, weighted by the exponentials, (rows, dim). It only decays here, as the highest score grows; the
    /// block's own part is a product of matrices that the caller adds.
    pub weighted: &'a Tensor,
    /// The reciprocals of the temperatures, (rows).
    pub inverse_temperatures: &'a Tensor,
    /// How many scores of each of the first rows are above the row's threshold so far, (counted), as f32.
    pub above: &'a Tensor,
    /// The thresholds, (counted).
    pub thresholds: &'a Tensor,
}

impl<G: Gpu> Ops<G> {
    /// Takes a block of scores into the sums.
    ///
    /// # Errors
    /// A length is wrong.
    pub fn softmax_block(&self, block: SoftmaxBlock<'_>) -> Result<()> {
        let (rows, columns) = block.scores.dims2()?;
        let dim = block.weighted.elem_count() / rows.max(1);
        let counted = block.above.elem_count();
        if counted > rows {
            return Err(unsupported(format!("{counted} of {rows} rows cannot be counted")));
        }
        if rows == 0 {
            return Ok(());
        }
        let gpu = &self.gpu;
        let above = write(gpu, "above", block.above, counted)?;
        let threshold = read(gpu, "thresholds", block.thresholds, counted)?;
        let args = Args {
            scores: write(gpu, "scores", block.scores, rows * columns)?,
            max: write(gpu, "max", block.max, rows)?,
            sum: write(gpu, "sum", block.sum, rows)?,
            weighted: write(gpu, "weighted", block.weighted, rows * dim)?,
            above,
            inverse_temperature: read(gpu, "inverse temperatures", block.inverse_temperatures, rows)?,
            threshold,
            columns: columns as i64,
            dim: dim as i64,
            counted: counted as u32,
            reserved: 0,
        };
        let grid = plan::line_of_all(rows.saturating_mul(crate::kernels::THREADS))?;
        // SAFETY: every operand is as large as the scores say.
        unsafe { self.launch(grid, &args) }
    }
}
