//! A run from its first batch to its last: data in, steps, records, checkpoints, k-NN.

use crate::checkpoint::{self, Checkpoint, Position};
use crate::communicator::SingleProcess;
use crate::config::Config;
use crate::method::{Clsa, NotFinite};
use crate::metrics::{Metrics, Record};
use crate::monitor::KnnMonitor;
use crate::optimizer::{MomentumSgd, cosine};
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use crate::view_batch::MakeViews;
use anyhow::{Context, Result};
use candle_core::{DType, Device};
use clsa_data::{Dataset, Loader, LoaderConfig};
use clsa_loss::MemoryBank;
use clsa_model::MomentumPair;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// All epochs are done; the k-NN accuracies before and after, where they were measured.
    Finished {
        /// Percent, of the untrained encoder.
        before: Option<f64>,
        /// Percent, of the trained encoder.
        after: Option<f64>,
    },
    /// It was asked to stop and wrote this checkpoint.
    Stopped(PathBuf),
}

/// Data of a run.
pub struct Datasets {
    /// Images to train on.
    pub train: Arc<dyn Dataset>,
    /// Images to test the k-NN monitor on; none where the source has no test split or no labels.
    pub test: Option<Arc<dyn Dataset>>,
}

/// A run that is ready to go.
pub struct Trainer {
    config: Config,
    run: RunFolder,
    device: Device,
    clsa: Clsa,
    loader: Loader<MakeViews>,
    monitor: Option<KnnMonitor>,
    metrics: Metrics,
    position: Position,
}

