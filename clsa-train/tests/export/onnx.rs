//! A small interpreter of the graphs that are exported: a second reading of the format, and of what its operators do.

use candle_core::{DType, Device, Tensor};
use prost::Message;
use std::collections::HashMap;
use std::path::Path;

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Constant>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<Named>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Constant {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

impl Node {
    /// The one number that a setting has in both directions.
    fn same(&self, name: &str) -> usize {
        let setting = self.attribute.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(setting.ints.iter().all(|&n| n == setting.ints[0]), "{name}");
        usize::try_from(setting.ints[0]).unwrap()
    }

    fn run(&self, input: &[&Tensor]) -> candle_core::Result<Tensor> {
        match (self.op_type.as_str(), input) {
            ("Conv", [x, weight, bias]) => {
                let y = x.conv2d(weight, self.same("pads"), self.same("strides"), self.same("dilations"), 1)?;
                y.broadcast_add(&bias.reshape((1, (), 1, 1))?)
            }
            ("Relu", [x]) => x.relu(),
            ("Add", [x, y]) => *x + *y,
            // Of activations that ReLU has made, zeros at the border are never chosen wrongly.
            ("MaxPool", [x]) => {
                let pad = self.same("pads");
                let x = x.pad_with_zeros(2, pad, pad)?.pad_with_zeros(3, pad, pad)?;
                x.max_pool2d_with_stride(self.same("kernel_shape"), self.same("strides"))
            }
            ("GlobalAveragePool", [x]) => x.mean_keepdim(3)?.mean_keepdim(2),
            ("Flatten", [x]) => x.flatten_from(1),
            (op, _) => panic!("{op} of {} inputs", input.len()),
        }
    }
}

/// Reads a model, which has one input and one output.
pub fn read(path: &Path) -> Model {
    let model = Model::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    assert_eq!((model.ir_version, model.opset_import.len()), (8, 1));
    assert_eq!((model.opset_import[0].domain.as_str(), model.opset_import[0].version), ("", 17));
    model
}

/// The value of the graph's output, `features`, on `images`.
pub fn features(model: &Model, images: &Tensor) -> Tensor {
    let graph = model.graph.as_ref().unwrap();
    assert_eq!((&*graph.input[0].name, &*graph.output[0].name), ("images", "features"));
    assert_eq!((graph.input.len(), graph.output.len()), (1, 1));
    let mut values = HashMap::from([("images".to_owned(), images.clone())]);
    for constant in &graph.initializer {
        assert_eq!(constant.data_type, 1);
        let dims: Vec<usize> = constant.dims.iter().map(|&n| n as usize).collect();
        let tensor = Tensor::from_raw_buffer(&constant.raw_data, DType::F32, &dims, &Device::Cpu).unwrap();
        assert!(values.insert(constant.name.clone(), tensor).is_none(), "{} twice", constant.name);
    }
    for node in &graph.node {
        let input: Vec<&Tensor> = node.input.iter().map(|name| &values[name]).collect();
        let output = node.run(&input).unwrap();
        assert!(values.insert(node.output[0].clone(), output).is_none(), "{} twice", node.output[0]);
    }
    values.remove("features").unwrap()
}
