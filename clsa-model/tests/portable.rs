//! Both implementations against PyTorch's answers in fixtures/portable.json (written by make_portable.py).

mod uniform;

use candle_core::{DType, Device, Tensor};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, Mode, ModelConfig, Pass, Precision, Stem, head};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use uniform::uniform;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    arch: Arch,
    stem: Stem,
    shape: [usize; 4],
    bn_splits: usize,
    ties: bool,
    /// The name that the images are drawn from.
    images: String,
    /// For each bias before a ReLU how far each channel's is moved, so that no activation is near zero: see below.
    moves: BTreeMap<String, String>,
    /// Pooled output of each stage in evaluation mode.
    stages: [Excerpt; 4],
    embedding: Vec<f64>,
    gradients: BTreeMap<String, Excerpt>,
    statistics: BTreeMap<String, Excerpt>,
    /// Pooled features of the last stage in a training pass, and the gradients of a pass that ends there.
    features: Excerpt,
    feature_gradients: BTreeMap<String, Excerpt>,
    /// How far PyTorch's own f32 gradients are from its f64 ones: the largest relative error of a parameter's.
    f32_gradient_error: f64,
    /// How far PyTorch's bf16 autocast is from f64, where it has been asked.
    bf16_errors: Option<Bf16Errors>,
}

/// Relative to the norm: of the pooled features, and of all gradients of a pass that ends there together.
#[derive(Deserialize)]
struct Bf16Errors {
    features: f64,
    gradients: f64,
}

/// A tensor's norm and first three elements.
#[derive(Deserialize)]
struct Excerpt {
    norm: f64,
    head: Vec<f64>,
}

const DIM: usize = 16;

/// The weight that make_portable.py gives a tensor.
fn weight(name: &str, dims: &[usize], ties: bool) -> Vec<f64> {
    let u = uniform(&format!("init:{name}"), dims.iter().product());
    let (scale, shift) = match dims {
        [] => return vec![5.0],
        [_, rest @ ..] if rest.len() == 3 => {
            if ties && name == "conv1.weight" {
                return u.iter().map(|u| (u * 0.6).round_ties_even()).collect();
            }
            ((6.0 / rest.iter().product::<usize>() as f64).sqrt(), 0.0)
        }
        _ if head::owns(name) => (0.0, 0.0),
        _ if name.ends_with("running_var") => (0.3, 1.0),
        _ if name.ends_with("weight") => (0.1, 0.5),
        _ => (0.1, 0.0),
    };
    u.iter().map(|u| shift + scale * u).collect()
}

/// How far make_portable.py moves the biases: a letter for each channel, the middle one for none.
fn moved(values: &mut [f64], letters: &str) {
    assert_eq!(values.len(), letters.len());
    for (value, letter) in values.iter_mut().zip(letters.bytes()) {
        *value += 0.02 * (f64::from(letter) - f64::from(b'j'));
    }
}

fn encoder(case: &Case, backend: Backend, precision: Precision) -> Encoder {
    let config = ModelConfig { arch: case.arch, stem: case.stem, dim: DIM, ..ModelConfig::default() };
    let compute = Compute { backend, precision, bn_splits: case.bn_splits };
    let encoder = Encoder::new(&config, compute, 0, &Device::Cpu).unwrap();
    let features = config.feature_dim() as f64;
    let state: HashMap<_, _> = encoder
        .state_dict()
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| {
            let mut values = weight(&name, tensor.dims(), case.ties);
            if head::owns(&name) {
                values = uniform(&format!("init:{name}"), values.len());
                values.iter_mut().for_each(|v| *v *= (1.0 / features).sqrt());
            }
            if let Some(letters) = name.strip_suffix(".bias").and_then(|norm| case.moves.get(norm)) {
                moved(&mut values, letters);
            }
            let values = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
            (name, values.to_dtype(tensor.dtype()).unwrap())
        })
        .collect();
    encoder.load_state_dict(&state).unwrap();
    encoder
}

fn double(case: &Case) -> Encoder {
    encoder(case, Backend::Portable, Precision::F64)
}

