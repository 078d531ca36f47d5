//! The method on one page: one training step of CLSA (Wang & Qi 2021, section 3).

use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::optimizer::MomentumSgd;
use crate::shuffle_bn::Shuffle;
use candle_core::{Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, LossOutput, MemoryBank};
use clsa_model::{Encoder, Gradients, Mode, MomentumPair, Pass};
use clsa_run::{MethodConfig, StrongLoss, TrainingState};

/// The views of a batch of N images, each (N, 3, H, W) with the view's own H and W.
#[derive(Debug)]
pub struct Views {
    /// The key view.
    pub key: Tensor,
    /// The weak views, at least one.
    pub weak: Vec<Tensor>,
    /// The strong views; none for MoCo v2.
    pub strong: Vec<Tensor>,
}

/// What a step measured, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// `contrastive + alpha * ddm`.
    pub loss: f64,
    /// Sum of the weak views' InfoNCE terms.
    pub contrastive: f64,
    /// Sum of the pairs' DDM terms.
    pub ddm: f64,
    /// Percentage of the first weak view's samples whose positive has the highest logit.
    pub acc1: f64,
}

/// Everything that training changes: both encoders, bank and optimizer.
pub struct Clsa {
    /// Query encoder θ and key encoder ξ.
    pub pair: MomentumPair,
    /// The last K keys.
    pub bank: MemoryBank,
    /// Momentum SGD on θ.
    pub optimizer: MomentumSgd,
    /// The gradients of the last step.
    pub gradients: Gradients,
    /// Steps taken, which is also the stream of ShuffleBN.
    pub steps: u64,
    /// The other ranks.
    pub communicator: Box<dyn Communicator>,
    loss: ClsaLoss,
    method: MethodConfig,
    seed: u64,
}

impl Clsa {
    /// Puts the parts together. `seed` draws ShuffleBN's permutations and is the same on all ranks.
    pub fn new(
        pair: MomentumPair,
        bank: MemoryBank,
        optimizer: MomentumSgd,
        method: &MethodConfig,
        communicator: Box<dyn Communicator>,
        seed: u64,
    ) -> Self {
        let loss = ClsaLoss {
            temperature: method.temperature,
            ddm_temperature: method.ddm_temperature,
            alpha: method.alpha,
            ..ClsaLoss::default()
        };
        let gradients = Gradients::new(pair.query.parameters().len());
        Self { pair, bank, optimizer, gradients, steps: 0, communicator, loss, method: method.clone(), seed }
    }

    /// One step on a batch: loss, gradients, bank and update.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] names the view at fault, [`TrainError::NotFiniteOnRank`] the rank where that is another one;
    /// then θ, the optimizer and the bank are as they were, though ξ may have followed θ already. Any other error is a
    /// batch of the wrong shape or a tensor operation that failed.
    pub fn step(&mut self, views: &Views, lr: f64) -> Result<StepReport> {
        let first_weak = views.weak.first().ok_or(TrainError::NoWeakView)?;
        // Queries: every view is its own pass with its own batch statistics, weak views first, in order.
        let weak = self.queries("weak", &views.weak)?;
        let strong = self.queries("strong", &views.strong)?;
        let symmetric = if self.method.symmetric { Some(self.query("key view", &views.key)?) } else { None };
        // ξ follows θ as it stands before this step's update; then the keys, without gradient, with ShuffleBN.
        self.pair.update_key()?;
        let keys = self.keys(&views.key)?;
        let first_weak_keys = if self.method.symmetric { Some(self.keys(first_weak)?) } else { None };
        let queries = weak.iter().chain(&strong).chain(&symmetric);
        let embeddings = queries.map(|query| (format!("embedding of {}", query.view), query.embedding.as_tensor()));
        let keys_of = [("key view", Some(&keys)), ("weak view 0", first_weak_keys.as_ref())];
        let keys_of = keys_of.into_iter().filter_map(|(view, keys)| Some((format!("key of {view}"), keys?)));
        self.agree(first_not_finite(embeddings.chain(keys_of))?)?;
        // InfoNCE of every weak view, DDM of every pair (weak, strong), against B = [keys of all ranks ; bank].
        let terms = self.terms(refs(&weak), refs(&strong), &keys)?;
        let mut report = report(&terms);
        let mut loss = terms.loss;
        if let (Some(key_query), Some(first_weak_keys)) = (&symmetric, &first_weak_keys) {
            let queries = refs(&weak[1..]).into_iter().chain([key_query]).collect();
            let other = self.terms(queries, refs(&strong), first_weak_keys)?;
            loss = (loss + &other.loss)?;
            report.loss += other.total;
            report.contrastive += other.contrastive;
            report.ddm += other.ddm;
        }
        // The backward pass, the mean over the ranks.
        self.gradients.clear();
        let mut gradients = loss.backward()?;
        for query in weak.into_iter().chain(strong).chain(symmetric) {
            if let Some(gradient) = gradients.remove(&query.embedding) {
                query.pass.backward(&gradient, &mut self.gradients)?;
            }
        }
        self.communicator.average(&mut self.gradients)?;
        // The keys of the global batch enter the bank, after the logits were formed; SGD moves θ.
        self.bank.push(&keys)?;
        self.optimizer.step(self.pair.query.parameters(), &self.gradients, lr)?;
        self.steps += 1;
        Ok(report)
    }

