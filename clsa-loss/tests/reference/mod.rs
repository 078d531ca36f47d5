//! The loss as the paper writes it, with every matrix, for the tests to compare with.
#![allow(dead_code)] // Each test binary uses its part.

use candle_core::{D, DType, Device, Tensor, Var};
use clsa_loss::{ClsaLoss, LossError, LossOutput};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

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
/// For Candle's operations in f32.
pub const SINGLE_PORTABLE: Bound = Bound { relative: 1e-5, value: 1.0, cancelled: 1.0 };
/// For a bank in bf16, and for views in f16 and bf16.
pub const HALF: Bound = Bound { relative: 1e-2, value: 1.0, cancelled: 1.0 };

/// Loss and gradients by the formula.
pub struct Reference {
    pub contrastive: Vec<f64>,
    pub ddm: Vec<f64>,
    pub total: f64,
    pub gradients: Vec<Tensor>,
}

/// Views, keys and bank rows of one batch.
#[derive(Clone)]
pub struct Batch {
    pub weak: Vec<Tensor>,
    pub strong: Vec<Tensor>,
    pub keys: Tensor,
    pub bank: Tensor,
}

/// Rows of length `norm`, in f64 but with values that f32 holds.
pub fn rows(count: usize, dim: usize, norm: f64, generator: &mut Xoshiro256PlusPlus) -> Tensor {
    let mut values = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let row: Vec<f64> = (0..dim).map(|_| generator.random_range(-1.0..1.0)).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.extend(row.iter().map(|x| f64::from((x * norm / length) as f32)));
    }
    Tensor::from_vec(values, (count, dim), &Device::Cpu).unwrap()
}

impl Batch {
    pub fn random(weak: usize, strong: usize, n: usize, d: usize, k: usize, norm: f64, seed: u64) -> Self {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut next = |count, norm| rows(count, d, norm, &mut generator);
        let keys = next(n, 1.0);
        // Weak views near their keys, as in training; strong views further away.
        let mut near = |share: f64| {
            let noise = next(n, 1.0);
            let mixed = ((&keys * share).unwrap() + noise * (1.0 - share)).unwrap();
            let length = mixed.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = mixed.broadcast_div(&length).unwrap();
            (unit * norm).unwrap().to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap()
        };
        let weak = (0..weak).map(|_| near(0.55)).collect();
        let strong = (0..strong).map(|_| near(0.3)).collect();
        let bank = next(k, 1.0);
        Self { weak, strong, keys, bank }
    }

    /// The same with a bank of rows near the keys, as that of a trained encoder is.
    pub fn crowded(mut self, seed: u64) -> Self {
        let (n, (k, d)) = (self.keys.dims()[0], self.bank.dims2().unwrap());
        if k > 0 {
            let near: Vec<u32> = (0..k as u32).map(|row| row % n as u32).collect();
            let near = self.keys.index_select(&Tensor::new(near, &Device::Cpu).unwrap(), 0).unwrap();
            let noise = rows(k, d, 0.6, &mut Xoshiro256PlusPlus::seed_from_u64(!seed));
            let bank = (near + noise).unwrap();
            let length = bank.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = bank.broadcast_div(&length).unwrap();
            self.bank = unit.to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap();
        }
        self
    }

    pub fn to_dtype(&self, dtype: DType) -> Self {
        let cast = |tensors: &[Tensor]| tensors.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
        Self {
            weak: cast(&self.weak),
            strong: cast(&self.strong),
            keys: self.keys.to_dtype(dtype).unwrap(),
            bank: self.bank.to_dtype(dtype).unwrap(),
        }
    }
}

pub fn log_softmax(logits: &Tensor) -> Tensor {
    let max = logits.max_keepdim(D::Minus1).unwrap();
    let shifted = logits.broadcast_sub(&max.detach()).unwrap();
    let sum = shifted.exp().unwrap().sum_keepdim(D::Minus1).unwrap();
    shifted.broadcast_sub(&sum.log().unwrap()).unwrap()
}

pub fn variables(tensors: &[Tensor]) -> Vec<Var> {
    tensors.iter().map(|t| Var::from_tensor(t).unwrap()).collect()
}

/// The softmax of one row of logits, and its logarithm.
struct Softmax {
    p: Vec<f64>,
    log_p: Vec<f64>,
}

/// What adding `x` to `high` gives, and what that loses (Knuth's two-sum).
fn two_sum(high: f64, x: f64) -> (f64, f64) {
    let sum = high + x;
    let from_x = sum - high;
    (sum, (high - (sum - from_x)) + (x - from_x))
}

/// The sum of many values: one after the other, a hundred thousand equal ones would lose five digits.
fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (high, low) = values.fold((0.0, 0.0), |(high, low), x| {
        let (sum, lost) = two_sum(high, x);
        (sum, low + lost)
    });
    high + low
}

