//! Several ranks, `bn_splits` and the loss's variants, through the training step.

use candle_core::{DType, Device, Tensor};
use clsa_loss::MemoryBank;
use clsa_model::{Arch, Backend, Compute, ModelConfig, MomentumPair, Precision, Stem};
use clsa_run::{BankKeys, MethodConfig, OptimConfig, StrongLoss};
use clsa_train::{Clsa, Communicator, ImageBytes, Optimizer, SingleProcess, StepReport, TrainError, Views};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use thread_ranks::ThreadRank;

mod thread_ranks;

const SIDE: usize = 8;
const DIM: usize = 16;
const BANK: usize = 24;

fn method() -> MethodConfig {
    MethodConfig { bank: BANK, momentum: 0.9, alpha: 0.7, ..MethodConfig::default() }
}

fn clsa(bn_splits: usize, method: &MethodConfig, communicator: Arc<dyn Communicator>) -> Clsa {
    let model =
        ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, dim: DIM, ..ModelConfig::default() };
    let compute = Compute { backend: Backend::Portable, precision: Precision::F64, bn_splits };
    let pair = MomentumPair::new(&model, compute, method.momentum, 1, &Device::Cpu).unwrap();
    let bank = MemoryBank::random(BANK, DIM, 1, DType::F64, &Device::Cpu).unwrap();
    let optimizer = Optimizer::new(pair.query.parameters(), &OptimConfig::default()).unwrap();
    Clsa::new(pair, bank, optimizer, method, communicator, 5)
}

fn images(samples: usize, seed: usize) -> Tensor {
    let value = |i: usize| (((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0) * (1.0 + (i / 192 % 5) as f64);
    let values: Vec<f64> = (0..samples * 3 * SIDE * SIDE).map(value).collect();
    Tensor::from_vec(values, (samples, 3, SIDE, SIDE), &Device::Cpu).unwrap()
}

fn views(samples: usize, step: usize) -> Views {
    let image = |i: usize| images(samples, 10 * step + i);
    Views { key: image(0), weak: vec![image(1), image(2)], strong: vec![image(3)], bytes: Vec::new() }
}

fn part(views: &Views, rank: usize, samples: usize) -> Views {
    let part = |t: &Tensor| t.narrow(0, rank * samples, samples).unwrap();
    Views {
        key: part(&views.key),
        weak: views.weak.iter().map(part).collect(),
        strong: views.strong.iter().map(part).collect(),
        bytes: Vec::new(),
    }
}

fn weights(clsa: &Clsa) -> Vec<f64> {
    let flat = |p: &clsa_model::Parameter| p.var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    clsa.pair.query.parameters().iter().chain(clsa.pair.key.parameters()).flat_map(flat).collect()
}

fn assert_equal(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "number {at}: {a} and {b}");
    }
}

