//! The batch's own views as candidates, against the formula.

use candle_core::{DType, Device, Tensor};
use clsa_loss::{ClsaLoss, InBatch};
use proptest::prelude::*;

use crate::agreement::{DOUBLE, SINGLE_PORTABLE, assert_agrees, computed};
use crate::batch::{Batch, Sizes, values, variables};
use crate::formula::{Reference, finish, log_softmax};

/// SimCLR's form, written with one logit at a time excluded or labeled.
fn by_sample(batch: &Batch, loss: &ClsaLoss) -> Reference {
    let (weak, strong) = (variables(&batch.weak), variables(&batch.strong));
    let n = weak[0].dims()[0];
    let all: Vec<&Tensor> = weak.iter().map(|v| v.as_tensor()).collect();
    let columns = Tensor::cat(&all, 0).unwrap();
    let without = |sample: usize, view: usize| -> Tensor {
        let kept: Vec<u32> = (0..(weak.len() * n) as u32).filter(|&c| c as usize != view * n + sample).collect();
        let kept = Tensor::new(kept, &Device::Cpu).unwrap();
        columns.index_select(&kept, 0).unwrap()
    };
    let mut total = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    let mut contrastive = vec![0.0; weak.len()];
    let mut ddm = vec![0.0; strong.len()];
    for (i, w) in weak.iter().enumerate() {
        for sample in 0..n {
            let others = without(sample, i);
            let logits = |view: &Tensor, tau: f64| {
                let row = view.narrow(0, sample, 1).unwrap();
                (row.matmul(&others.t().unwrap()).unwrap() / tau).unwrap()
            };
            let log_p = log_softmax(&logits(w, loss.temperature));
            for j in (0..weak.len()).filter(|&j| j != i) {
                let column = j * n + sample - usize::from(j > i);
                let term = (log_p.narrow(1, column, 1).unwrap().sum_all().unwrap()
                    * (-1.0 / (n * (weak.len() - 1)) as f64))
                    .unwrap();
                contrastive[i] += term.to_scalar::<f64>().unwrap();
                total = (total + term).unwrap();
            }
            let target = log_softmax(&logits(w, loss.ddm_temperature)).exp().unwrap().detach();
            for (j, s) in strong.iter().enumerate() {
                let log_q = log_softmax(&logits(s, loss.ddm_temperature));
                let term = ((&target * log_q).unwrap().sum_all().unwrap() * (-1.0 / n as f64)).unwrap();
                ddm[j] += term.to_scalar::<f64>().unwrap();
                total = (total + (term * loss.alpha).unwrap()).unwrap();
            }
        }
    }
    finish(contrastive, ddm, total, &weak, &strong)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn equals_the_formula_in_f64(
        (weak, strong, samples, dim) in (2usize..=4, 0usize..=3, 1usize..=8, 1usize..=16),
        (tau, tau2, alpha) in (0.05f64..1.0, 0.05f64..1.0, 0.0f64..2.0),
        same in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let tau2 = if same { tau } else { tau2 };
        let loss = ClsaLoss { temperature: tau, ddm_temperature: tau2, alpha, ..ClsaLoss::default() };
        let batch = Batch::random(Sizes { weak, strong, samples, dim, bank: 0 }, 1.0, seed);
        // As a candidate, a weak view takes a gradient of DDM too, and keeps that one's rounding.
        let scale = ClsaLoss { temperature: 1.0 / (1.0 / tau + alpha * strong as f64 / tau2), ..loss };
        let (output, gradients) = computed(&batch, |weak, strong| loss.forward(weak, strong, InBatch));
        assert_agrees(&output, &gradients, &by_sample(&batch, &loss), &scale, DOUBLE);
        let single = batch.to_dtype(DType::F32);
        let (output, gradients) = computed(&single, |weak, strong| loss.forward(weak, strong, InBatch));
        assert_agrees(&output, &gradients, &by_sample(&batch, &loss), &scale, SINGLE_PORTABLE);
    }
}

