//! What kernels read: an activation as it is stored, or the batch norm and ReLU of one, computed while it is loaded, so
//! that only the convolution's output need be kept.

use super::element::part;
use super::simd::Simd;

/// An activation in memory, channels last: (batch, height, width, channels).
#[derive(Clone, Copy)]
pub enum ActivationView<'a, E> {
    /// The values themselves.
    Plain(&'a [E]),
    /// `relu?(z · scale + shift)`, computed while it is read.
    Normalized {
        /// A convolution's output, (batch, height, width, channels).
        z: &'a [E],
        /// Multiplies each channel of a group of images; (groups, channels).
        scale: &'a [f32],
        /// Added to each channel of a group of images then; (groups, channels).
        shift: &'a [f32],
        /// Whether ReLU follows.
        relu: bool,
    },
}

impl<'a, E> ActivationView<'a, E> {
    /// The values in memory.
    pub(super) fn stored(&self) -> &'a [E] {
        match *self {
            Self::Plain(values) | Self::Normalized { z: values, .. } => values,
        }
    }

    /// What is done to the channels of a group while they are read.
    ///
    /// # Panics
    /// There are no `channels` values for the group.
    #[inline(always)]
    pub(super) fn norm_of_group(&self, group: usize, channels: usize) -> Option<ChannelNorm> {
        match *self {
            Self::Plain(_) => None,
            Self::Normalized { scale, shift, relu, .. } => {
                let scale = scale[group * channels..][..channels].as_ptr();
                let shift = shift[group * channels..][..channels].as_ptr();
                Some(ChannelNorm { scale, shift, relu })
            }
        }
    }
}

/// `relu?(z · scale + shift)` for the channels of one group of images.
#[derive(Clone, Copy)]
pub(super) struct ChannelNorm {
    pub scale: *const f32,
    pub shift: *const f32,
    pub relu: bool,
}

impl ChannelNorm {
    /// The norm of `v`, values of the channels from `c` on, of which there are `lanes` more.
    ///
    /// # Safety
    /// Scale and shift have these channels, and the CPU has the instruction set.
    #[inline(always)]
    pub(super) unsafe fn apply<V: Simd>(self, v: V, c: usize, lanes: usize) -> V {
        // SAFETY: the caller's.
        unsafe {
            let y = v.mul_add(part(self.scale.add(c), lanes), part(self.shift.add(c), lanes));
            if self.relu { V::zero().max(y) } else { y }
        }
    }
}
