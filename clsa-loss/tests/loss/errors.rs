//! What fails, and that the message names it.

use candle_core::{DType, Device, Tensor};
use clsa_loss::{Candidates, ClsaLoss, InBatch, LossError, LossOutput, MemoryBank};

fn ones(rows: usize, dim: usize) -> Tensor {
    Tensor::ones((rows, dim), DType::F32, &Device::Cpu).unwrap()
}

fn with(loss: ClsaLoss, weak: &[Tensor], strong: &[Tensor], keys: &Tensor) -> Result<LossOutput, LossError> {
    let bank = MemoryBank::random(5, 3, 0, DType::F32, &Device::Cpu).unwrap();
    loss.forward(weak, strong, Candidates::new(keys).with_bank(&bank))
}

fn assert_names(result: Result<LossOutput, LossError>, argument: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&format!("`{argument}`")), "{message:?} does not name {argument}");
}

#[test]
fn temperatures_must_be_finite_and_above_zero() {
    for value in [0.0, -0.2, f64::NAN, f64::INFINITY] {
        let tau = ClsaLoss { temperature: value, ..ClsaLoss::default() };
        assert_names(with(tau, &[ones(2, 3)], &[], &ones(2, 3)), "temperature");
        let tau2 = ClsaLoss { ddm_temperature: value, ..ClsaLoss::default() };
        assert_names(with(tau2, &[ones(2, 3)], &[], &ones(2, 3)), "ddm_temperature");
    }
    // One over it is 0 or infinite in f32.
    for value in [1e-39, 1e46] {
        let tau = ClsaLoss { temperature: value, ..ClsaLoss::default() };
        let message = with(tau, &[ones(2, 3)], &[], &ones(2, 3)).unwrap_err().to_string();
        assert!(message.contains("`temperature`") && message.contains("one over it"), "{message}");
        let double = |t: Tensor| t.to_dtype(DType::F64).unwrap();
        assert!(with(tau, &[double(ones(2, 3))], &[], &double(ones(2, 3))).unwrap().total.is_finite());
    }
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        let alpha = ClsaLoss { alpha: value, ..ClsaLoss::default() };
        assert_names(with(alpha, &[ones(2, 3)], &[], &ones(2, 3)), "alpha");
    }
}

#[test]
fn views_must_agree_in_shape_and_dtype() {
    let loss = ClsaLoss::default();
    assert_names(with(loss, &[ones(2, 3), ones(3, 3)], &[], &ones(2, 3)), "weak[1]");
    assert_names(with(loss, &[ones(2, 3)], &[ones(2, 3), ones(2, 4)], &ones(2, 3)), "strong[1]");
    assert_names(with(loss, &[ones(0, 3)], &[], &ones(2, 3)), "weak[0]");
    assert_names(with(loss, &[ones(2, 3).unsqueeze(0).unwrap()], &[], &ones(2, 3)), "weak[0]");
    assert_names(with(loss, &[ones(2, 3)], &[ones(2, 3).to_dtype(DType::F64).unwrap()], &ones(2, 3)), "strong[0]");
    assert_names(with(loss, &[ones(2, 3).to_dtype(DType::U8).unwrap()], &[], &ones(2, 3)), "weak[0]");
}

#[test]
fn candidates_must_fit_the_views() {
    let loss = ClsaLoss::default();
    assert_names(with(loss, &[ones(2, 3)], &[], &ones(2, 4)), "keys");
    assert_names(with(loss, &[ones(2, 3)], &[], &ones(2, 3).to_dtype(DType::I64).unwrap()), "keys");
    assert_names(with(loss, &[ones(2, 4)], &[], &ones(2, 4)), "bank");
    assert_names(with(loss, &[ones(3, 3)], &[], &ones(2, 3)), "first_positive");
    let keys = ones(4, 3);
    let beyond = Candidates::new(&keys).with_first_positive(usize::MAX);
    assert_names(loss.forward(&[ones(2, 3)], &[], beyond), "first_positive");
}

