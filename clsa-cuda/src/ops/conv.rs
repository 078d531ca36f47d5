//! Convolutions, and weights in their layout.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Buffer, Convolve, Gpu};
use crate::kernels::{AddWeightGradient, MOST_PLACES, PackWeight, TURNED};
use crate::ops::Ops;
use crate::ops::area::check_channels;
use crate::shape::{ConvShape, Direction};
use crate::tensor::{read, unsupported, write};

/// Channels that a block turns at a time, at most.
const MOST_TURNED: usize = 256;
/// Blocks that turn weights: they take further tiles in turn.
const BLOCKS: usize = 132 * 16;

/// A weight in both layouts.
struct Weight {
    outputs: usize,
    channels: usize,
    padded: usize,
    places: usize,
    tile: usize,
}

impl Weight {
    fn new(tensor: &Tensor, padded: usize) -> Result<Self> {
        let (outputs, channels, height, width) = tensor.dims4()?;
        check_channels(padded)?;
        let places = height * width;
        if places > MOST_PLACES {
            let reason = format!("a convolution's kernel has at most {MOST_PLACES} places, not {height} x {width}");
            return Err(unsupported(reason));
        }
        if channels > padded || channels == 0 || outputs == 0 || places == 0 {
            let shape = tensor.dims();
            return Err(unsupported(format!("a weight of shape {shape:?} cannot be padded to {padded} channels")));
        }
        let tile = padded.min(MOST_TURNED).min(TURNED / places / 8 * 8);
        Ok(Self { outputs, channels, padded, places, tile })
    }

    fn packed_len(&self) -> usize {
        self.outputs * self.places * self.padded
    }

    fn len(&self) -> usize {
        self.outputs * self.places * self.channels
    }

    fn grid(&self) -> [u32; 3] {
        let tiles = self.outputs * self.padded.div_ceil(self.tile);
        [tiles.min(BLOCKS) as u32, 1, 1]
    }
}

impl<G: Gpu> Ops<G> {
    /// A convolution's weight (c_out, channels, kernel, kernel) in the activations' type as (c_out, kernel, kernel, c_in); `c_in`
    /// is a multiple of 8, channels beyond those of the tensor are zero.
    ///
    /// # Errors
    /// The tensor is of another kind or elsewhere, or memory does not suffice.
    pub fn pack_weight(&self, weight: &Tensor, c_in: usize) -> Result<G::Buffer> {
        let shape = Weight::new(weight, c_in)?;
        let to = self.alloc(shape.packed_len())?;
        let args = PackWeight {
            from: read(&self.gpu, "weight", weight, shape.len())?,
            to: to.address(),
            outputs: shape.outputs as i64,
            channels: shape.channels as i32,
            padded: shape.padded as i32,
            places: shape.places as i32,
            tile: shape.tile as i32,
        };
        // SAFETY: both sides are as large as the shape says.
        unsafe { self.launch(shape.grid(), &args)? };
        Ok(to)
    }

    /// Adds the gradient of a packed weight, (c_out, kernel, kernel, c_in), to that of its tensor, (c_out, channels, kernel,
    /// kernel), or writes it over what is there.
    ///
    /// # Errors
    /// A length is wrong.
    pub fn add_weight_gradient(&self, dw: &G::Buffer, c_in: usize, into: &Tensor, overwrite: bool) -> Result<()> {
        let shape = Weight::new(into, c_in)?;
        let args = AddWeightGradient {
            from: self.activation("dw", dw, shape.packed_len())?,
            to: write(&self.gpu, "into", into, shape.len())?,
            outputs: shape.outputs as i64,
            channels: shape.channels as i32,
            padded: shape.padded as i32,
            places: shape.places as i32,
            tile: shape.tile as i32,
            overwrite: i32::from(overwrite),
            reserved: 0,
        };
        // SAFETY: both sides are as large as the shape says.
        unsafe { self.launch(shape.grid(), &args) }
    }

    /// The output of a convolution, from its input and its packed weight.
    ///
    /// # Errors
    /// A length is wrong, memory does not suffice, or no engine computes it.
    pub fn convolve_forward(&self, shape: ConvShape, x: &G::Buffer, w: &G::Buffer) -> Result<G::Buffer> {
        check(shape)?;
        let y = self.alloc(shape.output_len())?;
        let x = self.activation("x", x, shape.input_len())?;
        let w = self.activation("w", w, shape.weight_len())?;
        self.convolve(Direction::Forward, shape, [x, w, y.address()], false)?;
        Ok(y)
    }

    /// The gradient of a convolution's input from that of its output and the packed weight, added to `dx` if there is one.
    ///
    /// # Errors
    /// As for [`Self::convolve_forward`].
    pub fn convolve_data(
        &self,
        shape: ConvShape,
        dy: &G::Buffer,
        w: &G::Buffer,
        dx: Option<G::Buffer>,
    ) -> Result<G::Buffer> {
        check(shape)?;
        let add = dx.is_some();
        let dx = match dx {
            Some(dx) => dx,
            None => self.alloc(shape.input_len())?,
        };
        let x = self.activation("dx", &dx, shape.input_len())?;
        let w = self.activation("w", w, shape.weight_len())?;
        let y = self.activation("dy", dy, shape.output_len())?;
        self.convolve(Direction::Data, shape, [x, w, y], add)?;
        Ok(dx)
    }

    /// The gradient of a convolution's packed weight from its input and its output's gradient.
    ///
    /// # Errors
    /// As for [`Self::convolve_forward`].
    pub fn convolve_weight(&self, shape: ConvShape, x: &G::Buffer, dy: &G::Buffer) -> Result<G::Buffer> {
        check(shape)?;
        let dw = self.alloc(shape.weight_len())?;
        let x = self.activation("x", x, shape.input_len())?;
        let y = self.activation("dy", dy, shape.output_len())?;
        self.convolve(Direction::Weight, shape, [x, dw.address(), y], false)?;
        Ok(dw)
    }

    fn convolve(&self, direction: Direction, shape: ConvShape, [x, w, y]: [u64; 3], add: bool) -> Result<()> {
        let product = Convolve { direction, shape, element: self.element, x, w, y, add };
        // SAFETY: the three operands are as large as the shape says.
        unsafe { self.gpu.convolve(product) }
    }
}

fn check(shape: ConvShape) -> Result<()> {
    let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = shape;
    check_channels(c_in)?;
    check_channels(c_out)?;
    let fits = |side: usize| side > 0 && side + 2 * padding >= kernel;
    if batch > 0 && kernel > 0 && stride > 0 && fits(height) && fits(width) {
        return Ok(());
    }
    Err(unsupported(format!("no convolution can be {shape:?}")))
}
