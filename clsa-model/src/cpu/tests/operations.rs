//! Every operation, few layers deep.

use crate::backbone::{Builder, CandlePass, ConvBn, Mode, Ops};
use crate::cpu::Cpu;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::InstructionSet;
use crate::portable::Portable;
use crate::tape::Tape;
use crate::test_network::{
    branched_units, copy_parameters, difference, f64s, forward, forward_branched, images, units, upstream,
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
    let mut tape = Tape::new(Cpu::<f32>::new(instructions), Mode::Train, 2, true);
    let features = forward(&mut tape, &single, &images(4, 67, DType::F32)).unwrap();
    let given = upstream(features.dims());
    let mut gradients = Gradients::new(singles.parameters().len());
    tape.backward(&given, &mut gradients, &mut |_, _| {}).unwrap();

    let mut portable = Portable { pass: CandlePass::new(Mode::Train, DType::F64, true), bn_splits: 2 };
    let expected = forward(&mut portable, &double, &images(4, 67, DType::F64)).unwrap();
    let error = difference(&f64s(&features), &f64s(&expected));
    assert!(error < 1e-5, "features differ by {error:e}");
    let given = given.to_dtype(DType::F64).unwrap();
    let store = (expected * given).unwrap().sum_all().unwrap().backward().unwrap();
    for (p, q) in singles.parameters().iter().zip(doubles.parameters()) {
        let error = difference(&f64s(gradients.get(p.index).unwrap()), &f64s(store.get(&q.var).unwrap()));
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
        let mut portable = Portable { pass: CandlePass::new(Mode::Train, dtype, true), bn_splits: 2 };
        let features = forward(&mut portable, units, &images(4, 67, DType::F64)).unwrap();
        let given = upstream(features.dims()).to_dtype(features.dtype()).unwrap();
        let store = (&features * given).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients: Vec<_> = builder.parameters().iter().map(|p| f64s(store.get(&p.var).unwrap())).collect();
        (f64s(&features), gradients)
    };
    let (exact, exact_gradients) = portable(&double, &doubles, DType::F64);
    let (candle, candle_gradients) = portable(&units, &builder, DType::BF16);
    for instructions in InstructionSet::available() {
        let (units, builder) = copy();
        let mut tape = Tape::new(Cpu::<half::bf16>::new(instructions), Mode::Train, 2, true);
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
