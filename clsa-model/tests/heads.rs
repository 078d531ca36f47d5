//! Projection heads of every form: their names, their arithmetic on the CPU's engine against double precision, and how they are
//! found in weight files.

use clsa_model::candle_core::{DType, Device, Tensor};
use clsa_model::{
    Arch, Backend, Compute, Encoder, Gradients, HeadConfig, MlpConfig, Mode, ModelConfig, Precision, Stem, head,
    weights,
};
use std::collections::HashMap;

const IMAGES: usize = 12;
const SPLITS: usize = 2;

fn mlp(hidden: usize, layers: usize, batch_norm: bool) -> HeadConfig {
    HeadConfig::Mlp(MlpConfig { hidden, layers, batch_norm })
}

fn heads() -> [HeadConfig; 6] {
    [HeadConfig::Linear, mlp(0, 2, false), mlp(24, 2, false), mlp(40, 3, false), mlp(0, 2, true), mlp(24, 3, true)]
}

fn config(head: HeadConfig) -> ModelConfig {
    ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, dim: 10, head, ..ModelConfig::default() }
}

fn encoder(head: HeadConfig, backend: Backend, precision: Precision) -> Encoder {
    let compute = Compute { backend, precision, bn_splits: SPLITS };
    Encoder::new(&config(head), compute, 7, &Device::Cpu).unwrap()
}

