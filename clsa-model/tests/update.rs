//! The two updates of a training step against f64, against torch.optim.SGD (fixtures/sgd.json, written by make_sgd.py),
//! and the same bits for any number of threads.

mod uniform;

use candle_core::{DType, Device, Tensor, Var};
use clsa_model::{Arch, Compute, ModelConfig, MomentumPair, Precision, SgdUpdate, Stem};
use proptest::prelude::*;
use serde::Deserialize;
use uniform::uniform;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    momentum: f64,
    weight_decay: f64,
    /// After each step.
    weights: Vec<Vec<f64>>,
    /// After each step; PyTorch keeps none without momentum.
    velocities: Vec<Vec<f64>>,
}

fn tensor(values: Vec<f64>, dims: &[usize], dtype: DType) -> Tensor {
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn var(values: Vec<f64>, dims: &[usize], dtype: DType) -> Var {
    Var::from_tensor(&tensor(values, dims, dtype)).unwrap()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // `max` of a number and NaN is the number, which would hide the NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

#[test]
fn sgd_is_pytorchs_step_by_step() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/sgd.json")).unwrap();
    for (dtype, tolerance) in [(DType::F64, 1e-15), (DType::F32, 3e-7)] {
        for case in &fixture.cases {
            let n = case.weights[0].len();
            let (weight, velocity) = (var(uniform("weight", n), &[n], dtype), var(vec![0.0; n], &[n], dtype));
            for (step, theirs) in case.weights.iter().enumerate() {
                let lr = 0.1 / (step + 1) as f64;
                let update = SgdUpdate { lr, momentum: case.momentum, weight_decay: case.weight_decay };
                let gradient = tensor(uniform(&format!("gradient:{step}"), n), &[n], dtype);
                update.apply(&weight, &velocity, &gradient).unwrap();
                let what = format!("{dtype:?}, {update:?}, step {step}");
                assert!(largest_difference(&f64s(&weight), theirs) < tolerance, "{what}");
                if let Some(theirs) = case.velocities.get(step) {
                    assert!(largest_difference(&f64s(&velocity), theirs) < 4.0 * tolerance, "{what}: velocity");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Shapes of one to four dimensions, up to several of the pieces that threads take.
    #[test]
    fn sgd_in_place_matches_f64(
        dims in prop_oneof![
            prop::collection::vec(1..12usize, 1..5),
            (1..5usize, 40_000..70_000usize).prop_map(|(a, b)| vec![a, b]),
        ],
        lr in 0.0..1.0f64, momentum in prop_oneof![Just(0.0), 0.0..1.0f64], weight_decay in prop_oneof![Just(0.0), 0.0..0.1f64],
        transposed in any::<bool>(), seed in 0..1000u32,
    ) {
        let n: usize = dims.iter().product();
        let of = |name: &str| uniform(&format!("{name}:{seed}"), n);
        let (weight, velocity) = (var(of("w"), &dims, DType::F32), var(vec![0.0; n], &dims, DType::F32));
        let (mut w, mut v) = (f64s(&weight), vec![0.0; n]);
        let shared = weight.as_tensor().clone();
        let update = SgdUpdate { lr, momentum, weight_decay };
        for step in 0..3 {
            let mut gradient = tensor(of(&format!("g{step}")), &dims, DType::F32);
            if transposed && dims.len() > 1 {
                // The same values in another order of memory.
                gradient = gradient.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap();
            }
            for ((w, v), g) in w.iter_mut().zip(&mut v).zip(f64s(&gradient)) {
                *v = momentum * *v + (g + weight_decay * *w);
                *w -= lr * *v;
            }
            update.apply(&weight, &velocity, &gradient).unwrap();
            if step == 0 {
                // The first step: the velocity is the decayed gradient, whatever the momentum.
                let first: Vec<f64> = f64s(&gradient).iter().zip(of("w")).map(|(g, w)| g + weight_decay * w).collect();
                prop_assert!(largest_difference(&f64s(&velocity), &first) < 1e-6);
            }
        }
        prop_assert!(largest_difference(&f64s(&weight), &w) < 3e-6, "weights");
        prop_assert!(largest_difference(&f64s(&velocity), &v) < 3e-6, "velocities");
        prop_assert_eq!(f64s(&shared), f64s(&weight), "not in place");
    }
}

fn pair(precision: Precision, momentum: f64) -> MomentumPair {
    let config = ModelConfig { arch: Arch::Resnet10, width: 0.5, stem: Stem::Cifar, dim: 16, ..ModelConfig::default() };
    MomentumPair::new(&config, Compute { precision, ..Compute::default() }, momentum, 3, &Device::Cpu).unwrap()
}

/// Gives the query encoder other parameters and statistics than the key encoder.
fn part_from_the_key(pair: &MomentumPair) {
    for p in pair.query.parameters() {
        let n = p.var.elem_count();
        p.var.set(&tensor(uniform(&p.name, n), p.var.dims(), p.var.dtype())).unwrap();
    }
    for s in pair.query.running_statistics() {
        s.var.set(&s.var.ones_like().unwrap()).unwrap();
    }
}

#[test]
fn the_key_encoder_moves_its_parameters_by_the_moving_average_and_keeps_its_statistics() {
    for (precision, tolerance) in [(Precision::F32, 1e-6), (Precision::F64, 1e-15)] {
        for momentum in [0.999, 0.5, 0.0, 1.0] {
            let pair = pair(precision, momentum);
            let start: Vec<_> = pair.key.parameters().iter().map(|p| f64s(&p.var)).collect();
            let in_place: Vec<_> = pair.key.parameters().iter().map(|p| p.var.as_tensor().clone()).collect();
            let statistics: Vec<_> = pair.key.running_statistics().iter().map(|s| f64s(&s.var)).collect();
            part_from_the_key(&pair);
            pair.update_key().unwrap();
            pair.update_key().unwrap();
            let kept = momentum * momentum;
            for (i, (key, query)) in pair.key.parameters().iter().zip(pair.query.parameters()).enumerate() {
                let expected: Vec<f64> =
                    start[i].iter().zip(f64s(&query.var)).map(|(k, q)| kept * k + (1.0 - kept) * q).collect();
                let error = largest_difference(&f64s(&key.var), &expected);
                assert!(error < tolerance, "{precision:?}, {momentum}, {}: {error:e}", key.name);
                assert_eq!(f64s(&in_place[i]), f64s(&key.var), "{} is not in place", key.name);
            }
            for (statistic, before) in pair.key.running_statistics().iter().zip(statistics) {
                assert_eq!(f64s(&statistic.var), before, "{}", statistic.name);
            }
        }
    }
}

#[test]
fn a_momentum_outside_0_to_1_is_refused() {
    for momentum in [-0.1, 1.1, f64::NAN] {
        let error = MomentumPair::new(&ModelConfig::default(), Compute::default(), momentum, 0, &Device::Cpu);
        let error = error.unwrap_err();
        assert!(error.is_request() && error.to_string().starts_with("momentum is "), "{error}");
    }
}

#[test]
fn updates_give_the_same_bits_for_one_two_and_five_threads() {
    let run = |threads: usize| {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        workers.install(|| {
            let pair = pair(Precision::F32, 0.99);
            part_from_the_key(&pair);
            let update = SgdUpdate { lr: 0.03, momentum: 0.9, weight_decay: 1e-4 };
            let velocities: Vec<_> = pair
                .query
                .parameters()
                .iter()
                .map(|p| Var::from_tensor(&p.var.zeros_like().unwrap()).unwrap())
                .collect();
            for step in 0..2 {
                for (p, velocity) in pair.query.parameters().iter().zip(&velocities) {
                    let gradient = uniform(&format!("{step}{}", p.name), p.var.elem_count());
                    update.apply(&p.var, velocity, &tensor(gradient, p.var.dims(), DType::F32)).unwrap();
                }
                pair.update_key().unwrap();
            }
            let query = pair.query.parameters().iter().map(|p| f64s(&p.var));
            let key = pair.key.parameters().iter().map(|p| f64s(&p.var));
            query.chain(key).chain(velocities.iter().map(|v| f64s(v))).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    // Several pieces, so that threads share the work.
    assert!(one.iter().any(|values| values.len() > 1 << 17));
    assert!(one == run(2) && one == run(5));
}

/// As that of half the square of the weight is the weight itself.
#[test]
fn a_gradient_may_be_a_view_of_the_weight_or_of_its_velocity() {
    for dtype in [DType::F32, DType::F64] {
        let (weight, velocity) = (var(vec![2.0; 3], &[3], dtype), var(vec![0.0; 3], &[3], dtype));
        let update = SgdUpdate { lr: 0.5, momentum: 0.5, weight_decay: 0.0 };
        update.apply(&weight, &velocity, &weight.as_detached_tensor()).unwrap();
        assert_eq!((f64s(&weight), f64s(&velocity)), (vec![1.0; 3], vec![2.0; 3]), "{dtype:?}");
        update.apply(&weight, &velocity, &velocity.as_detached_tensor()).unwrap();
        assert_eq!((f64s(&weight), f64s(&velocity)), (vec![-0.5; 3], vec![3.0; 3]), "{dtype:?}");
    }
}

#[test]
fn updates_of_another_shape_are_refused_and_change_nothing() {
    let var = |dims: &[usize]| Var::from_tensor(&Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap()).unwrap();
    let update = SgdUpdate { lr: 0.1, momentum: 0.9, weight_decay: 0.0 };
    for (velocity, gradient) in [(&[10][..], &[4][..]), (&[10], &[5, 2]), (&[9], &[10])] {
        let weight = var(&[10]);
        assert!(update.apply(&weight, &var(velocity), var(gradient).as_tensor()).is_err());
        assert_eq!(weight.to_vec1::<f32>().unwrap(), [1.0; 10]);
    }
}