/// SimCLR's NT-Xent is the mean over both views; here views are summed.
#[test]
fn two_views_give_twice_nt_xent() {
    let batch = Batch::random(Sizes { weak: 2, strong: 0, samples: 3, dim: 4, bank: 0 }, 1.0, 1);
    let rows = Tensor::cat(&batch.weak, 0).unwrap();
    let similarity = (rows.matmul(&rows.t().unwrap()).unwrap() / 0.5).unwrap().to_vec2::<f64>().unwrap();
    let nt_xent: f64 = (0..6)
        .map(|i| {
            let others: f64 = (0..6).filter(|&j| j != i).map(|j| similarity[i][j].exp()).sum();
            others.ln() - similarity[i][(i + 3) % 6]
        })
        .sum::<f64>()
        / 6.0;
    let loss = ClsaLoss { temperature: 0.5, ..ClsaLoss::default() };
    let output = loss.forward(&batch.weak, &[], InBatch).unwrap();
    assert!((output.total - 2.0 * nt_xent).abs() < 1e-12, "{} is not twice {nt_xent}", output.total);
}

#[test]
fn accuracy_counts_the_candidates_nearer_to_the_first_view_than_the_second() {
    let batch = Batch::random(Sizes { weak: 3, strong: 1, samples: 40, dim: 6, bank: 0 }, 1.0, 7);
    let rows = Tensor::cat(&batch.weak, 0).unwrap();
    let similarity = rows.matmul(&rows.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
    // Neither the view itself nor the sample's other views are in the way.
    let above =
        |n: usize| (0..120).filter(|&column| column % 40 != n && similarity[n][column] > similarity[n][40 + n]).count();
    let within = |rank: usize| 100.0 * (0..40).filter(|&n| above(n) < rank).count() as f64 / 40.0;
    assert!(0.0 < within(1) && within(1) < within(5) && within(5) < 100.0);
    for dtype in [DType::F32, DType::F64] {
        let batch = batch.to_dtype(dtype);
        let output = ClsaLoss::default().forward(&batch.weak, &batch.strong, InBatch).unwrap();
        assert_eq!((output.acc1, output.acc5), (within(1), within(5)), "{dtype:?}");
    }
}

/// Loss and gradients of a batch large enough to be divided among threads, as bits.
fn bits() -> String {
    let batch = Batch::random(Sizes { weak: 3, strong: 2, samples: 150, dim: 96, bank: 0 }, 1.0, 5);
    let loss = ClsaLoss { ddm_temperature: 0.1, ..ClsaLoss::default() };
    let mut bits = String::new();
    for dtype in [DType::F32, DType::F64] {
        let (output, gradients) = computed(&batch.to_dtype(dtype), |weak, strong| loss.forward(weak, strong, InBatch));
        let values = gradients.iter().flat_map(values);
        let words =
            values.chain([output.total, output.contrastive, output.ddm]).map(|x| format!("{:x}\n", x.to_bits()));
        bits.extend(words);
    }
    bits
}

/// Candle takes the number of its threads from the environment: so each number is a process of its own.
#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    const OUT: &str = "CLSA_LOSS_TEST_BITS";
    if let Some(path) = std::env::var_os(OUT) {
        return std::fs::write(path, bits()).unwrap();
    }
    let of = |threads: &str| {
        let name = format!("in-batch-bits-{threads}-{}", std::process::id());
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "in_batch::bits_do_not_depend_on_the_number_of_threads"]);
        assert!(command.env("RAYON_NUM_THREADS", threads).env(OUT, &path).output().unwrap().status.success());
        let bits = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bits
    };
    let one = of("1");
    assert!(one.lines().count() > 2 * 5 * 150 * 96);
    assert!(one == of("2"), "2 threads");
    assert!(one == of("5"), "5 threads");
}

#[test]
fn f32_is_finite_for_logits_of_ten_thousand() {
    let batch = Batch::random(Sizes { weak: 2, strong: 2, samples: 7, dim: 33, bank: 0 }, 45.0, 1).to_dtype(DType::F32);
    let (output, gradients) = computed(&batch, |weak, strong| ClsaLoss::default().forward(weak, strong, InBatch));
    assert!(output.total.is_finite());
    for gradient in gradients {
        assert!(values(&gradient).iter().all(|x| x.is_finite()));
    }
}