fn images(dtype: DType) -> Tensor {
    let values: Vec<f64> =
        (0..IMAGES * 3 * 64).map(|i| (i as f64 * 0.37).sin() + ((i * 7919 % 101) as f64 / 101.0)).collect();
    Tensor::from_vec(values, (IMAGES, 3, 8, 8), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// A gradient of the embedding that favors no component.
fn upstream(dtype: DType) -> Tensor {
    let values: Vec<f64> = (0..IMAGES * 10).map(|i| (i as f64 * 1.3).cos()).collect();
    Tensor::from_vec(values, (IMAGES, 10), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The length of the difference over the length of what is expected.
fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let (got, expected) = (f64s(got), f64s(expected));
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    length(&mut got.iter().zip(&expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied()).max(1e-300)
}

/// A training pass: the embedding and the gradients by parameter.
fn pass(encoder: &Encoder, dtype: DType) -> (Tensor, HashMap<String, Tensor>) {
    let pass = encoder.forward(&images(dtype)).unwrap();
    let embedding = pass.embedding().clone();
    let mut gradients = Gradients::new(encoder.parameters().len());
    pass.backward(&upstream(dtype), &mut gradients).unwrap();
    let named = encoder.parameters().iter().zip(gradients.iter());
    (embedding, named.map(|(p, g)| (p.name.clone(), g.expect("every parameter is reached").clone())).collect())
}

#[test]
fn names_are_those_of_torchs_sequential() {
    let names = |head| {
        let encoder = encoder(head, Backend::Portable, Precision::F32);
        let mut names: Vec<String> =
            encoder.state_dict().unwrap().into_keys().filter(|name| head::owns(name)).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(HeadConfig::Linear), "fc.bias fc.weight");
    assert_eq!(names(mlp(9, 3, false)), "fc.0.bias fc.0.weight fc.2.bias fc.2.weight fc.4.bias fc.4.weight");
    assert_eq!(
        names(mlp(9, 2, true)),
        "fc.0.bias fc.0.weight fc.1.bias fc.1.num_batches_tracked fc.1.running_mean fc.1.running_var fc.1.weight fc.3.bias \
         fc.3.weight"
    );
}

#[test]
fn the_cpus_engine_computes_every_head_as_double_precision_does() {
    for head in heads() {
        let exact = encoder(head, Backend::Portable, Precision::F64);
        let fast = encoder(head, Backend::Cpu, Precision::F32);
        fast.load_state_dict(&exact.state_dict().unwrap()).unwrap();
        let ((embedding, gradients), (expected, exact_gradients)) = (pass(&fast, DType::F32), pass(&exact, DType::F64));
        assert!(difference(&embedding, &expected) < 1e-5, "{head:?}");
        for (name, gradient) in &gradients {
            // A bias before batch norm has no effect: its gradient is rounding.
            let vanishes = matches!(head, HeadConfig::Mlp(MlpConfig { batch_norm: true, .. }))
                && (name == "fc.0.bias" || name == "fc.3.bias" && exact_gradients.contains_key("fc.6.bias"));
            if vanishes {
                assert!(f64s(gradient).iter().all(|g| g.abs() < 1e-5), "{head:?} {name}");
            } else {
                let difference = difference(gradient, &exact_gradients[name]);
                assert!(difference < 1e-4, "{head:?} {name}: {difference}");
            }
        }
        // Evaluation reads the statistics that training has moved.
        let of = |encoder: &Encoder, dtype| encoder.embed(&images(dtype), Mode::Eval).unwrap();
        assert!(difference(&of(&fast, DType::F32), &of(&exact, DType::F64)) < 1e-5, "{head:?}");
    }
}

#[test]
fn the_gradients_of_a_head_with_batch_norm_are_differences_of_its_values() {
    let encoder = encoder(mlp(24, 3, true), Backend::Portable, Precision::F64);
    let (_, gradients) = pass(&encoder, DType::F64);
    let loss = || {
        let embedding = encoder.forward(&images(DType::F64)).unwrap().embedding().clone();
        (embedding * upstream(DType::F64)).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    for parameter in encoder.parameters().iter().filter(|parameter| head::owns(&parameter.name)) {
        let values = f64s(&parameter.var);
        let at = values.len() / 2;
        let moved = |by: f64| {
            let mut values = values.clone();
            values[at] += by;
            let moved = Tensor::from_vec(values, parameter.var.shape(), &Device::Cpu).unwrap();
            parameter.var.set(&moved).unwrap();
            loss()
        };
        let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        moved(0.0);
        let gradient = f64s(&gradients[&parameter.name])[at];
        assert!((slope - gradient).abs() < 1e-6 * (1.0 + gradient.abs()), "{}: {slope} and {gradient}", parameter.name);
    }
}

#[test]
fn the_hidden_layer_of_a_norm_has_the_groups_of_the_backbones() {
    // Each group alone gives what it gives beside the other.
    let encoder = encoder(mlp(24, 2, true), Backend::Portable, Precision::F64);
    let (whole, _) = pass(&encoder, DType::F64);
    let one = Encoder::new(
        &config(mlp(24, 2, true)),
        Compute { backend: Backend::Portable, precision: Precision::F64, bn_splits: 1 },
        7,
        &Device::Cpu,
    )
    .unwrap();
    let half = IMAGES / SPLITS;
    let first = one.forward(&images(DType::F64).narrow(0, 0, half).unwrap()).unwrap().embedding().clone();
    assert!(difference(&first, &whole.narrow(0, 0, half).unwrap()) < 1e-12);
}

#[test]
fn a_head_is_found_by_its_tensors() {
    for head in heads() {
        let mut state = encoder(head, Backend::Portable, Precision::F32).state_dict().unwrap();
        assert_eq!(weights::check(&state).unwrap(), config(head));
        let weight = if head == HeadConfig::Linear { "fc.weight" } else { "fc.0.weight" };
        state.insert(weight.to_owned(), Tensor::zeros((3, 5), DType::F32, &Device::Cpu).unwrap());
        let error = weights::check(&state).unwrap_err().to_string();
        assert!(error.contains(&format!("{weight} has shape [3, 5] instead of")), "{error}");
    }
}

#[test]
fn sizes_out_of_range_are_refused_by_field() {
    for (head, message) in [
        (mlp(0, 1, false), "head.layers is 1: use 2 to 8 layers"),
        (mlp(0, 9, false), "head.layers is 9: use 2 to 8 layers"),
        (mlp(70_000, 2, false), "head.hidden is 70000: use a size up to 65536"),
    ] {
        let error = config(head).validate().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
