//! Weak and strong views in turn, one at a time, against all of them together.

use candle_core::{DType, Tensor};
use clsa_loss::{Backend, Candidates, ClsaLoss, DdmTargets, LossError};
use proptest::prelude::*;

use crate::agreement::{Bound, DOUBLE, SINGLE, SINGLE_PORTABLE, distance};
use crate::batch::{Batch, Sizes, sizes, values};

/// The terms of weak and of strong views, and the gradient to each.
struct Parts {
    contrastive: Vec<f64>,
    ddm: Vec<f64>,
    gradients: Vec<Tensor>,
}

fn one_by_one(batch: &Batch, loss: &ClsaLoss, candidates: Candidates<'_>) -> Parts {
    let mut parts = Parts { contrastive: Vec::new(), ddm: Vec::new(), gradients: Vec::new() };
    let mut targets: Option<DdmTargets> = None;
    for view in &batch.weak {
        let (pending, own) = loss.begin_contrastive(std::slice::from_ref(view), candidates).unwrap();
        targets = Some(targets.map_or(Ok(own.clone()), |others| others.and(&own)).unwrap());
        parts.gradients.push(pending.weak_gradient(0).unwrap());
        parts.contrastive.push(pending.wait().unwrap().contrastive);
    }
    for view in &batch.strong {
        let pending = loss.begin_ddm(std::slice::from_ref(view), targets.as_ref().unwrap(), candidates).unwrap();
        parts.gradients.push(pending.strong_gradient(0).unwrap());
        parts.ddm.push(pending.wait().unwrap().ddm);
    }
    parts
}

fn together(batch: &Batch, loss: &ClsaLoss, candidates: Candidates<'_>) -> Parts {
    let pending = loss.begin(&batch.weak, &batch.strong, candidates).unwrap();
    let weak = (0..batch.weak.len()).map(|i| pending.weak_gradient(i).unwrap());
    let gradients = weak.chain((0..batch.strong.len()).map(|j| pending.strong_gradient(j).unwrap())).collect();
    let output = pending.wait().unwrap();
    Parts { contrastive: output.contrastive_per_view, ddm: output.ddm_per_view, gradients }
}

fn check(batch: &Batch, loss: &ClsaLoss, candidates: Candidates<'_>, bound: Bound) {
    let (parts, all) = (one_by_one(batch, loss, candidates), together(batch, loss, candidates));
    for (got, wanted) in [(&parts.contrastive, &all.contrastive), (&parts.ddm, &all.ddm)] {
        assert_eq!(got.len(), wanted.len());
        for (&got, &wanted) in got.iter().zip(wanted) {
            let error = (got - wanted).abs() / wanted.abs().max(bound.value);
            assert!(error <= bound.relative, "{got} is not {wanted} (relative {error:e})");
        }
    }
    let (n, dim) = (batch.keys.dims()[0] as f64, batch.keys.dims()[1] as f64);
    // Of the smaller factor of the two terms.
    let floor = (1.0 / loss.temperature).min(loss.alpha / loss.ddm_temperature) / (n * dim);
    for (view, (got, wanted)) in parts.gradients.iter().zip(&all.gradients).enumerate() {
        let error = distance(got, wanted, floor);
        assert!(error <= bound.relative, "gradient of view {view}: relative {error:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn views_in_turn_have_the_terms_and_gradients_that_they_have_together(
        sizes in sizes().prop_map(|sizes| Sizes { weak: sizes.weak.max(1), bank: sizes.bank % 700 + 1, ..sizes }),
        seed: u64,
        one_temperature: bool,
        batch_negatives: bool,
    ) {
        let ddm_temperature = if one_temperature { 0.2 } else { 0.1 };
        for (backend, dtype, bound) in [
            (Backend::Cpu, DType::F64, DOUBLE),
            (Backend::Portable, DType::F64, DOUBLE),
            (Backend::Cpu, DType::F32, SINGLE),
            (Backend::Portable, DType::F32, SINGLE_PORTABLE),
        ] {
            let loss = ClsaLoss { ddm_temperature, alpha: 0.7, backend, ..ClsaLoss::default() };
            let batch = Batch::random(sizes, 1.0, seed).to_dtype(dtype);
            let bank = batch.memory_bank(dtype);
            let candidates = Candidates { batch_negatives, ..Candidates::new(&batch.keys).with_bank(&bank) };
            check(&batch, &loss, candidates, bound);
        }
    }
}

#[test]
fn batches_of_whole_groups_of_queries_have_the_same_bits_in_turn_and_together() {
    let sizes = Sizes { weak: 3, strong: 2, samples: 64, dim: 48, bank: 3000 };
    let batch = Batch::random(sizes, 1.0, 5).to_dtype(DType::F32);
    let bank = batch.memory_bank(DType::F32);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    for ddm_temperature in [0.2, 0.1] {
        let loss = ClsaLoss { ddm_temperature, ..ClsaLoss::default() };
        let (parts, all) = (one_by_one(&batch, &loss, candidates), together(&batch, &loss, candidates));
        for (view, (got, wanted)) in parts.gradients.iter().zip(&all.gradients).enumerate() {
            assert!(values(got) == values(wanted), "gradient of view {view} with a temperature of {ddm_temperature}");
        }
    }
}

#[test]
fn a_term_without_views_and_targets_of_other_samples_are_refused_by_name() {
    let batch = Batch::random(Sizes { weak: 1, strong: 1, samples: 4, dim: 8, bank: 16 }, 1.0, 0);
    let (loss, candidates) = (ClsaLoss::default(), Candidates::new(&batch.keys));
    let error = loss.begin_contrastive(&[], candidates).unwrap_err();
    assert_eq!(error.to_string(), "`weak` is empty, where at least one view is needed");
    let (_, targets) = loss.begin_contrastive(&batch.weak, candidates).unwrap();
    let error = loss.begin_ddm(&[], &targets, candidates).unwrap_err();
    assert_eq!(error.to_string(), "`strong` is empty, where at least one view is needed");
    let others = Batch::random(Sizes { weak: 1, strong: 1, samples: 6, dim: 8, bank: 16 }, 1.0, 0);
    let error = loss.begin_ddm(&others.strong, &targets, Candidates::new(&others.keys)).unwrap_err();
    assert!(matches!(&error, LossError::Shape { argument, .. } if argument == "targets"), "{error}");
    let (_, of_others) = loss.begin_contrastive(&others.weak, Candidates::new(&others.keys)).unwrap();
    // The portable pass has the precision of its views.
    let portable = ClsaLoss { backend: Backend::Portable, ..loss };
    let single = batch.to_dtype(DType::F32);
    let error = portable.begin_ddm(&single.strong, &targets, Candidates::new(&single.keys)).unwrap_err();
    assert_eq!(error.to_string(), "`targets` is F64, where F32 is needed");
    let error = targets.and(&of_others).unwrap_err();
    assert!(error.is_request() && error.to_string().starts_with("`targets` has shape [6, 8]"), "{error}");
}
