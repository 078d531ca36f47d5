//! Measurements of the code that training runs.

use crate::communicator::SingleProcess;
use crate::config::MethodConfig;
use crate::method::{Clsa, Views};
use crate::optimizer::MomentumSgd;
use crate::view_batch::MakeViews;
use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor, Var};
use clsa_augment::ViewPlan;
use clsa_data::{Sample, Transform};
use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
use clsa_model::{Compute, ModelConfig, MomentumPair, Precision};
use rayon::prelude::*;
use serde::Serialize;
use std::time::Instant;

/// One training step on random views.
pub struct StepBench {
    /// The encoders' shape.
    pub model: ModelConfig,
    /// How they are computed.
    pub compute: Compute,
    /// Images in a batch.
    pub batch: usize,
    /// Side of the key view, pixels.
    pub key: usize,
    /// Sides of the weak views, pixels.
    pub weak: Vec<usize>,
    /// Sides of the strong views, pixels.
    pub strong: Vec<usize>,
    /// Size of the bank.
    pub bank: usize,
    /// Measured steps.
    pub steps: usize,
}

/// What a step takes.
#[derive(Debug, Serialize)]
pub struct StepTime {
    work: &'static str,
    arch: &'static str,
    batch: usize,
    precision: Precision,
    median_s: f64,
    min_s: f64,
    /// Highest resident memory of the process, MB; none where the system does not say.
    peak_rss_mb: Option<f64>,
}

impl StepBench {
    /// Measures after one step that is not counted.
    ///
    /// # Errors
    /// A size does not fit the model.
    pub fn run(&self, device: &Device) -> Result<StepTime> {
        let method = MethodConfig { bank: self.bank, ..MethodConfig::default() };
        let pair = MomentumPair::new(&self.model, self.compute, method.momentum, 0, device)?;
        let bank = MemoryBank::random(self.bank, self.model.dim, 0, DType::F32, device)?;
        let optimizer = MomentumSgd::new(pair.query.parameters(), 0.9, 1e-4)?;
        let mut clsa = Clsa::new(pair, bank, optimizer, &method, Box::new(SingleProcess), 0);
        let image = |side: &usize| -> candle_core::Result<Tensor> {
            // Channels-last in memory, as the loader makes them.
            Tensor::randn(0f32, 1f32, (self.batch, *side, *side, 3), device)?.permute((0, 3, 1, 2))
        };
        let images = |sides: &[usize]| sides.iter().map(image).collect::<candle_core::Result<Vec<_>>>();
        let views = Views { key: image(&self.key)?, weak: images(&self.weak)?, strong: images(&self.strong)? };
        let times = measure(self.steps, || clsa.step(&views, 0.03).map(drop))?;
        Ok(StepTime {
            work: "step",
            arch: self.model.arch.name(),
            batch: self.batch,
            precision: self.compute.precision,
            median_s: times[times.len() / 2],
            min_s: times[0],
            peak_rss_mb: peak_rss_mb().ok(),
        })
    }
}

/// The loss on random unit embeddings, forward and backward.
pub struct LossBench {
    /// Rows of each view.
    pub batch: usize,
    /// Number of weak views.
    pub weak: usize,
    /// Number of strong views.
    pub strong: usize,
    /// Size of the bank.
    pub bank: usize,
    /// Size of the embeddings.
    pub dim: usize,
    /// Measured steps.
    pub steps: usize,
    /// Storage of the bank.
    pub precision: Precision,
}

/// What the loss takes.
#[derive(Debug, Serialize)]
pub struct LossTime {
    work: &'static str,
    batch: usize,
    weak: usize,
    strong: usize,
    bank: usize,
    precision: Precision,
    median_s: f64,
    min_s: f64,
    /// Highest resident memory of the process during the passes, less that with all inputs in place, MB; none where the
    /// system does not say.
    extra_peak_mb: Option<f64>,
}

impl LossBench {
    /// Measures after one pass that is not counted.
    ///
    /// # Errors
    /// A size is zero.
    pub fn run(&self, device: &Device) -> Result<LossTime> {
        let dtype = if self.precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
        let bank = MemoryBank::random(self.bank, self.dim, 1, dtype, device)?;
        let unit = || -> candle_core::Result<Tensor> {
            let rows = Tensor::randn(0f32, 1f32, (self.batch, self.dim), device)?;
            rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
        };
        let views = |n: usize| -> candle_core::Result<Vec<Tensor>> {
            (0..n).map(|_| Ok(Var::from_tensor(&unit()?)?.into_inner())).collect()
        };
        let (keys, weak, strong) = (unit()?, views(self.weak)?, views(self.strong)?);
        let candidates = Candidates { keys: &keys, bank: Some(&bank), first_positive: 0 };
        let loss = ClsaLoss::default();
        let before = peak_rss_from_now_mb();
        let times = measure(self.steps, || {
            let output = loss.forward(&weak, &strong, candidates)?;
            output.loss.backward()?;
            Ok(())
        })?;
        let extra_peak_mb = match before.and_then(|before| Ok(peak_rss_mb()? - before)) {
            Ok(extra) => Some(extra),
            Err(error) => {
                eprintln!(
                    "note: extra_peak_mb is unknown, because building the bank cannot be left out of it: {error:#}"
                );
                None
            }
        };
        Ok(LossTime {
            work: "loss",
            batch: self.batch,
            weak: self.weak,
            strong: self.strong,
            bank: self.bank,
            precision: self.precision,
            median_s: times[times.len() / 2],
            min_s: times[0],
            extra_peak_mb,
        })
    }
}

