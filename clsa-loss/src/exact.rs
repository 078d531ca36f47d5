//! Products of matrices and of rows in f64 whose rounding stays far below a unit in the last place.
//!
//! A logit of 1e4 has a last digit of 2e-12, and so has its exponential, relatively: for logits that large, f64 itself is too
//! coarse. Numbers are therefore split into a high part of so few bits that products and sums of high parts are exact, and a
//! low part whose products are small enough for their rounding not to matter (Ozaki's scheme). Any device that has f64 can.

use candle_core::{D, DType, Tensor};

/// Rows of numbers, (…, dim), and for f64 the two parts that they are the sums of.
pub(crate) struct Split {
    whole: Tensor,
    parts: Option<[Tensor; 2]>,
}

impl Split {
    pub fn new(rows: &Tensor) -> candle_core::Result<Self> {
        let mut parts = None;
        if rows.dtype() == DType::F64 && rows.elem_count() > 0 {
            let largest = rows.abs()?.max_all()?.to_scalar::<f64>()?;
            // Numbers near the ends of f64's range are left whole.
            if (1e-100..1e100).contains(&largest) {
                // The sum of `dim` products of two integers of this many bits has no more than 53.
                let bits = ((53.0 - (rows.dim(D::Minus1)? as f64).log2().ceil()) / 2.0).floor();
                let unit = (largest.log2().floor() + 1.0 - bits).exp2();
                let high = (rows.affine(unit.recip(), 0.0)?.round()? * unit)?;
                parts = Some([high.clone(), (rows - high)?]);
            }
        }
        Ok(Self { whole: rows.clone(), parts })
    }

    /// `self · otherᵀ` for (rows, dim) and (others, dim): (rows, others), and for f64 what is to be added to it.
    pub fn products(&self, other: &Split) -> candle_core::Result<(Tensor, Option<Tensor>)> {
        let (Some([high, low]), Some([other_high, other_low])) = (&self.parts, &other.parts) else {
            return Ok((self.whole.matmul(&other.whole.t()?)?, None));
        };
        let left = Tensor::cat(&[high, low], 1)?;
        let right = Tensor::cat(&[other_low, &other.whole], 1)?;
        Ok((high.matmul(&other_high.t()?)?, Some(left.matmul(&right.t()?)?)))
    }

    /// Each row times the row of `other` in its place: large numbers, and small ones to be added to them.
    pub fn row_products(&self, other: &Split) -> candle_core::Result<(Tensor, Tensor)> {
        let sums = |a: &Tensor, b: &Tensor| a.broadcast_mul(b)?.sum(D::Minus1);
        let (Some([high, low]), Some([other_high, other_low])) = (&self.parts, &other.parts) else {
            let products = sums(&self.whole, &other.whole)?;
            let nothing = products.zeros_like()?;
            return Ok((products, nothing));
        };
        Ok((sums(high, other_high)?, (sums(high, other_low)? + sums(low, &other.whole)?)?))
    }
}
