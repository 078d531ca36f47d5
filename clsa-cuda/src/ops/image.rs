//! Images as activations.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Buffer, Gpu, check_owned};
use crate::kernels::{ExpandBytes, Image};
use crate::ops::{Ops, holds, plan};
use crate::tensor::{aligned, read, read_strided, unsupported, write};

/// Channels of an image as convolutions read it; those that it does not have are zero.
const CHANNELS: usize = 8;
/// Values of a byte.
const LEVELS: usize = 256;

impl<G: Gpu> Ops<G> {
    /// f32 images (batch, channels, height, width) of any strides, of at most 8 channels, as (batch, height, width, 8); further
    /// channels are zero.
    ///
    /// # Errors
    /// The tensor is of another kind or elsewhere, or memory does not suffice.
    pub fn image(&self, images: &Tensor) -> Result<G::Buffer> {
        let (batch, channels, height, width) = images.dims4()?;
        let size = height.checked_mul(width).filter(|&size| size > 0 && u32::try_from(size).is_ok());
        let Some(size) = size.filter(|_| batch > 0 && (1..=CHANNELS).contains(&channels)) else {
            return Err(unsupported(format!("no image can be of {channels} channels, {height} rows, {width} columns")));
        };
        // The dimensions of a tensor that repeats its values are not bounded by memory.
        let Some(len) = batch.checked_mul(size).and_then(|pixels| pixels.checked_mul(CHANNELS)) else {
            return Err(unsupported(format!("{batch} images of {height} rows, {width} columns are too many")));
        };
        let (pixels, to) = (len / CHANNELS, self.alloc(len)?);
        let mut strides = [0; 4];
        for (to, &stride) in strides.iter_mut().zip(images.stride()) {
            *to = stride as i64;
        }
        let args = Image {
            from: read_strided(&self.gpu, "images", images)?,
            to: to.address(),
            strides,
            pixels: pixels as i64,
            channels: channels as u32,
            height: height as u32,
            width: width as u32,
            reserved: 0,
        };
        // SAFETY: the tensor's own shape and strides; `to` is as large as they say.
        unsafe { self.launch(plan::line(pixels), &args)? };
        Ok(to)
    }

    /// Pixels of bytes, (pixels, 3), as f32 in `out`, of as many pixels. `table` (3, 256) says what a byte of each channel stands
    /// for.
    ///
    /// # Errors
    /// A length is wrong, or `out` begins within another tensor at no multiple of 16 bytes.
    pub fn expand_bytes(&self, bytes: &G::Buffer, table: &Tensor, out: &Tensor) -> Result<()> {
        check_owned(&self.gpu, "bytes", bytes)?;
        // SAFETY: memory of this stream is written, read and freed in the stream's order.
        unsafe { self.expand_ordered_bytes(bytes, table, out) }
    }

    /// The same of memory of any stream.
    ///
    /// # Safety
    /// The memory is of this GPU. What is started here comes after all that writes the memory so far, and before it is written
    /// again or freed.
    ///
    /// # Errors
    /// As for [`Self::expand_bytes`].
    pub(crate) unsafe fn expand_ordered_bytes(&self, bytes: &G::Buffer, table: &Tensor, out: &Tensor) -> Result<()> {
        let values = out.elem_count();
        if !values.is_multiple_of(3) {
            return Err(unsupported(format!("{values} numbers are not pixels of three")));
        }
        let pixels = values / 3;
        let from = holds("bytes", bytes, values, 1)?;
        let table = read(&self.gpu, "table", table, 3 * LEVELS)?;
        let to = write(&self.gpu, "out", out, values)?;
        aligned("out", to)?;
        // Each block reads the table once, so there are only as many as run together.
        let mut grid = plan::line(pixels);
        grid[0] = grid[0].min(1056);
        // SAFETY: the lengths have been checked, and the place that vectors are written to; the order is the caller's.
        unsafe { self.launch(grid, &ExpandBytes { from, table, to, pixels: pixels as i64 }) }
    }
}