    /// What a checkpoint holds.
    pub fn state(&self) -> TrainingState<'_> {
        TrainingState {
            query: &self.pair.query,
            key: &self.pair.key,
            velocities: self.optimizer.velocity(),
            bank: &self.bank,
        }
    }

    fn queries(&self, kind: &str, images: &[Tensor]) -> Result<Vec<Query>> {
        images.iter().enumerate().map(|(i, images)| self.query(&format!("{kind} view {i}"), images)).collect()
    }

    fn query(&self, view: &str, images: &Tensor) -> Result<Query> {
        let pass = self.pair.query.forward(images)?;
        Ok(Query { view: view.to_owned(), embedding: Var::from_tensor(pass.embedding())?, pass })
    }

    /// The keys (world_size * N, dim) of all ranks in order, embedded by ξ from the shuffled global batch.
    fn keys(&self, images: &Tensor) -> Result<Tensor> {
        let encoder: &Encoder = &self.pair.key;
        let (rank, world) = (self.communicator.rank(), self.communicator.world_size());
        let keys = if world * encoder.compute().bn_splits > 1 {
            let n = images.dim(0)?;
            let shuffle = Shuffle::new(world * n, self.seed, self.steps);
            let place = |order: &[u32]| Tensor::from_slice(order, order.len(), images.device());
            let mine = place(&shuffle.order[rank * n..][..n])?;
            // Rows are selected where they are contiguous: the loader's images are channels-last in memory.
            let all = self.communicator.all_gather(images)?.permute((0, 2, 3, 1))?.contiguous()?;
            let shuffled = all.index_select(&mine, 0)?.permute((0, 3, 1, 2))?;
            let keys = self.communicator.all_gather(&encoder.embed(&shuffled, Mode::Train)?)?;
            keys.index_select(&place(&shuffle.restore)?, 0)?
        } else {
            encoder.embed(images, Mode::Train)?
        };
        Ok(keys.detach())
    }

    /// The loss of queries against keys and bank. The positive of sample n of this rank is column rank·N + n.
    fn terms(&self, weak: Vec<&Query>, strong: Vec<&Query>, keys: &Tensor) -> Result<LossOutput> {
        let (mut weak, mut strong) = (weak, strong);
        if self.method.strong_loss == StrongLoss::InfoNce {
            // The ablation: strong views are asked for the same one-hot answer as weak ones.
            weak.append(&mut strong);
        }
        let samples = keys.dim(0)? / self.communicator.world_size();
        let candidates =
            Candidates { keys, bank: Some(&self.bank), first_positive: self.communicator.rank() * samples };
        let tensors = |queries: &[&Query]| queries.iter().map(|q| q.embedding.as_tensor().clone()).collect::<Vec<_>>();
        let terms = self.loss.forward(&tensors(&weak), &tensors(&strong), candidates)?;
        let contrastive =
            weak.iter().zip(&terms.contrastive_per_view).map(|(query, value)| ("contrastive", query, value));
        let ddm = strong.iter().zip(&terms.ddm_per_view).map(|(query, value)| ("DDM", query, value));
        let mut all = contrastive.chain(ddm);
        let at_fault = all.find(|(_, _, value)| !value.is_finite());
        self.agree(at_fault.map(|(term, query, _)| format!("{term} term of {}", query.view)))?;
        Ok(terms)
    }

    /// Fails on every rank if a value is not finite on any, so that none waits for one that has stopped.
    fn agree(&self, not_finite: Option<String>) -> Result<()> {
        let failed = self.communicator.first_failed(not_finite.is_some())?;
        match (not_finite, failed) {
            (Some(what), _) => Err(TrainError::NotFinite { what }),
            (None, Some(rank)) => Err(TrainError::NotFiniteOnRank { rank }),
            (None, None) => Ok(()),
        }
    }
}

/// A view's pass, and its embedding as a leaf for the loss.
struct Query {
    /// Which view, for messages.
    view: String,
    embedding: Var,
    pass: Pass,
}

fn refs(queries: &[Query]) -> Vec<&Query> {
    queries.iter().collect()
}

fn report(terms: &LossOutput) -> StepReport {
    StepReport { loss: terms.total, contrastive: terms.contrastive, ddm: terms.ddm, acc1: terms.acc1 }
}

/// The name of the first tensor that holds a value which is NaN or infinite.
fn first_not_finite<'a>(tensors: impl Iterator<Item = (String, &'a Tensor)>) -> Result<Option<String>> {
    for (name, tensor) in tensors {
        // A sum is finite only if every part of it is.
        let sum = tensor.abs()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
