//! The forward pass of batch norm, with the addition of a residual and ReLU.

use super::chunks::Chunk;
use super::pass::BatchNormPass;
use crate::kernels::activation_view::{ActivationView, ChannelNorm};
use crate::kernels::element::{Element, part, write};
use crate::kernels::memory::Shared;
use crate::kernels::simd::{Kernel, Simd, dispatch};

impl<E: Element> BatchNormPass<'_, E> {
    /// Writes `relu?(z · scale + shift + residual?)` to `out`; `residual` and `out` have the shape of `z`.
    ///
    /// # Panics
    /// `residual` or `out` has another length than `z`, `z` is not whole groups of pixels, the scale and shift of
    /// `residual` are shorter than (groups, channels), or the CPU lacks the instruction set.
    pub fn normalize(&self, residual: Option<ActivationView<'_, E>>, relu: bool, out: &mut [E]) {
        let Self { instructions, channels, z, affine } = *self;
        assert_eq!(z.len(), out.len());
        assert!(residual.is_none_or(|r| r.stored().len() == z.len()));
        let to = Shared::new(out);
        self.chunks().for_each(|Chunk { group, first, pixels, .. }| {
            let residual = residual
                .map(|r| Residual { stored: r.stored()[first..].as_ptr(), norm: r.norm_of_group(group, channels) });
            let kernel = Normalize {
                channels,
                pixels,
                z: z[first..].as_ptr(),
                scale: self.of_group(&affine.scale, group),
                shift: self.of_group(&affine.shift, group),
                residual,
                relu,
                // SAFETY: chunks are disjoint parts of `out`.
                to: unsafe { to.get().add(first) },
            };
            dispatch(instructions, kernel);
        });
    }
}

/// What is added, as it is stored, and its own norm.
#[derive(Clone, Copy)]
struct Residual<E> {
    stored: *const E,
    norm: Option<ChannelNorm>,
}

struct Normalize<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    scale: *const f32,
    shift: *const f32,
    residual: Option<Residual<E>>,
    relu: bool,
    to: *mut E,
}

impl<E: Element> Kernel for Normalize<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { scale, shift, .. } = self;
        for pixel in 0..self.pixels {
            for c in (0..self.channels).step_by(V::LANES) {
                let lanes = self.channels - c;
                let at = pixel * self.channels + c;
                // SAFETY: the pass has checked the lengths.
                unsafe {
                    let z: V = part(self.z.add(at), lanes);
                    let mut y = z.mul_add(part(scale.add(c), lanes), part(shift.add(c), lanes));
                    if let Some(residual) = self.residual {
                        let mut r: V = part(residual.stored.add(at), lanes);
                        if let Some(norm) = residual.norm {
                            r = norm.apply(r, c, lanes);
                        }
                        y = y.add(r);
                    }
                    if self.relu {
                        y = V::zero().max(y);
                    }
                    write(y, self.to.add(at), lanes);
                }
            }
        }
    }
}
