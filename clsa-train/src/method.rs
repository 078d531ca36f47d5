//! The method on one page: one training step of CLSA (Wang & Qi 2021, section 3).

use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::optimizer::Optimizer;
use crate::shuffle_bn::Shuffle;
use candle_core::{DType, Device, Tensor};
use clsa_loss::{Argument, Candidates, ClsaLoss, LossOutput, MemoryBank, PendingLoss};
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
    /// What moves θ.
    pub optimizer: Optimizer,
    /// The gradients of the last step.
    pub gradients: Gradients,
    /// The backbone's features (N, C) of the last step's first weak view, without graph: for a classifier that is trained beside.
    pub features: Option<Tensor>,
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
        optimizer: Optimizer,
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
        Self {
            pair,
            bank,
            optimizer,
            gradients,
            features: None,
            steps: 0,
            communicator,
            loss,
            method: method.clone(),
            seed,
        }
    }

    /// One step on a batch: loss, gradients, bank and update. A GPU is waited for once, before the update.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] names the view at fault, [`TrainError::NotFiniteOnRank`] the rank where that is another one;
    /// then θ, the optimizer and the bank are as they were, though ξ may have followed θ already. Any other error is a
    /// batch of the wrong shape or a tensor operation that failed.
    pub fn step(&mut self, views: &Views, lr: f64) -> Result<StepReport> {
        let first_weak = views.weak.first().ok_or(TrainError::NoWeakView)?;
        // Queries: every view is its own pass with its own batch statistics, weak views first, in order.
        let mut queries = self.queries("weak", &views.weak)?;
        self.features = queries.first().map(|query| query.pass.features().clone());
        queries.extend(self.queries("strong", &views.strong)?);
        let (weak, all): (Vec<usize>, usize) = ((0..views.weak.len()).collect(), queries.len());
        let strong: Vec<usize> = (weak.len()..all).collect();
        if self.method.symmetric {
            queries.push(self.query("key view".to_owned(), &views.key)?);
        }
        // ξ follows θ as it stands before this step's update; then the keys, without gradient, with ShuffleBN.
        self.pair.update_key()?;
        let keys = self.keys(&views.key)?;
        // InfoNCE of every weak view, DDM of every pair (weak, strong), against B = [keys of all ranks ; bank].
        let mut losses = vec![self.loss(&queries, weak.clone(), strong.clone(), "key view", &keys)?];
        if self.method.symmetric {
            let first_weak_keys = self.keys(first_weak)?;
            let others = weak.into_iter().skip(1).chain([all]).collect();
            losses.push(self.loss(&queries, others, strong, "weak view 0", &first_weak_keys)?);
        }
        // The backward pass, the mean over the ranks.
        self.gradients.clear();
        let names: Vec<String> = queries.iter().map(|query| query.view.clone()).collect();
        for (i, query) in queries.into_iter().enumerate() {
            let mut gradients = losses.iter().filter_map(|loss| loss.gradient(i).transpose());
            if let Some(first) = gradients.next() {
                let sum = gradients.try_fold(first?, |sum, other| -> Result<_> { Ok((sum + other?)?) })?;
                query.pass.backward(&sum, &mut self.gradients)?;
            }
        }
        self.communicator.average(&mut self.gradients)?;
        // All numbers of the step in one copy. Nothing is updated on any rank unless they are finite on all.
        let report = self.report(losses, &names)?;
        // The keys of the global batch enter the bank, after the logits were formed; the optimizer moves θ.
        self.bank.push_finite(&keys)?;
        self.optimizer.step(self.pair.query.parameters(), &self.gradients, lr, self.steps)?;
        self.steps += 1;
        Ok(report)
    }

    /// What a checkpoint holds, but for what is trained beside.
    pub fn state(&self) -> TrainingState<'_> {
        TrainingState {
            query: &self.pair.query,
            key: &self.pair.key,
            optimizer: self.optimizer.state(),
            bank: &self.bank,
            probe: &[],
        }
    }

    fn queries(&self, kind: &str, images: &[Tensor]) -> Result<Vec<Query>> {
        images.iter().enumerate().map(|(i, images)| self.query(format!("{kind} view {i}"), images)).collect()
    }

    fn query(&self, view: String, images: &Tensor) -> Result<Query> {
        Ok(Query { view, pass: self.pair.query.forward(images)? })
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

    /// The loss of the queries with these numbers against keys and bank. The positive of sample n of this rank is column
    /// rank·N + n.
    fn loss(
        &self,
        queries: &[Query],
        mut weak: Vec<usize>,
        mut strong: Vec<usize>,
        key_view: &'static str,
        keys: &Tensor,
    ) -> Result<Loss> {
        if self.method.strong_loss == StrongLoss::InfoNce {
            // The ablation: strong views are asked for the same one-hot answer as weak ones.
            weak.append(&mut strong);
        }
        let samples = keys.dim(0)? / self.communicator.world_size();
        let candidates =
            Candidates { keys, bank: Some(&self.bank), first_positive: self.communicator.rank() * samples };
        let embeddings = |numbers: &[usize]| -> Vec<Tensor> {
            numbers.iter().map(|&number| queries[number].pass.embedding().clone()).collect()
        };
        let pending = self.loss.begin(&embeddings(&weak), &embeddings(&strong), candidates)?;
        Ok(Loss { weak, strong, key_view, pending })
    }

    /// The sum of the losses as numbers; `names` are those of the queries. Fails on every rank if a value is not finite on
    /// any, so that none waits for one that has stopped.
    fn report(&self, losses: Vec<Loss>, names: &[String]) -> Result<StepReport> {
        let measures: Vec<&Tensor> = losses.iter().map(|loss| loss.pending.measures()).collect();
        let measures = Tensor::cat(&measures, 0)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let mut rest = &measures[..];
        let of_loss: Vec<&[f64]> =
            losses.iter().map(|loss| take(&mut rest, loss.pending.measures().elem_count())).collect();
        let at_fault = losses.iter().zip(&of_loss).find_map(|(loss, measures)| loss.first_not_finite(measures, names));
        let mut reports = Vec::new();
        let mut term_at_fault = None;
        if at_fault.is_none() {
            for (loss, measures) in losses.into_iter().zip(of_loss) {
                let Loss { weak, strong, pending, .. } = loss;
                let output = pending.finish(measures)?;
                let contrastive = weak.iter().zip(&output.contrastive_per_view).map(|view| ("contrastive", view));
                let ddm = strong.iter().zip(&output.ddm_per_view).map(|view| ("DDM", view));
                let mut terms = contrastive.chain(ddm);
                let not_finite = terms.find(|(_, (_, value))| !value.is_finite());
                let name = not_finite.map(|(term, (view, _))| format!("{term} term of {}", names[*view]));
                term_at_fault = term_at_fault.or(name);
                reports.push(output);
            }
        }
        let not_finite = at_fault.or(term_at_fault);
        match (self.communicator.first_failed(not_finite.is_some())?, not_finite) {
            (_, Some(what)) => Err(TrainError::NotFinite { what }),
            (Some(rank), None) => Err(TrainError::NotFiniteOnRank { rank }),
            (None, None) => Ok(sum(&reports)),
        }
    }
}