fn images(case: &Case) -> Tensor {
    let mut values = uniform(&case.images, case.shape.iter().product());
    if case.ties {
        values.iter_mut().for_each(|v| *v = (*v * 1.5).round_ties_even());
    }
    Tensor::from_vec(values, &case.shape, &Device::Cpu).unwrap()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn assert_close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}[{i}]: {a} instead of {b}, tolerance {tolerance:e}");
    }
}

/// Norm relative to itself, elements relative to the tensor's root mean square.
fn assert_excerpt(what: &str, ours: &[f64], theirs: &Excerpt, tolerance: f64) {
    let scale = theirs.norm.max(1e-6);
    assert_close(&format!("norm of {what}"), &[norm(ours)], &[theirs.norm], tolerance * scale);
    let typical = scale / (ours.len() as f64).sqrt();
    let head = &ours[..theirs.head.len()];
    assert_close(
        what,
        head,
        &theirs.head,
        tolerance * typical.max(theirs.head.iter().fold(0.0, |m, v| v.abs().max(m))),
    );
}

fn cases() -> Vec<Case> {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/portable.json")).unwrap();
    fixture.cases
}

fn label(case: &Case, part: &str) -> String {
    format!("{} {:?} {part}", case.arch.name(), case.shape)
}

fn stages_match(backend: Backend, precision: Precision, tolerance: f64) {
    for case in cases() {
        let encoder = encoder(&case, backend, precision);
        let channels = encoder.feature_dim();
        assert_eq!(encoder.stages().len(), 4);
        for (i, stage) in encoder.stages().iter().enumerate() {
            assert_eq!(stage.channels, channels >> (3 - i));
            let features = encoder.features_at(&images(&case), i).unwrap();
            assert_eq!(features.dims(), [case.shape[0], channels >> (3 - i)]);
            assert_excerpt(&label(&case, &stage.name), &f64s(&features), &case.stages[i], tolerance);
        }
    }
}

/// Takes a pass back: its embedding (or features), and the gradient of each parameter that it reaches.
fn taken_back(encoder: &Encoder, pass: Pass) -> (Vec<f64>, Vec<Option<Vec<f64>>>) {
    let embedding = f64s(pass.embedding());
    let upstream =
        Tensor::from_vec(uniform("gradient", embedding.len()), pass.embedding().dims(), &Device::Cpu).unwrap();
    let upstream = upstream.to_dtype(pass.embedding().dtype()).unwrap();
    let mut gradients = Gradients::new(encoder.parameters().len());
    pass.backward(&upstream, &mut gradients).unwrap();
    (embedding, gradients.iter().map(|gradient| gradient.map(f64s)).collect())
}

/// A training pass: embedding and the gradient of each parameter.
fn train(encoder: &Encoder, images: &Tensor) -> (Vec<f64>, Vec<Vec<f64>>) {
    let (embedding, gradients) = taken_back(encoder, encoder.forward(images).unwrap());
    (embedding, gradients.into_iter().map(|gradient| gradient.expect("every parameter has a gradient")).collect())
}

#[test]
fn features_of_every_stage_match_pytorch_in_f64() {
    stages_match(Backend::Portable, Precision::F64, 1e-9);
}

#[test]
fn features_of_every_stage_match_pytorch_in_f32() {
    stages_match(Backend::Portable, Precision::F32, 1e-5);
    stages_match(Backend::Cpu, Precision::F32, 1e-4);
}

#[test]
fn training_pass_matches_pytorch_in_f64() {
    for case in cases() {
        let encoder = double(&case);
        let (embedding, gradients) = train(&encoder, &images(&case));
        assert_close(&label(&case, "embedding"), &embedding, &case.embedding, 1e-9);
        assert_eq!(gradients.len(), case.gradients.len());
        for (parameter, ours) in encoder.parameters().iter().zip(&gradients) {
            assert_excerpt(&label(&case, &parameter.name), ours, &case.gradients[&parameter.name], 1e-9);
        }
        assert_eq!(encoder.running_statistics().len(), case.statistics.len());
        for statistic in encoder.running_statistics() {
            let ours = f64s(statistic.var.as_tensor());
            assert_excerpt(&label(&case, &statistic.name), &ours, &case.statistics[&statistic.name], 1e-9);
        }
        assert_eq!(encoder.state_dict().unwrap()["bn1.num_batches_tracked"].to_scalar::<i64>().unwrap(), 6);
    }
}

