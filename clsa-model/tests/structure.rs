//! What the networks are made of: torchvision's names and shapes (fixtures/state_dicts.txt, written by
//! make_state_dicts.py), and its initialization.

use candle_core::{DType, Device, Tensor, Var};
use clsa_model::{Arch, Backend, Compute, Encoder, ModelConfig, ModelError, SgdUpdate, Stem, head};
use std::collections::{BTreeMap, HashMap};

fn encoder(config: &ModelConfig, seed: u64) -> Encoder {
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    Encoder::new(config, compute, seed, &Device::Cpu).unwrap()
}

fn of(arch: Arch) -> ModelConfig {
    ModelConfig { arch, ..ModelConfig::default() }
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Shapes by name, of one architecture in the fixture.
fn torchvisions(arch: Arch) -> BTreeMap<String, Vec<usize>> {
    let lines = include_str!("fixtures/state_dicts.txt").lines().skip_while(|line| *line != arch.name()).skip(1);
    let mut shapes = BTreeMap::new();
    for line in lines.take_while(|line| line.starts_with(' ')) {
        let mut words = line.split_whitespace();
        let module = words.next().unwrap();
        for word in words {
            let (tensor, shape) = word.split_once(':').unwrap();
            let shape = shape.split('x').filter(|side| !side.is_empty()).map(|side| side.parse().unwrap());
            shapes.insert(format!("{module}.{tensor}"), shape.collect());
        }
    }
    shapes
}

#[test]
fn names_and_shapes_are_torchvisions() {
    // ResNet-10 is of this crate alone.
    for arch in Arch::ALL.into_iter().filter(|arch| *arch != Arch::Resnet10) {
        let state = encoder(&of(arch), 0).state_dict().unwrap();
        let ours: BTreeMap<_, _> = state
            .into_iter()
            .filter(|(name, _)| !head::owns(name))
            .map(|(name, tensor)| (name, tensor.dims().to_vec()))
            .collect();
        assert!(ours.len() > 100);
        assert_eq!(ours, torchvisions(arch), "{}", arch.name());
    }
}

#[test]
fn the_head_and_the_stem_for_small_images_are_the_methods() {
    for (arch, width, features) in
        [(Arch::Resnet18, 1.0, 512), (Arch::Resnet18, 0.25, 128), (Arch::Resnet50, 0.5, 1024)]
    {
        let config = ModelConfig { width, stem: Stem::Cifar, dim: 24, ..of(arch) };
        assert_eq!(config.feature_dim(), features);
        let state = encoder(&config, 0).state_dict().unwrap();
        assert_eq!(state["conv1.weight"].dims(), [config.base_width(), 3, 3, 3]);
        assert_eq!(state["fc.0.weight"].dims(), [features, features]);
        assert_eq!(state["fc.0.bias"].dims(), [features]);
        assert_eq!(state["fc.2.weight"].dims(), [24, features]);
        assert_eq!(state["fc.2.bias"].dims(), [24]);
        assert_eq!(state.keys().filter(|name| head::owns(name)).count(), 4);
    }
}

/// Mean, standard deviation and the share within one standard deviation `std` of 0.
fn moments(values: &[f64], std: f64) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt(), values.iter().filter(|v| v.abs() < std).count() as f64 / n)
}

/// Five standard errors: of some hundred figures one in ten thousand would be further out, and the seed is fixed.
const SIGMAS: f64 = 5.0;

/// `nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")`: normal, variance 2 / (c_out · k · k).
fn assert_kaiming_normal(name: &str, weight: &Tensor) {
    let (c_out, _, height, width) = weight.dims4().unwrap();
    let std = (2.0 / (c_out * height * width) as f64).sqrt();
    let values = f64s(weight);
    let n = values.len() as f64;
    let (mean, found, within) = moments(&values, std);
    assert!(mean.abs() < SIGMAS * std / n.sqrt(), "{name}: mean {mean:e}");
    assert!((found / std - 1.0).abs() < SIGMAS / (2.0 * n).sqrt(), "{name}: deviation {found} instead of {std}");
    let share = 0.682_689_492;
    assert!(
        (within - share).abs() < SIGMAS * (share * (1.0 - share) / n).sqrt(),
        "{name}: {within} within one deviation"
    );
}

/// `nn.Linear`'s own: weight and bias uniform in plus or minus 1 / sqrt(inputs).
fn assert_uniform(name: &str, values: &[f64], bound: f64) {
    let n = values.len() as f64;
    let (mean, found, within) = moments(values, bound / 2.0);
    let std = bound / 3f64.sqrt();
    assert!(values.iter().all(|v| v.abs() <= bound), "{name}");
    assert!(mean.abs() < SIGMAS * std / n.sqrt(), "{name}: mean {mean:e}");
    // The fourth moment of a uniform variable is 9/5 of its squared variance.
    assert!((found / std - 1.0).abs() < SIGMAS * (0.2 / n).sqrt(), "{name}: deviation {found} instead of {std}");
    assert!((within - 0.5).abs() < SIGMAS * 0.5 / n.sqrt(), "{name}: {within} in the inner half");
}

fn all_are(values: &[f64], constant: f64) -> bool {
    values.iter().all(|v| *v == constant)
}