/// What each of two ranks, a thread each, comes to.
fn on_two_ranks<T: Send>(work: impl Fn(ThreadRank) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = ThreadRank::group(2).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn two_ranks_equal_one_process_with_two_batch_norm_splits() {
    two_ranks_equal_one_process(&method());
}

#[test]
fn two_ranks_equal_one_process_with_two_batch_norm_splits_in_the_symmetric_variant() {
    for bank_keys in [BankKeys::KeyView, BankKeys::Both] {
        two_ranks_equal_one_process(&MethodConfig { symmetric: true, bank_keys, ..method() });
    }
}

#[test]
fn each_term_has_the_temperature_that_is_asked_for_it() {
    let step = |method: &MethodConfig| clsa(1, method, Arc::new(SingleProcess)).step(&views(6, 0), 0.05).unwrap();
    let plain = step(&method());
    let ddm = step(&MethodConfig { ddm_temperature: 0.1, ..method() });
    assert!((ddm.contrastive - plain.contrastive).abs() < 1e-12 && (ddm.ddm - plain.ddm).abs() > 1e-3, "{ddm:?}");
    let info_nce = step(&MethodConfig { temperature: 0.1, ..method() });
    assert!((info_nce.ddm - plain.ddm).abs() < 1e-12, "{info_nce:?} {plain:?}");
    assert!((info_nce.contrastive - plain.contrastive).abs() > 1e-3, "{info_nce:?} {plain:?}");
}

#[test]
fn images_that_travel_as_bytes_give_the_bits_of_numbers() {
    for symmetric in [false, true] {
        let method = MethodConfig { symmetric, ..method() };
        let results = on_two_ranks(|communicator| {
            let rank = communicator.rank();
            let tables: Vec<f64> = (0..3 * 256).map(|i| f64::from(i % 256) / 64.0 - f64::from(i / 256)).collect();
            let tables = Tensor::from_vec(tables, (3, 256), &Device::Cpu).unwrap();
            let bytes = |view: usize| {
                let byte = |i: usize| ((i * i * 31 + 977 * view + 7 * rank) % 256) as u8;
                let pixels: Vec<u8> = (0..4 * SIDE * SIDE * 3).map(byte).collect();
                let pixels = Tensor::from_vec(pixels, (4, SIDE, SIDE, 3), &Device::Cpu).unwrap();
                ImageBytes { pixels, tables: tables.clone() }
            };
            let image = |view: usize| bytes(view).normalized(&bytes(view).pixels).unwrap();
            let numbers = Views { key: image(0), weak: vec![image(1)], strong: vec![image(2)], bytes: Vec::new() };
            let as_bytes = (0..if symmetric { 2 } else { 1 }).map(bytes).collect();
            let both = Views { key: image(0), weak: vec![image(1)], strong: vec![image(2)], bytes: as_bytes };
            let communicator = Arc::new(communicator);
            [numbers, both].map(|views| {
                let mut clsa = clsa(1, &method, communicator.clone());
                let loss = clsa.step(&views, 0.05).unwrap().loss;
                (loss, weights(&clsa), clsa.bank.rows().flatten_all().unwrap().to_vec1::<f64>().unwrap())
            })
        });
        for [numbers, bytes] in results {
            assert!(numbers == bytes, "symmetric {symmetric}: {} and {}", numbers.0, bytes.0);
        }
    }
}

fn two_ranks_equal_one_process(method: &MethodConfig) {
    let (samples, steps) = (4, 3);
    let mut alone = clsa(2, method, Arc::new(SingleProcess));
    let reports: Vec<StepReport> = (0..steps).map(|s| alone.step(&views(2 * samples, s), 0.05).unwrap()).collect();

    let ranks = on_two_ranks(|communicator| {
        let rank = communicator.rank();
        let mut clsa = clsa(1, method, Arc::new(communicator));
        let step = |s| clsa.step(&part(&views(2 * samples, s), rank, samples), 0.05).unwrap().loss;
        let losses: Vec<f64> = (0..steps).map(step).collect();
        let bank = clsa.bank.rows().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (losses, weights(&clsa), bank)
    });

    for (s, report) in reports.iter().enumerate() {
        for (losses, ..) in &ranks {
            assert!((losses[s] - report.loss).abs() < 1e-12, "step {s}: {} instead of {}", losses[s], report.loss);
        }
    }
    let bank = alone.bank.rows().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (_, rank_weights, rank_bank) in &ranks {
        assert_equal(rank_weights, &weights(&alone), 1e-9);
        assert_equal(rank_bank, &bank, 1e-9);
    }
}

#[test]
fn a_batch_in_parts_equals_the_whole_batch_with_as_many_batch_norm_splits() {
    let info_nce = MethodConfig { strong_loss: StrongLoss::InfoNce, ..method() };
    for method in [method(), MethodConfig { symmetric: true, ..method() }, info_nce] {
        for (parts, splits) in [(2, 2), (2, 4), (4, 4)] {
            let (samples, steps) = (16, 3);
            let mut whole = clsa(splits, &method, Arc::new(SingleProcess));
            let mut in_parts = clsa(splits / parts, &method, Arc::new(SingleProcess));
            in_parts.parts = parts;
            for step in 0..steps {
                let [a, b] = [&mut whole, &mut in_parts].map(|clsa| clsa.step(&views(samples, step), 0.05).unwrap());
                for (a, b) in [(a.loss, b.loss), (a.contrastive, b.contrastive), (a.ddm, b.ddm), (a.acc1, b.acc1)] {
                    assert!((a - b).abs() < 1e-9, "step {step}: {a} {b}");
                }
            }
            assert_equal(&weights(&in_parts), &weights(&whole), 1e-9);
            let bank = |clsa: &Clsa| clsa.bank.rows().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_equal(&bank(&in_parts), &bank(&whole), 1e-9);
            let features =
                |clsa: &Clsa| -> Vec<f64> { clsa.features.as_ref().unwrap().flatten_all().unwrap().to_vec1().unwrap() };
            assert_equal(&features(&in_parts), &features(&whole), 1e-9);
            for (a, b) in [(&in_parts.pair.query, &whole.pair.query), (&in_parts.pair.key, &whole.pair.key)] {
                let (a, b) = (a.state_dict().unwrap(), b.state_dict().unwrap());
                for (name, tensor) in &b {
                    let values = |tensor: &Tensor| -> Vec<f64> {
                        tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
                    };
                    // Running statistics and numbers of batches too.
                    assert_equal(&values(&a[name]), &values(tensor), 1e-9);
                }
            }
        }
    }
}

#[test]
fn two_ranks_in_two_parts_each_equal_one_process_in_four_parts() {
    let (samples, method) = (4, method());
    let mut alone = clsa(1, &method, Arc::new(SingleProcess));
    alone.parts = 4;
    alone.step(&views(2 * samples, 0), 0.05).unwrap();
    let ranks = on_two_ranks(|communicator| {
        let rank = communicator.rank();
        let mut clsa = clsa(1, &method, Arc::new(communicator));
        clsa.parts = 2;
        clsa.step(&part(&views(2 * samples, 0), rank, samples), 0.05).unwrap();
        weights(&clsa)
    });
    for rank_weights in ranks {
        assert_equal(&rank_weights, &weights(&alone), 1e-9);
    }
}

#[test]
fn a_batch_that_its_parts_do_not_divide_is_refused_by_both_numbers() {
    for parts in [0, 3] {
        let mut clsa = clsa(1, &method(), Arc::new(SingleProcess));
        clsa.parts = parts;
        let error = clsa.step(&views(8, 0), 0.05).unwrap_err();
        assert_eq!(error.to_string(), format!("a batch of 8 samples cannot be computed in {parts} equal parts"));
        assert!(error.is_request());
    }
}

#[test]
fn views_of_other_images_than_the_key_view_is_of_are_refused_and_nothing_is_done() {
    for others in [7, 9] {
        for is_strong in [false, true] {
            let mut views = views(8, 0);
            let view = if is_strong { &mut views.strong[0] } else { &mut views.weak[1] };
            *view = images(others, 1);
            let mut clsa = clsa(1, &method(), Arc::new(SingleProcess));
            let before = (weights(&clsa), clsa.bank.pointer());
            let error = clsa.step(&views, 0.05).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("a view of shape [{others}, 3, 8, 8] in a batch of 8")),
                "{error}"
            );
            assert!(error.is_request());
            assert_eq!((weights(&clsa), clsa.bank.pointer()), before);
        }
    }
}

