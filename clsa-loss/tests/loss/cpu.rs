//! The operation for CPUs against the formula.

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::{Backend, Candidates, ClsaLoss, LossOutput};
use proptest::prelude::*;

use crate::agreement::{
    DOUBLE, DOUBLE_LARGE, HALF, SINGLE, SINGLE_CROWDED, SINGLE_LARGE, assert_agrees, assert_equals_the_formula,
    computed, distance,
};
use crate::batch::{Batch, Sizes, sizes, values};
use crate::formula::{differentiated, reference};

fn cpu() -> ClsaLoss {
    ClsaLoss { backend: Backend::Cpu, ..ClsaLoss::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn f32_equals_the_formula(
        sizes in sizes(),
        (tau, tau2, alpha) in (0.03f64..1.0, 0.03f64..1.0, 0.0f64..2.0),
        same in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let tau2 = if same { tau } else { tau2 };
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau2, alpha, ..cpu() };
        assert_equals_the_formula(&Batch::random(sizes, 1.0, seed), DType::F32, DType::F32, &loss, SINGLE);
    }

    #[test]
    fn f32_equals_the_formula_for_logits_of_ten_thousand(
        sizes in sizes(),
        seed in any::<u64>(),
    ) {
        let loss = cpu();
        assert_equals_the_formula(&Batch::random(sizes, 2000.0, seed), DType::F32, DType::F32, &loss, SINGLE);
    }

    #[test]
    fn f32_equals_the_formula_up_to_the_largest_logits_of_single_precision(
        sizes in sizes(),
        norm in 2.0f64..6.4,
        seed in any::<u64>(),
    ) {
        assert_equals_the_formula(&Batch::random(sizes, norm, seed), DType::F32, DType::F32, &cpu(), SINGLE_LARGE);
    }

    #[test]
    fn f32_equals_the_formula_where_candidates_crowd_around_the_positives(
        sizes in sizes(),
        tau in 0.03f64..0.3,
        seed in any::<u64>(),
    ) {
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau, ..cpu() };
        assert_equals_the_formula(&Batch::random(sizes, 1.0, seed).crowded(seed), DType::F32, DType::F32, &loss, SINGLE_CROWDED);
    }

    #[test]
    fn f64_equals_the_formula(
        sizes in sizes(),
        seed in any::<u64>(),
    ) {
        assert_equals_the_formula(&Batch::random(sizes, 1.0, seed), DType::F64, DType::F64, &cpu(), DOUBLE);
    }

    #[test]
    fn f64_equals_the_formula_for_logits_of_ten_thousand(
        sizes in sizes(),
        seed in any::<u64>(),
    ) {
        assert_equals_the_formula(&Batch::random(sizes, 2000.0, seed), DType::F64, DType::F64, &cpu(), DOUBLE_LARGE);
    }

    #[test]
    fn bf16_bank_is_near_the_formula(
        sizes in sizes(),
        dim in 64usize..=200,
        tau in 0.07f64..0.5,
        seed in any::<u64>(),
    ) {
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau, ..cpu() };
        assert_equals_the_formula(&Batch::random(Sizes { dim, ..sizes }, 1.0, seed), DType::F32, DType::BF16, &loss, HALF);
    }
}

