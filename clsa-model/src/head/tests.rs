//! The head's layers in Candle's operations against sums in f64.

use super::{Linear, normalize};
use crate::backbone::{Builder, CandlePass, Mode};
use crate::parameters::Parameter;
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn pass(track: bool) -> CandlePass {
    CandlePass::new(Mode::Train, DType::F32, track)
}

/// The largest difference over the largest value.
fn difference(got: &Tensor, expected: &[f64]) -> f64 {
    let got = got.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    got.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale
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
        let of = |p: &Parameter| f64s(&p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let (x, dy) = (values(rows * inputs, seed), values(rows * outputs, seed + 1));
        let images = candle_core::Var::from_vec(x.clone(), (rows, inputs), &Device::Cpu).unwrap();
        let y = linear.forward(images.as_tensor(), &pass(true)).unwrap();
        let upstream = Tensor::from_vec(dy.clone(), (rows, outputs), &Device::Cpu).unwrap();
        let store = (&y * upstream).unwrap().sum_all().unwrap().backward().unwrap();

        let (x, dy, w, b) = (f64s(&x), f64s(&dy), of(&linear.weight), of(&linear.bias));
        let mut expected: Vec<f64> = (0..rows).flat_map(|_| b.iter().copied()).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        for (row, output) in (0..rows * outputs).map(|i| (i / outputs, i % outputs)) {
            let g = dy[row * outputs + output];
            db[output] += g;
            for input in 0..inputs {
                expected[row * outputs + output] += x[row * inputs + input] * w[output * inputs + input];
                dx[row * inputs + input] += g * w[output * inputs + input];
                dw[output * inputs + input] += g * x[row * inputs + input];
            }
        }
        prop_assert!(difference(&y, &expected) < 1e-5, "output");
        prop_assert!(difference(store.get(&images).unwrap(), &dx) < 1e-5, "input gradient");
        prop_assert!(difference(store.get(&linear.weight.var).unwrap(), &dw) < 1e-5, "weight gradient");
        prop_assert!(difference(store.get(&linear.bias.var).unwrap(), &db) < 1e-5, "bias gradient");
        // Without the graph the values are the same.
        let untracked = linear.forward(&images.as_detached_tensor(), &pass(false)).unwrap();
        prop_assert!(!untracked.track_op());
        prop_assert_eq!(
            untracked.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }
}

/// As torch's `F.normalize`: a row of zeros stays one.
#[test]
fn embeddings_have_unit_length() {
    let x = Tensor::new(&[[3.0f32, -4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
    assert_eq!(normalize(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.6, -0.8], [0.0, 0.0]]);
}