#[test]
fn batch_norm_splits_change_the_result() {
    let loss = |splits| clsa(splits, &method(), Arc::new(SingleProcess)).step(&views(8, 0), 0.05).unwrap().loss;
    assert_ne!(loss(1), loss(2));
}

#[test]
fn without_alpha_the_strong_views_leave_the_weights_alone() {
    let method = MethodConfig { alpha: 0.0, ..method() };
    let mut with = clsa(1, &method, Arc::new(SingleProcess));
    let mut without = clsa(1, &method, Arc::new(SingleProcess));
    with.step(&views(6, 0), 0.05).unwrap();
    without.step(&Views { strong: Vec::new(), ..views(6, 0) }, 0.05).unwrap();
    assert_equal(&weights(&with), &weights(&without), 1e-12);
}

#[test]
fn strong_views_in_info_nce_count_as_weak_ones() {
    let ablation = MethodConfig { strong_loss: StrongLoss::InfoNce, ..method() };
    let Views { key, mut weak, mut strong, bytes } = views(6, 0);
    let ablated = clsa(1, &ablation, Arc::new(SingleProcess)).step(&views(6, 0), 0.05).unwrap();
    weak.append(&mut strong);
    let weak_only =
        clsa(1, &method(), Arc::new(SingleProcess)).step(&Views { key, weak, strong, bytes }, 0.05).unwrap();
    assert!((ablated.loss - weak_only.loss).abs() < 1e-12);
    assert_eq!(ablated.ddm, 0.0);
}