/// JPEG bytes to normalised views.
pub struct AugmentBench {
    /// The files' bytes.
    pub files: Vec<Vec<u8>>,
    /// The views.
    pub plan: ViewPlan,
    /// Images to make views of, the files in turn.
    pub images: usize,
}

/// What augmentation takes.
#[derive(Debug, Serialize)]
pub struct AugmentRate {
    work: &'static str,
    views: usize,
    threads: usize,
    images_per_s: f64,
}

impl AugmentBench {
    /// Decodes and augments, on all threads of the pool.
    ///
    /// # Errors
    /// A file is not an image.
    pub fn run(&self) -> Result<AugmentRate> {
        let views = MakeViews { plan: self.plan.clone(), seed: 0 };
        let one = |index: usize| -> Result<()> {
            thread_local! {
                static BATCH: std::cell::RefCell<Option<crate::view_batch::ViewBatch>> = const { std::cell::RefCell::new(None) };
            }
            let image =
                clsa_data::decode(&self.files[index % self.files.len()], "the file", &clsa_data::Limits::default())?;
            BATCH.with_borrow_mut(|batch| {
                let batch = batch.get_or_insert_with(|| views.allocate(1));
                let slot = views.slots(batch).pop().context("a batch of one has one slot")?;
                let sample = Sample { image: &image, index, epoch: 0 };
                views.apply(&sample, slot).map_err(|e| anyhow::anyhow!("{e}"))
            })
        };
        (0..self.files.len().min(8)).into_par_iter().try_for_each(one)?;
        let start = Instant::now();
        (0..self.images).into_par_iter().try_for_each(one)?;
        Ok(AugmentRate {
            work: "augment",
            views: self.plan.views().count(),
            threads: rayon::current_num_threads(),
            images_per_s: self.images as f64 / start.elapsed().as_secs_f64(),
        })
    }
}

/// Images of a data set to normalised views in batches, by the loader that training uses.
pub struct LoaderBench {
    /// The images.
    pub dataset: std::sync::Arc<dyn clsa_data::Dataset>,
    /// The views.
    pub plan: ViewPlan,
    /// Threads that read, decode and make views.
    pub threads: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Images to load, in as many epochs as that takes.
    pub images: usize,
}

/// What the loader takes.
#[derive(Debug, Serialize)]
pub struct LoaderRate {
    work: &'static str,
    views: usize,
    threads: usize,
    batch: usize,
    images: usize,
    images_per_s: f64,
}

impl LoaderBench {
    /// Loads the batches; the consumer does nothing with them.
    ///
    /// # Errors
    /// A setting is out of range, or the loader stops at bad images.
    pub fn run(self) -> Result<LoaderRate> {
        let config = clsa_data::LoaderConfig { batch_size: self.batch, threads: self.threads, ..Default::default() };
        let views = self.plan.views().count();
        let transform = std::sync::Arc::new(MakeViews { plan: self.plan, seed: 0 });
        let loader = clsa_data::Loader::new(self.dataset, transform, config)?;
        let start = Instant::now();
        let mut images = 0;
        for batch in (0..).flat_map(|epoch| loader.epoch(epoch, 0)) {
            images += batch?.samples.len();
            if images >= self.images {
                break;
            }
        }
        let images_per_s = images as f64 / start.elapsed().as_secs_f64();
        Ok(LoaderRate { work: "loader", views, threads: self.threads, batch: self.batch, images, images_per_s })
    }
}

/// Seconds of each of `steps` calls after one that is not counted, sorted.
fn measure(steps: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    call()?;
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Makes the highest resident memory what it is now, so that the making of the inputs does not count, and returns it, MB.
fn peak_rss_from_now_mb() -> Result<f64> {
    let path = "/proc/self/clear_refs";
    std::fs::write(path, "5").with_context(|| format!("{path} does not take a 5"))?;
    peak_rss_mb()
}

/// The highest resident memory of the process so far, MB (2^20 bytes), as Linux counts it.
fn peak_rss_mb() -> Result<f64> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).context(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status lacks VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM")?;
    Ok(kib / 1024.0)
}
