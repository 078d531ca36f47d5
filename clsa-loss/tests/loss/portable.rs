//! The portable implementation against the formula.

use candle_core::{DType, Tensor};
use clsa_loss::{Backend, Candidates, ClsaLoss};
use proptest::prelude::*;

use crate::agreement::{DOUBLE, SINGLE_PORTABLE, assert_equals_the_formula, computed};
use crate::batch::{Batch, Sizes, sizes, values};

fn portable() -> ClsaLoss {
    ClsaLoss { backend: Backend::Portable, ..ClsaLoss::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn equals_the_formula_in_f64(
        sizes in sizes(),
        (tau, tau2, alpha) in (0.05f64..1.0, 0.05f64..1.0, 0.0f64..2.0),
        seed in any::<u64>(),
    ) {
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau2, alpha, ..portable() };
        assert_equals_the_formula(&Batch::random(sizes, 1.0, seed), DType::F64, DType::F64, &loss, DOUBLE);
    }

    #[test]
    fn equals_the_formula_for_logits_of_ten_thousand(
        sizes in sizes(),
        seed in any::<u64>(),
    ) {
        assert_equals_the_formula(&Batch::random(sizes, 2000.0, seed), DType::F64, DType::F64, &portable(), DOUBLE);
    }

    #[test]
    fn f32_is_near_the_formula(
        sizes in sizes(),
        seed in any::<u64>(),
    ) {
        assert_equals_the_formula(&Batch::random(sizes, 1.0, seed), DType::F32, DType::F32, &portable(), SINGLE_PORTABLE);
    }
}

#[test]
fn a_bank_of_many_blocks_is_passed_over_as_a_whole() {
    // 2^22 values at a time: 700 rows take 5991 candidates at once.
    assert_equals_the_formula(
        &Batch::random(Sizes { weak: 5, strong: 5, samples: 70, dim: 4, bank: 20_000 }, 1.0, 3),
        DType::F64,
        DType::F64,
        &portable(),
        DOUBLE,
    );
    // The last block's candidate is the nearest by far.
    let mut batch = Batch::random(Sizes { weak: 5, strong: 5, samples: 70, dim: 4, bank: 20_000 }, 1.0, 4);
    let last = (batch.bank.narrow(0, 19_999, 1).unwrap() * 30.0).unwrap();
    batch.bank = Tensor::cat(&[&batch.bank.narrow(0, 0, 19_999).unwrap(), &last], 0).unwrap();
    assert_equals_the_formula(&batch, DType::F64, DType::F64, &portable(), DOUBLE);
}

#[test]
fn views_and_keys_may_be_parts_of_larger_tensors() {
    let batch = Batch::random(Sizes { weak: 1, strong: 0, samples: 7, dim: 5, bank: 40 }, 1.0, 2);
    let wide = |t: &Tensor| Tensor::cat(&[t, t], 1).unwrap().narrow(1, 0, 5).unwrap();
    let (weak, keys) = (wide(&batch.weak[0]), wide(&batch.keys));
    assert!(!weak.is_contiguous() && !keys.is_contiguous());
    let bank = batch.memory_bank(DType::F64);
    for backend in [Backend::Portable, Backend::Cpu] {
        let loss = ClsaLoss { backend, ..portable() };
        let of = |weak: &Tensor, keys: &Tensor| {
            let candidates = Candidates::new(keys).with_bank(&bank);
            loss.forward(std::slice::from_ref(weak), &[], candidates).unwrap().total
        };
        assert_eq!(of(&weak, &keys), of(&batch.weak[0], &batch.keys));
    }
}

#[test]
fn is_finite_in_f32_for_logits_of_ten_thousand() {
    let batch =
        Batch::random(Sizes { weak: 2, strong: 2, samples: 7, dim: 33, bank: 700 }, 2000.0, 1).to_dtype(DType::F32);
    let bank = batch.memory_bank(DType::F32);
    let (output, gradients) = computed(&batch, |weak, strong| {
        portable().forward(weak, strong, Candidates::new(&batch.keys).with_bank(&bank))
    });
    assert!(output.total.is_finite());
    for gradient in gradients {
        assert!(values(&gradient).iter().all(|x| x.is_finite()));
    }
}
