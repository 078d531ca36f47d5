//! A backbone's pass written down as ONNX nodes: one more implementation of [`Ops`], which computes nothing.

use super::messages::{Attribute, Constant, F32, Graph, Node};
use crate::backbone::{Activation, CandlePass, ConvBn, Ops, check_residual};
use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::HashSet;
use std::mem;

/// The graph's input.
pub(super) const INPUT: &str = "images";

/// The graph's output.
pub(super) const OUTPUT: &str = "features";

/// The graph so far, of an evaluation pass. Batch norm is folded into the convolutions.
pub(super) struct Recorder {
    pub graph: Graph,
    /// Values and constants whose names are taken.
    names: HashSet<String>,
    /// Whether the output is there: a graph defines each value once.
    pooled: bool,
}

/// A value of the graph, as the activations of this pass are.
struct Value {
    name: String,
    /// Its shape on the images of the pass.
    dims: [usize; 4],
}

impl Recorder {
    pub fn new() -> Self {
        Self { graph: Graph::default(), names: [INPUT, OUTPUT].map(str::to_owned).into(), pooled: false }
    }

    /// What a graph cannot hold of a backbone, and a state dictionary can.
    fn refusal(what: &str) -> ModelError {
        ModelError::config("format", "onnx", format!("this backbone {what}, which it does not hold; use safetensors"))
    }

    /// A name like this one that nothing has yet: a backbone may use a layer twice.
    fn unused(&mut self, name: &str) -> String {
        let numbered = |number: usize| if number == 1 { name.to_owned() } else { format!("{name}.{number}") };
        let free = (1..).map(numbered).find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(free.clone());
        free
    }

    /// Adds a node with one output and gives the output's name.
    fn node(&mut self, op: &str, name: &str, input: &[&str], attribute: Vec<Attribute>) -> String {
        let output = self.unused(name);
        self.push(op, input, &output, attribute);
        output
    }

    fn push(&mut self, op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) {
        self.graph.node.push(Node {
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
    }

    /// Adds a constant, where a layer that is used twice has not done so.
    fn constant(&mut self, name: &str, dims: &[usize], values: &[f64]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        self.graph.initializer.push(Constant {
            dims: dims.iter().map(|&n| n as i64).collect(),
            data_type: F32,
            name: name.to_owned(),
            raw_data: values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        });
    }
}

impl Ops for Recorder {
    fn image(&mut self, images: &Tensor) -> Result<Activation> {
        Ok(Activation::new(Value { name: INPUT.to_owned(), dims: images.dims4()?.into() }))
    }

    fn conv_bn(
        &mut self,
        x: &Activation,
        unit: &ConvBn,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Result<Activation> {
        let x = x.get::<Value>()?;
        unit.conv.check_input(x.dims)?;
        let [batch, _, height, width] = x.dims;
        let shape = unit.conv.shape(batch, height, width);
        let dims = [batch, shape.c_out, shape.out_height(), shape.out_width()];
        let parameter = &unit.conv.weight.name;
        let layer = parameter.strip_suffix(".weight").unwrap_or(parameter);
        let (weight, bias) = folded(unit)?;
        let names = [parameter.clone(), format!("{layer}.bias")];
        self.constant(&names[0], unit.conv.weight.var.dims(), &weight);
        self.constant(&names[1], &[shape.c_out], &bias);
        let side = |n: usize| n as i64;
        let settings = vec![
            ints("dilations", [1; 2]),
            int("group", 1),
            ints("kernel_shape", [side(shape.kernel); 2]),
            ints("pads", [side(shape.padding); 4]),
            ints("strides", [side(shape.stride); 2]),
        ];
        let mut name = self.node("Conv", layer, &[&x.name, &names[0], &names[1]], settings);
        if let Some(residual) = residual {
            let residual = residual.get::<Value>()?;
            check_residual(residual.dims, dims)?;
            name = self.node("Add", &format!("{layer}.sum"), &[&name, &residual.name], Vec::new());
        }
        if relu {
            name = self.node("Relu", &format!("{layer}.relu"), &[&name], Vec::new());
        }
        Ok(Activation::new(Value { name, dims }))
    }

    fn max_pool(&mut self, x: &Activation) -> Result<Activation> {
        let Value { name, dims: [batch, channels, height, width] } = x.get()?;
        let settings = vec![ints("kernel_shape", [3; 2]), ints("pads", [1; 4]), ints("strides", [2; 2])];
        let name = self.node("MaxPool", "max_pool", &[name], settings);
        Ok(Activation::new(Value { name, dims: [*batch, *channels, height.div_ceil(2), width.div_ceil(2)] }))
    }

    fn global_avg_pool(&mut self, x: &Activation) -> Result<Tensor> {
        if mem::replace(&mut self.pooled, true) {
            return Err(Self::refusal("pools over all positions more than once in a pass"));
        }
        let Value { name, dims: [batch, channels, ..] } = x.get()?;
        let mean = self.node("GlobalAveragePool", "mean", &[name], Vec::new());
        self.push("Flatten", &[&mean], OUTPUT, vec![int("axis", 1)]);
        Ok(Tensor::zeros((*batch, *channels), DType::F32, &Device::Cpu)?)
    }

    fn candle(&self) -> Result<CandlePass> {
        Err(Self::refusal("asks for Candle's operations"))
    }

    fn tensor(&self, _: &Activation) -> Result<Tensor> {
        Err(Self::refusal("asks for Candle's operations"))
    }
}

/// Weight and bias of a convolution that its batch norm, with the running statistics, is folded into.
fn folded(unit: &ConvBn) -> Result<(Vec<f64>, Vec<f64>)> {
    let (scale, shift) = unit.bn.folded()?;
    let weight = unit.conv.weight.var.as_detached_tensor().flatten_all()?;
    let mut weight = weight.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let per_channel = weight.len() / scale.len();
    weight.chunks_mut(per_channel).zip(&scale).for_each(|(row, scale)| row.iter_mut().for_each(|w| *w *= scale));
    Ok((weight, shift))
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, ints: Vec::new(), kind: Attribute::INT }
}

fn ints<const N: usize>(name: &str, ints: [i64; N]) -> Attribute {
    Attribute { name: name.to_owned(), i: 0, ints: ints.into(), kind: Attribute::INTS }
}
