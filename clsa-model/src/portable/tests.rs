//! The portable operations in bf16 against those in f64.

use super::Portable;
use crate::backbone::{Activation, BatchNorm, Builder, CandlePass, ConvBn, Convolution, Mode, Ops};
use crate::test_network::f64s;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Init;
use proptest::prelude::*;

/// The largest rounding of bfloat16 relative to the number.
const ROUNDING: f64 = 1.0 / 256.0;

/// Numbers in -1..1 that bfloat16 holds exactly.
fn values(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    // Two seeds give unrelated numbers.
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 56) as u8) / 128.0 - 1.0
    };
    next();
    let values: Vec<f64> = (0..n).map(|_| next()).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    // `max` of a number and NaN is the number, which would hide the NaN.
    f64s(tensor).iter().map(|x| x.abs()).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

/// The largest difference.
fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let exact = expected.to_dtype(DType::F64).unwrap();
    largest(&(got.to_dtype(DType::F64).unwrap() - exact).unwrap())
}

fn unit(dtype: DType, c_in: usize, c_out: usize, kernel: usize, stride: usize, seed: usize) -> ConvBn {
    let mut builder = Builder::new(0, DType::F64, &Device::Cpu);
    let mut parameter = |name: &str, shape: &[usize], shift: f64| {
        let mut parameter = builder.parameter(name.to_owned(), shape, Init::Const(0.0)).unwrap();
        let values = (values(shape, seed).to_dtype(DType::F64).unwrap() * 0.5).unwrap();
        parameter.var = Var::from_tensor(&(values + shift).unwrap().to_dtype(dtype).unwrap()).unwrap();
        parameter
    };
    let weight = parameter("conv.weight", &[c_out, c_in, kernel, kernel], 0.0);
    let (scale, bias) = (parameter("bn.weight", &[c_out], 1.0), parameter("bn.bias", &[c_out], 0.0));
    let mut builder = Builder::new(0, dtype, &Device::Cpu);
    let mut statistic = |name: &str, value| builder.running_statistic(name, c_out, value).unwrap();
    let (running_mean, running_var) = (statistic("bn.running_mean", 0.0), statistic("bn.running_var", 1.0));
    let bn = BatchNorm { weight: scale, bias, running_mean, running_var };
    ConvBn { conv: Convolution { weight, c_in, c_out, kernel, stride, padding: kernel / 2 }, bn }
}

fn portable(dtype: DType) -> Portable {
    Portable { pass: CandlePass::new(Mode::Train, dtype, true), bn_splits: 1 }
}

fn activation(tensor: &Tensor) -> Activation {
    Activation::new(tensor.clone())
}

