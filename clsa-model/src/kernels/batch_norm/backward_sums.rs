//! The first pass of batch norm's gradient: sums over the batch.

use super::chunks::Chunk;
use super::pass::BatchNormPass;
use super::relu_mask::ReluMask;
use crate::kernels::element::{Element, part, write};
use crate::kernels::memory::Shared;
use crate::kernels::simd::{Kernel, Simd, dispatch};

/// The sums over a batch that batch norm's backward pass needs; also the gradients of its weight and bias.
#[derive(Clone, Debug)]
pub struct BatchNormSums {
    /// Σ g, (groups, channels); summed over groups, the bias's gradient.
    pub gradient: Vec<f64>,
    /// Σ g · (z - mean) / std, (groups, channels): summed over groups, the weight's gradient.
    pub weighted: Vec<f64>,
    /// Values per channel in a group: images times pixels.
    pub count: usize,
}

impl<E: Element> BatchNormPass<'_, E> {
    /// First pass of the backward pass, over the gradient of the unit's output, which has the shape of `z`. With
    /// [`ReluMask::Output`] the masked gradient replaces it (it is also the residual's).
    ///
    /// # Panics
    /// `gradient` or the mask's output has another length than `z`, `z` is not whole groups of pixels, or the CPU lacks
    /// the instruction set.
    pub fn backward_sums(&self, mask: ReluMask<'_, E>, gradient: &mut [E]) -> BatchNormSums {
        let Self { instructions, channels, z, affine } = *self;
        let groups = affine.groups(channels);
        assert_eq!(z.len(), gradient.len());
        let chunks = self.chunks();
        let mut partial = vec![0.0f32; chunks.len() * 2 * channels];
        let (to, sums) = (Shared::new(gradient), Shared::new(&mut partial));
        chunks.for_each(|Chunk { index, group, first, pixels }| {
            let output = match mask {
                ReluMask::Output(out) => out[first..first + pixels * channels].as_ptr(),
                ReluMask::Open | ReluMask::Normalized => std::ptr::null(),
            };
            let kernel = BackwardSums {
                channels,
                pixels,
                z: z[first..].as_ptr(),
                scale: self.of_group(&affine.scale, group),
                shift: self.of_group(&affine.shift, group),
                mean: self.of_group(&affine.mean, group),
                normalized: matches!(mask, ReluMask::Normalized),
                output,
                // SAFETY: chunks are disjoint parts of the gradient, and each has its own two rows of sums.
                gradient: unsafe { to.get().add(first) },
                // SAFETY: as above.
                sums: unsafe { sums.get().add(index * 2 * channels) },
            };
            dispatch(instructions, kernel);
        });
        let mut result = BatchNormSums {
            gradient: vec![0.0; groups * channels],
            weighted: vec![0.0; groups * channels],
            count: z.len() / channels / groups,
        };
        for (index, values) in partial.chunks_exact(2 * channels).enumerate() {
            let first = chunks.group(index) * channels;
            for c in 0..channels {
                result.gradient[first + c] += f64::from(values[c]);
                result.weighted[first + c] += f64::from(values[channels + c]);
            }
        }
        for (sum, &inv_std) in result.weighted.iter_mut().zip(&affine.inv_std) {
            *sum *= f64::from(inv_std);
        }
        result
    }
}

struct BackwardSums<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    scale: *const f32,
    shift: *const f32,
    mean: *const f32,
    normalized: bool,
    output: *const E,
    gradient: *mut E,
    sums: *mut f32,
}

impl<E: Element> Kernel for BackwardSums<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        /// Vectors of channels whose sums are in registers together.
        const WIDE: usize = 4;
        let mut c = 0;
        while c < self.channels {
            // SAFETY: the pass has checked the lengths.
            unsafe {
                if c + WIDE * V::LANES <= self.channels {
                    self.columns::<V, WIDE>(c);
                    c += WIDE * V::LANES;
                } else {
                    self.columns::<V, 1>(c);
                    c += V::LANES;
                }
            }
        }
    }
}

impl<E: Element> BackwardSums<E> {
    #[inline(always)]
    unsafe fn columns<V: Simd, const W: usize>(&self, first: usize) {
        // SAFETY: the caller gives W vectors of channels, the last of which may be partial if W is 1.
        unsafe {
            let mut sum = [V::zero(); W];
            let mut weighted = [V::zero(); W];
            for pixel in 0..self.pixels {
                for j in 0..W {
                    let c = first + j * V::LANES;
                    let lanes = self.channels - c;
                    let at = pixel * self.channels + c;
                    let mut g: V = part(self.gradient.add(at), lanes);
                    let z: V = part(self.z.add(at), lanes);
                    if self.normalized {
                        g = g.where_positive(z.mul_add(part(self.scale.add(c), lanes), part(self.shift.add(c), lanes)));
                    } else if !self.output.is_null() {
                        g = g.where_positive(part(self.output.add(at), lanes));
                        write(g, self.gradient.add(at), lanes);
                    }
                    sum[j] = sum[j].add(g);
                    weighted[j] = g.mul_add(z.sub(part(self.mean.add(c), lanes)), weighted[j]);
                }
            }
            for j in 0..W {
                let c = first + j * V::LANES;
                let lanes = self.channels - c;
                write(sum[j], self.sums.add(c), lanes);
                write(weighted[j], self.sums.add(self.channels + c), lanes);
            }
        }
    }
}