#[test]
fn every_layer_starts_as_torchvisions_does() {
    for arch in [Arch::Resnet18, Arch::Resnet50] {
        let config = of(arch);
        let encoder = encoder(&config, 1);
        for parameter in encoder.parameters() {
            let (name, values) = (&parameter.name, f64s(parameter.var.as_tensor()));
            if parameter.var.rank() == 4 {
                assert_kaiming_normal(name, parameter.var.as_tensor());
            } else if head::owns(name) {
                assert_uniform(name, &values, 1.0 / (config.feature_dim() as f64).sqrt());
            } else {
                assert!(all_are(&values, if name.ends_with("weight") { 1.0 } else { 0.0 }), "{name}");
            }
        }
        for statistic in encoder.running_statistics() {
            let constant = if statistic.name.ends_with("running_var") { 1.0 } else { 0.0 };
            assert!(all_are(&f64s(statistic.var.as_tensor()), constant), "{}", statistic.name);
        }
        assert_eq!(encoder.state_dict().unwrap()["bn1.num_batches_tracked"].to_scalar::<i64>().unwrap(), 0);
    }
}

#[test]
fn the_last_norm_of_each_block_starts_at_zero_on_request_and_nothing_else_changes() {
    for (arch, last, blocks) in [(Arch::Resnet18, "bn2.weight", 8), (Arch::Resnet50, "bn3.weight", 16)] {
        let config = ModelConfig { width: 0.25, ..of(arch) };
        let plain = encoder(&config, 1);
        let zeroed = encoder(&ModelConfig { zero_init_residual: true, ..config }, 1);
        let mut zero = 0;
        for (plain, zeroed) in plain.parameters().iter().zip(zeroed.parameters()) {
            let values = f64s(zeroed.var.as_tensor());
            if plain.name.starts_with("layer") && plain.name.ends_with(last) {
                assert!(all_are(&values, 0.0), "{}", plain.name);
                zero += 1;
            } else {
                assert_eq!(values, f64s(plain.var.as_tensor()), "{}", plain.name);
            }
        }
        assert_eq!(zero, blocks);
    }
}

#[test]
fn layers_and_seeds_draw_for_themselves() {
    let config = ModelConfig { width: 0.25, ..of(Arch::Resnet18) };
    let weights = |seed| -> Vec<_> {
        let convolutions = |p: &&clsa_model::Parameter| p.name.starts_with("layer1") && p.name.contains("conv");
        encoder(&config, seed).parameters().iter().filter(convolutions).map(|p| f64s(p.var.as_tensor())).collect()
    };
    assert_eq!(weights(1), weights(1));
    let all: Vec<_> = weights(1).into_iter().chain(weights(2)).collect();
    assert_eq!(all.len(), 8);
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let correlation = product(a, b) / (product(a, a) * product(b, b)).sqrt();
            assert!(correlation.abs() < SIGMAS / (a.len() as f64).sqrt(), "{correlation}");
        }
    }
}

#[test]
fn a_copy_of_the_state_dictionary_keeps_what_an_update_writes_over() {
    let config = ModelConfig { width: 0.0625, stem: Stem::Cifar, ..of(Arch::Resnet10) };
    let encoder = encoder(&config, 1);
    let images = Tensor::ones((2, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let features = || f64s(&encoder.features(&images).unwrap());
    let before = features();
    let shared = encoder.state_dict().unwrap();
    let kept: HashMap<_, _> = shared.iter().map(|(name, tensor)| (name.clone(), tensor.copy().unwrap())).collect();
    let update = SgdUpdate { lr: 0.5, momentum: 0.0, weight_decay: 0.0 };
    for parameter in encoder.parameters() {
        let ones = parameter.var.ones_like().unwrap();
        update.apply(&parameter.var, &Var::from_tensor(&ones).unwrap(), &ones).unwrap();
        assert_eq!(f64s(&shared[&parameter.name]), f64s(&parameter.var), "{}", parameter.name);
    }
    assert_ne!(features(), before);
    encoder.load_state_dict(&kept).unwrap();
    assert_eq!(features(), before);
}

#[test]
fn every_architecture_is_told_from_its_name_and_written_by_it() {
    for arch in Arch::ALL {
        assert_eq!(arch.name().parse::<Arch>().unwrap(), arch);
        assert_eq!(serde_json::to_string(&arch).unwrap(), format!("\"{}\"", arch.name()));
    }
    let error = "resnet51".parse::<Arch>().unwrap_err();
    assert!(error.to_string().starts_with("arch is resnet51: use one of resnet10, resnet18"), "{error}");
}

#[test]
fn values_out_of_range_are_refused_by_the_name_of_their_field() {
    let config = ModelConfig::default();
    let refused = [
        (ModelConfig { width: 0.0, ..config.clone() }, "width"),
        (ModelConfig { width: f64::NAN, ..config.clone() }, "width"),
        (ModelConfig { dim: 0, ..config }, "dim"),
    ];
    for (config, name) in refused {
        let error = Encoder::new(&config, Compute::default(), 0, &Device::Cpu).unwrap_err();
        assert!(error.is_request());
        assert!(matches!(error, ModelError::Config { field, .. } if field == name), "{error}");
    }
}