/// Every gradient to 1e-4 of its norm, or four times what PyTorch's own f32 loses there (2e-5 to 1e-3), without
/// exception. In general f32 cannot promise that: where rounding turns the sign of one activation before a ReLU, or max
/// pooling's choice, the gradients before it are off by a hundredth, in PyTorch as here. These networks have no activation
/// near zero and no two candidates of a window that nearly coincide (make_portable.py sees to it, and that f32 makes the
/// same choices with ten times its error to spare), so what differs is a defect.
fn training_pass_matches_in_f32(backend: Backend) {
    for case in cases() {
        let single = encoder(&case, backend, Precision::F32);
        let (embedding, gradients) = train(&single, &images(&case));
        assert_close(&label(&case, "embedding"), &embedding, &case.embedding, 1e-4);
        for statistic in single.running_statistics() {
            let ours = f64s(statistic.var.as_tensor());
            assert_excerpt(&label(&case, &statistic.name), &ours, &case.statistics[&statistic.name], 1e-4);
        }
        // Equal to PyTorch's to 1e-9, as the test in f64 shows.
        let (_, exact) = train(&double(&case), &images(&case));
        let pairs = single.parameters().iter().zip(gradients.iter().zip(&exact));
        let errors = pairs.map(|(parameter, (ours, exact))| (relative(ours, exact), &parameter.name));
        let (error, name) = errors.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let limit = (4.0 * case.f32_gradient_error).max(1e-4);
        assert!(error <= limit, "{}: {error:e} > {limit:e}", label(&case, name));
    }
}

