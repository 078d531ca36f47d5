//! The second pass of batch norm's gradient: that of its input.

use super::backward_sums::BatchNormSums;
use super::chunks::Chunk;
use super::pass::BatchNormPass;
use super::relu_mask::ReluMask;
use crate::kernels::element::{Element, part, write};
use crate::kernels::memory::Shared;
use crate::kernels::simd::{Kernel, Simd, dispatch};

impl<E: Element> BatchNormPass<'_, E> {
    /// Second pass of the backward pass: the gradient of `z` from the gradient of the unit's output, both of the shape of
    /// `z`. It is written to `out`, or over the gradient itself where `out` is `None`. `mask` is as in the first pass,
    /// but [`ReluMask::Output`] has been applied there.
    ///
    /// # Panics
    /// `gradient` or `out` has another length than `z`, the sums are of another shape, `z` is not whole groups of pixels,
    /// or the CPU lacks the instruction set.
    pub fn backward_apply(
        &self,
        sums: &BatchNormSums,
        mask: ReluMask<'_, E>,
        gradient: &mut [E],
        out: Option<&mut [E]>,
    ) {
        let Self { instructions, channels, z, affine } = *self;
        assert_eq!(z.len(), gradient.len());
        assert!(out.as_ref().is_none_or(|o| o.len() == z.len()));
        let count = sums.count as f64;
        // dz = scale · (g - mean(g) - normalized · mean(g · normalized))
        let constant: Vec<f32> =
            affine.scale.iter().zip(&sums.gradient).map(|(&s, g)| (-f64::from(s) * g / count) as f32).collect();
        let slope: Vec<f32> = (0..affine.scale.len())
            .map(|i| (-f64::from(affine.scale[i]) * f64::from(affine.inv_std[i]) * sums.weighted[i] / count) as f32)
            .collect();
        let from = Shared::new(gradient);
        let to = out.map_or(from, Shared::new);
        self.chunks().for_each(|Chunk { group, first, pixels, .. }| {
            let kernel = BackwardApply {
                channels,
                pixels,
                z: z[first..].as_ptr(),
                scale: self.of_group(&affine.scale, group),
                shift: self.of_group(&affine.shift, group),
                mean: self.of_group(&affine.mean, group),
                constant: self.of_group(&constant, group),
                slope: self.of_group(&slope, group),
                normalized: matches!(mask, ReluMask::Normalized),
                // SAFETY: chunks are disjoint parts of the gradient and of the result.
                gradient: unsafe { from.get().add(first) },
                // SAFETY: as above.
                to: unsafe { to.get().add(first) },
            };
            dispatch(instructions, kernel);
        });
    }
}

struct BackwardApply<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    scale: *const f32,
    shift: *const f32,
    mean: *const f32,
    constant: *const f32,
    slope: *const f32,
    normalized: bool,
    gradient: *const E,
    to: *mut E,
}

impl<E: Element> Kernel for BackwardApply<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        for pixel in 0..self.pixels {
            for c in (0..self.channels).step_by(V::LANES) {
                let lanes = self.channels - c;
                let at = pixel * self.channels + c;
                // SAFETY: the pass has checked the lengths.
                unsafe {
                    let scale: V = part(self.scale.add(c), lanes);
                    let z: V = part(self.z.add(at), lanes);
                    let mut g: V = part(self.gradient.add(at), lanes);
                    if self.normalized {
                        g = g.where_positive(z.mul_add(scale, part(self.shift.add(c), lanes)));
                    }
                    let centered = z.sub(part(self.mean.add(c), lanes));
                    let constant = part(self.constant.add(c), lanes);
                    let dz = centered.mul_add(part(self.slope.add(c), lanes), g.mul_add(scale, constant));
                    write(dz, self.to.add(at), lanes);
                }
            }
        }
    }
}
