//! Backbones of other crates: one of this crate's operations, which runs on every engine, one of Candle's layers, and one of
//! both. All train through a momentum pair.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module};
use clsa_model::backbone::{Architecture, Backbone, Builder, CandlePass, ConvBn, ConvBnConfig, Ops, Stage};
use clsa_model::{
    Backend, Compute, Encoder, EngineKind, Gradients, HeadConfig, MlpConfig, Mode, ModelError, MomentumPair, Precision,
    Result, SgdUpdate,
};

const DIM: usize = 6;

/// A stem and one residual unit of a kind that residual networks lack: its input is what its stem pooled.
#[derive(Debug)]
struct Small {
    stem: ConvBn,
    inner: ConvBn,
    outer: ConvBn,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct SmallConfig {
    channels: usize,
}

impl Architecture for SmallConfig {
    fn embedding_dim(&self) -> usize {
        DIM
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        let mut unit = |name: &str, c_in, kernel| {
            let (conv, norm) = (format!("{name}.conv"), format!("{name}.norm"));
            let c_out = self.channels;
            let config = ConvBnConfig { conv: &conv, norm: &norm, c_in, c_out, kernel, stride: 1, norm_weight: 1.0 };
            ConvBn::new(builder, config)
        };
        let (stem, inner, outer) =
            (unit("stem", 3, 5)?, unit("inner", self.channels, 3)?, unit("outer", self.channels, 1)?);
        let stage = |name: &str| Stage { name: name.to_owned(), channels: self.channels };
        Ok(Box::new(Small { stem, inner, outer, stages: vec![stage("stem"), stage("block")] }))
    }
}

impl Backbone for Small {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, stage: usize) -> Result<Tensor> {
        let x = ops.image(images)?;
        let x = ops.conv_bn(&x, &self.stem, None, true)?;
        let x = ops.max_pool(&x)?;
        if stage == 0 {
            return ops.global_avg_pool(&x);
        }
        let y = ops.conv_bn(&x, &self.inner, None, true)?;
        let y = ops.conv_bn(&y, &self.outer, Some(&x), true)?;
        ops.global_avg_pool(&y)
    }
}

/// Patches, a token mixer and a norm: the parts of a vision transformer that matter here.
#[derive(Debug)]
struct Patches {
    patches: Conv2d,
    mlp: Linear,
    norm: (Tensor, Tensor),
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct PatchesConfig;

impl Architecture for PatchesConfig {
    fn embedding_dim(&self) -> usize {
        DIM
    }

    fn needs_candle(&self) -> bool {
        true
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        let layers = builder.candle_layers();
        let config = Conv2dConfig { stride: 4, ..Conv2dConfig::default() };
        let norm = layers.pp("norm");
        Ok(Box::new(Patches {
            patches: candle_nn::conv2d(3, 16, 4, config, layers.pp("patches"))?,
            mlp: candle_nn::linear(16, 16, layers.pp("mlp"))?,
            norm: (
                norm.get_with_hints(16, "weight", candle_nn::Init::Const(1.0))?,
                norm.get_with_hints(16, "bias", candle_nn::Init::Const(0.0))?,
            ),
            stages: vec![Stage { name: "blocks".to_owned(), channels: 16 }],
        }))
    }
}

impl Backbone for Patches {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, _: usize) -> Result<Tensor> {
        let CandlePass { dtype, .. } = ops.candle()?;
        let tokens = self.patches.forward(&images.to_dtype(dtype)?)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let normed = candle_nn::ops::layer_norm_slow(&tokens, &self.norm.0, &self.norm.1, 1e-6)?;
        let tokens = (tokens + self.mlp.forward(&normed)?.gelu()?)?;
        Ok(tokens.mean(1)?)
    }
}

/// Units of this crate before Candle's layers, with an operation of Candle's between them.
#[derive(Debug)]
struct Hybrid {
    units: [ConvBn; 2],
    patches: Box<dyn Backbone>,
}