#[test]
fn the_formula_of_these_tests_has_the_gradients_that_candle_derives() {
    let batch = Batch::random(Sizes { weak: 2, strong: 3, samples: 5, dim: 7, bank: 60 }, 1.0, 3);
    let loss = ClsaLoss { temperature: 0.2, ddm_temperature: 0.3, alpha: 0.7, ..cpu() };
    let (reference, derived) = (reference(&batch, &loss, 0), differentiated(&batch, &loss, 0));
    assert!((reference.total - derived.total).abs() < 1e-12 * derived.total);
    for (a, b) in reference.gradients.iter().zip(&derived.gradients) {
        assert!(distance(a, b, 0.0) < 1e-12);
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let batch = Batch::random(Sizes { weak: 2, strong: 2, samples: 3, dim: 5, bank: 40 }, 1.0, 9);
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    let loss = ClsaLoss { temperature: 0.2, ddm_temperature: 0.3, alpha: 0.7, ..cpu() };
    let (_, gradients) = computed(&batch, |weak, strong| loss.forward(weak, strong, candidates));
    // The target of DDM takes no gradient, so a weak view's difference is taken of the contrastive term alone.
    let value = |batch: &Batch, view: usize| -> f64 {
        let output = loss.forward(&batch.weak, &batch.strong, candidates).unwrap();
        if view < batch.weak.len() { output.contrastive } else { output.total }
    };
    let step = 1e-5;
    for (view, wanted) in gradients.iter().enumerate() {
        let wanted = values(wanted);
        for (at, &wanted) in wanted.iter().enumerate() {
            let moved = |by: f64| {
                let mut moved = batch.clone();
                let tensor = if view < 2 { &mut moved.weak[view] } else { &mut moved.strong[view - 2] };
                let mut values = values(tensor);
                values[at] += by;
                *tensor = Tensor::from_vec(values, (3, 5), &Device::Cpu).unwrap();
                value(&moved, view)
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((difference - wanted).abs() < 1e-8, "view {view} at {at}: {difference} is not {wanted}");
        }
    }
}

/// Loss and gradients of an f32 batch large enough for many parts, as bits.
fn bits(threads: usize, bank: DType, norm: f64) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let batch =
        Batch::random(Sizes { weak: 2, strong: 2, samples: 20, dim: 48, bank: 6000 }, norm, 5).to_dtype(DType::F32);
    let bank = batch.memory_bank(bank);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    let (output, gradients) = pool.install(|| computed(&batch, |weak, strong| cpu().forward(weak, strong, candidates)));
    let mut bits: Vec<u32> = vec![output.loss.to_scalar::<f32>().unwrap().to_bits()];
    for gradient in gradients {
        let values = gradient.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        bits.extend(values.iter().map(|x| x.to_bits()));
    }
    bits
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for (bank, norm) in [(DType::F32, 1.0), (DType::BF16, 1.0), (DType::F32, 2000.0)] {
        let one = bits(1, bank, norm);
        for threads in [2, 3, 7] {
            assert!(one == bits(threads, bank, norm), "{threads} threads, {bank:?}, norm {norm}");
        }
    }
}

#[test]
fn f16_and_bf16_views_take_gradients() {
    let batch = Batch::random(Sizes { weak: 2, strong: 1, samples: 6, dim: 16, bank: 300 }, 1.0, 2);
    for dtype in [DType::F16, DType::BF16] {
        let halves = batch.to_dtype(dtype);
        let exact = halves.to_dtype(DType::F64);
        let bank = halves.memory_bank(dtype);
        let candidates = Candidates::new(&halves.keys).with_bank(&bank);
        let (output, gradients) = computed(&halves, |weak, strong| cpu().forward(weak, strong, candidates));
        assert_agrees(&output, &gradients, &reference(&exact, &cpu(), 0), &cpu(), HALF);
        assert_eq!(output.loss.dtype(), DType::F32);
    }
}

#[test]
fn positives_of_a_rank_start_at_its_column() {
    // So many negatives that f32 has a pass of its own.
    let mut batch = Batch::random(Sizes { weak: 2, strong: 2, samples: 8, dim: 64, bank: 700 }, 1.0, 4);
    for view in batch.weak.iter_mut().chain(&mut batch.strong) {
        *view = view.narrow(0, 4, 4).unwrap().contiguous().unwrap();
    }
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank).with_first_positive(4);
    let (output, gradients) = computed(&batch, |weak, strong| cpu().forward(weak, strong, candidates));
    assert_agrees(&output, &gradients, &reference(&batch, &cpu(), 4), &cpu(), DOUBLE);
    // In f32, the keys of other ranks are in another pass than the rank's own.
    let single = batch.to_dtype(DType::F32);
    let candidates = Candidates::new(&single.keys).with_bank(&bank).with_first_positive(4);
    let (output, gradients) = computed(&single, |weak, strong| cpu().forward(weak, strong, candidates));
    assert_agrees(&output, &gradients, &reference(&batch, &cpu(), 4), &cpu(), SINGLE);
    // Beside a bank in bf16 too.
    let bank = batch.memory_bank(DType::BF16);
    let candidates = Candidates::new(&single.keys).with_bank(&bank).with_first_positive(4);
    let (output, gradients) = computed(&single, |weak, strong| cpu().forward(weak, strong, candidates));
    let exact = Batch { bank: bank.rows().to_dtype(DType::F64).unwrap(), ..batch.clone() };
    assert_agrees(&output, &gradients, &reference(&exact, &cpu(), 4), &cpu(), HALF);
}

#[test]
fn accuracy_counts_the_candidates_nearer_to_the_first_weak_view_than_its_positive() {
    // Fewer negatives and more than f32 has a pass of its own for.
    accuracy_counts(Sizes { weak: 2, strong: 1, samples: 60, dim: 8, bank: 90 });
    accuracy_counts(Sizes { weak: 2, strong: 1, samples: 60, dim: 12, bank: 700 });
}