#[test]
fn values_must_be_finite() {
    let loss = ClsaLoss::default();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bad = Tensor::new(&[[1.0, value, 0.0], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        assert_names(with(loss, &[ones(2, 3), bad.clone()], &[ones(2, 3)], &ones(2, 3)), "weak[1]");
        assert_names(with(loss, &[ones(2, 3)], std::slice::from_ref(&bad), &ones(2, 3)), "strong[0]");
        assert_names(with(loss, &[ones(2, 3)], &[], &bad), "keys");
    }
}

#[test]
fn there_must_be_a_candidate() {
    let loss = ClsaLoss::default();
    let keys = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(loss.forward(&[ones(2, 3)], &[], Candidates::new(&keys)), Err(LossError::NoCandidates)));
    let bank = MemoryBank::from_rows(keys.clone(), 0).unwrap();
    let empty = Candidates::new(&keys).with_bank(&bank);
    assert!(matches!(loss.forward(&[ones(2, 3)], &[ones(2, 3)], empty), Err(LossError::NoCandidates)));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_kernels_for_gpus_says_that_it_is_one_where_they_are_requested() {
    let loss = ClsaLoss { backend: clsa_loss::Backend::Cuda, ..ClsaLoss::default() };
    let message = with(loss, &[ones(2, 3)], &[], &ones(2, 3)).unwrap_err().to_string();
    assert!(message.contains("`backend`") && message.contains("feature `cuda`"), "{message}");
}

#[test]
fn in_batch_needs_two_weak_views() {
    let loss = ClsaLoss::default();
    assert_names(loss.forward(&[ones(2, 3)], &[ones(2, 3)], InBatch), "weak");
    assert_names(loss.forward(&[], &[], InBatch), "weak");
}

#[test]
fn views_that_there_are_not_have_no_gradient() {
    let keys = ones(2, 3);
    let pending = ClsaLoss::default().begin(&[ones(2, 3)], &[ones(2, 3)], Candidates::new(&keys)).unwrap();
    assert!(pending.weak_gradient(0).is_ok() && pending.strong_gradient(0).is_ok());
    // The second block of rows is the strong view's.
    assert_eq!(
        pending.weak_gradient(1).unwrap_err().to_string(),
        "`weak[1]` is no view of this loss, which has 1 of its kind"
    );
    assert!(pending.strong_gradient(usize::MAX).unwrap_err().to_string().contains("`strong[18446744073709551615]`"));
    let none = ClsaLoss::default().begin(&[], &[], Candidates::new(&keys)).unwrap();
    assert!(none.weak_gradient(0).unwrap_err().is_request());
}

#[test]
fn other_numbers_than_those_of_the_loss_are_refused() {
    let keys = ones(2, 3);
    for more in [true, false] {
        let pending = ClsaLoss::default().begin(&[ones(2, 3)], &[], Candidates::new(&keys)).unwrap();
        let mut measures = pending.measures().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        let own = measures.len();
        measures.resize(if more { own + 1 } else { own - 1 }, 0.0);
        let error = pending.finish(&measures).unwrap_err().to_string();
        let got = measures.len();
        assert_eq!(error, format!("`measures` has {got} numbers, where the {own} of this loss are needed"));
    }
}

#[test]
fn a_value_that_is_not_finite_is_a_failure_of_the_run_and_any_other_argument_a_wrong_request() {
    let loss = ClsaLoss::default();
    let undefined = (ones(2, 3) * f64::NAN).unwrap();
    assert!(!with(loss, &[undefined], &[], &ones(2, 3)).unwrap_err().is_request());
    assert!(with(loss, &[ones(2, 3)], &[], &ones(2, 4)).unwrap_err().is_request());
    let negative = ClsaLoss { alpha: -1.0, ..loss };
    assert!(with(negative, &[ones(2, 3)], &[], &ones(2, 3)).unwrap_err().is_request());
}
