//! The method on one page: one training step of CLSA (Wang & Qi 2021, section 3).

use crate::agreement::{gather_bytes, gather_numbers};
use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::gradient_buckets::GradientBuckets;
use crate::image_bytes::ImageBytes;
use crate::losses::{self, Loss, LossQuery, StepReport};
use crate::optimizer::Optimizer;
use crate::shuffle_bn::Shuffle;
use candle_core::Tensor;
use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
use clsa_model::{BatchInParts, Encoder, Gradients, Mode, MomentumPair, Pass};
use clsa_run::{MethodConfig, StrongLoss, TrainingState};
use std::sync::Arc;

/// The views of a batch of N images, each (N, 3, H, W) with the view's own H and W.
#[derive(Debug)]
pub struct Views {
    /// The key view.
    pub key: Tensor,
    /// The weak views, at least one.
    pub weak: Vec<Tensor>,
    /// The strong views; none for MoCo.
    pub strong: Vec<Tensor>,
    /// The key view and, for symmetric losses, the first weak view as bytes: what ranks then exchange for ShuffleBN. None: they exchange the
    /// numbers above.
    pub bytes: Vec<ImageBytes>,
}

/// Everything that training changes: both encoders, bank and optimizer.
pub struct Clsa {
    /// Query encoder θ and key encoder ξ.
    pub pair: MomentumPair,
    /// The last K keys.
    pub bank: MemoryBank,
    /// What moves θ.
    pub optimizer: Optimizer,
    /// The gradients of the last step.
    pub gradients: Gradients,
    /// The backbone's features (N, C) of the last step's first weak view, without graph: for a classifier that is trained beside.
    pub features: Option<Tensor>,
    /// Steps taken, which is also the stream of ShuffleBN.
    pub steps: u64,
    /// How many equal parts a step's batch is computed in, one after the other, so that the activations of one are in memory at a time: 1
    /// at first. Each part has the encoders' `bn_splits` groups of batch norm: the results are those of the whole batch
    /// in `parts * bn_splits` groups.
    pub parts: usize,
    /// The other ranks.
    pub communicator: Arc<dyn Communicator>,
    loss: ClsaLoss,
    method: MethodConfig,
    seed: u64,
}

impl Clsa {
    /// Puts the parts together. Of `method`, `bank`, `momentum` and `final_momentum` are not looked at: those of `bank` and `pair` count.
    /// `seed` draws ShuffleBN's permutations and is the same on all ranks.
    pub fn new(
        pair: MomentumPair,
        bank: MemoryBank,
        optimizer: Optimizer,
        method: &MethodConfig,
        communicator: Arc<dyn Communicator>,
        seed: u64,
    ) -> Self {
        let loss = ClsaLoss {
            temperature: method.temperature,
            ddm_temperature: method.ddm_temperature,
            alpha: method.alpha,
            ..ClsaLoss::default()
        };
        let gradients = Gradients::new(pair.query.parameters().len());
        Self {
            pair,
            bank,
            optimizer,
            gradients,
            features: None,
            steps: 0,
            parts: 1,
            communicator,
            loss,
            method: method.clone(),
            seed,
        }
    }

