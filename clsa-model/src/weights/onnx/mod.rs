//! Writing a backbone as an ONNX graph, for runtimes that know nothing of its architecture.

mod messages;
mod recorder;

use super::error::{WeightFileError, fail};
use crate::encoder::Encoder;
use crate::error::ModelError;
use candle_core::{DType, Device, Tensor};
use clsa_files::WholeFile;
use messages::{Extent, Model, OperatorSet, value};
use prost::Message;
use recorder::{INPUT, OUTPUT, Recorder};
use std::io::Write;
use std::path::Path;

/// The version of the file's form, that of ONNX 1.12.
const IR_VERSION: i64 = 8;

/// The version of the operators.
const OPSET: i64 = 17;

/// A protocol buffer is shorter than this, bytes.
const MOST_BYTES: usize = i32::MAX as usize;

/// Writes the backbone of an encoder in evaluation mode as an ONNX graph (operator set 17, f32), with batch norm folded into the
/// convolutions. Its input is `images` (N, 3, H, W), normalized as the encoder's are; its output is `features` (N, C), the pooled
/// features of the last stage. N, H and W may differ from call to call. The projection head is left out.
///
/// The graph is what the backbone asks of [`Ops`](crate::backbone::Ops), so that it suits any that does without
/// [`Ops::candle`](crate::backbone::Ops::candle) and [`Ops::tensor`](crate::backbone::Ops::tensor), and calls
/// [`Ops::global_avg_pool`](crate::backbone::Ops::global_avg_pool) once. The file appears whole, by rename, and takes the place of
/// one that is there.
///
/// # Errors
/// The file's name does not end in `.onnx`, the network has 2 GiB or more, its backbone asks for Candle's operations or pools over all
/// positions more than once, or writing fails.
///
/// # Examples
///
/// ```
/// use clsa_model::candle_core::Device;
/// use clsa_model::weights::write_onnx;
/// use clsa_model::{Arch, Compute, Encoder, ModelConfig};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.onnx");
/// let config = ModelConfig { arch: Arch::Resnet10, width: 0.25, ..ModelConfig::default() };
/// let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
/// write_onnx(&path, &encoder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_onnx(path: &Path, encoder: &Encoder) -> Result<(), ModelError> {
    if path.extension().is_none_or(|ending| ending != "onnx") {
        return Err(WeightFileError::new("is to be an ONNX file: let its name end in .onnx").about(path));
    }
    // Before the graph, which takes as much memory again.
    let values: usize = encoder.parameters().iter().map(|parameter| parameter.var.elem_count()).sum();
    check_size(values * size_of::<f32>()).map_err(|error| error.about(path))?;
    let model = graph_of(encoder)?;
    write_file(path, &model).map_err(|error| error.about(path))
}

fn graph_of(encoder: &Encoder) -> Result<Model, ModelError> {
    let mut recorder = Recorder::new();
    // Of any size: no size of them is in the graph.
    let images = Tensor::zeros((1, 3, 224, 224), DType::F32, &Device::Cpu)?;
    let features = encoder.backbone_pass(&mut recorder, &images)?.dim(1)?;
    let any = |name: &str| Extent::Any(name.to_owned());
    let mut graph = recorder.graph;
    graph.name = "backbone".to_owned();
    graph.input = vec![value(INPUT, [any("batch"), Extent::Size(3), any("height"), any("width")])];
    graph.output = vec![value(OUTPUT, [any("batch"), Extent::Size(features as i64)])];
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    })
}

fn write_file(path: &Path, model: &Model) -> Result<(), WeightFileError> {
    check_size(model.encoded_len())?;
    let mut file = WholeFile::create(path).map_err(WeightFileError::Write)?;
    file.write_all(&model.encode_to_vec()).map_err(WeightFileError::Write)?;
    file.commit().map_err(WeightFileError::Write)
}

