//! A convolution as cuDNN sees it: a graph of one operation on three tensors.

use std::fmt;

use candle_core::cuda_backend::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendDescriptorType_t as Kind,
};

use super::descriptor::Descriptor;
use crate::error::{GpuError, Result};
use crate::gpu::{Convolve, Element};
use crate::shape::{ConvShape, Direction};

/// The numbers by which plan and memory are brought together: input, weight, output.
pub(super) const IDS: [i64; 3] = [1, 2, 3];

/// Vector loads of 8 bf16 values; every buffer is aligned to at least 256 bytes.
const ALIGNMENT: i64 = 16;

/// Batches, sides and channels are at most this large, so that sums of them do not overflow.
const MAX_SIZE: usize = 1 << 30;

/// Operands have at most this many elements, so that their sizes in bytes do not overflow.
const MAX_LEN: usize = 1 << 40;

/// One product of a convolution, without the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Which product.
    pub direction: Direction,
    /// The convolution.
    pub shape: ConvShape,
    /// The type of all three operands.
    pub element: Element,
    /// For [`Direction::Data`]: the result is added to what is there.
    pub add: bool,
}

impl Product {
    /// Refuses shapes that are none, so that nothing below computes with them.
    pub(super) fn check(&self) -> Result<()> {
        let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = self.shape;
        let sizes = [batch, height, width, c_in, c_out, kernel, stride];
        let whole = sizes.iter().all(|size| (1..=MAX_SIZE).contains(size)) && padding <= MAX_SIZE;
        if !whole || kernel > height + 2 * padding || kernel > width + 2 * padding || !self.fits() {
            return Err(GpuError::Call { call: "convolve", reason: format!("there is no {self}") });
        }
        if self.add && self.direction != Direction::Data {
            let reason = format!("only a data gradient is added to what is there, not {self}");
            return Err(GpuError::Call { call: "convolve", reason });
        }
        Ok(())
    }

    /// Whether the operands' lengths can be computed.
    fn fits(&self) -> bool {
        let ConvShape { batch, height, width, c_in, c_out, kernel, .. } = self.shape;
        let rows = [(batch, height, width, c_in), (batch, self.shape.out_height(), self.shape.out_width(), c_out)];
        let fits = |(outer, rows, columns, channels): (usize, usize, usize, usize)| {
            outer.checked_mul(rows)?.checked_mul(columns)?.checked_mul(channels).filter(|&len| len <= MAX_LEN)
        };
        rows.into_iter().chain([(c_out, kernel, kernel, c_in)]).all(|operand| fits(operand).is_some())
    }

    /// Elements of what is written.
    pub(super) fn result_len(&self) -> usize {
        match self.direction {
            Direction::Forward => self.shape.output_len(),
            Direction::Data => self.shape.input_len(),
            Direction::Weight => self.shape.weight_len(),
        }
    }

    /// Which of input, weight and output is written.
    pub(super) fn result_index(&self) -> usize {
        match self.direction {
            Direction::Forward => 2,
            Direction::Data => 0,
            Direction::Weight => 1,
        }
    }
}

impl From<&Convolve> for Product {
    fn from(convolve: &Convolve) -> Self {
        let Convolve { direction, shape, element, add, .. } = *convolve;
        Self { direction, shape, element, add }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match (self.direction, self.add) {
            (Direction::Forward, _) => "forward",
            (Direction::Data, false) => "data gradient",
            (Direction::Data, true) => "added data gradient",
            (Direction::Weight, _) => "weight gradient",
        };
        let element = self.element.name();
        let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = self.shape;
        write!(
            f,
            "{direction} {element} {batch}x{height}x{width}x{c_in} to {c_out} channels by {kernel}x{kernel}, \
             stride {stride}, padding {padding}"
        )
    }
}

/// The graph of a [`Product`], with everything that it refers to.
pub(super) struct Graph {
    graph: Descriptor,
    _parts: [Descriptor; 5],
}

impl Graph {
    /// Describes a product, for the handle's GPU or, without a handle, for any.
    pub(super) fn new(product: &Product, handle: Option<sys::cudnnHandle_t>) -> Result<Self> {
        product.check()?;
        let shape = &product.shape;
        let (height, width) = (shape.out_height(), shape.out_width());
        let x = tensor(IDS[0], product.element, [shape.batch, shape.c_in, shape.height, shape.width])?;
        let w = tensor(IDS[1], product.element, [shape.c_out, shape.c_in, shape.kernel, shape.kernel])?;
        let y = tensor(IDS[2], product.element, [shape.batch, shape.c_out, height, width])?;
        let convolution = convolution(shape)?;
        let names = Names::of(product.direction);
        let operation = Descriptor::new(names.kind)?
            .set(names.alpha, &[1_f32])?
            .set(names.beta, &[if product.add { 1_f32 } else { 0.0 }])?
            .link(names.convolution, &convolution)?
            .link(names.x, &x)?
            .link(names.w, &w)?
            .link(names.y, &y)?
            .finish()?;
        let mut graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        if let Some(handle) = handle {
            graph = graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, &[handle])?;
        }
        let graph = graph.link(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operation)?.finish()?;
        Ok(Self { graph, _parts: [operation, convolution, x, w, y] })
    }

    /// The descriptor.
    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.graph
    }
}

/// A tensor of dimensions (outer, channels, rows, columns) whose channels are innermost in memory: images and weights alike.
fn tensor(id: i64, element: Element, [outer, channels, rows, columns]: [usize; 4]) -> Result<Descriptor> {
    let dimensions = [outer, channels, rows, columns].map(|size| size as i64);
    let strides = [rows * columns * channels, 1, columns * channels, channels].map(|stride| stride as i64);
    let element = match element {
        Element::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Element::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    };
    Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[element])?
        .set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &dimensions)?
        .set(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?
        .set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?
        .set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT])?
        .finish()
}

/// Cross-correlation, computed in f32. Equal padding on both sides gives an output of [`ConvShape::out_height`] rows: cuDNN
/// rounds down as well, so that the last rows of padding may stay unused.
fn convolution(shape: &ConvShape) -> Result<Descriptor> {
    let (stride, padding) = ([shape.stride as i64; 2], [shape.padding as i64; 2]);
    Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &[sys::cudnnDataType_t::CUDNN_DATA_FLOAT])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2_i64])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1_i64; 2])?
        .set(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &stride)?
        .set(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &padding)?
        .set(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &padding)?
        .finish()
}

/// What the attributes of an operation are called.
struct Names {
    kind: Kind,
    alpha: Name,
    beta: Name,
    convolution: Name,
    x: Name,
    w: Name,
    y: Name,
}

impl Names {
    fn of(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self {
                kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            },
            Direction::Data => Self {
                kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            },
            Direction::Weight => Self {
                kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            },
        }
    }
}