fn accuracy_counts(sizes: Sizes) {
    let mut batch = Batch::random(sizes, 1.0, 6);
    // The first 15 keys are those of another rank.
    let first_positive = 15;
    batch.keys = Tensor::cat(&[&batch.keys.narrow(0, 45, 15).unwrap(), &batch.keys], 0).unwrap();
    let columns = Tensor::cat(&[&batch.keys, &batch.bank], 0).unwrap();
    let within = |view: &Tensor, rank: usize| -> f64 {
        let logits = view.matmul(&columns.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
        let above = |(n, row): (usize, &Vec<f64>)| row.iter().filter(|&&x| x > row[first_positive + n]).count();
        100.0 * logits.iter().enumerate().filter(|&sample| above(sample) < rank).count() as f64 / 60.0
    };
    let wanted = (within(&batch.weak[0], 1), within(&batch.weak[0], 5));
    assert!(0.0 < wanted.0 && wanted.0 < wanted.1 && wanted.1 < 100.0);
    assert_ne!(wanted, (within(&batch.weak[1], 1), within(&batch.weak[1], 5)));
    for backend in [Backend::Cpu, Backend::Portable] {
        for (dtype, of_bank) in [(DType::F32, DType::F32), (DType::F64, DType::F64), (DType::F32, DType::BF16)] {
            for ddm_temperature in [0.2, 0.07] {
                let batch = batch.to_dtype(dtype);
                let bank = batch.memory_bank(of_bank);
                let candidates = Candidates::new(&batch.keys).with_bank(&bank).with_first_positive(first_positive);
                let loss = ClsaLoss { backend, ddm_temperature, ..cpu() };
                let output = loss.forward(&batch.weak, &batch.strong, candidates).unwrap();
                // Rounded to bf16, a candidate may change places with the positive.
                let moved = if of_bank == DType::BF16 { 4.0 } else { 0.0 } * 100.0 / 60.0 + 1e-9;
                let near = |got: f64, wanted: f64| (got - wanted).abs() <= moved;
                let got = (output.acc1, output.acc5);
                let case = format!("{got:?}, not {wanted:?}: {backend:?} {dtype:?} {of_bank:?}");
                assert!(near(got.0, wanted.0) && near(got.1, wanted.1), "{case}");
            }
        }
    }
}

#[test]
fn without_strong_views_ddm_is_zero_and_not_minus_zero() {
    let batch = Batch::random(Sizes { weak: 1, strong: 0, samples: 6, dim: 8, bank: 9 }, 1.0, 6);
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    for backend in [Backend::Cpu, Backend::Portable] {
        let loss = ClsaLoss { backend, ..cpu() };
        assert_eq!(loss.forward(&batch.weak, &[], candidates).unwrap().ddm.to_bits(), 0);
    }
}

#[test]
fn keys_without_a_bank_are_candidates_enough() {
    let batch = Batch::random(Sizes { weak: 2, strong: 2, samples: 9, dim: 6, bank: 0 }, 1.0, 8);
    let single = batch.to_dtype(DType::F32);
    let candidates = Candidates::new(&single.keys);
    let (output, gradients) = computed(&single, |weak, strong| cpu().forward(weak, strong, candidates));
    assert_agrees(&output, &gradients, &reference(&batch, &cpu(), 0), &cpu(), SINGLE);
}

#[test]
fn without_alpha_strong_views_are_reported_but_take_no_gradient() {
    let batch = Batch::random(Sizes { weak: 1, strong: 2, samples: 5, dim: 6, bank: 50 }, 1.0, 8);
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    let loss = ClsaLoss { alpha: 0.0, ..cpu() };
    let (output, gradients) = computed(&batch, |weak, strong| loss.forward(weak, strong, candidates));
    assert!(output.ddm > 0.0 && output.total == output.contrastive);
    assert!(gradients[1..].iter().all(|g| values(g).iter().all(|&x| x == 0.0)));
}

#[test]
fn the_empty_sum_is_zero() {
    let batch = Batch::random(Sizes { weak: 0, strong: 2, samples: 5, dim: 6, bank: 50 }, 1.0, 8);
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    // As bits, which are others for minus zero.
    let is_zero =
        |output: &LossOutput| [output.total, output.contrastive].map(f64::to_bits) == [0, 0] && output.acc1.is_nan();
    let strong_only = cpu().forward(&[], &batch.strong, candidates).unwrap();
    assert!(is_zero(&strong_only) && strong_only.ddm_per_view == [0.0, 0.0]);
    let nothing = cpu().forward(&[], &[], candidates).unwrap();
    assert!(is_zero(&nothing) && nothing.loss.to_vec0::<f32>().unwrap() == 0.0);
}

#[test]
fn gradients_reach_what_made_the_views() {
    let batch = Batch::random(Sizes { weak: 1, strong: 1, samples: 4, dim: 6, bank: 50 }, 1.0, 8);
    let bank = batch.memory_bank(DType::F64);
    let candidates = Candidates::new(&batch.keys).with_bank(&bank);
    let scale = Var::from_tensor(&Tensor::ones((1, 6), DType::F64, &Device::Cpu).unwrap()).unwrap();
    let scaled = |view: &Tensor| view.broadcast_mul(&scale).unwrap();
    let output = cpu().forward(&[scaled(&batch.weak[0])], &[scaled(&batch.strong[0])], candidates).unwrap();
    // By the chain rule, from the gradients of the views themselves.
    let (_, views) = computed(&batch, |weak, strong| cpu().forward(weak, strong, candidates));
    let wanted = ((&views[0] * &batch.weak[0]).unwrap() + (&views[1] * &batch.strong[0]).unwrap()).unwrap();
    let got = (output.loss * 3.0).unwrap().backward().unwrap().get(&scale).cloned().unwrap();
    assert!(distance(&got, &(wanted.sum_keepdim(0).unwrap() * 3.0).unwrap(), 1e-9) < 1e-12);
}
