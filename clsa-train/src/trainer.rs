//! A run from its first batch to its last: data in, steps, records, checkpoints, k-NN.

use crate::agreement::{any, gather_numbers, together};
use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::feed::Fed;
use crate::first_batch::record_views;
use crate::initial::{InitialWeights, Taken};
use crate::knn_monitor::KnnMonitor;
use crate::label_free_monitor::LabelFreeMonitor;
use crate::method::Clsa;
use crate::probe_monitor::ProbeMonitor;
use crate::projector::Projector;
use crate::recorded::Recorded;
use crate::same_everywhere::{check_request, check_state};
use crate::setup::{build, build_around};
use crate::view_loader::ViewLoader;
use candle_core::{Device, Tensor};
use clsa_data::{Dataset, LoaderConfig};
use clsa_model::MomentumPair;
use clsa_run::{
    AccuracyRecord, Checkpoint, CheckpointConfig, Config, DataIdentity, LabelFreeRecord, LockedRun, Metrics,
    MetricsWriter, OptimConfig, Position, Progress, RanksRecord, Record, StepRecord, TrainingState,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// All epochs are done; the k-NN accuracies before and after, where they were measured.
    Finished {
        /// Percent, of the encoder that training begins with.
        before: Option<f64>,
        /// Percent, of the trained encoder.
        after: Option<f64>,
    },
    /// The epochs up to `train.stop_epoch` are done, and others are left. The first rank wrote this checkpoint; others have none.
    Paused(Option<PathBuf>),
    /// It was asked to stop. The first rank wrote this checkpoint; others have none.
    Stopped(Option<PathBuf>),
}

/// Data of a run.
pub struct Datasets {
    /// Images to train on.
    pub train: Arc<dyn Dataset>,
    /// Images to test the k-NN monitor on; none where the source has no test split or no labels.
    pub test: Option<Arc<dyn Dataset>>,
    /// Images, labeled or not, whose views the label-free monitor looks at; where there are none but those to train on, these.
    pub held_out: Option<Arc<dyn Dataset>>,
}

/// What a run is made of.
pub struct TrainerConfig {
    /// The configuration, found right by [`Config::validate`].
    pub config: Config,
    /// Encoders of an architecture of one's own on `device`, with [`Config::encoders`] and the weights to begin with; none: those that
    /// `config.model` describes. Their momentum becomes that of `config.method`. The commands and [`Trainer::begin_with`], which know
    /// `config.model` alone, load no weights of them.
    pub pair: Option<MomentumPair>,
    /// The run's folder, which the first rank needs, and no other. The trained encoders are in its newest checkpoint
    /// ([`RunFolder::newest_checkpoint`](clsa_run::RunFolder::newest_checkpoint)).
    pub run: Option<LockedRun>,
    /// The images, found large and many enough by [`check_data`](crate::check_data).
    pub data: Datasets,
    /// Where the encoders are computed.
    pub device: Device,
    /// Threads that read, decode and make views; 0: one for each core.
    pub threads: usize,
    /// The other ranks.
    pub communicator: Arc<dyn Communicator>,
}

/// Follows a run on its first rank, for example to show it.
pub trait Observer {
    /// A step is done, the `record.step`-th of `steps`.
    fn step(&mut self, record: &StepRecord, steps: u64);

    /// The k-NN monitor has evaluated the query encoder.
    fn knn(&mut self, record: &AccuracyRecord);

    /// The label-free monitor has evaluated the query encoder.
    fn label_free(&mut self, record: &LabelFreeRecord) {
        let _ = record;
    }

    /// The online probe was evaluated.
    fn probe(&mut self, record: &AccuracyRecord) {
        let _ = record;
    }

    /// Something is not as it should be, but the run goes on: one sentence.
    fn warning(&mut self, text: &str);
}

