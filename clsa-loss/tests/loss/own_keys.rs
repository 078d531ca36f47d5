//! A sample's own key and the bank as its candidates, as in MoCo.

use candle_core::{DType, Tensor};
use clsa_loss::{Backend, Candidates, ClsaLoss, LossError, MemoryBank};
use proptest::prelude::*;

use crate::agreement::{Bound, DOUBLE, SINGLE, SINGLE_PORTABLE, assert_agrees, computed};
use crate::batch::{Batch, Sizes, sizes};
use crate::formula::{Reference, reference};

/// The mean of what the formula says of each sample alone, whose only key is its own.
fn of_own_keys(batch: &Batch, loss: &ClsaLoss) -> Reference {
    let samples = batch.keys.dims()[0];
    let alone = |sample: usize| {
        let row = |tensor: &Tensor| tensor.narrow(0, sample, 1).unwrap();
        let rows = |views: &[Tensor]| views.iter().map(row).collect();
        let batch = Batch {
            weak: rows(&batch.weak),
            strong: rows(&batch.strong),
            keys: row(&batch.keys),
            bank: batch.bank.clone(),
        };
        reference(&batch, loss, 0)
    };
    let all: Vec<Reference> = (0..samples).map(alone).collect();
    let mean = |of: &dyn Fn(&Reference) -> f64| all.iter().map(of).sum::<f64>() / samples as f64;
    let (weak, strong) = (batch.weak.len(), batch.strong.len());
    let gradient = |view: usize| {
        let rows: Vec<&Tensor> = all.iter().map(|reference| &reference.gradients[view]).collect();
        (Tensor::cat(&rows, 0).unwrap() / samples as f64).unwrap()
    };
    Reference {
        contrastive: (0..weak).map(|i| mean(&|reference| reference.contrastive[i])).collect(),
        ddm: (0..strong).map(|j| mean(&|reference| reference.ddm[j])).collect(),
        total: mean(&|reference| reference.total),
        gradients: (0..weak + strong).map(gradient).collect(),
    }
}

fn check(sizes: Sizes, seed: u64, loss: ClsaLoss, dtype: DType, bound: Bound) {
    let batch = Batch::random(sizes, 1.0, seed);
    let cast = batch.to_dtype(dtype);
    let bank = batch.memory_bank(dtype);
    let candidates = Candidates::new(&cast.keys).with_bank(&bank).without_batch_negatives();
    let (output, gradients) = computed(&cast, |weak, strong| loss.forward(weak, strong, candidates));
    assert_agrees(&output, &gradients, &of_own_keys(&batch, &loss), &loss, bound);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_engine_computes_the_formula_of_own_keys(
        sizes in sizes().prop_map(|sizes| Sizes { weak: sizes.weak.max(1), bank: sizes.bank.max(1) % 700 + 1, ..sizes }),
        seed: u64,
        one_temperature: bool,
    ) {
        let ddm_temperature = if one_temperature { 0.2 } else { 0.1 };
        for (backend, dtype, bound) in [
            (Backend::Cpu, DType::F64, DOUBLE),
            (Backend::Portable, DType::F64, DOUBLE),
            (Backend::Cpu, DType::F32, SINGLE),
            (Backend::Portable, DType::F32, SINGLE_PORTABLE),
        ] {
            let loss = ClsaLoss { ddm_temperature, alpha: 0.7, backend, ..ClsaLoss::default() };
            check(sizes, seed, loss, dtype, bound);
        }
    }
}

#[test]
fn other_keys_of_the_batch_change_nothing() {
    let sizes = Sizes { weak: 1, strong: 1, samples: 6, dim: 16, bank: 40 };
    let batch = Batch::random(sizes, 1.0, 3);
    let bank = batch.memory_bank(DType::F64);
    let of_two = |first: usize, keys: &Tensor, first_positive: usize| {
        let two = |tensor: &Tensor| tensor.narrow(0, first, 2).unwrap();
        let candidates = Candidates::new(keys).with_bank(&bank).with_first_positive(first_positive);
        let candidates = candidates.without_batch_negatives();
        let output = ClsaLoss::default().forward(&[two(&batch.weak[0])], &[two(&batch.strong[0])], candidates);
        output.unwrap().total
    };
    for first in 0..4 {
        let alone = of_two(first, &batch.keys.narrow(0, first, 2).unwrap(), 0);
        assert_eq!(of_two(first, &batch.keys, first), alone, "{first}");
    }
}

#[test]
fn without_a_bank_there_is_nothing_to_compare_with() {
    let sizes = Sizes { weak: 1, strong: 0, samples: 4, dim: 8, bank: 3 };
    let batch = Batch::random(sizes, 1.0, 1);
    let empty = MemoryBank::from_rows(batch.bank.narrow(0, 0, 0).unwrap(), 0).unwrap();
    let candidates = Candidates::new(&batch.keys).without_batch_negatives();
    let forward = |candidates| ClsaLoss::default().forward(&batch.weak, &[], candidates).unwrap_err();
    assert!(matches!(forward(candidates), LossError::NoCandidates));
    assert!(matches!(forward(candidates.with_bank(&empty)), LossError::NoCandidates));
    // There are keys, which only this request keeps from being negatives.
    let message = forward(candidates).to_string();
    assert!(message.contains("`batch_negatives` is false, and `bank` is empty or missing"), "{message}");
}
