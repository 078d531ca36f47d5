//! Max pooling 3x3 with stride 2, and the mean over an image.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::kernels::{GlobalAvgPool, GlobalAvgPoolBackward, MaxPool, MaxPoolBackward, NormPointers};
use crate::ops::activation::Source;
use crate::ops::area::Area;
use crate::ops::{Ops, plan};
use crate::tensor::{aligned, read, unsupported, write};

/// A batch of images, channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub batch: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of a pixel, a multiple of 8.
    pub channels: usize,
}

impl Images {
    /// Elements of all images.
    pub fn len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images after max pooling.
    pub fn pooled(&self) -> Self {
        Self { height: self.height.div_ceil(2), width: self.width.div_ceil(2), ..*self }
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Its elements, of which there are some; images whose pixels can be counted in 31 bits.
    fn checked_len(&self) -> Result<usize> {
        match self.height.checked_mul(self.width) {
            Some(pixels) if i32::try_from(pixels).is_ok() && u32::try_from(self.batch).is_ok() => {
                Area { groups: 1, rows: self.batch * pixels, channels: self.channels }.checked_len()
            }
            _ => Err(unsupported(format!("{} images of {} by {} are too many", self.batch, self.height, self.width))),
        }
    }
}

/// What max pooling gives.
#[derive(Debug)]
pub struct Pooled<B> {
    /// The highest value of each window, (batch, pooled height, pooled width, channels).
    pub out: B,
    /// Where in its window it was, 0 to 8 row by row, as bytes of the same shape.
    pub taps: B,
}

impl<G: Gpu> Ops<G> {
    /// Max pooling 3x3, stride 2, padding 1. Taken is the first of the highest, or the last NaN where there is one, as in PyTorch;
    /// normalized values are compared as they would be stored.
    ///
    /// # Errors
    /// A length is wrong, the norm's groups do not divide the batch, or memory does not suffice.
    pub fn max_pool(&self, images: Images, x: Source<'_, G>) -> Result<Pooled<G::Buffer>> {
        let len = images.checked_len()?;
        let (x, groups, norm, relu) = match x {
            Source::Stored(x) => (x, 1, NormPointers::default(), false),
            Source::Normalized(own) => {
                let groups = own.norm.groups();
                if !images.batch.is_multiple_of(groups) {
                    return Err(unsupported(format!("{} images are not {groups} equal groups", images.batch)));
                }
                let area = Area { groups, rows: images.batch / groups * images.pixels(), channels: images.channels };
                (own.z, groups, own.norm.pointers_for(self, area)?, own.relu)
            }
        };
        let pooled = images.pooled();
        let (out, taps) = (self.alloc(pooled.len())?, self.gpu.alloc(pooled.len())?);
        let args = MaxPool {
            x: self.activation("x", x, len)?,
            out: out.address(),
            taps: taps.address(),
            norm,
            images: (images.batch / groups) as u32,
            height: images.height as u32,
            width: images.width as u32,
            rows: pooled.height as u32,
            columns: pooled.width as u32,
            channels: images.channels as i32,
            relu: i32::from(relu),
            reserved: 0,
        };
        let grid = plan::pixels(groups, images.batch / groups * pooled.pixels(), images.channels);
        // SAFETY: every operand is as large as the shapes say.
        unsafe { self.launch(grid, &args)? };
        Ok(Pooled { out, taps })
    }

    /// The gradient of max pooling's input, a batch of `images`, from that of its output and the taps.
    ///
    /// # Errors
    /// A length is wrong, or memory does not suffice.
    pub fn max_pool_backward(&self, images: Images, taps: &G::Buffer, dy: &G::Buffer) -> Result<G::Buffer> {
        let len = images.checked_len()?;
        let pooled = images.pooled();
        let dx = self.alloc(len)?;
        let args = MaxPoolBackward {
            dy: self.activation("dy", dy, pooled.len())?,
            taps: self.owned("taps", taps, pooled.len(), 1)?,
            dx: dx.address(),
            pixels: (images.batch * images.pixels()) as i64,
            height: images.height as u32,
            width: images.width as u32,
            rows: pooled.height as u32,
            columns: pooled.width as u32,
            channels: images.channels as i32,
            reserved: 0,
        };
        // SAFETY: every operand is as large as the shapes say.
        unsafe { self.launch(plan::pixels(1, images.batch * images.pixels(), images.channels), &args)? };
        Ok(dx)
    }

    /// The mean over each image's pixels, written to `out` (batch, channels).
    ///
    /// # Errors
    /// A length is wrong.
    pub fn global_avg_pool(&self, images: Images, x: &G::Buffer, out: &Tensor) -> Result<()> {
        let x = self.activation("x", x, images.checked_len()?)?;
        let vectors = images.batch * (images.channels / 8);
        let args = GlobalAvgPool {
            x,
            out: write(&self.gpu, "out", out, images.batch * images.channels)?,
            images: images.batch as i64,
            pixels: images.pixels() as i32,
            channels: images.channels as i32,
        };
        aligned("out", args.out)?;
        // SAFETY: both operands are as large as the shape says.
        unsafe { self.launch(plan::line_of_all(vectors)?, &args) }
    }

    /// The gradient of the mean's input, a batch of `images`, from that of the mean, (batch, channels).
    ///
    /// # Errors
    /// A length is wrong, or memory does not suffice.
    pub fn global_avg_pool_backward(&self, images: Images, dy: &Tensor) -> Result<G::Buffer> {
        let len = images.checked_len()?;
        let dx = self.alloc(len)?;
        let args = GlobalAvgPoolBackward {
            dy: read(&self.gpu, "dy", dy, images.batch * images.channels)?,
            dx: dx.address(),
            images: images.batch as i64,
            pixels: images.pixels() as i32,
            channels: images.channels as i32,
            share: 1.0 / images.pixels() as f32,
            reserved: 0,
        };
        aligned("dy", args.dy)?;
        // SAFETY: both operands are as large as the shape says.
        unsafe { self.launch(plan::line(len / 8), &args)? };
        Ok(dx)
    }
}