/// A run that is ready to go.
///
/// # Examples
/// ```
/// use clsa_train::candle_core::Device;
/// use clsa_train::clsa_data::{Limits, Source};
/// use clsa_train::clsa_run::{AccuracyRecord, Config, LockedRun, StepRecord};
/// use clsa_train::{Datasets, End, Observer, SingleProcess, Trainer, TrainerConfig};
/// use std::sync::{Arc, atomic::AtomicBool};
///
/// struct Shown;
///
/// impl Observer for Shown {
///     fn step(&mut self, record: &StepRecord, steps: u64) {
///         println!("step {} of {steps}: loss {:.3}", record.step, record.loss);
///     }
///
///     fn knn(&mut self, _: &AccuracyRecord) {}
///
///     fn warning(&mut self, text: &str) {
///         eprintln!("{text}");
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run");
/// let changes = ["model.width=0.25", "train={epochs=1, batch_size=8}", "method.bank=16", "knn.every=0"];
/// let config = Config::load("demo", &changes.map(str::to_owned))?;
/// config.validate()?;
/// let images: Source = "procedural:classes=2,train=16,test=4,side=32".parse()?; // or a `Dataset` of your own
/// let data = Datasets { train: images.open_splits(Limits::default())?.train, test: None, held_out: None };
/// let (run, communicator) = (Some(LockedRun::begin(&path)?), Arc::new(SingleProcess));
/// let trainer = TrainerConfig { config, pair: None, run, data, device: Device::Cpu, threads: 2, communicator };
/// let end = Trainer::new(trainer, None)?.run(&AtomicBool::new(false), &mut Shown)?;
/// assert!(matches!(end, End::Finished { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    config: Config,
    device: Device,
    clsa: Clsa,
    loader: ViewLoader,
    position: Position,
    /// The step that it goes on from, 0 at the beginning.
    begun_at: u64,
    has_test_images: bool,
    /// What the first rank alone does.
    output: Option<Output>,
}

/// What a run writes and evaluates.
struct Output {
    run: LockedRun,
    /// What the run is trained on.
    images: DataIdentity,
    metrics: MetricsWriter,
    monitor: Option<KnnMonitor>,
    label_free: Option<LabelFreeMonitor>,
    probe: Option<ProbeMonitor>,
    projector: Option<Projector>,
    /// What the run has recorded of the step that it goes on from.
    recorded: Recorded,
    /// The step that the run has gone back to, until a checkpoint takes the place of those after it.
    gone_back_to: Option<u64>,
}

impl Trainer {
    /// Builds encoders, bank, optimizer and loader, and where a checkpoint is given puts them into its state. When all of these
    /// are there, the run's configuration is written, and what it is trained on. Checkpoints and records of later steps than
    /// the one given stay until the run has written a checkpoint, and so do the configuration and the images that they are of. Where the
    /// run goes on from its newest checkpoint, records of an attempt to go back that came to none are dropped. Every rank is given the
    /// same checkpoint.
    ///
    /// # Errors
    /// The data are too few, the checkpoint does not fit, the first rank has no folder, or one that cannot be written, or ranks have been
    /// asked for different things.
    pub fn new(mut trainer: TrainerConfig, checkpoint: Option<&Checkpoint>) -> Result<Self> {
        let communicator = Arc::clone(&trainer.communicator);
        trainer.config.train.ranks = communicator.world_size();
        if communicator.world_size() > 1 {
            let images = DataIdentity::of(trainer.data.train.as_ref());
            check_request(&*communicator, &trainer.config, &images)?;
        }
        together(&*communicator, Self::build(trainer, checkpoint))
    }

