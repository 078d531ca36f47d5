//! The head's layers in Candle's operations against sums in f64.

use super::{Linear, SHORTEST, normalize};
use crate::backbone::{Builder, CandlePass, Mode};
use crate::parameters::Parameter;
use crate::test_network::{Sum, are_sums, values};
use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

fn pass(track: bool) -> CandlePass {
    CandlePass::new(Mode::Train, DType::F32, track)
}

fn f32s(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn linear_and_its_gradients_match_f64(
        (rows, inputs, outputs) in (1..40usize, 1..200usize, 1..150usize), seed in 0..1000usize
    ) {
        let mut builder = Builder::new(seed as u64, DType::F32, &Device::Cpu);
        let linear = Linear::new(&mut builder, "fc", inputs, outputs).unwrap();
        let f64s = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let of = |p: &Parameter| f64s(&f32s(&p.var));
        let (x, dy) = (values(rows * inputs, seed), values(rows * outputs, seed + 1));
        let images = Var::from_vec(x.clone(), (rows, inputs), &Device::Cpu).unwrap();
        let y = linear.forward(images.as_tensor(), &pass(true)).unwrap();
        let upstream = Tensor::from_vec(dy.clone(), (rows, outputs), &Device::Cpu).unwrap();
        let store = (&y * upstream).unwrap().sum_all().unwrap().backward().unwrap();

        let (x, dy, w, b) = (f64s(&x), f64s(&dy), of(&linear.weight), of(&linear.bias));
        let mut expected: Vec<Sum> = (0..rows).flat_map(|_| b.iter().copied().map(Sum::of)).collect();
        let sums = |like: &[f64]| vec![Sum::default(); like.len()];
        let (mut dx, mut dw, mut db) = (sums(&x), sums(&w), sums(&b));
        for (row, output) in (0..rows * outputs).map(|i| (i / outputs, i % outputs)) {
            let g = dy[row * outputs + output];
            db[output].add(g);
            for input in 0..inputs {
                expected[row * outputs + output].add(x[row * inputs + input] * w[output * inputs + input]);
                dx[row * inputs + input].add(g * w[output * inputs + input]);
                dw[output * inputs + input].add(g * x[row * inputs + input]);
            }
        }
        prop_assert!(are_sums(&f32s(&y), &expected), "output");
        prop_assert!(are_sums(&f32s(store.get(&images).unwrap()), &dx), "input gradient");
        prop_assert!(are_sums(&f32s(store.get(&linear.weight.var).unwrap()), &dw), "weight gradient");
        prop_assert!(are_sums(&f32s(store.get(&linear.bias.var).unwrap()), &db), "bias gradient");
        // Without the graph the values are the same.
        let untracked = linear.forward(&images.as_detached_tensor(), &pass(false)).unwrap();
        prop_assert!(!untracked.track_op());
        prop_assert_eq!(f32s(&untracked), f32s(&y));
    }
}

/// As torch's `F.normalize`: a row of zeros stays one.
#[test]
fn embeddings_have_unit_length() {
    let x = Tensor::new(&[[3.0f32, -4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
    assert_eq!(normalize(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.6, -0.8], [0.0, 0.0]]);
}

/// As torch's: a row shorter than the bound is multiplied by a constant.
#[test]
fn the_gradient_of_a_row_of_zeros_is_finite() {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::new(&[[3.0f32, -4.0], [0.0, 0.0]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let upstream = Tensor::new(&[[1.0f32, 0.0], [2.0, 0.0]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let store = (normalize(&x).unwrap() * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = store.get(&x).unwrap().to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        for (got, expected) in gradient.concat().into_iter().zip([0.128, 0.096, 2e12, 0.0]) {
            assert!((got - expected).abs() <= 1e-6 * expected, "{dtype:?}: {got} is not {expected}");
        }
    }
}

/// The bound does not change the bits of what is longer, and is the same below.
#[test]
fn the_bound_of_a_length_is_that_of_its_square() {
    for length in [1e-20f32, 0.999_999e-12, SHORTEST, 1.000_001e-12, 1e-6, 0.7, 3e18] {
        let x = Tensor::new(&[[length]], &Device::Cpu).unwrap();
        let expected = length / (length * length).sqrt().max(SHORTEST);
        assert_eq!(normalize(&x).unwrap().to_vec2::<f32>().unwrap(), [[expected]], "{length:e}");
    }
}
