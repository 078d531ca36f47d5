//! Ranks with a GPU each.

use crate::steps::{clsa_of, clsa_of_width, state, views};
use crate::{difference, f64s, gpu};
use candle_core::{Device, Result, Tensor};
use clsa_model::{Backend, Compute, Precision};
use clsa_train::{Communicator, ImageBytes, PendingMean, SingleProcess, Views};
use std::sync::Arc;

/// The first of two ranks, whose other one has the same tensors: what only several ranks do is done on one GPU.
struct Twice<C>(C);

impl<C: Communicator> Communicator for Twice<C> {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        2
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let all = self.0.all_gather(tensor)?;
        Tensor::cat(&[&all, &all], 0)
    }

    fn begin_mean(&self, values: Tensor) -> Result<PendingMean> {
        self.0.begin_mean(values)
    }
}

#[test]
fn one_rank_over_nccl_has_the_bits_of_one_process() {
    let Some(gpu) = gpu() else { return };
    let nccl = clsa_train::Nccl::join(&gpu, "", 0, 1, "127.0.0.1:0", std::time::Duration::from_secs(60)).unwrap();
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute { backend: Backend::Auto, precision, bn_splits: 2 };
        let run = |communicator: Arc<dyn Communicator>| {
            let mut clsa = clsa_of(compute, &gpu, communicator);
            let losses: Vec<f64> = (0..4).map(|i| clsa.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
            (losses, state(&clsa))
        };
        // The images of ShuffleBN and the keys go through NCCL.
        let (alone, over_nccl) = (run(Arc::new(SingleProcess)), run(Arc::new(nccl.clone())));
        assert_eq!(alone.0, over_nccl.0);
        assert!(alone.1 == over_nccl.1, "the states differ by {:e}", difference(&alone.1, &over_nccl.1));
        let step = |as_bytes: bool| {
            let pixels: Vec<u8> = (0..8 * 32 * 32 * 3).map(|i| (i * i % 251) as u8).collect();
            let pixels = Tensor::from_vec(pixels, (8, 32, 32, 3), &gpu).unwrap();
            let tables = clsa_augment::Normalize::IMAGENET.tables().concat();
            let tables = Tensor::from_vec(tables, (3, 256), &gpu).unwrap();
            let bytes = ImageBytes { pixels: pixels.clone(), tables };
            let key = bytes.normalized(&pixels).unwrap();
            let views = Views { key, bytes: Vec::from_iter(as_bytes.then_some(bytes)), ..views(&gpu, 0.0) };
            let mut clsa = clsa_of(compute, &gpu, Arc::new(nccl.clone()));
            (clsa.step(&views, 0.05).unwrap().loss, state(&clsa))
        };
        assert!(step(true) == step(false), "the images of ShuffleBN have other bits as bytes");
    }
    for device in [&gpu, &Device::Cpu] {
        let values = Tensor::arange(0f32, 5000.0, device).unwrap();
        let rows = values.reshape((50, 10, 10)).unwrap();
        let order = clsa_train::Shuffle::new(50, 1, 1).order;
        let places = Tensor::from_slice(&order, 50, device).unwrap();
        assert_eq!(f64s(&nccl.all_gather(&rows).unwrap()), f64s(&rows));
        let permuted = nccl.permute(&rows, &order).unwrap();
        assert_eq!(f64s(&permuted), f64s(&rows.index_select(&places, 0).unwrap()));
        assert_eq!(f64s(&nccl.begin_mean(values.clone()).unwrap().wait().unwrap()), f64s(&values));
    }
}

#[test]
fn gradients_that_travel_in_buckets_over_nccl_keep_their_bits() {
    let Some(gpu) = gpu() else { return };
    let nccl = clsa_train::Nccl::join(&gpu, "", 0, 1, "127.0.0.1:0", std::time::Duration::from_secs(60)).unwrap();
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute { backend: Backend::Auto, precision, bn_splits: 1 };
        let run = |communicator: Arc<dyn Communicator>| {
            // Wide enough that gradients fill a bucket alone, and that several buckets travel.
            let mut clsa = clsa_of_width(1.0, compute, &gpu, communicator);
            let losses: Vec<f64> = (0..4).map(|i| clsa.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
            (losses, state(&clsa))
        };
        let (alone, over_nccl) = (run(Arc::new(Twice(SingleProcess))), run(Arc::new(Twice(nccl.clone()))));
        assert_eq!(alone.0, over_nccl.0);
        assert!(alone.1 == over_nccl.1, "the states differ by {:e}", difference(&alone.1, &over_nccl.1));
    }
}

#[test]
fn two_gpus_equal_one_with_two_batch_norm_groups() {
    let Some(gpu) = gpu() else { return };
    if clsa_cuda::device_count().unwrap() < 2 {
        eprintln!("not tested on two GPUs: this machine has one GPU");
        return;
    }
    let compute = |bn_splits| Compute { backend: Backend::Auto, precision: Precision::F32, bn_splits };
    let mut alone = clsa_of(compute(2), &gpu, Arc::new(SingleProcess));
    let losses: Vec<f64> = (0..4).map(|i| alone.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ranks: Vec<_> = (0..2)
        .map(|rank| {
            std::thread::spawn(move || {
                let gpu = clsa_cuda::open(rank).unwrap();
                let patience = std::time::Duration::from_secs(60);
                let nccl = clsa_train::Nccl::join(&gpu, "", rank, 2, &format!("127.0.0.1:{port}"), patience).unwrap();
                let mut clsa = clsa_of(compute(1), &gpu, Arc::new(nccl));
                let part = |images: &Tensor| images.narrow(0, 4 * rank, 4).unwrap();
                let step = |i| {
                    let Views { key, weak, strong, bytes } = views(&gpu, f64::from(i));
                    let parts = |images: Vec<Tensor>| images.iter().map(part).collect();
                    let views = Views { key: part(&key), weak: parts(weak), strong: parts(strong), bytes };
                    clsa.step(&views, 0.05).unwrap().loss
                };
                let losses: Vec<f64> = (0..4).map(step).collect();
                (losses, state(&clsa))
            })
        })
        .collect();
    let ranks: Vec<_> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
    assert_eq!(ranks[0].0, ranks[1].0);
    assert!(ranks[0].1 == ranks[1].1, "the ranks differ by {:e}", difference(&ranks[0].1, &ranks[1].1));
    for (shared, alone) in ranks[0].0.iter().zip(&losses) {
        assert!((shared - alone).abs() < 1e-4 * alone.abs(), "{shared} and {alone}");
    }
}