fn check_size(bytes: usize) -> Result<(), WeightFileError> {
    if bytes < MOST_BYTES {
        return Ok(());
    }
    let gibibytes = bytes as f64 / f64::from(1 << 30);
    fail(format!(
        "cannot hold this network: it has {gibibytes:.1} GiB, and an ONNX file has less than 2; use safetensors"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Architecture, Backbone, Builder, ConvBn, ConvBnConfig, Ops, Stage};
    use crate::compute::Compute;
    use crate::error::Result;
    use messages::Graph;

    /// A network that uses a layer twice, or asks for Candle's operations.
    #[derive(Clone, Debug)]
    struct Odd {
        candle: bool,
    }

    #[derive(Debug)]
    struct OddBackbone {
        unit: ConvBn,
        stages: Vec<Stage>,
        candle: bool,
    }

    impl Architecture for Odd {
        fn embedding_dim(&self) -> usize {
            4
        }

        fn needs_candle(&self) -> bool {
            self.candle
        }

        fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
            let unit =
                ConvBnConfig { conv: "conv", norm: "norm", c_in: 3, c_out: 3, kernel: 3, stride: 1, norm_weight: 1.0 };
            let stages = vec![Stage { name: "conv".to_owned(), channels: 3 }];
            Ok(Box::new(OddBackbone { unit: ConvBn::new(builder, unit)?, stages, candle: self.candle }))
        }
    }

    impl Backbone for OddBackbone {
        fn stages(&self) -> &[Stage] {
            &self.stages
        }

        fn forward(&self, ops: &mut dyn Ops, images: &Tensor, _: usize) -> Result<Tensor> {
            if self.candle {
                ops.candle()?;
            }
            let x = ops.image(images)?;
            let y = ops.conv_bn(&x, &self.unit, None, true)?;
            let z = ops.conv_bn(&y, &self.unit, Some(&x), false)?;
            ops.global_avg_pool(&z)
        }
    }

    fn graph(candle: bool) -> Result<Graph> {
        let encoder = Encoder::new(&Odd { candle }, Compute::default(), 0, &Device::Cpu)?;
        Ok(graph_of(&encoder)?.graph.unwrap())
    }

    #[test]
    fn a_layer_that_is_used_twice_is_kept_once() {
        let Graph { node, initializer, .. } = graph(false).unwrap();
        let names: Vec<_> = initializer.iter().map(|constant| constant.name.as_str()).collect();
        assert_eq!(names, ["conv.weight", "conv.bias"]);
        let nodes: Vec<_> = node.iter().map(|node| (&*node.op_type, node.input.join(" "), &*node.output[0])).collect();
        let expected = [
            ("Conv", "images conv.weight conv.bias", "conv"),
            ("Relu", "conv", "conv.relu"),
            ("Conv", "conv.relu conv.weight conv.bias", "conv.2"),
            ("Add", "conv.2 images", "conv.sum"),
            ("GlobalAveragePool", "conv.sum", "mean"),
            ("Flatten", "mean", "features"),
        ];
        assert_eq!(nodes, expected.map(|(op, input, output)| (op, input.to_owned(), output)));
    }

    #[test]
    fn what_candle_computes_is_refused() {
        let mut recorder = Recorder::new();
        let x = recorder.image(&Tensor::zeros((1, 3, 4, 4), DType::F32, &Device::Cpu).unwrap()).unwrap();
        for error in [graph(true).unwrap_err(), recorder.tensor(&x).unwrap_err()] {
            assert!(error.is_request() && error.to_string().contains("use safetensors"), "{error}");
        }
    }

    #[test]
    fn a_second_pooling_over_all_positions_in_a_pass_is_refused() {
        let mut recorder = Recorder::new();
        let x = recorder.image(&Tensor::zeros((1, 3, 4, 4), DType::F32, &Device::Cpu).unwrap()).unwrap();
        recorder.global_avg_pool(&x).unwrap();
        let error = recorder.global_avg_pool(&x).unwrap_err();
        assert!(error.is_request() && error.to_string().contains("more than once in a pass"), "{error}");
    }

    #[test]
    fn a_network_of_two_gibibytes_is_refused() {
        check_size((1 << 31) - 2).map_err(|_| ()).unwrap();
        let error = check_size(5 << 29).unwrap_err().about(Path::new("model.onnx"));
        let text =
            "model.onnx: cannot hold this network: it has 2.5 GiB, and an ONNX file has less than 2; use safetensors";
        assert!(error.is_request() && error.to_string() == text, "{error}");
    }
}