/// A view's pass.
struct Query {
    /// Which view, for messages.
    view: String,
    pass: Pass,
}

/// The loss of some of the queries against the keys of one view.
struct Loss {
    /// Numbers of the queries.
    weak: Vec<usize>,
    /// Numbers of the queries.
    strong: Vec<usize>,
    /// Which view the keys are of, for messages.
    key_view: &'static str,
    pending: PendingLoss,
}

impl Loss {
    /// The gradient to the embedding of a query, if it is one of this loss.
    fn gradient(&self, query: usize) -> Result<Option<Tensor>> {
        let place = |numbers: &[usize]| numbers.iter().position(|&number| number == query);
        Ok(match (place(&self.weak), place(&self.strong)) {
            (Some(i), _) => Some(self.pending.weak_gradient(i)?),
            (None, Some(j)) => Some(self.pending.strong_gradient(j)?),
            (None, None) => None,
        })
    }

    /// The name of the first tensor that holds a value which is NaN or infinite.
    fn first_not_finite(&self, measures: &[f64], names: &[String]) -> Option<String> {
        Some(match self.pending.first_not_finite(measures)? {
            Argument::Weak(i) => format!("embedding of {}", names[self.weak[i]]),
            Argument::Strong(j) => format!("embedding of {}", names[self.strong[j]]),
            Argument::Keys => format!("key of {}", self.key_view),
        })
    }
}

/// The sum of the losses; the accuracy is that of the first.
fn sum(outputs: &[LossOutput]) -> StepReport {
    let sum = |part: fn(&LossOutput) -> f64| outputs.iter().map(part).sum();
    StepReport {
        loss: sum(|output| output.total),
        contrastive: sum(|output| output.contrastive),
        ddm: sum(|output| output.ddm),
        acc1: outputs.first().map_or(f64::NAN, |output| output.acc1),
    }
}

/// The first `count` of the rest, which is then what follows them.
fn take<'a>(rest: &mut &'a [f64], count: usize) -> &'a [f64] {
    let (first, others) = rest.split_at(count);
    *rest = others;
    first
}