impl Trainer {
    /// Builds encoders, bank, optimiser and loader, and where a checkpoint is given puts them into its state. Where none
    /// is given, the run is new, and its folder is made when all of these are.
    ///
    /// # Errors
    /// The data are too few, the checkpoint does not fit, or the run folder cannot be written.
    pub fn new(
        config: Config,
        run: RunFolder,
        data: Datasets,
        device: Device,
        threads: usize,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self> {
        let seed = config.train.seed;
        let clsa = build(&config, &device)?;
        let loader = LoaderConfig {
            batch_size: config.train.batch_size,
            seed,
            threads,
            prefetch: config.data.prefetch,
            shuffle: true,
            shuffle_buffer: (config.data.shuffle_buffer > 0).then_some(config.data.shuffle_buffer),
            drop_last: true,
            on_error: config.data.on_error,
            max_bad_fraction: config.data.max_bad_fraction,
            ..LoaderConfig::default()
        };
        let views = MakeViews { plan: config.views.clone(), seed };
        let loader = Loader::new(data.train.clone(), Arc::new(views), loader)?;
        let monitor = match &data.test {
            Some(test) if config.knn.every > 0 => Some(KnnMonitor::new(&config, data.train, test.clone())?),
            _ => None,
        };
        if checkpoint.is_none() {
            run.create(&config)?;
        }
        let position = checkpoint.map_or(Position::default(), |c| c.position);
        let metrics = Metrics::open(&run.path, position.step)?;
        let mut trainer = Self { config, run, device, clsa, loader, monitor, metrics, position };
        if let Some(checkpoint) = checkpoint {
            checkpoint.restore(&mut trainer.clsa)?;
            trainer.run.drop_checkpoints_after(position.step)?;
        }
        Ok(trainer)
    }

    /// Trains to the end, or until `stop` is set: then the step is finished and a checkpoint written.
    ///
    /// # Errors
    /// A loss that is not finite, more bad images than allowed, or a disk that is full. The checkpoints stay.
    pub fn run(mut self, stop: &AtomicBool) -> Result<End> {
        let epochs = self.config.train.epochs;
        let batches = self.loader.batches_per_epoch();
        let mut progress = Progress::new("step", self.position.step, epochs * batches as u64);
        let before = if self.position.step == 0 { self.evaluate(&progress)? } else { None };
        let mut after = None;
        while self.position.epoch < epochs {
            if let Some(checkpoint) = self.epoch(stop, &mut progress)? {
                progress.finish();
                return Ok(End::Stopped(checkpoint));
            }
            let done = self.position.epoch;
            if done.is_multiple_of(self.config.checkpoint.every) || done == epochs {
                self.checkpoint()?;
            }
            if done == epochs || (self.config.knn.every > 0 && done.is_multiple_of(self.config.knn.every)) {
                after = self.evaluate(&progress)?;
            }
        }
        progress.finish();
        Ok(End::Finished { before, after })
    }

    /// The rest of an epoch. Gives a checkpoint if the run was asked to stop.
    fn epoch(&mut self, stop: &AtomicBool, progress: &mut Progress) -> Result<Option<PathBuf>> {
        let epoch = self.position.epoch;
        let lr = cosine(self.config.optim.lr, epoch, self.config.train.epochs);
        let batches = self.loader.batches_per_epoch();
        let loader = &self.loader;
        let mut source = loader.epoch(epoch, self.position.batch);
        loop {
            let start = Instant::now();
            let Some(batch) = source.next() else { break };
            let batch = batch?;
            let samples = batch.samples.len();
            let views = batch.to_tensors(&self.config.views, samples, &self.device)?;
            let wait = batch.wait.as_secs_f64();
            drop(batch);
            let report = self.clsa.step(&views, lr).map_err(|e| at_fault(e, self.position.step + 1, lr))?;
            let seconds = start.elapsed().as_secs_f64();
            self.position.step += 1;
            self.position.batch += 1;
            let images_per_s = samples as f64 / seconds;
            self.metrics.write(&Record::Step {
                step: self.position.step,
                epoch,
                lr,
                loss: report.loss,
                contrastive: report.contrastive,
                ddm: report.ddm,
                acc1: report.acc1,
                images_per_s,
                data_wait_s: wait,
            })?;
            progress.update(
                self.position.step,
                &format!(
                    "loss {:.3} (contrastive {:.3}, ddm {:.3}) lr {lr:.4} {images_per_s:.0} images/s",
                    report.loss, report.contrastive, report.ddm
                ),
            );
            let every = self.config.checkpoint.every_steps;
            let stopped = stop.load(Ordering::Relaxed);
            let last = self.position.batch == batches;
            if !last && (stopped || (every > 0 && self.position.step.is_multiple_of(every))) {
                let path = save(&self.run, &self.clsa, &self.config, self.position)?;
                if stopped {
                    return Ok(Some(path));
                }
            }
        }
        drop(source);
        self.position.epoch += 1;
        self.position.batch = 0;
        let unfinished = self.position.epoch < self.config.train.epochs;
        if stop.load(Ordering::Relaxed) && unfinished { Ok(Some(self.checkpoint()?)) } else { Ok(None) }
    }

    fn checkpoint(&self) -> Result<PathBuf> {
        save(&self.run, &self.clsa, &self.config, self.position)
    }

    /// The k-NN accuracy of the query encoder, percent, recorded and shown.
    fn evaluate(&mut self, progress: &Progress) -> Result<Option<f64>> {
        let Some(monitor) = &mut self.monitor else { return Ok(None) };
        let result = monitor.evaluate(&self.clsa.pair.query, &|warning| progress.line(warning))?;
        let (step, epoch) = (self.position.step, self.position.epoch);
        self.metrics.write(&Record::Knn { step, epoch, top1: result.top1, top5: result.top5 })?;
        progress.line(&format!("epoch {epoch}: k-NN accuracy {:.1} %", result.top1));
        Ok(Some(result.top1))
    }
}

/// Encoders, bank and optimiser as a configuration describes them.
///
/// # Errors
/// A value is out of range.
pub fn build(config: &Config, device: &Device) -> Result<Clsa> {
    let (method, seed) = (&config.method, config.train.seed);
    let pair = MomentumPair::new(&config.model, config.compute.encoders(), method.momentum, seed, device)?;
    let dtype = config.compute.bank_dtype();
    let bank = MemoryBank::random(method.bank, config.model.dim, seed, dtype, device)
        .with_context(|| format!("method.bank = {}: no such bank can be made", method.bank))?;
    // Some devices hold bf16 but do not compute with it: better known now than at the first step.
    (bank.rows().narrow(0, 0, 1).and_then(|row| row.to_dtype(DType::F32)))
        .with_context(|| format!("compute.bank = {}: {device:?} does not compute with it; use f32", dtype.as_str()))?;
    let optimizer = MomentumSgd::new(pair.query.parameters(), config.optim.momentum, config.optim.weight_decay)?;
    Ok(Clsa::new(pair, bank, optimizer, method, Box::new(SingleProcess), seed))
}

fn save(run: &RunFolder, clsa: &Clsa, config: &Config, position: Position) -> Result<PathBuf> {
    Ok(checkpoint::save(&run.checkpoints(), clsa, config, position, config.checkpoint.keep)?)
}

fn at_fault(error: anyhow::Error, step: u64, lr: f64) -> anyhow::Error {
    if error.is::<NotFinite>() {
        error.context(format!(
            "training stopped at step {step} with learning rate {lr}; resume from the last checkpoint with a lower optim.lr"
        ))
    } else {
        error.context(format!("step {step}"))
    }
}

/// Checks that a batch fits the data set and that images are large enough, before anything is built.
///
/// # Errors
/// One sentence that names the key and what to do.
pub fn check_data(config: &Config, train: &dyn Dataset) -> Result<()> {
    let n = train.len();
    let batch = config.train.batch_size;
    anyhow::ensure!(
        n >= batch,
        "train.batch_size = {batch}: the data set {} has only {n} training images; use a smaller batch",
        config.data.source
    );
    if config.data.allow_upscaling {
        return Ok(());
    }
    // A probe over the whole set: its median decides, so that a few small images do no harm.
    let probes = n.min(33);
    let mut sides: Vec<u32> =
        (0..probes).filter_map(|i| train.dimensions(i * n / probes).ok()).map(|(w, h)| w.min(h)).collect();
    sides.sort_unstable();
    let largest = config.views.views().map(|view| view.size).max().unwrap_or(0);
    let median = *sides
        .get(sides.len() / 2)
        .with_context(|| format!("data.source = {}: none of the images looked at could be read", config.data.source))?;
    anyhow::ensure!(
        median >= largest,
        "views: a view of {largest} pixels is larger than the images of {} (short side {median}); use a preset for \
         images of that size, or set data.allow_upscaling=true",
        config.data.source
    );
    Ok(())
}
