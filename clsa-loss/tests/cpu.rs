//! The operation for CPUs against the formula.

mod reference;

use candle_core::DType;
use clsa_loss::{Candidates, ClsaLoss, Implementation, MemoryBank};
use proptest::prelude::*;
use reference::{Batch, assert_agrees, computed, reference};

fn cpu() -> ClsaLoss {
    ClsaLoss { implementation: Implementation::Cpu, ..ClsaLoss::default() }
}

fn check(batch: &Batch, dtype: DType, bank: DType, loss: &ClsaLoss, bound: f64) {
    let given = batch.to_dtype(dtype);
    let bank = MemoryBank::from_rows(batch.bank.to_dtype(bank).unwrap(), 0).unwrap();
    let (output, gradients) = computed(&given, |weak, strong| {
        loss.forward(weak, strong, &Candidates { keys: &given.keys, bank: Some(&bank), first_positive: 0 })
    });
    let mut exact = batch.clone();
    exact.bank = bank.rows().to_dtype(DType::F64).unwrap();
    assert_agrees(&output, &gradients, &reference(&exact, loss, 0), loss, bound);
}

fn shapes() -> impl Strategy<Value = (usize, usize, usize, usize, usize)> {
    (1usize..=5, 0usize..=5, 1usize..=70, 1usize..=200, 0usize..=5000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn f32_equals_the_formula(
        (w, s, n, d, k) in shapes(),
        (tau, tau2, alpha) in (0.1f64..1.0, 0.1f64..1.0, 0.0f64..2.0),
        same in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let tau2 = if same { tau } else { tau2 };
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau2, alpha, ..cpu() };
        check(&Batch::random(w, s, n, d, k, 1.0, seed), DType::F32, DType::F32, &loss, 1e-6);
    }

    #[test]
    fn f32_equals_the_formula_for_logits_of_ten_thousand(
        (w, s, n, d, k) in shapes(),
        seed in any::<u64>(),
    ) {
        let loss = cpu();
        check(&Batch::random(w, s, n, d, k, 2000.0, seed), DType::F32, DType::F32, &loss, 1e-6);
    }

    #[test]
    fn f64_equals_the_formula(
        (w, s, n, d, k) in shapes(),
        seed in any::<u64>(),
    ) {
        check(&Batch::random(w, s, n, d, k, 1.0, seed), DType::F64, DType::F64, &cpu(), 1e-12);
    }

    #[test]
    fn bf16_bank_is_near_the_formula(
        (w, s, n, d, k) in shapes(),
        seed in any::<u64>(),
    ) {
        check(&Batch::random(w, s, n, d, k, 1.0, seed), DType::F32, DType::BF16, &cpu(), 1e-2);
    }
}
