//! Whole residual networks.

use crate::arch::Arch;
use crate::backbone::{CandlePass, Mode};
use crate::config::{ModelConfig, Stem};
use crate::cpu::CpuKernels;
use crate::gradients::Gradients;
use crate::kernels::InstructionSet;
use crate::portable::Portable;
use crate::tape::Tape;
use crate::test_network::{LAST_STAGE, copy_parameters, difference, f64s, images, network, portable_pass, upstream};
use candle_core::DType;

/// Features, gradients and running statistics of a network on `batch` images of `side` x `side`.
fn agrees(config: &ModelConfig, batch: usize, side: usize, groups: usize) {
    for instructions in InstructionSet::available() {
        agrees_with(instructions, config, batch, side, groups);
    }
}

fn agrees_with(instructions: InstructionSet, config: &ModelConfig, batch: usize, side: usize, groups: usize) {
    let (net, single) = network(config, DType::F32);
    let (reference, double) = network(config, DType::F64);
    copy_parameters(&single, &double);
    let cpu = CpuKernels::<f32>::new(instructions);
    let (x32, x64) = (images(batch, side, DType::F32), images(batch, side, DType::F64));
    // The second pass works in the memory of the first.
    for pass in 0..2 {
        let mut tape = Tape::new(cpu.clone(), Mode::Train, groups, true);
        let features = net.forward(&mut tape, &x32, LAST_STAGE).unwrap();
        let mut gradients = Gradients::new(single.parameters().len());
        tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();

        let (expected, expected_gradients) =
            portable_pass(&double, DType::F64, groups, |ops| reference.forward(ops, &x64, LAST_STAGE));
        let error = difference(&f64s(&features), &expected);
        assert!(error < 1e-4, "pass {pass}: features differ by {error:e}");
        for (p, expected) in single.parameters().iter().zip(&expected_gradients) {
            let error = difference(&f64s(gradients.get(p.index).unwrap()), expected);
            assert!(error < 1e-4, "pass {pass}: the gradient of {} differs by {error:e}", p.name);
        }
    }
    for (b, c) in single.running_statistics().iter().zip(double.running_statistics()) {
        let error = difference(&f64s(b.var.as_tensor()), &f64s(c.var.as_tensor()));
        assert!(error < 1e-4, "{} differs by {error:e}", b.name);
    }
    let mut tape = Tape::new(cpu.clone(), Mode::Eval, groups, false);
    let features = net.forward(&mut tape, &x32, LAST_STAGE).unwrap();
    let mut portable = Portable { pass: CandlePass::new(Mode::Eval, DType::F64, false), bn_splits: groups };
    let expected = reference.forward(&mut portable, &x64, LAST_STAGE).unwrap();
    let error = difference(&f64s(&features), &f64s(&expected));
    assert!(error < 1e-4, "in evaluation mode features differ by {error:e}");
}

#[test]
fn basic_blocks_agree_with_the_portable_operations() {
    let config = ModelConfig { arch: Arch::Resnet18, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
    // With these images no unit is so near to ReLU's edge that another order of sums turns it.
    agrees(&config, 4, 34, 1);
}

#[test]
fn a_resnet50s_gradient_points_where_that_of_f64_does() {
    InstructionSet::available().into_iter().for_each(resnet50_points_with);
}

fn resnet50_points_with(instructions: InstructionSet) {
    let config = ModelConfig { width: 0.25, ..ModelConfig::default() };
    let (net, single) = network(&config, DType::F32);
    let (reference, double) = network(&config, DType::F64);
    copy_parameters(&single, &double);
    let mut tape = Tape::new(CpuKernels::<f32>::new(instructions), Mode::Train, 1, true);
    let features = net.forward(&mut tape, &images(4, 65, DType::F32), LAST_STAGE).unwrap();
    let mut gradients = Gradients::new(single.parameters().len());
    tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();
    let x64 = images(4, 65, DType::F64);
    let (expected, expected_gradients) =
        portable_pass(&double, DType::F64, 1, |ops| reference.forward(ops, &x64, LAST_STAGE));
    assert!(difference(&f64s(&features), &expected) < 1e-4);
    // Fifty layers deep some values near zero pass ReLU in one precision and not in the other, so that single
    // parameters may differ by what one pixel contributes.
    let (mut product, mut own, mut other) = (0.0, 0.0, 0.0);
    for (p, expected) in single.parameters().iter().zip(&expected_gradients) {
        let got = f64s(gradients.get(p.index).unwrap());
        let scale = expected.iter().fold(1e-300, |sum, x| sum + x * x);
        product += got.iter().zip(expected).map(|(a, b)| a * b).sum::<f64>() / scale;
        own += got.iter().map(|a| a * a).sum::<f64>() / scale;
        other += 1.0;
    }
    let cosine = product / (own * other).sqrt();
    assert!(cosine > 0.999, "the cosine is {cosine}");
}

#[test]
fn batch_norm_groups_agree_with_the_portable_operations() {
    let config = ModelConfig { arch: Arch::Resnet10, width: 0.1875, ..ModelConfig::default() };
    agrees(&config, 6, 75, 3);
}