#[test]
fn the_symmetric_loss_is_both_directions() {
    let symmetric = MethodConfig { symmetric: true, momentum: 0.0, ..method() };
    let plain = MethodConfig { momentum: 0.0, ..method() };
    // With momentum 0 the key encoder equals the query encoder, so the other direction can be written as a plain step
    // whose key view is the first weak view and whose weak views are the others and the key view. ShuffleBN draws the same
    // permutation in each of the three.
    for splits in [1, 2] {
        let step = |method: &MethodConfig, views: &Views| {
            let mut clsa = clsa(splits, method, Arc::new(SingleProcess));
            let report = clsa.step(views, 0.05).unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let gradients: Vec<Vec<f64>> = clsa.gradients.iter().map(|gradient| flat(gradient.unwrap())).collect();
            (report, gradients.concat(), flat(clsa.bank.rows()))
        };
        let (total, total_gradient, bank) = step(&symmetric, &views(6, 0));
        let (one, one_gradient, bank_of_one) = step(&plain, &views(6, 0));
        let Views { key, weak, strong, bytes } = views(6, 0);
        let turned = Views { key: weak[0].clone(), weak: vec![weak[1].clone(), key], strong, bytes };
        let (other, other_gradient, bank_of_other) = step(&plain, &turned);
        assert!((total.loss - one.loss - other.loss).abs() < 1e-9);
        assert!((total.ddm - one.ddm - other.ddm).abs() < 1e-9);
        let sum: Vec<f64> = one_gradient.iter().zip(&other_gradient).map(|(a, b)| a + b).collect();
        assert_equal(&total_gradient, &sum, 1e-9);
        // The keys of the key view enter the bank, not those of the first weak view.
        assert_equal(&bank, &bank_of_one, 1e-12);
        assert_ne!(bank, bank_of_other);
        // With both, those of the first weak view come before.
        let (both, _, bank_of_both) =
            step(&MethodConfig { bank_keys: BankKeys::Both, ..symmetric.clone() }, &views(6, 0));
        assert_eq!(both.loss, total.loss);
        let entered = 6 * DIM;
        let expected = [&bank_of_other[..entered], &bank_of_one[..entered], &bank_of_one[2 * entered..]].concat();
        assert_equal(&bank_of_both, &expected, 1e-12);
    }
}

#[test]
fn a_view_that_is_not_finite_is_named_and_changes_neither_weights_nor_bank() {
    let broken = |images: &Tensor| (images * f64::NAN).unwrap();
    type Of = fn(&mut Views) -> &mut Tensor;
    let cases: [(&str, Of); 3] = [
        ("the embedding of strong view 0 is not finite", |views| &mut views.strong[0]),
        ("the embedding of weak view 1 is not finite", |views| &mut views.weak[1]),
        ("the key of key view is not finite", |views| &mut views.key),
    ];
    for (message, view) in cases {
        let mut clsa = clsa(1, &method(), Arc::new(SingleProcess));
        clsa.step(&views(6, 0), 0.05).unwrap();
        let query = |clsa: &Clsa| -> Vec<f64> {
            let flat = |p: &clsa_model::Parameter| p.var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            clsa.pair.query.parameters().iter().flat_map(flat).collect()
        };
        let (before, pointer) = (query(&clsa), clsa.bank.pointer());
        let mut next = views(6, 1);
        let place = view(&mut next);
        *place = broken(place);
        assert_eq!(clsa.step(&next, 0.05).unwrap_err().to_string(), message);
        assert_eq!(before, query(&clsa));
        assert_eq!(clsa.bank.pointer(), pointer);
    }
}

#[test]
fn a_rank_that_meets_a_value_that_is_not_finite_stops_all_ranks() {
    let (sender, receiver) = mpsc::channel();
    for communicator in ThreadRank::group(2) {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let rank = communicator.rank();
            let mut clsa = clsa(1, &method(), Arc::new(communicator));
            let mut views = part(&views(8, 0), rank, 4);
            if rank == 1 {
                views.weak[1] = (&views.weak[1] * f64::NAN).unwrap();
            }
            sender.send((rank, clsa.step(&views, 0.05))).unwrap();
        });
    }
    for _ in 0..2 {
        match receiver.recv_timeout(Duration::from_secs(60)).expect("a rank waits for the other") {
            (_, Err(error @ TrainError::NotFiniteOnRank { rank: 1, .. })) => {
                assert_eq!(error.to_string(), "rank 1: the embedding of weak view 1 is not finite");
            }
            (rank, result) => panic!("rank {rank} ends with {result:?}"),
        }
    }
}

#[test]
fn a_step_without_weak_views_is_an_error() {
    for symmetric in [false, true] {
        let mut clsa = clsa(1, &MethodConfig { symmetric, ..method() }, Arc::new(SingleProcess));
        let error = clsa.step(&Views { weak: vec![], ..views(6, 0) }, 0.05).unwrap_err();
        assert!(error.to_string().contains("at least one weak view"), "{error}");
    }
}