#[derive(Clone, Debug)]
struct HybridConfig {
    needs_candle: bool,
}

impl Architecture for HybridConfig {
    fn embedding_dim(&self) -> usize {
        DIM
    }

    fn needs_candle(&self) -> bool {
        self.needs_candle
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        let mut unit = |conv, norm, c_in, c_out| {
            let config = ConvBnConfig { conv, norm, c_in, c_out, kernel: 3, stride: 1, norm_weight: 1.0 };
            ConvBn::new(builder, config)
        };
        let units = [unit("conv1", "bn1", 3, 8)?, unit("conv2", "bn2", 8, 3)?];
        Ok(Box::new(Hybrid { units, patches: PatchesConfig.build(builder)? }))
    }
}

impl Backbone for Hybrid {
    fn stages(&self) -> &[Stage] {
        self.patches.stages()
    }

    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, stage: usize) -> Result<Tensor> {
        let x = ops.image(images)?;
        let x = ops.conv_bn(&x, &self.units[0], None, false)?;
        let curved = ops.tensor(&x)?.gelu()?;
        let x = ops.image(&curved)?;
        let x = ops.conv_bn(&x, &self.units[1], None, true)?;
        let x = ops.tensor(&x)?;
        self.patches.forward(ops, &x, stage)
    }
}

