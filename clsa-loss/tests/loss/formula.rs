//! The loss as the paper writes it, with every matrix, for the tests to compare with.

use candle_core::{D, DType, Device, Tensor, Var};
use clsa_loss::ClsaLoss;

use crate::batch::{Batch, variables};

/// Loss and gradients by the formula.
pub struct Reference {
    pub contrastive: Vec<f64>,
    pub ddm: Vec<f64>,
    pub total: f64,
    pub gradients: Vec<Tensor>,
}

/// The logarithm of the softmax of every row, which Candle can differentiate.
pub fn log_softmax(logits: &Tensor) -> Tensor {
    let max = logits.max_keepdim(D::Minus1).unwrap();
    let shifted = logits.broadcast_sub(&max.detach()).unwrap();
    let sum = shifted.exp().unwrap().sum_keepdim(D::Minus1).unwrap();
    shifted.broadcast_sub(&sum.log().unwrap()).unwrap()
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
/// The rows hold numbers of f32, so that their products are exact in f64; what their sum loses is summed up beside it. The
/// largest is subtracted after that, and the difference then divided by the temperature.
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

/// The values of the terms, and the gradients of a total that Candle can differentiate.
pub fn finish(contrastive: Vec<f64>, ddm: Vec<f64>, total: Tensor, weak: &[Var], strong: &[Var]) -> Reference {
    let store = total.backward().unwrap();
    let gradients =
        weak.iter().chain(strong).map(|v| store.get(v).cloned().unwrap_or(v.zeros_like().unwrap())).collect();
    Reference { contrastive, ddm, total: total.to_scalar::<f64>().unwrap(), gradients }
}