    /// One step on a batch: loss, gradients, bank and update. A GPU is waited for once, before the update.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] names the view at fault, and where there are several ranks [`TrainError::NotFiniteOnRank`] the rank too;
    /// then θ, the optimizer and the bank are as they were, though ξ may have followed θ already. Any other error is a
    /// batch of the wrong shape, one that `parts` does not divide, or a tensor operation that failed.
    pub fn step(&mut self, views: &Views, lr: f64) -> Result<StepReport> {
        let first_weak = views.weak.first().ok_or(TrainError::NoWeakView)?;
        let samples = views.key.dim(0)?;
        if self.parts == 0 || !samples.is_multiple_of(self.parts) {
            return Err(TrainError::Parts { parts: self.parts, samples });
        }
        let mut others = views.weak.iter().chain(&views.strong);
        if let Some(view) = others.find(|view| view.dims().first() != Some(&samples)) {
            return Err(TrainError::View { shape: view.dims().to_vec(), samples });
        }
        // ξ follows θ as it stands before this step's update; then the keys, without gradient, with ShuffleBN. No query depends on
        // them, so that they come first, while no activations are kept.
        self.pair.update_key()?;
        let mut keys = vec![Keys { view: "key view", rows: self.keys(&views.key, views.bytes.first())? }];
        if self.method.symmetric {
            keys.push(Keys { view: "weak view 0", rows: self.keys(first_weak, views.bytes.get(1))? });
        }
        // Queries, their losses and the backward pass; the mean of the gradients over the ranks.
        let mut gradients = std::mem::take(&mut self.gradients);
        let passes = self.passes(views, samples, &keys, &mut gradients);
        self.gradients = gradients;
        let (losses, features) = passes?;
        self.features = Some(features);
        // All numbers of the step in one copy. Nothing is updated on any rank unless they are finite on all.
        let report = self.agreed(losses::report(losses)?)?;
        // The keys of the global batch enter the bank, after the logits were formed; the optimizer moves θ.
        self.bank.push_finite(&keys[0].rows)?;
        self.optimizer.step(self.pair.query.parameters(), &self.gradients, lr, self.steps)?;
        self.steps += 1;
        Ok(report)
    }

    /// The passes of all queries, of all samples or part by part: the losses of each part, and the first weak view's features.
    fn passes(
        &self,
        views: &Views,
        samples: usize,
        keys: &[Keys],
        gradients: &mut Gradients,
    ) -> Result<(Vec<Vec<Loss>>, Tensor)> {
        gradients.clear();
        let mut statistics = self.statistics_of_parts(&self.pair.query)?;
        let parameters = self.pair.query.parameters().len();
        let several = self.communicator.world_size() > 1;
        let mut buckets = several.then(|| GradientBuckets::new(&*self.communicator, parameters));
        let (mut losses, mut features) = (Vec::new(), Vec::new());
        for part in 0..self.parts {
            // What the last backward pass has done with travels while it goes on.
            let buckets = buckets.as_mut().filter(|_| part + 1 == self.parts);
            let (of_part, features_of_part) =
                self.part(views, part * samples / self.parts, keys, gradients, buckets)?;
            losses.push(of_part);
            features.push(features_of_part);
            if let Some(statistics) = &mut statistics {
                statistics.end_part()?;
            }
        }
        statistics.map_or(Ok(()), BatchInParts::end)?;
        buckets.map_or(Ok(()), |buckets| buckets.finish(gradients))?;
        Ok((losses, joined(features)?))
    }

    /// A part of the batch, from sample `first` on: its losses, and the first weak view's features.
    fn part(
        &self,
        views: &Views,
        first: usize,
        keys: &[Keys],
        gradients: &mut Gradients,
        mut buckets: Option<&mut GradientBuckets<'_>>,
    ) -> Result<(Vec<Loss>, Tensor)> {
        let samples = views.key.dim(0)? / self.parts;
        let of_part = |images: &Tensor| images.narrow(0, first, samples);
        // Queries: every view is its own pass with its own batch statistics, weak views first, in order.
        let mut queries = Vec::new();
        for (kind, images) in [("weak", &views.weak), ("strong", &views.strong)] {
            for (i, images) in images.iter().enumerate() {
                queries.push(self.query(format!("{kind} view {i}"), &of_part(images)?)?);
            }
        }
        let features = queries[0].pass.features().clone();
        let (weak, all): (Vec<usize>, usize) = ((0..views.weak.len()).collect(), queries.len());
        let strong: Vec<usize> = (weak.len()..all).collect();
        if self.method.symmetric {
            queries.push(self.query("key view".to_owned(), &of_part(&views.key)?)?);
        }
        // InfoNCE of every weak view, DDM of every pair (weak, strong), against B = [keys of all ranks ; bank].
        let mut losses = vec![self.loss(&queries, weak.clone(), strong.clone(), &keys[0], first)?];
        if self.method.symmetric {
            let others = weak.into_iter().skip(1).chain([all]).collect();
            losses.push(self.loss(&queries, others, strong, &keys[1], first)?);
        }
        // The loss is the mean over the batch's samples: each part has its share of it.
        let last = (0..queries.len()).rev().find(|&i| losses.iter().any(|loss| loss.is_of(i)));
        for (i, query) in queries.into_iter().enumerate() {
            let mut of_losses = losses.iter().filter_map(|loss| loss.gradient(i).transpose());
            if let Some(first) = of_losses.next() {
                let sum = of_losses.try_fold(first?, |sum, other| -> Result<_> { Ok((sum + other?)?) })?;
                let share = if self.parts == 1 { sum } else { (sum / self.parts as f64)? };
                match buckets.as_mut().filter(|_| last == Some(i)) {
                    None => query.pass.backward(&share, gradients)?,
                    Some(buckets) => query.pass.backward_by_parameter(&share, gradients, &mut |index, gradient| {
                        buckets.take(index, gradient);
                    })?,
                }
            }
        }
        Ok((losses, features))
    }

