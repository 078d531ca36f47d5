//! Products of matrices and of rows in f64 whose rounding stays far below a unit in the last place.
//!
//! A logit of 1e4 has a last digit of 2e-12, and so has its exponential, relatively: for logits that large, f64 itself is too
//! coarse. Each number is therefore split into a high part of so few bits that products and sums of high parts are exact, and
//! a low part whose products are so small that their rounding does not matter (Ozaki's scheme). Any device that has f64 can.

use candle_core::{D, DType, Tensor};

/// Rows of numbers, (…, dim), and for f64 the high and the low part that they are the sums of.
pub(crate) struct HighLow {
    whole: Tensor,
    parts: Option<[Tensor; 2]>,
}

/// Products as a leading part, and a correction to add to it; there is none where the factors are not split.
pub(crate) struct Products {
    pub leading: Tensor,
    pub correction: Option<Tensor>,
}

impl HighLow {
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

    /// `self · otherᵀ` for (rows, dim) and (others, dim): (rows, others).
    pub fn products(&self, other: &Self) -> candle_core::Result<Products> {
        let (Some([high, low]), Some([other_high, other_low])) = (&self.parts, &other.parts) else {
            return Ok(Products { leading: self.whole.matmul(&other.whole.t()?)?, correction: None });
        };
        let left = Tensor::cat(&[high, low], 1)?;
        let right = Tensor::cat(&[other_low, &other.whole], 1)?;
        Ok(Products { leading: high.matmul(&other_high.t()?)?, correction: Some(left.matmul(&right.t()?)?) })
    }

    /// Row-wise dot products with the rows of `other`, which are broadcast.
    pub fn row_products(&self, other: &Self) -> candle_core::Result<Products> {
        let sums = |a: &Tensor, b: &Tensor| a.broadcast_mul(b)?.sum(D::Minus1);
        let (Some([high, low]), Some([other_high, other_low])) = (&self.parts, &other.parts) else {
            return Ok(Products { leading: sums(&self.whole, &other.whole)?, correction: None });
        };
        let correction = (sums(high, other_low)? + sums(low, &other.whole)?)?;
        Ok(Products { leading: sums(high, other_high)?, correction: Some(correction) })
    }
}

impl Products {
    /// The products, rounded to their dtype.
    pub fn sum(&self) -> candle_core::Result<Tensor> {
        match &self.correction {
            Some(correction) => &self.leading + correction,
            None => Ok(self.leading.clone()),
        }
    }

    /// `minuend - self`: the leading parts first, so that what they have in common cancels before it is rounded.
    pub fn subtract_from(&self, minuend: &Tensor) -> candle_core::Result<Tensor> {
        let difference = (minuend - &self.leading)?;
        match &self.correction {
            Some(correction) => difference - correction,
            None => Ok(difference),
        }
    }
}
