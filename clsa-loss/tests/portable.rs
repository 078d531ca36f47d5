//! The portable implementation against the formula.

mod reference;

use candle_core::{DType, Tensor};
use clsa_loss::{Candidates, ClsaLoss, Implementation, MemoryBank};
use proptest::prelude::*;
use reference::{Batch, Bound, DOUBLE, SINGLE_PORTABLE, assert_agrees, computed, reference};

fn portable() -> ClsaLoss {
    ClsaLoss { implementation: Implementation::Portable, ..ClsaLoss::default() }
}

fn check(batch: &Batch, dtype: DType, loss: &ClsaLoss, bound: Bound) {
    let given = batch.to_dtype(dtype);
    let bank = MemoryBank::from_rows(given.bank.clone(), 0).unwrap();
    let (output, gradients) = computed(&given, |weak, strong| {
        loss.forward(weak, strong, Candidates { keys: &given.keys, bank: Some(&bank), first_positive: 0 })
    });
    assert_agrees(&output, &gradients, &reference(batch, loss, 0), loss, bound);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn equals_the_formula_in_f64(
        (w, s, n, d, k) in (0usize..=5, 0usize..=5, 1usize..=70, 1usize..=200, 0usize..=5000),
        (tau, tau2, alpha) in (0.05f64..1.0, 0.05f64..1.0, 0.0f64..2.0),
        seed in any::<u64>(),
    ) {
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau2, alpha, ..portable() };
        check(&Batch::random(w, s, n, d, k, 1.0, seed), DType::F64, &loss, DOUBLE);
    }

    #[test]
    fn equals_the_formula_for_logits_of_ten_thousand(
        (w, s, n, d, k) in (0usize..=5, 0usize..=5, 1usize..=70, 1usize..=200, 0usize..=5000),
        seed in any::<u64>(),
    ) {
        check(&Batch::random(w, s, n, d, k, 2000.0, seed), DType::F64, &portable(), DOUBLE);
    }

    #[test]
    fn f32_is_near_the_formula(
        (w, s, n, d, k) in (0usize..=5, 0usize..=5, 1usize..=70, 1usize..=200, 0usize..=5000),
        seed in any::<u64>(),
    ) {
        check(&Batch::random(w, s, n, d, k, 1.0, seed), DType::F32, &portable(), SINGLE_PORTABLE);
    }
}

#[test]
fn a_bank_of_many_blocks_is_passed_over_as_a_whole() {
    // 2^22 values at a time: 700 rows take 5991 candidates at once.
    check(&Batch::random(5, 5, 70, 4, 20_000, 1.0, 3), DType::F64, &portable(), DOUBLE);
    // The last block's candidate is the nearest by far.
    let mut batch = Batch::random(5, 5, 70, 4, 20_000, 1.0, 4);
    let last = (batch.bank.narrow(0, 19_999, 1).unwrap() * 30.0).unwrap();
    batch.bank = Tensor::cat(&[&batch.bank.narrow(0, 0, 19_999).unwrap(), &last], 0).unwrap();
    check(&batch, DType::F64, &portable(), DOUBLE);
}

#[test]
fn views_and_keys_may_be_parts_of_larger_tensors() {
    let batch = Batch::random(1, 0, 7, 5, 40, 1.0, 2);
    let wide = |t: &Tensor| Tensor::cat(&[t, t], 1).unwrap().narrow(1, 0, 5).unwrap();
    let (weak, keys) = (wide(&batch.weak[0]), wide(&batch.keys));
    assert!(!weak.is_contiguous() && !keys.is_contiguous());
    let bank = MemoryBank::from_rows(batch.bank.clone(), 0).unwrap();
    for implementation in [Implementation::Portable, Implementation::Cpu] {
        let loss = ClsaLoss { implementation, ..portable() };
        let of = |weak: &Tensor, keys: &Tensor| {
            let candidates = Candidates { keys, bank: Some(&bank), first_positive: 0 };
            loss.forward(std::slice::from_ref(weak), &[], candidates).unwrap().total
        };
        assert_eq!(of(&weak, &keys), of(&batch.weak[0], &batch.keys));
    }
}

#[test]
fn is_finite_in_f32_for_logits_of_ten_thousand() {
    let batch = Batch::random(2, 2, 7, 33, 700, 2000.0, 1).to_dtype(DType::F32);
    let bank = MemoryBank::from_rows(batch.bank.clone(), 0).unwrap();
    let (output, gradients) = computed(&batch, |weak, strong| {
        portable().forward(weak, strong, Candidates { keys: &batch.keys, bank: Some(&bank), first_positive: 0 })
    });
    assert!(output.total.is_finite());
    for gradient in gradients {
        assert!(gradient.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap().is_finite());
    }
}
