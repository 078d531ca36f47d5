//! Whether what the crate computes agrees with the formula.

use candle_core::{DType, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, LossError, LossOutput};

use crate::batch::{Batch, values, variables};
use crate::formula::{Reference, reference};

/// How near a result must be to the formula.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Largest relative error: of a value to its size, of a view's gradient to its largest component.
    pub relative: f64,
    /// Least size of a value that its error is taken relative to.
    pub value: f64,
    /// Least size of a gradient that its error is taken relative to, as a power of 1/D and in units of the gradient's factor
    /// (for a weak view 1 / (N τ)). A gradient is the difference of two means of candidates; where these cancel, it keeps the
    /// rounding of the means.
    pub cancelled: f64,
}

/// What the crate promises for f32 on the CPU, and for f64.
pub const SINGLE: Bound = Bound { relative: 1e-6, value: 1e-4, cancelled: 1.0 };
pub const DOUBLE: Bound = Bound { relative: 1e-12, value: 1.0, cancelled: 1.0 };
/// For logits of 1e4 where a log-sum-exp is kept in one f64: its last digit is 1.8e-12, for each of up to 25 pairs of views.
pub const DOUBLE_LARGE: Bound = Bound { relative: 5e-11, ..DOUBLE };
/// For candidates that crowd around the positives, where every mean of them is nearly the positive. Its components are about
/// 1/√D, an f32 of that size is within 6e-8 / √D of what it stands for, and changing the candidates by as little moves the
/// difference as far: relative to 1/D, at D = 200, the formula itself is conditioned no better than 1e-6.
pub const SINGLE_CROWDED: Bound = Bound { cancelled: 0.5, ..SINGLE };
/// For the largest logits of single precision, of which DDM is a difference: with few components it has some 30 times the
/// rounding of a mean of them, beside a value of about ln K.
pub const SINGLE_LARGE: Bound = Bound { relative: 4e-6, ..SINGLE };
/// For Candle's operations in f32.
pub const SINGLE_PORTABLE: Bound = Bound { relative: 1e-5, value: 1.0, cancelled: 1.0 };
/// For a bank in bf16, and for views in f16 and bf16.
pub const HALF: Bound = Bound { relative: 1e-2, value: 1.0, cancelled: 1.0 };

/// What the crate computes for the batch, with the gradient of every view in f64.
pub fn computed(
    batch: &Batch,
    forward: impl Fn(&[Tensor], &[Tensor]) -> Result<LossOutput, LossError>,
) -> (LossOutput, Vec<Tensor>) {
    let (weak, strong) = (variables(&batch.weak), variables(&batch.strong));
    let tensors = |vars: &[Var]| -> Vec<Tensor> { vars.iter().map(|v| v.as_tensor().clone()).collect() };
    let output = forward(&tensors(&weak), &tensors(&strong)).unwrap();
    let store = output.loss.backward().unwrap();
    let gradients = weak.iter().chain(&strong).map(|v| store.get(v).unwrap().to_dtype(DType::F64).unwrap()).collect();
    (output, gradients)
}

/// The largest difference of two tensors, relative to the largest value of the second (at least `floor`).
pub fn distance(a: &Tensor, b: &Tensor, floor: f64) -> f64 {
    let (a, b) = (values(a), values(b));
    let size = b.iter().fold(floor, |m, x| m.max(x.abs()));
    // `max` of a number and NaN is the number, which would hide the NaN.
    a.iter()
        .zip(&b)
        .map(|(x, y)| (x - y).abs() / size)
        .fold(0.0, |m, x| if x.is_nan() { f64::INFINITY } else { m.max(x) })
}

/// Asserts that value, parts and gradients agree within `bound`.
pub fn assert_agrees(output: &LossOutput, gradients: &[Tensor], reference: &Reference, loss: &ClsaLoss, bound: Bound) {
    let close = |name: &str, got: f64, wanted: f64| {
        let error = (got - wanted).abs() / wanted.abs().max(bound.value);
        assert!(error <= bound.relative, "{name}: {got} is not {wanted} (relative {error:e})");
    };
    close("total", output.total, reference.total);
    // The tensor that is differentiated has the dtype of the views.
    let loss_value = output.loss.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
    assert!(
        (loss_value - output.total).abs() <= 1e-7 * output.total.abs().max(1e-30),
        "{loss_value} is not {}",
        output.total
    );
    close("contrastive", output.contrastive, reference.contrastive.iter().sum());
    close("ddm", output.ddm, reference.ddm.iter().sum());
    assert_eq!(output.contrastive_per_view.len(), reference.contrastive.len());
    assert_eq!(output.ddm_per_view.len(), reference.ddm.len());
    for (i, (&got, &wanted)) in output.contrastive_per_view.iter().zip(&reference.contrastive).enumerate() {
        close(&format!("contrastive {i}"), got, wanted);
    }
    for (j, (&got, &wanted)) in output.ddm_per_view.iter().zip(&reference.ddm).enumerate() {
        close(&format!("ddm {j}"), got, wanted);
    }
    assert_eq!(gradients.len(), reference.gradients.len());
    for (view, (got, wanted)) in gradients.iter().zip(&reference.gradients).enumerate() {
        let (n, dim) = (wanted.dims()[0] as f64, wanted.dims()[1] as f64);
        let weak = reference.contrastive.len();
        let terms = if view < weak {
            1.0 / (n * loss.temperature)
        } else {
            loss.alpha * weak as f64 / (n * loss.ddm_temperature)
        };
        let floor = terms / dim.powf(bound.cancelled);
        let error = distance(got, wanted, floor.max(f64::MIN_POSITIVE));
        assert!(error <= bound.relative, "gradient of view {view}: relative {error:e}");
    }
}

/// Asserts that the loss of a batch, whose views and keys are cast to `views` and whose bank is stored as `bank`, agrees with
/// the formula for the same bank.
pub fn assert_equals_the_formula(batch: &Batch, views: DType, bank: DType, loss: &ClsaLoss, bound: Bound) {
    let given = batch.to_dtype(views);
    let bank = batch.memory_bank(bank);
    let (output, gradients) =
        computed(&given, |weak, strong| loss.forward(weak, strong, Candidates::new(&given.keys).with_bank(&bank)));
    let mut exact = batch.clone();
    exact.bank = bank.rows().to_dtype(DType::F64).unwrap();
    assert_agrees(&output, &gradients, &reference(&exact, loss, 0), loss, bound);
}
