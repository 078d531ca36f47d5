//! The tape over kernels of the plainest kind, in f64, against the portable operations: what it records and adds up is right
//! for any device's kernels.

mod naive;

use super::Tape;
use crate::backbone::{Builder, CandlePass, ConvBn, Mode, Ops};
use crate::error::{ModelError, Result};
use crate::gradients::Gradients;
use crate::portable::Portable;
use crate::test_network::{
    branched_units, difference, f64s, forward, forward_branched, forward_repeated, images, repeated_units, units,
    upstream,
};
use candle_core::{DType, Tensor};
use naive::Naive;

type Forward = fn(&mut dyn Ops, &[ConvBn], &Tensor) -> Result<Tensor>;
type Units = fn(DType) -> (Vec<ConvBn>, Builder);

fn agree(forward: Forward, units: Units, groups: usize) {
    let (ours, parameters) = units(DType::F64);
    let (theirs, twins) = units(DType::F64);
    let images = images(4, 21, DType::F64);
    let portable = |mode| Portable { pass: CandlePass::new(mode, DType::F64, mode == Mode::Train), bn_splits: groups };

    let mut tape = Tape::new(Naive, Mode::Train, groups, true);
    let features = forward(&mut tape, &ours, &images).unwrap();
    let given = upstream(features.dims()).to_dtype(DType::F64).unwrap();
    let mut gradients = Gradients::new(parameters.parameters().len());
    let mut complete = vec![None; parameters.parameters().len()];
    tape.backward(&given, &mut gradients, &mut |index, gradient| {
        assert_eq!(complete[index].replace(f64s(gradient)), None, "parameter {index} is complete once");
    })
    .unwrap();

    let expected = forward(&mut portable(Mode::Train), &theirs, &images).unwrap();
    assert!(difference(&f64s(&features), &f64s(&expected)) < 1e-12);
    let store = (expected * given).unwrap().sum_all().unwrap().backward().unwrap();
    for (ours, theirs) in parameters.parameters().iter().zip(twins.parameters()) {
        let (ours_gradient, theirs_gradient) = (gradients.get(ours.index).unwrap(), store.get(&theirs.var).unwrap());
        // What the pass has called complete, it has not added to any more.
        assert_eq!(complete[ours.index].as_ref(), Some(&f64s(ours_gradient)), "{}", ours.name);
        let error = difference(&f64s(ours_gradient), &f64s(theirs_gradient));
        assert!(error < 1e-10, "the gradient of {} differs by {error:e}", ours.name);
    }
    for (ours, theirs) in parameters.running_statistics().iter().zip(twins.running_statistics()) {
        assert!(difference(&f64s(&ours.var), &f64s(&theirs.var)) < 1e-12, "{}", ours.name);
    }

    let features = forward(&mut Tape::new(Naive, Mode::Eval, groups, false), &ours, &images).unwrap();
    let expected = forward(&mut portable(Mode::Eval), &theirs, &images).unwrap();
    assert!(difference(&f64s(&features), &f64s(&expected)) < 1e-12);
}

#[test]
fn a_tape_over_naive_kernels_agrees_with_the_portable_operations() {
    for groups in [1, 2] {
        agree(forward, units, groups);
    }
}

#[test]
fn gradients_add_up_where_an_activation_is_read_more_than_once() {
    agree(forward_branched, branched_units, 1);
}

#[test]
fn a_unit_that_is_applied_twice_has_the_sum_of_both_gradients() {
    agree(forward_repeated, repeated_units, 1);
}

#[test]
fn a_second_pooling_over_all_positions_in_a_pass_is_refused() {
    for (mode, track) in [(Mode::Train, true), (Mode::Eval, false)] {
        let mut tape = Tape::new(Naive, mode, 1, track);
        let x = tape.image(&images(2, 5, DType::F64)).unwrap();
        tape.global_avg_pool(&x).unwrap();
        let error = tape.global_avg_pool(&x).unwrap_err();
        assert!(matches!(error, ModelError::Config { field: "backend", .. }) && error.is_request(), "{error}");
        assert!(error.to_string().contains("more than once in a pass; use portable"), "{error}");
    }
}
