//! SGD and the moving average: the bits of plain loops.

use super::{Bench, Machine, Random, assert_same, values};
use candle_core::Tensor;
use clsa_cuda::SgdOperands;

/// A tensor of its own, or a view that is not aligned to 16 bytes.
fn tensor<M: Machine>(bench: &Bench<'_, M>, numbers: &[f32], view: bool) -> Tensor {
    if !view {
        return bench.tensor(numbers, &[numbers.len()]);
    }
    let more = [&[7.0], numbers, &[7.0]].concat();
    bench.tensor(&more, &[more.len()]).narrow(0, 1, numbers.len()).unwrap()
}

pub fn sgd<M: Machine>(bench: &Bench<'_, M>, lengths: &[usize], seed: u64) {
    let mut random = Random::new(seed);
    let (mut operands, mut expected) = (vec![], vec![]);
    for (i, &len) in lengths.iter().enumerate() {
        let [w, v, g] = [(); 3].map(|()| random.numbers(len));
        operands.push(SgdOperands {
            weight: tensor(bench, &w, i % 3 == 1),
            velocity: tensor(bench, &v, i % 3 == 2),
            gradient: tensor(bench, &g, i % 2 == 1),
        });
        expected.push((w, v, g));
    }
    let (lr, momentum, decay) = (0.3, 0.9, 1e-4);
    for _ in 0..2 {
        clsa_cuda::sgd(bench.machine.gpu(), &operands, lr, momentum, decay).unwrap();
    }
    let (lr, momentum, decay) = (lr as f32, momentum as f32, decay as f32);
    for ((mut w, mut v, g), operands) in expected.into_iter().zip(operands) {
        for _ in 0..2 {
            for ((w, v), g) in w.iter_mut().zip(&mut v).zip(&g) {
                *v = momentum * *v + (g + decay * *w);
                *w -= lr * *v;
            }
        }
        assert_same(&values(&operands.weight), &w);
        assert_same(&values(&operands.velocity), &v);
        assert_same(&values(&operands.gradient), &g);
    }
}

pub fn moving_average<M: Machine>(bench: &Bench<'_, M>, lengths: &[usize], seed: u64) {
    let mut random = Random::new(seed);
    let (mut pairs, mut expected) = (vec![], vec![]);
    for (i, &len) in lengths.iter().enumerate() {
        let [key, query] = [(); 2].map(|()| random.numbers(len));
        pairs.push((tensor(bench, &key, i % 3 == 1), tensor(bench, &query, i % 3 == 2)));
        expected.push((key, query));
    }
    let m = 0.99;
    clsa_cuda::moving_average(bench.machine.gpu(), &pairs, m).unwrap();
    let (m, rest) = (m as f32, (1.0 - m) as f32);
    for ((key, query), (got, _)) in expected.iter().zip(&pairs) {
        let want: Vec<f32> = key.iter().zip(query).map(|(k, q)| k * m + q * rest).collect();
        assert_same(&values(got), &want);
    }
}
