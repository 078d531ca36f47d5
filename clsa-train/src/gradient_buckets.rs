//! The mean of gradients over ranks, in buckets that travel while the backward pass goes on.

use crate::communicator::{Communicator, PendingMean};
use crate::error::Result;
use candle_core::Tensor;
use clsa_model::Gradients;

/// Bytes that make a bucket full: small enough that the first travels early, large enough that its latency does not count.
const BUCKET_BYTES: usize = 4 << 20;

/// Gradients on their way to their mean over the ranks. Every rank fills its buckets in the same order.
pub(crate) struct GradientBuckets<'a> {
    communicator: &'a dyn Communicator,
    /// Parameters with a gradient that is in a bucket.
    taken: Vec<bool>,
    /// The bucket that is filled.
    open: Vec<(usize, Tensor)>,
    open_bytes: usize,
    under_way: Vec<UnderWay>,
    failed: Option<candle_core::Error>,
}

/// A bucket under way.
struct UnderWay {
    /// Index and shape of the parameters.
    parameters: Vec<(usize, Vec<usize>)>,
    mean: PendingMean,
}

impl<'a> GradientBuckets<'a> {
    /// Empty buckets, for `parameters` parameters.
    pub fn new(communicator: &'a dyn Communicator, parameters: usize) -> Self {
        let taken = vec![false; parameters];
        Self { communicator, taken, open: Vec::new(), open_bytes: 0, under_way: Vec::new(), failed: None }
    }

    /// Takes a gradient that is complete on this rank. What fails is said by [`Self::finish`].
    pub fn take(&mut self, index: usize, gradient: &Tensor) {
        self.taken[index] = true;
        self.open_bytes += gradient.elem_count() * gradient.dtype().size_in_bytes();
        self.open.push((index, gradient.clone()));
        if self.open_bytes >= BUCKET_BYTES {
            self.close();
        }
    }

    /// Sends the bucket that is filled on its way.
    fn close(&mut self) {
        self.open_bytes = 0;
        let gradients = std::mem::take(&mut self.open);
        if gradients.is_empty() || self.failed.is_some() {
            return;
        }
        let begun = || -> candle_core::Result<PendingMean> {
            let flat: Vec<Tensor> =
                gradients.iter().map(|(_, gradient)| gradient.flatten_all()).collect::<candle_core::Result<_>>()?;
            self.communicator.begin_mean(Tensor::cat(&flat, 0)?)
        };
        match begun() {
            Ok(mean) => {
                let parameters = gradients.iter().map(|(index, g)| (*index, g.dims().to_vec())).collect();
                self.under_way.push(UnderWay { parameters, mean });
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Takes the gradients that are in no bucket yet, and replaces each by its mean when all are there.
    ///
    /// # Errors
    /// A peer disconnected.
    pub fn finish(mut self, gradients: &mut Gradients) -> Result<()> {
        for (index, gradient) in gradients.iter().enumerate() {
            if let Some(gradient) = gradient.filter(|_| !self.taken[index]) {
                self.take(index, gradient);
            }
        }
        self.close();
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        for UnderWay { parameters, mean } in self.under_way {
            let mean = mean.wait()?;
            let mut first = 0;
            for (index, shape) in parameters {
                let count = shape.iter().product();
                gradients.set(index, mean.narrow(0, first, count)?.reshape(shape)?);
                first += count;
            }
        }
        Ok(())
    }
}