/// Output and gradients (input, weight, scale, bias, residual) of one unit.
fn pass(dtype: DType, unit: &ConvBn, x: &Tensor, residual: &Tensor, dy: &Tensor, relu: bool) -> (Tensor, Vec<Tensor>) {
    let take = |t: &Tensor| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap();
    let (x, residual) = (take(x), take(residual));
    let y = portable(dtype).conv_bn(&activation(&x), unit, Some(&activation(&residual)), relu).unwrap();
    let y: &Tensor = y.get().unwrap();
    assert_eq!(y.dtype(), dtype);
    let store = (y * dy.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
    let (weight, bn) = (&unit.conv.weight.var, &unit.bn);
    let all = [&x, weight, &bn.weight.var, &bn.bias.var, &residual];
    (y.detach(), all.map(|var| store.get(var).unwrap().clone()).to_vec())
}

/// Output and gradients of one unit in bf16 are within its rounding of f64.
fn compare_unit(
    [n, side, c_in, c_out]: [usize; 4],
    (kernel, stride): (usize, usize),
    seed: usize,
) -> Result<(), TestCaseError> {
    let x = values(&[n, c_in, side, side], seed);
    let out = side.div_ceil(stride);
    let (residual, dy) = (values(&[n, c_out, out, out], seed + 1), values(&[n, c_out, out, out], seed + 2));
    let narrow = unit(DType::F32, c_in, c_out, kernel, stride, seed);
    // The weights as bfloat16 sees them.
    let weight = &narrow.conv.weight.var;
    weight.set(&weight.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()).unwrap();
    let wide = unit(DType::F64, c_in, c_out, kernel, stride, seed);
    wide.conv.weight.var.set(&weight.to_dtype(DType::F64).unwrap()).unwrap();
    for relu in [false, true] {
        let (y, gradients) = pass(DType::BF16, &narrow, &x, &residual, &dy, relu);
        let (expected, _) = pass(DType::F64, &wide, &x, &residual, &dy, relu);
        // ReLU may leave nothing, or one number near zero: the size is that before it.
        let size = largest(&pass(DType::F64, &wide, &x, &residual, &dy, false).0);
        let error = difference(&y, &expected) / size;
        prop_assert!(error < 3.0 * ROUNDING, "output differs by {error:e}");
        // ReLU's gate is compared above; here it is taken as bf16 sees it.
        let gate = if relu { y.to_dtype(DType::F64).unwrap().sign().unwrap() } else { y.ones_like().unwrap() };
        let gated = (dy.to_dtype(DType::F64).unwrap() * gate.to_dtype(DType::F64).unwrap()).unwrap();
        let (_, expected) = pass(DType::F64, &wide, &x, &residual, &gated, false);
        // A gradient is a sum that may happen to be near zero, and ReLU may let nothing through: its size is what other
        // gradients of the output make without ReLU.
        let others: Vec<_> = (3..11)
            .map(|k| values(gated.dims(), seed + k).to_dtype(DType::F64).unwrap())
            .map(|dy| pass(DType::F64, &wide, &x, &residual, &dy, false).1)
            .collect();
        let size = |i: usize| others.iter().fold(largest(&expected[i]), |m, other| m.max(largest(&other[i])));
        let names = ["input", "weight", "scale", "bias", "residual"];
        for (i, name) in names.into_iter().enumerate() {
            let error = difference(&gradients[i], &expected[i]) / size(i);
            prop_assert!(error < 4.0 * ROUNDING, "{name} gradient differs by {error:e}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Parameters and statistics in f32, the convolution's output, the norm's and the sum rounded to bfloat16: each
    /// rounding once, and once more by the norm's scale over the deviation. (One weight alone has no gradient, because
    /// the norm takes its size away; so there are two or more.)
    #[test]
    fn a_unit_in_bf16_is_within_its_rounding_of_f64(
        (n, side, c_in, c_out) in (2..4usize, 4..9usize, 2..9usize, 1..9usize),
        (kernel, stride) in prop_oneof![Just((1, 1)), Just((1, 2)), Just((3, 1)), Just((3, 2)), Just((7, 2))],
        seed in 0..1000usize,
    ) {
        compare_unit([n, side, c_in, c_out], (kernel, stride), seed)?;
    }

    /// Pooling chooses, so that bf16 is exact; the mean is f32's.
    #[test]
    fn pooling_in_bf16_gives_what_f64_does(
        (n, channels, height, width) in (1..3usize, 1..4usize, 1..9usize, 1..9usize), seed in 0..1000usize
    ) {
        let x = values(&[n, channels, height, width], seed);
        let dy = values(&[n, channels, height.div_ceil(2), width.div_ceil(2)], seed + 1);
        let run = |dtype: DType| {
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            let mut portable = portable(dtype);
            let y = portable.max_pool(&activation(&x)).unwrap();
            let y: &Tensor = y.get().unwrap();
            let store = (y * dy.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
            let mean = portable.global_avg_pool(&activation(&x)).unwrap();
            (y.detach(), store.get(&x).unwrap().clone(), mean.detach())
        };
        let ((y, dx, mean), (exact_y, exact_dx, exact_mean)) = (run(DType::BF16), run(DType::F64));
        prop_assert_eq!(f64s(&y), f64s(&exact_y));
        // Up to four windows choose the same place: sums of two, of three and of four are rounded.
        prop_assert!(difference(&dx, &exact_dx) <= (2.0 + 3.0 + 4.0) * ROUNDING * largest(&dy));
        prop_assert!(difference(&mean, &exact_mean) <= 1e-6 * largest(&x));
    }
}

#[test]
fn a_unit_whose_outputs_are_all_negative_before_relu_is_within_its_rounding_too() {
    compare_unit([2, 4, 2, 1], (1, 2), 187).unwrap();
}
