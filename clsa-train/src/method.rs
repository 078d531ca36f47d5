//! The method on one page: one training step of CLSA (Wang & Qi 2021, section 3).

use crate::agreement::{gather_bytes, gather_numbers};
use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::gradient_buckets::GradientBuckets;
use crate::image_bytes::ImageBytes;
use crate::losses::{self, Loss, StepReport, Term};
use crate::optimizer::Optimizer;
use crate::shuffle_bn::Shuffle;
use candle_core::Tensor;
use clsa_loss::{Candidates, ClsaLoss, DdmTargets, MemoryBank};
use clsa_model::{BatchInParts, Encoder, Gradients, Mode, MomentumPair, Pass};
use clsa_run::{BankKeys, MethodConfig, StrongLoss, TrainingState};
use std::ops::Range;
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
        let report = self.agreed(losses::report(losses, self.method.alpha)?)?;
        // The keys of the global batch enter the bank, after the logits were formed; the optimizer moves θ.
        let entering = match self.method.bank_keys {
            BankKeys::KeyView => &keys[..1],
            BankKeys::Both => &keys[..],
        };
        for keys in entering.iter().rev() {
            self.bank.push_finite(&keys.rows)?;
        }
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
            features.extend(features_of_part);
            if let Some(statistics) = &mut statistics {
                statistics.end_part()?;
            }
        }
        statistics.map_or(Ok(()), BatchInParts::end)?;
        buckets.map_or(Ok(()), |buckets| buckets.finish(gradients))?;
        Ok((losses, joined(features)?))
    }

    /// A part of the batch, from sample `first` on: its losses, and the first weak view's features. Each query is its own pass with its own
    /// batch statistics, and goes back before the next begins, so that the activations of one view are in memory at a time: weak views,
    /// the key view where the loss is symmetric, then strong views, whose targets are known by then.
    fn part(
        &self,
        views: &Views,
        first: usize,
        keys: &[Keys],
        gradients: &mut Gradients,
        mut buckets: Option<&mut GradientBuckets<'_>>,
    ) -> Result<(Vec<Loss>, Option<Tensor>)> {
        let samples = views.key.dim(0)? / self.parts;
        let queries = self.queries(views);
        let last = queries.len() - 1;
        // What the weak views ask of strong ones, for each direction.
        let mut targets: Vec<Option<DdmTargets>> = vec![None; keys.len()];
        let (mut losses, mut features) = (Vec::new(), None);
        for (number, query) in queries.into_iter().enumerate() {
            let pass = self.pair.query.forward(&query.images.narrow(0, first, samples)?)?;
            features.get_or_insert_with(|| pass.features().detach());
            let mut gradient: Option<Tensor> = None;
            for direction in query.directions.clone() {
                let loss = self.loss(&query, &pass, &keys[direction], &mut targets[direction], first)?;
                let own = loss.gradient()?;
                gradient = Some(gradient.map_or(Ok(own.clone()), |others| others + own)?);
                losses.push(loss);
            }
            let Some(gradient) = gradient else { continue };
            // The loss is the mean over the batch's samples: each part has its share of it.
            let share = if self.parts == 1 { gradient } else { (gradient / self.parts as f64)? };
            match buckets.as_mut().filter(|_| number == last) {
                None => pass.backward(&share, gradients)?,
                Some(buckets) => pass.backward_by_parameter(&share, gradients, &mut |index, gradient| {
                    buckets.take(index, gradient);
                })?,
            }
        }
        Ok((losses, features))
    }

    /// The queries of a step, in their order, of which the first is that of the first weak view.
    fn queries<'a>(&self, views: &'a Views) -> Vec<Query<'a>> {
        let symmetric = self.method.symmetric;
        let all = if symmetric { 0..2 } else { 0..1 };
        // The ablation asks strong views for the same one-hot answer as weak ones.
        let of_strong = match self.method.strong_loss {
            StrongLoss::Ddm => Term::Ddm,
            StrongLoss::InfoNce => Term::Contrastive,
        };
        let sets_targets = of_strong == Term::Ddm && !views.strong.is_empty();
        let query = |view, images, term, directions| Query { view, images, term, sets_targets, directions };
        let mut queries = Vec::new();
        for (i, images) in views.weak.iter().enumerate() {
            // The first weak view's keys are those of the other direction.
            let directions = if i == 0 { 0..1 } else { all.clone() };
            queries.push(query(format!("weak view {i}"), images, Term::Contrastive, directions));
        }
        if symmetric {
            queries.push(query("key view".to_owned(), &views.key, Term::Contrastive, 1..2));
        }
        for (j, images) in views.strong.iter().enumerate() {
            queries.push(query(format!("strong view {j}"), images, of_strong, all.clone()));
        }
        queries
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

    /// The term of a query's samples, those from `first` on, against keys and bank. The positive of sample n of this rank is column
    /// rank·N + n. `targets` are those of the weak views so far.
    fn loss(
        &self,
        query: &Query<'_>,
        pass: &Pass,
        keys: &Keys,
        targets: &mut Option<DdmTargets>,
        first: usize,
    ) -> Result<Loss> {
        let samples = keys.rows.dim(0)? / self.communicator.world_size();
        let first_positive = self.communicator.rank() * samples + first;
        let batch_negatives = self.method.batch_negatives;
        let candidates = Candidates { keys: &keys.rows, bank: Some(&self.bank), first_positive, batch_negatives };
        // Without its graph, which would keep the activations that it was made of.
        let embedding = [pass.embedding().detach()];
        let pending = match query.term {
            Term::Contrastive if query.sets_targets => {
                let (pending, own) = self.loss.begin_contrastive(&embedding, candidates)?;
                *targets = Some(match targets.take() {
                    Some(others) => others.and(&own)?,
                    None => own,
                });
                pending
            }
            Term::Contrastive => self.loss.begin(&embedding, &[], candidates)?,
            Term::Ddm => {
                let targets = targets.as_ref().ok_or(TrainError::NoWeakView)?;
                self.loss.begin_ddm(&embedding, targets, candidates)?
            }
        };
        Ok(Loss { view: query.view.clone(), term: query.term, key_view: keys.view, pending })
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

/// A view that the query encoder sees.
struct Query<'a> {
    /// Which view, for messages.
    view: String,
    /// (N, 3, H, W), of all parts.
    images: &'a Tensor,
    term: Term,
    /// Whether the view, if it is a weak one, sets targets of strong ones.
    sets_targets: bool,
    /// Of which keys it is compared with.
    directions: Range<usize>,
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
