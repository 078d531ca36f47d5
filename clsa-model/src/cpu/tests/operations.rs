//! Every operation, few layers deep.

use crate::backbone::{Builder, ConvBn, Mode, Ops};
use crate::cpu::CpuKernels;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::InstructionSet;
use crate::tape::Tape;
use crate::test_network::{
    branched_units, copy_parameters, difference, f64s, forward, forward_branched, images, portable_pass, units,
    upstream,
};
use candle_core::{DType, Tensor};

type Forward = fn(&mut dyn Ops, &[ConvBn], &Tensor) -> Result<Tensor>;
type Units = fn(DType) -> (Vec<ConvBn>, Builder);

#[test]
fn bottlenecks_and_pooling_agree_with_the_portable_operations() {
    InstructionSet::available().into_iter().for_each(|instructions| agree(instructions, forward, units));
}

#[test]
fn activations_that_are_read_more_than_once_agree_with_the_portable_operations() {
    let agree = |instructions| agree(instructions, forward_branched, branched_units);
    InstructionSet::available().into_iter().for_each(agree);
}

fn agree(instructions: InstructionSet, forward: Forward, units: Units) {
    let (single, singles) = units(DType::F32);
    let (double, doubles) = units(DType::F64);
    copy_parameters(&singles, &doubles);
    let mut tape = Tape::new(CpuKernels::<f32>::new(instructions), Mode::Train, 2, true);
    let features = forward(&mut tape, &single, &images(4, 67, DType::F32)).unwrap();
    let mut gradients = Gradients::new(singles.parameters().len());
    tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();

    let (expected, expected_gradients) =
        portable_pass(&doubles, DType::F64, 2, |ops| forward(ops, &double, &images(4, 67, DType::F64)));
    let error = difference(&f64s(&features), &expected);
    assert!(error < 1e-5, "features differ by {error:e}");
    for (p, expected) in singles.parameters().iter().zip(&expected_gradients) {
        let error = difference(&f64s(gradients.get(p.index).unwrap()), expected);
        assert!(error < 1e-4, "the gradient of {} differs by {error:e}", p.name);
    }
}

/// Features and parameter gradients in bf16 differ from those in f64 as those of the portable operations in bf16 do, which
/// round in the same places and, within batch norm and its gradient, in more.
#[test]
fn in_bf16_bottlenecks_and_pooling_lose_no_more_than_the_portable_operations() {
    let (double, doubles) = units(DType::F64);
    let copy = || {
        let (units, builder) = units(DType::F32);
        copy_parameters(&builder, &doubles);
        (units, builder)
    };
    let (units, builder) = copy();
    let portable = |units: &[ConvBn], builder: &Builder, dtype: DType| {
        portable_pass(builder, dtype, 2, |ops| forward(ops, units, &images(4, 67, DType::F64)))
    };
    let (exact, exact_gradients) = portable(&double, &doubles, DType::F64);
    let (candle, candle_gradients) = portable(&units, &builder, DType::BF16);
    for instructions in InstructionSet::available() {
        let (units, builder) = copy();
        let mut tape = Tape::new(CpuKernels::<half::bf16>::new(instructions), Mode::Train, 2, true);
        let features = forward(&mut tape, &units, &images(4, 67, DType::F32)).unwrap();
        let mut gradients = Gradients::new(builder.parameters().len());
        tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();
        let (ours, theirs) = (difference(&f64s(&features), &exact), difference(&candle, &exact));
        println!("{instructions} features {ours:.4} portable {theirs:.4}");
        assert!(ours < 1.25 * theirs, "{instructions}: features differ by {ours:e}, the portable ones by {theirs:e}");
        for (p, (exact, candle)) in builder.parameters().iter().zip(exact_gradients.iter().zip(&candle_gradients)) {
            let gradient = gradients.get(p.index).unwrap();
            assert_eq!(gradient.dtype(), DType::F32);
            let (ours, theirs) = (difference(&f64s(gradient), exact), difference(candle, exact));
            println!("{instructions} {} {ours:.4} portable {theirs:.4}", p.name);
            assert!(
                ours < 1.25 * theirs,
                "{instructions}: {} differs by {ours:e}, the portable one by {theirs:e}",
                p.name
            );
        }
    }
}
