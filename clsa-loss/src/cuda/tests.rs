//! The pass by the GPU's kernels, on the host in a GPU's place, against portable operations in f64.

use candle_core::{DType, Device, Tensor};
use clsa_cuda::{Element, Host, Ops};

use super::{SCORES, statistics};
use crate::statistics::{Queries, Statistics};
use crate::{Candidates, MemoryBank, portable};

/// Components of a row.
const DIM: usize = 16;
/// Samples of a view.
const SAMPLES: usize = 3;
/// That of each of three views.
const TEMPERATURES: [f64; 3] = [0.2, 0.07, 1.0];
/// Rows of all views.
const ROWS: usize = TEMPERATURES.len() * SAMPLES;

fn unit_rows(count: usize, seed: u64) -> Tensor {
    MemoryBank::random(count, DIM, seed, DType::F32, &Device::Cpu).unwrap().rows().clone()
}

/// The rows of the views, (ROWS, DIM).
fn rows() -> Tensor {
    unit_rows(ROWS, 1)
}

/// The keys of a batch, of which the first are the positives.
fn keys(count: usize) -> Tensor {
    unit_rows(count, 2)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The rows of the views in a dtype; retrieval is counted for the first view.
fn queries(dtype: DType, candidates: Candidates<'_>) -> Queries<'_> {
    let rows = rows().to_dtype(dtype).unwrap();
    let positives = keys(SAMPLES).to_dtype(dtype).unwrap();
    let inverse_temperatures: Vec<f64> = TEMPERATURES.iter().flat_map(|t| [t.recip(); SAMPLES]).collect();
    let scores = (rows.narrow(0, 0, SAMPLES).unwrap() * positives).unwrap().sum(1).unwrap();
    let positive_logits = (scores * inverse_temperatures[0]).unwrap();
    Queries { rows, inverse_temperatures, positive_logits, candidates }
}

/// What a pass gives.
#[derive(Debug, PartialEq)]
struct Numbers {
    /// The log-sum-exp of each row.
    log_sums: Vec<f64>,
    means: Vec<f64>,
    above: Vec<f64>,
}

fn numbers(statistics: &Statistics, queries: &Queries) -> Numbers {
    let shifts = values(&statistics.shift).into_iter().zip(&queries.inverse_temperatures);
    let log_sums = values(&statistics.log_sum).into_iter().zip(shifts);
    Numbers {
        log_sums: log_sums.map(|(log_sum, (shift, inverse))| log_sum + shift * inverse).collect(),
        means: values(&statistics.mean),
        above: values(&statistics.above_positive),
    }
}

fn assert_near(got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= 2e-5 * (1.0 + wanted.abs()), "at {at}: {got}, expected {wanted}");
    }
}

/// The kernels are as near to f64 as f32 lets them be, and give equal bits in whatever order their threads and blocks run.
fn agrees(candidates: Candidates, scores_of_block: usize) {
    let exact = queries(DType::F64, candidates);
    let wanted = numbers(&portable::statistics(&exact).unwrap(), &exact);
    let single = queries(DType::F32, candidates);
    let by_kernels = |seed| {
        let ops = Ops::new(Host::new(seed), Element::F32).unwrap();
        numbers(&statistics(&ops, &single, scores_of_block).unwrap(), &single)
    };
    let got = by_kernels(1);
    assert_near(&got.log_sums, &wanted.log_sums);
    assert_near(&got.means, &wanted.means);
    assert_eq!(got.above, wanted.above);
    assert_eq!(got, by_kernels(2), "another order, other bits");
}

#[test]
fn keys_and_bank_at_several_temperatures_agree_with_the_portable_pass() {
    let keys = keys(SAMPLES + 4);
    agrees(Candidates::new(&keys), SCORES);
    for stored in [DType::F32, DType::BF16] {
        let bank = MemoryBank::random(300, DIM, 3, stored, &Device::Cpu).unwrap();
        agrees(Candidates::new(&keys).with_bank(&bank), SCORES);
    }
}

#[test]
fn a_bank_without_keys_of_the_batch_agrees_with_the_portable_pass() {
    let no_keys = keys(SAMPLES).narrow(0, 0, 0).unwrap();
    let bank = MemoryBank::random(300, DIM, 3, DType::F32, &Device::Cpu).unwrap();
    agrees(Candidates::new(&no_keys).with_bank(&bank).without_batch_negatives(), SCORES);
}

#[test]
fn keys_and_bank_of_several_blocks_agree_also_where_the_last_candidate_is_the_nearest() {
    let keys = keys(70);
    // What was summed before it all but vanishes.
    let nearest = (rows().narrow(0, 0, 1).unwrap() * 3.0).unwrap();
    let bank = Tensor::cat(&[&unit_rows(299, 3), &nearest], 0).unwrap();
    let bank = MemoryBank::from_rows(bank, 0).unwrap();
    // Two blocks of keys and five of the bank; the last of either is not full.
    agrees(Candidates::new(&keys).with_bank(&bank), 64 * ROWS);
}