/// The logits of every row of `view` with every column, and the softmax of each, exact to a few units in the last place
/// whatever their size.
///
/// The rows hold numbers of f32, so that their products are exact in f64; what their sum loses is summed up beside it. Only then is the largest taken away, and the difference divided by the temperature.
fn softmax(view: &Tensor, columns: &Tensor, temperature: f64) -> Vec<Softmax> {
    let by_component = columns.t().unwrap().to_vec2::<f64>().unwrap();
    let of_row = |row: &Vec<f64>| {
        let (mut high, mut low) = (vec![0.0; columns.dims()[0]], vec![0.0; columns.dims()[0]]);
        for (&x, column) in row.iter().zip(&by_component) {
            for ((high, low), &y) in high.iter_mut().zip(&mut low).zip(column) {
                let (sum, lost) = two_sum(*high, x * y);
                (*high, *low) = (sum, *low + lost);
            }
        }
        let max = high.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shifted: Vec<f64> = high.iter().zip(&low).map(|(h, l)| ((h - max) + l) / temperature).collect();
        let mut p: Vec<f64> = shifted.iter().map(|x| x.exp()).collect();
        let sum = exact_sum(p.iter().copied());
        p.iter_mut().for_each(|x| *x /= sum);
        Softmax { p, log_p: shifted.iter().map(|x| x - sum.ln()).collect() }
    };
    view.to_vec2::<f64>().unwrap().iter().map(of_row).collect()
}

/// Rows of weights times columns.
fn weighted(weights: Vec<f64>, columns: &Tensor) -> Tensor {
    let count = columns.dims()[0];
    Tensor::from_vec(weights, ((), count), &Device::Cpu).unwrap().matmul(columns).unwrap()
}

/// The formula, term by term, with its gradients: of a cross-entropy, the difference of the two distributions times the
/// columns, over the temperature.
pub fn reference(batch: &Batch, loss: &ClsaLoss, first_positive: usize) -> Reference {
    let columns = Tensor::cat(&[&batch.keys, &batch.bank], 0).unwrap();
    let mut contrastive = vec![];
    let mut gradients = vec![];
    for view in &batch.weak {
        let n = view.dims()[0] as f64;
        let rows = softmax(view, &columns, loss.temperature);
        let positive = |sample: usize| first_positive + sample;
        contrastive.push(exact_sum(rows.iter().enumerate().map(|(i, row)| -row.log_p[positive(i)] / n)));
        let weights = rows.into_iter().enumerate().flat_map(|(i, mut row)| {
            row.p[positive(i)] -= 1.0;
            row.p
        });
        gradients.push((weighted(weights.collect(), &columns) / (n * loss.temperature)).unwrap());
    }
    let targets: Vec<_> = batch.weak.iter().map(|view| softmax(view, &columns, loss.ddm_temperature)).collect();
    let mut ddm = vec![];
    for view in &batch.strong {
        let n = view.dims()[0] as f64;
        let rows = softmax(view, &columns, loss.ddm_temperature);
        let (mut terms, mut weights) = (vec![], vec![]);
        for (i, row) in rows.iter().enumerate() {
            let mut difference = vec![0.0; row.p.len()];
            for target in &targets {
                terms.push(-exact_sum(target[i].p.iter().zip(&row.log_p).map(|(p, log_q)| p * log_q)) / n);
                for (c, difference) in difference.iter_mut().enumerate() {
                    *difference += row.p[c] - target[i].p[c];
                }
            }
            weights.extend(difference);
        }
        ddm.push(exact_sum(terms.into_iter()));
        gradients.push((weighted(weights, &columns) * (loss.alpha / (n * loss.ddm_temperature))).unwrap());
    }
    let total = contrastive.iter().sum::<f64>() + loss.alpha * ddm.iter().sum::<f64>();
    Reference { contrastive, ddm, total, gradients }
}

/// The formula once more, differentiated by Candle.
pub fn differentiated(batch: &Batch, loss: &ClsaLoss, first_positive: usize) -> Reference {
    let (weak, strong) = (variables(&batch.weak), variables(&batch.strong));
    let columns = Tensor::cat(&[&batch.keys, &batch.bank], 0).unwrap();
    let logits = |z: &Tensor| z.matmul(&columns.t().unwrap()).unwrap();
    let mut total = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    let mut contrastive = vec![];
    let mut ddm = vec![0.0; strong.len()];
    for w in &weak {
        let n = w.dims()[0];
        let log_p = log_softmax(&(logits(w) / loss.temperature).unwrap());
        let labels = Tensor::arange(first_positive as u32, (first_positive + n) as u32, &Device::Cpu).unwrap();
        let picked = log_p.gather(&labels.unsqueeze(1).unwrap(), 1).unwrap();
        let term = picked.mean_all().unwrap().neg().unwrap();
        contrastive.push(term.to_scalar::<f64>().unwrap());
        total = (total + term).unwrap();
        let target = log_softmax(&(logits(w) / loss.ddm_temperature).unwrap()).exp().unwrap().detach();
        for (j, s) in strong.iter().enumerate() {
            let log_q = log_softmax(&(logits(s) / loss.ddm_temperature).unwrap());
            let term = (&target * log_q).unwrap().sum(1).unwrap().mean_all().unwrap().neg().unwrap();
            ddm[j] += term.to_scalar::<f64>().unwrap();
            total = (total + (term * loss.alpha).unwrap()).unwrap();
        }
    }
    finish(contrastive, ddm, total, &weak, &strong)
}

/// Loss and gradients of a total that Candle can differentiate.
pub fn finish(contrastive: Vec<f64>, ddm: Vec<f64>, total: Tensor, weak: &[Var], strong: &[Var]) -> Reference {
    let store = total.backward().unwrap();
    let gradients =
        weak.iter().chain(strong).map(|v| store.get(v).cloned().unwrap_or(v.zeros_like().unwrap())).collect();
    Reference { contrastive, ddm, total: total.to_scalar::<f64>().unwrap(), gradients }
}

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
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (a, b) = (flat(a), flat(b));
    let size = b.iter().fold(floor, |m, x| m.max(x.abs()));
    // `max` of a number and one that is not is the number: that must not hide it.
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