fn images(dtype: DType) -> Tensor {
    let values: Vec<f32> = (0..4 * 3 * 16 * 16).map(|i| (i as f32 * 0.37).sin() + (i as f32 * 0.011).cos()).collect();
    Tensor::from_vec(values, (4, 3, 16, 16), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // `max` of a number and NaN is the number, which would hide the NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

/// One step of training through a momentum pair: the query encoder's parameters and the keys after it.
fn step(
    architecture: &(impl Architecture + Clone + 'static),
    compute: Compute,
) -> (Vec<Vec<f64>>, Vec<f64>, EngineKind) {
    let pair = MomentumPair::new(architecture, compute, 0.5, 3, &Device::Cpu).unwrap();
    let before: Vec<_> = pair.query.parameters().iter().map(|p| f64s(&p.var)).collect();
    let dtype = pair.query.parameters()[0].var.dtype();
    let pass = pair.query.forward(&images(dtype)).unwrap();
    let upstream = (images(dtype).flatten_all().unwrap().narrow(0, 0, 4 * DIM).unwrap()).reshape((4, DIM)).unwrap();
    let mut gradients = Gradients::new(pair.query.parameters().len());
    pass.backward(&upstream, &mut gradients).unwrap();
    let update = SgdUpdate { lr: 0.1, momentum: 0.9, weight_decay: 1e-4 };
    for parameter in pair.query.parameters() {
        let velocity = Var::from_tensor(&parameter.var.zeros_like().unwrap()).unwrap();
        let gradient = gradients.get(parameter.index).unwrap_or_else(|| panic!("{} has no gradient", parameter.name));
        update.apply(&parameter.var, &velocity, gradient).unwrap();
    }
    pair.update_key().unwrap();
    let after: Vec<_> = pair.query.parameters().iter().map(|p| f64s(&p.var)).collect();
    for (i, key) in pair.key.parameters().iter().enumerate() {
        assert_ne!(before[i], after[i], "{} has not moved", key.name);
        let halfway: Vec<f64> = before[i].iter().zip(&after[i]).map(|(a, b)| (a + b) / 2.0).collect();
        assert!(difference(&f64s(&key.var), &halfway) < 1e-6, "{}", key.name);
    }
    (after, f64s(&pair.key.embed(&images(dtype), Mode::Train).unwrap()), pair.query.engine())
}

fn compute(backend: Backend, precision: Precision) -> Compute {
    Compute { backend, precision, bn_splits: 1 }
}

#[test]
fn a_backbone_of_this_crates_operations_trains_on_every_engine_alike() {
    let config = SmallConfig { channels: 20 };
    let (exact, keys, kind) = step(&config, compute(Backend::Auto, Precision::F64));
    assert_eq!(kind, EngineKind::Portable);
    let runs = [
        (Backend::Portable, Precision::F32, EngineKind::Portable, 1e-4),
        (Backend::Auto, Precision::F32, EngineKind::Cpu, 1e-4),
        (Backend::Cpu, Precision::F32, EngineKind::Cpu, 1e-4),
        (Backend::Cpu, Precision::Bf16, EngineKind::Cpu, 5e-2),
    ];
    for (backend, precision, engine, tolerance) in runs {
        let (ours, our_keys, kind) = step(&config, compute(backend, precision));
        assert_eq!(kind, engine, "{backend:?}, {precision:?}");
        for (ours, exact) in ours.iter().zip(&exact) {
            let error = difference(ours, exact);
            assert!(error < tolerance, "{backend:?}, {precision:?}: a parameter differs by {error:e}");
        }
        let error = difference(&our_keys, &keys);
        assert!(error < tolerance, "{backend:?}, {precision:?}: keys differ by {error:e}");
    }
}

#[test]
fn a_backbone_of_candles_layers_trains_on_the_portable_engine() {
    let (_, _, kind) = step(&PatchesConfig, compute(Backend::Auto, Precision::F32));
    assert_eq!(kind, EngineKind::Portable);
    let error = Encoder::new(&PatchesConfig, compute(Backend::Cpu, Precision::F32), 0, &Device::Cpu).unwrap_err();
    assert!(matches!(error, ModelError::Config { field: "backend", .. }) && error.is_request(), "{error}");
}

#[test]
fn units_of_this_crate_and_candles_layers_train_in_one_backbone() {
    let config = HybridConfig { needs_candle: true };
    let (_, _, kind) = step(&config, compute(Backend::Auto, Precision::F32));
    assert_eq!(kind, EngineKind::Portable);
    let encoder = Encoder::new(&config, Compute::default(), 3, &Device::Cpu).unwrap();
    drop(encoder.forward(&images(DType::F32)).unwrap());
    assert_eq!(encoder.running_statistics().len(), 4);
    for statistic in encoder.running_statistics() {
        let start = if statistic.name.ends_with("running_var") { 1.0 } else { 0.0 };
        assert!(f64s(&statistic.var).iter().all(|&value| value != start), "{} has not moved", statistic.name);
    }
    // Kernels keep their activations.
    let unasked = Encoder::new(&HybridConfig { needs_candle: false }, Compute::default(), 3, &Device::Cpu).unwrap();
    let error = unasked.features(&images(DType::F32)).unwrap_err();
    assert!(matches!(error, ModelError::Config { field: "backend", .. }), "{error}");
}

#[test]
fn names_stages_and_twins_are_those_of_the_backbone() {
    let encoder = Encoder::new(&PatchesConfig, Compute::default(), 7, &Device::Cpu).unwrap();
    let names: Vec<_> = encoder.parameters().iter().map(|p| p.name.as_str()).collect();
    let backbone = ["norm.weight", "norm.bias"];
    assert!(backbone.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(names.ends_with(&["fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"]), "{names:?}");
    assert_eq!((encoder.feature_dim(), encoder.embedding_dim()), (16, DIM));
    assert_eq!(encoder.stages(), [Stage { name: "blocks".to_owned(), channels: 16 }]);

    let twin = encoder.twin().unwrap();
    let features = |e: &Encoder| f64s(&e.features(&images(DType::F32)).unwrap());
    assert_eq!(features(&twin), features(&encoder));
    // Its memory is its own.
    let bias = &encoder.parameters()[0].var;
    bias.set(&bias.ones_like().unwrap()).unwrap();
    assert_ne!(features(&twin), features(&encoder));

    let small = Encoder::new(&SmallConfig { channels: 8 }, Compute::default(), 7, &Device::Cpu).unwrap();
    for (stage, name) in ["stem", "block"].into_iter().enumerate() {
        assert_eq!(small.stages()[stage].name, name);
        assert_eq!(small.features_at(&images(DType::F32), stage).unwrap().dims(), [4, 8]);
    }
    let error = small.features_at(&images(DType::F32), 2).unwrap_err();
    assert!(matches!(error, ModelError::Config { field: "stage", .. }), "{error}");
}

/// An architecture whose backbone is at fault.
#[derive(Clone, Debug)]
struct Wrong {
    name: &'static str,
    stages: Vec<Stage>,
}

impl Architecture for Wrong {
    fn embedding_dim(&self) -> usize {
        DIM
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        builder.parameter(self.name, &[2], candle_nn::Init::Const(0.0))?;
        builder.parameter("weight", &[2], candle_nn::Init::Const(0.0))?;
        Ok(Box::new(WrongBackbone(self.stages.clone())))
    }
}

#[derive(Debug)]
struct WrongBackbone(Vec<Stage>);

impl Backbone for WrongBackbone {
    fn stages(&self) -> &[Stage] {
        &self.0
    }

    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, _: usize) -> Result<Tensor> {
        let x = ops.image(images)?;
        ops.global_avg_pool(&x)
    }
}

#[test]
fn a_backbone_at_fault_is_told_so() {
    let open = |name, stages: &[usize]| {
        let stages = stages.iter().map(|&channels| Stage { name: "all".to_owned(), channels }).collect();
        Encoder::new(&Wrong { name, stages }, Compute::default(), 0, &Device::Cpu)
    };
    assert!(open("weight", &[3]).unwrap_err().to_string().contains("weight is made twice"));
    assert!(open("fc.weight", &[3]).unwrap_err().to_string().contains("named as the head's"));
    assert!(open("bias", &[]).unwrap_err().to_string().contains("at least one stage"));
    let error = open("bias", &[4]).unwrap().features(&images(DType::F32)).unwrap_err();
    assert!(error.to_string().contains("the backbone's result has shape [4, 3]: expected [4, 4]"), "{error}");
    assert_eq!(open("bias", &[3]).unwrap().features(&images(DType::F32)).unwrap().dims(), [4, 3]);
    let asked = Encoder::new(&CandleUnasked, Compute::default(), 0, &Device::Cpu).unwrap();
    let error = asked.features(&images(DType::F32)).unwrap_err();
    assert!(matches!(error, ModelError::Config { field: "backend", .. }), "{error}");
}

/// An architecture whose head is at fault.
#[derive(Clone, Debug)]
struct WrongHead {
    dim: usize,
    head: HeadConfig,
}

impl Architecture for WrongHead {
    fn embedding_dim(&self) -> usize {
        self.dim
    }

    fn head(&self) -> HeadConfig {
        self.head
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        SmallConfig { channels: 8 }.build(builder)
    }
}

#[test]
fn a_head_without_components_or_without_layers_is_refused() {
    let mlp = |layers| HeadConfig::Mlp(MlpConfig { layers, ..MlpConfig::default() });
    for (dim, head, name) in
        [(0, HeadConfig::Linear, "embedding_dim"), (0, mlp(2), "embedding_dim"), (DIM, mlp(0), "head.layers")]
    {
        let error = Encoder::new(&WrongHead { dim, head }, Compute::default(), 0, &Device::Cpu).unwrap_err();
        assert!(matches!(error, ModelError::Config { field, .. } if field == name), "{error}");
        assert!(error.is_request());
    }
    let right = Encoder::new(&WrongHead { dim: DIM, head: mlp(2) }, Compute::default(), 0, &Device::Cpu).unwrap();
    assert_eq!(right.forward(&images(DType::F32)).unwrap().embedding().dims(), [4, DIM]);
}

/// Uses Candle's operations without saying so.
#[derive(Clone, Debug)]
struct CandleUnasked;

impl Architecture for CandleUnasked {
    fn embedding_dim(&self) -> usize {
        DIM
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        PatchesConfig.build(builder)
    }
}