    /// Gives both encoders the mean of the ranks' running statistics: those of one process with as many groups of batch norm. No step
    /// depends on them, so that this is done before they are looked at or kept.
    ///
    /// # Errors
    /// A peer disconnected.
    pub fn average_statistics(&self) -> Result<()> {
        if self.has_own_statistics() {
            let mean = self.communicator.begin_mean(self.state().statistics()?)?.wait()?;
            self.state().set_statistics(&mean)?;
        }
        Ok(())
    }

    /// The running statistics of each rank, (ranks, S), until they are averaged; none where there is one rank.
    ///
    /// # Errors
    /// A peer disconnected.
    pub fn statistics_of_ranks(&self) -> Result<Option<Tensor>> {
        let gather = || self.communicator.all_gather(&self.state().statistics()?.unsqueeze(0)?);
        Ok(self.has_own_statistics().then(gather).transpose()?)
    }

    fn has_own_statistics(&self) -> bool {
        self.communicator.world_size() > 1 && !self.pair.query.running_statistics().is_empty()
    }

    /// What a checkpoint holds, but for what is trained beside.
    pub fn state(&self) -> TrainingState<'_> {
        TrainingState {
            query: &self.pair.query,
            key: &self.pair.key,
            optimizer: self.optimizer.state(),
            bank: &self.bank,
            probe: &[],
            statistics_of_ranks: None,
        }
    }

    fn query(&self, view: String, images: &Tensor) -> Result<Query> {
        Ok(Query { view, pass: self.pair.query.forward(images)? })
    }

    /// The keys (world_size * N, dim) of all ranks in order, embedded by ξ from the shuffled global batch, which travels as bytes
    /// where there are some.
    fn keys(&self, images: &Tensor, bytes: Option<&ImageBytes>) -> Result<Tensor> {
        let encoder: &Encoder = &self.pair.key;
        let world = self.communicator.world_size();
        let keys = if world * self.parts * encoder.compute().bn_splits > 1 {
            let n = images.dim(0)?;
            let shuffle = Shuffle::new(world * n, self.seed, self.steps);
            let permuted = |rows: &Tensor| self.communicator.permute(rows, &shuffle.order);
            let shuffled = match bytes {
                Some(bytes) => bytes.normalized(&permuted(&bytes.pixels)?)?,
                // Rows are moved where they are contiguous: the loader's images are channels-last in memory.
                None => permuted(&images.permute((0, 2, 3, 1))?.contiguous()?)?.permute((0, 3, 1, 2))?,
            };
            let keys = self.communicator.all_gather(&self.embed(encoder, &shuffled)?)?;
            let restore = Tensor::from_slice(&shuffle.restore, shuffle.restore.len(), images.device())?;
            keys.index_select(&restore, 0)?
        } else {
            encoder.embed(images, Mode::Train)?
        };
        Ok(keys.detach())
    }

    /// Embeddings of a batch in training mode, without gradient, part by part.
    fn embed(&self, encoder: &Encoder, images: &Tensor) -> Result<Tensor> {
        let Some(mut statistics) = self.statistics_of_parts(encoder)? else {
            return Ok(encoder.embed(images, Mode::Train)?);
        };
        let mut embeddings = Vec::new();
        for part in images.chunk(self.parts, 0)? {
            embeddings.push(encoder.embed(&part, Mode::Train)?);
            statistics.end_part()?;
        }
        statistics.end()?;
        joined(embeddings)
    }

    /// What makes the running statistics those of the whole batch, where it is computed in parts.
    fn statistics_of_parts(&self, encoder: &Encoder) -> Result<Option<BatchInParts>> {
        Ok((self.parts > 1).then(|| BatchInParts::begin(encoder)).transpose()?)
    }

    /// The loss of the queries with these numbers, which are of the samples from `first` on, against keys and bank. The positive of
    /// sample n of this rank is column rank·N + n.
    fn loss(
        &self,
        queries: &[Query],
        mut weak: Vec<usize>,
        mut strong: Vec<usize>,
        keys: &Keys,
        first: usize,
    ) -> Result<Loss> {
        if self.method.strong_loss == StrongLoss::InfoNce {
            // The ablation: strong views are asked for the same one-hot answer as weak ones.
            weak.append(&mut strong);
        }
        let samples = keys.rows.dim(0)? / self.communicator.world_size();
        let first_positive = self.communicator.rank() * samples + first;
        let batch_negatives = self.method.batch_negatives;
        let candidates = Candidates { keys: &keys.rows, bank: Some(&self.bank), first_positive, batch_negatives };
        let embeddings = |numbers: &[usize]| -> Vec<Tensor> {
            numbers.iter().map(|&number| queries[number].pass.embedding().clone()).collect()
        };
        let pending = self.loss.begin(&embeddings(&weak), &embeddings(&strong), candidates)?;
        let named = |numbers: Vec<usize>| -> Vec<LossQuery> {
            numbers.into_iter().map(|number| LossQuery { number, view: queries[number].view.clone() }).collect()
        };
        Ok(Loss { weak: named(weak), strong: named(strong), key_view: keys.view, pending })
    }

    /// The mean of the reports of all ranks. Fails on every rank if a value is not finite on any, so that none waits for one that has
    /// stopped.
    fn agreed(&self, report: std::result::Result<StepReport, String>) -> Result<StepReport> {
        let (communicator, ranks) = (&*self.communicator, self.communicator.world_size());
        if ranks == 1 {
            return report.map_err(|what| TrainError::NotFinite { what });
        }
        let (what, StepReport { loss, contrastive, ddm, acc1 }) = match report {
            Ok(report) => (None, report),
            Err(what) => (Some(what), StepReport { loss: 0.0, contrastive: 0.0, ddm: 0.0, acc1: 0.0 }),
        };
        let failed = f64::from(u8::from(what.is_some()));
        let all = gather_numbers(communicator, [loss, contrastive, ddm, acc1, failed])?;
        if all.iter().any(|numbers| numbers[4] > 0.0) {
            let whats = gather_bytes(communicator, what.unwrap_or_default().as_bytes())?;
            let rank = whats.iter().position(|what| !what.is_empty()).unwrap_or_default();
            return Err(TrainError::NotFiniteOnRank { rank, what: String::from_utf8_lossy(&whats[rank]).into_owned() });
        }
        let mean = |number: usize| all.iter().map(|numbers| numbers[number]).sum::<f64>() / ranks as f64;
        Ok(StepReport { loss: mean(0), contrastive: mean(1), ddm: mean(2), acc1: mean(3) })
    }
}

/// A view's pass.
struct Query {
    /// Which view, for messages.
    view: String,
    pass: Pass,
}

/// Keys of the global batch.
struct Keys {
    /// Which view they are of, for messages.
    view: &'static str,
    /// (world_size * N, dim).
    rows: Tensor,
}

/// The rows of all parts.
fn joined(mut parts: Vec<Tensor>) -> Result<Tensor> {
    Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 0)? })
}