    fn build(trainer: TrainerConfig, checkpoint: Option<&Checkpoint>) -> Result<Self> {
        let TrainerConfig { config, pair, run, data, device, threads, communicator } = trainer;
        let seed = config.train.seed;
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
            rank: communicator.rank(),
            world_size: communicator.world_size(),
        };
        let run = run.filter(|_| communicator.is_first());
        if run.is_none() && communicator.is_first() {
            let reason = "the first rank has no folder for what it trains; give it one that was begun".to_owned();
            return Err(TrainError::Unfit { key: "run".to_owned(), reason });
        }
        let mut clsa = match pair {
            Some(pair) => build_around(pair, &config, communicator)?,
            None => build(&config, &device, communicator)?,
        };
        let loader = ViewLoader::open(data.train.clone(), &config.views, loader, &device)?;
        let position = checkpoint.map_or(Position::default(), |c| c.position);
        let has_test_images = data.test.is_some();
        let probe = (run.is_some() && config.probe.lr > 0.0)
            .then(|| ProbeMonitor::new(&config, &clsa.pair.query, data.train.as_ref(), data.test.clone()))
            .transpose()?;
        if let Some(checkpoint) = checkpoint {
            let communicator = &clsa.communicator;
            let (rank, ranks) = (communicator.rank(), communicator.world_size());
            clsa.bank = checkpoint.restore(state(&clsa, probe.as_ref()), rank, ranks)?;
            clsa.steps = position.step;
        }
        let output = match run {
            Some(run) => {
                let images = DataIdentity::of(data.train.as_ref());
                let held_out = data.held_out.unwrap_or_else(|| data.train.clone());
                let projector = config.knn.is_on().then(|| Projector::new(&config, held_out.clone(), run.folder()));
                let label_free = config.knn.is_on().then(|| LabelFreeMonitor::new(&config, held_out));
                let monitor = match &data.test {
                    Some(test) if config.knn.is_on() => Some(KnnMonitor::new(&config, data.train, test.clone())),
                    _ => None,
                };
                let is_newest = run.folder().checkpoints_after(position.step)? == 0;
                if is_newest {
                    write_settings(&run, &config, &images)?;
                }
                let mut metrics = MetricsWriter::open(run.folder(), position.step)?;
                if is_newest {
                    metrics.drop_detour()?;
                }
                if config.log.csv {
                    metrics.also_as_csv(run.folder())?;
                }
                let recorded = Recorded::of(&Metrics::read(&run.folder().metrics_file())?, position.step);
                let gone_back_to = checkpoint.map(|_| position.step);
                Some(Output { run, images, metrics, monitor, label_free, probe, projector, recorded, gone_back_to })
            }
            None => None,
        };
        Ok(Self { config, device, clsa, loader, position, begun_at: position.step, has_test_images, output })
    }

    /// Whether some of the evaluation of the checkpoint that the run goes on from is still to be made, because it was killed before.
    fn evaluation_is_due(&self) -> bool {
        let Position { step, epoch, batch, .. } = self.position;
        let (Some(output), true) = (&self.output, step > 0 && batch == 0) else { return false };
        let Recorded { label_free, probe, knn, .. } = output.recorded;
        let is_asked = self.config.knn.is_due(epoch) || epoch == self.config.train.last_epoch();
        // The k-NN accuracy is the last to be recorded. A probe may have begun only now.
        let is_cut_off = match output.monitor {
            Some(_) => knn.is_none(),
            None => {
                output.label_free.is_some() && !label_free || output.probe.is_some() && self.has_test_images && !probe
            }
        };
        is_asked && is_cut_off
    }

    /// Begins with weights of a file, before the first step.
    ///
    /// # Errors
    /// They are of another architecture.
    pub fn begin_with(&mut self, initial: &InitialWeights) -> Result<Taken> {
        let begun = initial.check(&self.config.model).and_then(|()| initial.load(&mut self.clsa));
        together(&*self.clsa.communicator, begun)
    }

    /// Trains to the end or to `train.stop_epoch`, or until `stop` is set: then the step is finished and a checkpoint written.
    ///
    /// # Errors
    /// A loss that is not finite, more bad images than allowed, or a disk that is full. The checkpoints stay. Where nothing is wrong but
    /// images ([`TrainError::is_of_images`]), a checkpoint is written before.
    pub fn run(mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<End> {
        let end = self.train(stop, observer);
        // Without a step of its own there is nothing to keep, and what is there stays.
        if end.as_ref().is_err_and(TrainError::is_of_images) && self.position.step > self.begun_at {
            save(&mut self.output, &self.clsa, &self.config, self.position)?;
        }
        end
    }

    fn train(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<End> {
        if self.output.is_some()
            && let Some(why) = self.clsa.pair.query.without_kernels()
        {
            observer.warning(&format!("{why}; choose another model.width or backbone"));
        }
        let (epochs, last) = (self.config.train.epochs, self.config.train.last_epoch());
        let before = if self.position.step == 0 { self.evaluate(observer)? } else { None };
        let (mut after, mut saved) = (None, None);
        if any(&*self.clsa.communicator, self.evaluation_is_due())? {
            after = self.evaluate(observer)?;
        }
        while self.position.epoch < last {
            let is_stopped = self.epoch(stop, observer)?;
            let done = self.position.epoch;
            if self.position.batch == 0 {
                self.clsa.average_statistics()?;
                // Before any checkpoint of it, which all would go on from as if they had been the same.
                if self.clsa.communicator.world_size() > 1 {
                    check_state(&*self.clsa.communicator, &self.clsa.state(), done)?;
                }
            }
            if is_stopped {
                return Ok(End::Stopped(save(&mut self.output, &self.clsa, &self.config, self.position)?));
            }
            let CheckpointConfig { every, every_steps, .. } = self.config.checkpoint;
            let is_due = every_steps > 0 && self.position.step.is_multiple_of(every_steps);
            if done.is_multiple_of(every) || is_due || done == last {
                saved = save(&mut self.output, &self.clsa, &self.config, self.position)?;
            }
            if done == last || self.config.knn.is_due(done) {
                after = self.evaluate(observer)?;
            }
        }
        if last < epochs { Ok(End::Paused(saved)) } else { Ok(End::Finished { before, after }) }
    }

    /// The rest of an epoch. Returns whether the run was asked to stop before its end.
    fn epoch(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<bool> {
        let epoch = self.position.epoch;
        self.loader.turn_to(epoch)?;
        let ViewLoader { loader, views, skipped, .. } = &self.loader;
        let (batches, epochs) = (loader.batches_per_epoch(), self.config.train.epochs);
        let steps = epochs * batches as u64;
        let (plan, feed) = (views.plan(), views.feed());
        let mut source =
            loader.epoch(epoch, self.position.batch).map(|batch| -> Result<Fed> { Ok(feed.begin(plan, batch?)?) });
        let mut ahead = None;
        let communicator = Arc::clone(&self.clsa.communicator);
        let mut is_to_stop = false;
        loop {
            let (start, waited) = (Instant::now(), communicator.waited());
            let fed = ahead.take().or_else(|| source.next());
            skipped.try_iter().for_each(|warning| observer.warning(&warning));
            // Ranks have equally many batches.
            let Some(fed) = together(&*communicator, fed.transpose())? else { break };
            if feed.is_ahead() {
                // The next batch is copied to the GPU while it works on this one.
                ahead = source.next();
            }
            let samples = fed.batch.samples.len();
            if let Some(Output { metrics, .. }) = self.output.as_mut().filter(|_| self.position.step == 0) {
                let data = loader.dataset().as_ref();
                record_views(metrics, data, plan, self.config.train.seed, &fed.batch.samples)?;
            }
            let labels = self.probe().map(|_| fed.batch.labels.clone());
            let mut views = feed.views(plan, &fed, &self.device)?;
            if communicator.world_size() > 1 {
                views.bytes = feed.bytes(&fed, if self.config.method.symmetric { 2 } else { 1 })?;
            }
            let data_wait_s = fed.batch.wait.as_secs_f64();
            // The memory of the batch goes back to the loader, unless the GPU may still copy from it.
            let copied = feed.is_ahead().then_some(fed);
            let part = self.position.batch as f64 / batches as f64;
            let at = Progress { epoch, part, epochs };
            let images = self.config.train.global_batch();
            let lr = self.config.optim.lr_at(at) * self.config.optim.lr_factor(images);
            self.clsa.pair.set_momentum(self.config.method.momentum_at(at))?;
            let report = self.clsa.step(&views, lr).map_err(|e| at_step(e, self.position.step + 1, lr))?;
            if let (Some(probe), Some(labels), Some(features)) = (self.probe(), &labels, &self.clsa.features) {
                let schedule = OptimConfig { lr: self.config.probe.lr, final_lr: 0.0, ..self.config.optim.clone() };
                probe.step(features, labels, schedule.lr_at(at))?;
            }
            drop(copied);
            let (took, waited) = (start.elapsed(), communicator.waited() - waited);
            let ranks = communicator.world_size();
            let images_per_s = (samples * ranks) as f64 / took.as_secs_f64();
            self.position.step += 1;
            self.position.batch += 1;
            let record = StepRecord {
                step: self.position.step,
                epoch,
                lr,
                loss: report.loss,
                contrastive: report.contrastive,
                ddm: report.ddm,
                acc1: report.acc1,
                images_per_s,
                data_wait_s,
            };
            if let Some(output) = &mut self.output {
                output.metrics.write(&Record::Step(record))?;
                observer.step(&record, steps);
            }
            is_to_stop = stop.load(Ordering::Relaxed);
            if ranks > 1 {
                let own = samples as f64 / took.saturating_sub(waited).max(Duration::from_micros(1)).as_secs_f64();
                let says = f64::from(u8::from(is_to_stop));
                let all = gather_numbers(&*communicator, [own, data_wait_s, waited.as_secs_f64(), says])?;
                is_to_stop = all.iter().any(|figures| figures[3] > 0.0);
                if let Some(output) = &mut self.output {
                    let of_ranks = |figure: usize| all.iter().map(|figures| figures[figure]).collect();
                    output.metrics.write(&Record::Ranks(RanksRecord {
                        step: self.position.step,
                        epoch,
                        images_per_s: of_ranks(0),
                        data_wait_s: of_ranks(1),
                        communication_s: of_ranks(2),
                    }))?;
                }
            }
            if self.position.batch == batches {
                continue;
            }
            if is_to_stop {
                return Ok(true);
            }
            let every = self.config.checkpoint.every_steps;
            if every > 0 && self.position.step.is_multiple_of(every) {
                save(&mut self.output, &self.clsa, &self.config, self.position)?;
            }
        }
        drop(source);
        self.position.epoch += 1;
        self.position.batch = 0;
        // One process also hears what came after the last step; several ranks have agreed after it.
        let is_to_stop = is_to_stop || (communicator.world_size() == 1 && stop.load(Ordering::Relaxed));
        Ok(is_to_stop && self.position.epoch < self.config.train.last_epoch())
    }

    fn probe(&self) -> Option<&ProbeMonitor> {
        self.output.as_ref()?.probe.as_ref()
    }

    /// What the monitors find of the query encoder, recorded and shown on the first rank, while the others wait; returns its
    /// k-NN accuracy there, percent.
    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<Option<f64>> {
        let evaluated = self.evaluate_alone(observer);
        together(&*self.clsa.communicator, evaluated)
    }

    fn evaluate_alone(&mut self, observer: &mut dyn Observer) -> Result<Option<f64>> {
        let Some(Output { metrics, monitor, label_free, probe, projector, recorded, .. }) = &mut self.output else {
            return Ok(None);
        };
        let (query, Position { step, epoch, .. }) = (&self.clsa.pair.query, self.position);
        let recorded = (recorded.step == step).then_some(*recorded);
        if let Some(label_free) = label_free
            && recorded.is_none_or(|recorded| !recorded.label_free)
        {
            let figures = label_free.evaluate(query, &mut |warning| observer.warning(warning))?;
            let record = LabelFreeRecord { step, epoch, figures };
            metrics.write(&Record::LabelFree(record))?;
            observer.label_free(&record);
        }
        if let Some(probe) = probe
            && recorded.is_none_or(|recorded| !recorded.probe)
            && let Some((top1, top5)) = probe.evaluate(query, &mut |warning| observer.warning(warning))?
        {
            let record = AccuracyRecord { step, epoch, top1, top5 };
            metrics.write(&Record::Probe(record))?;
            observer.probe(&record);
        }
        if let Some(projector) = projector.as_mut().filter(|_| step > 0) {
            projector.write(query, &mut |warning| observer.warning(warning))?;
        }
        let Some(monitor) = monitor else { return Ok(None) };
        if let Some(top1) = recorded.and_then(|recorded| recorded.knn) {
            return Ok(Some(top1));
        }
        let Some(result) = monitor.evaluate(query, &mut |warning| observer.warning(warning))? else { return Ok(None) };
        let record = AccuracyRecord { step, epoch, top1: result.top1, top5: result.top5 };
        metrics.write(&Record::Knn(record))?;
        observer.knn(&record);
        Ok(Some(result.top1))
    }
}

/// What a checkpoint holds.
fn state<'a>(clsa: &'a Clsa, probe: Option<&'a ProbeMonitor>) -> TrainingState<'a> {
    TrainingState { probe: probe.map_or(&[], ProbeMonitor::variables), ..clsa.state() }
}

/// Writes a checkpoint on the first rank, while the others wait. Within an epoch, ranks keep running statistics of their own, and
/// so does the file, beside their mean: a run that goes on from it ends with the bits of one that was not stopped.
fn save(output: &mut Option<Output>, clsa: &Clsa, config: &Config, position: Position) -> Result<Option<PathBuf>> {
    let communicator = &*clsa.communicator;
    let of_ranks = if position.batch > 0 { clsa.statistics_of_ranks()? } else { None };
    if of_ranks.is_some() {
        clsa.average_statistics()?;
    }
    let saved = together(communicator, save_alone(output, clsa, config, position, of_ranks.as_ref()))?;
    if let Some(of_ranks) = of_ranks {
        clsa.state().set_statistics(&of_ranks.get(communicator.rank())?)?;
    }
    Ok(saved)
}

fn save_alone(
    output: &mut Option<Output>,
    clsa: &Clsa,
    config: &Config,
    position: Position,
    statistics_of_ranks: Option<&Tensor>,
) -> Result<Option<PathBuf>> {
    let Some(Output { run, images, metrics, probe, gone_back_to, .. }) = output else { return Ok(None) };
    let folder = run.folder();
    let state = TrainingState { statistics_of_ranks, ..state(clsa, probe.as_ref()) };
    metrics.sync()?;
    let path = Checkpoint::save(&folder.checkpoints(), state, config, position)?;
    let gone_back_to = gone_back_to.take();
    if gone_back_to.is_some() {
        write_settings(run, config, images)?;
    }
    folder.prune_checkpoints(gone_back_to, position.step, config.checkpoint.keep)?;
    metrics.settle()?;
    Ok(Some(path))
}

/// Writes what a run is trained with, and on.
fn write_settings(run: &LockedRun, config: &Config, images: &DataIdentity) -> Result<()> {
    run.write_config(config)?;
    Ok(images.write(run.folder())?)
}

/// Says at which step and learning rate an error came up.
fn at_step(error: TrainError, step: u64, lr: f64) -> TrainError {
    let diverged = matches!(error, TrainError::NotFinite { .. } | TrainError::NotFiniteOnRank { .. });
    let source = Box::new(error);
    if diverged { TrainError::Diverged { step, lr, source } } else { TrainError::Step { step, source } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::second_rank::BesideSecond;
    use clsa_data::{Limits, Source};
    use serde_json::Value;

    struct Silent;

    impl Observer for Silent {
        fn step(&mut self, _: &StepRecord, _: u64) {}

        fn knn(&mut self, _: &AccuracyRecord) {}

        fn warning(&mut self, _: &str) {}
    }

    #[test]
    fn ranks_that_have_drifted_are_told_and_not_saved_where_a_stop_was_asked_for_in_the_last_step_of_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        // An epoch of one step.
        let changes = ["model.width=0.125", "train={epochs=2, batch_size=8}", "method.bank=32", "knn.every=0"];
        let config = Config::load("demo", &changes.map(str::to_owned)).unwrap();
        let images: Source = "procedural:classes=2,train=16,test=4,side=32".parse().unwrap();
        let data = Datasets { train: images.open_splits(Limits::default()).unwrap().train, test: None, held_out: None };
        // The other has been asked for the same, which is JSON, and has come to another state, which digests are of.
        let communicator = Arc::new(BesideSecond(|mut own: Vec<u8>| {
            if serde_json::from_slice::<Value>(&own).is_err() {
                own[0] ^= 1;
            }
            own
        }));
        let run = Some(LockedRun::begin(&path).unwrap());
        let trainer = TrainerConfig { config, pair: None, run, data, device: Device::Cpu, threads: 1, communicator };
        let error = Trainer::new(trainer, None).unwrap().run(&AtomicBool::new(true), &mut Silent).unwrap_err();
        assert!(matches!(error, TrainError::Drifted { epoch: 1, rank: 1, .. }), "{error}");
        assert_eq!(std::fs::read_dir(path.join("checkpoints")).unwrap().count(), 0);
    }
}