/// The length of the difference over the length of what is expected.
fn relative(ours: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    norm(&ours.iter().zip(exact).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(exact)
}

#[test]
fn training_pass_matches_pytorch_in_f32() {
    training_pass_matches_in_f32(Backend::Portable);
}

#[test]
fn training_pass_of_the_cpu_kernels_matches_pytorch() {
    training_pass_matches_in_f32(Backend::Cpu);
}

#[test]
fn a_pass_that_ends_at_the_features_matches_pytorch_and_leaves_the_head_alone() {
    for case in cases() {
        let pass = |backend, precision| {
            let encoder = encoder(&case, backend, precision);
            let pass = encoder.forward_features(&images(&case)).unwrap();
            assert_eq!(pass.embedding().dims(), [case.shape[0], encoder.feature_dim()]);
            let (features, gradients) = taken_back(&encoder, pass);
            (encoder, features, gradients)
        };
        let (encoder, exact_features, exact) = pass(Backend::Portable, Precision::F64);
        assert_excerpt(&label(&case, "features"), &exact_features, &case.features, 1e-9);
        for (parameter, ours) in encoder.parameters().iter().zip(&exact) {
            let what = label(&case, &parameter.name);
            match ours {
                Some(ours) => assert_excerpt(&what, ours, &case.feature_gradients[&parameter.name], 1e-9),
                None => assert!(head::owns(&parameter.name), "{what} has no gradient"),
            }
        }
        assert_eq!(exact.iter().flatten().count(), case.feature_gradients.len());

        let (_, features, gradients) = pass(Backend::Cpu, Precision::F32);
        let limit = (4.0 * case.f32_gradient_error).max(1e-4);
        let error = relative(&features, &exact_features);
        assert!(error <= limit, "{}: {error:e} > {limit:e}", label(&case, "features"));
        for (parameter, (ours, exact)) in encoder.parameters().iter().zip(gradients.iter().zip(&exact)) {
            assert_eq!(ours.is_some(), exact.is_some());
            if let (Some(ours), Some(exact)) = (ours, exact) {
                let error = relative(ours, exact);
                assert!(error <= limit, "{}: {error:e} > {limit:e}", label(&case, &parameter.name));
            }
        }
    }
}

/// PyTorch's autocast rounds where these operations do: the output of each convolution, norm, sum and pooling.
#[test]
fn bf16_is_as_near_to_f64_as_pytorchs_autocast() {
    let mut compared = 0;
    for case in cases() {
        let Some(theirs) = &case.bf16_errors else { continue };
        let rounded = encoder(&case, Backend::Portable, Precision::Bf16);
        let exact = double(&case);
        let pass = |encoder: &Encoder| taken_back(encoder, encoder.forward_features(&images(&case)).unwrap());
        let ((features, gradients), (exact_features, exact_gradients)) = (pass(&rounded), pass(&exact));
        let all = |gradients: Vec<Option<Vec<f64>>>| gradients.into_iter().flatten().flatten().collect::<Vec<_>>();
        let ours = [relative(&features, &exact_features), relative(&all(gradients), &all(exact_gradients))];
        for (what, ours, theirs) in [("features", ours[0], theirs.features), ("gradients", ours[1], theirs.gradients)] {
            assert!(ours < 1.25 * theirs, "{}: {ours:e}, PyTorch's {theirs:e}", label(&case, what));
        }
        compared += 1;
    }
    assert_eq!(compared, 2);
}

#[test]
fn key_pass_equals_the_training_pass_and_follows_the_same_statistics() {
    let case = &cases()[2];
    let (query, key) = (double(case), double(case));
    let pass = query.forward(&images(case)).unwrap();
    let keys = key.embed(&images(case), Mode::Train).unwrap();
    assert_eq!(f64s(pass.embedding()), f64s(&keys));
    for (a, b) in query.running_statistics().iter().zip(key.running_statistics()) {
        assert_eq!(f64s(a.var.as_tensor()), f64s(b.var.as_tensor()), "{}", a.name);
    }
}

/// The groups are consecutive: with two splits, the embedding of each half is that of the half alone.
#[test]
fn bn_splits_equal_separate_passes_over_the_groups() {
    let case = &cases()[2];
    let whole = double(case);
    let images = images(case);
    let together = f64s(&whole.embed(&images, Mode::Train).unwrap());
    let single = Case { bn_splits: 1, ..cases().swap_remove(2) };
    let mut apart = Vec::new();
    let mut means: Vec<Vec<Vec<f64>>> = Vec::new();
    for half in images.chunk(2, 0).unwrap() {
        let encoder = double(&single);
        apart.extend(f64s(&encoder.embed(&half, Mode::Train).unwrap()));
        means.push(encoder.running_statistics().iter().map(|b| f64s(b.var.as_tensor())).collect());
    }
    assert_close("embedding", &together, &apart, 1e-12);
    for (i, statistic) in whole.running_statistics().iter().enumerate() {
        let mean: Vec<f64> = means[0][i].iter().zip(&means[1][i]).map(|(a, b)| (a + b) / 2.0).collect();
        assert_close(&statistic.name, &f64s(statistic.var.as_tensor()), &mean, 1e-12);
    }
}

#[test]
fn bn_splits_that_do_not_divide_the_batch_are_refused() {
    let case = Case { bn_splits: 3, ..cases().swap_remove(2) };
    for (backend, precision) in
        [(Backend::Portable, Precision::F32), (Backend::Cpu, Precision::F32), (Backend::Cpu, Precision::Bf16)]
    {
        let error = encoder(&case, backend, precision).embed(&images(&case), Mode::Train).unwrap_err();
        // The field's own name: whoever reads a configuration knows the table that it is in.
        assert!(error.to_string().starts_with("bn_splits is 3: use a divisor of the batch"), "{error}");
        assert!(error.is_request());
    }
}

#[test]
fn images_in_channels_last_order_give_the_same_features() {
    let case = &cases()[0];
    let encoder = double(case);
    let images = images(case);
    let last = images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().permute((0, 3, 1, 2)).unwrap();
    let features = |x| f64s(&encoder.features(x).unwrap());
    assert_eq!(features(&images), features(&last));
}
