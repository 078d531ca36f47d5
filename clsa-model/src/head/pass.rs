//! A pass of a projection head without batch norm in this crate's kernels, with its backward pass.

use super::{Head, Linear, SHORTEST};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::{linear, linear_backward};
use crate::pass::Complete;
use crate::storage::read_f32;
use candle_core::{Device, Tensor};

/// A pass of the head, with what the backward pass needs.
pub(crate) struct HeadPass {
    head: Head,
    /// What each layer has read: the features, then the hidden layers' outputs.
    inputs: Vec<Vec<f32>>,
    lengths: Vec<f32>,
    embedding: Vec<f32>,
}

impl HeadPass {
    /// Takes features (N, d) in f32 on the CPU.
    pub(super) fn new(head: &Head, features: &Tensor) -> Result<Self> {
        let rows = features.dim(0)?;
        let mut inputs = vec![features.flatten_all()?.to_vec1::<f32>()?];
        for hidden in &head.hidden {
            let mut output = hidden.linear.apply(&inputs[inputs.len() - 1], rows)?;
            for x in &mut output {
                // NaN stays NaN.
                if *x < 0.0 {
                    *x = 0.0;
                }
            }
            inputs.push(output);
        }
        let mut embedding = head.output.apply(&inputs[inputs.len() - 1], rows)?;
        let dim = embedding.len() / rows;
        let mut lengths = Vec::with_capacity(rows);
        for row in embedding.chunks_exact_mut(dim) {
            let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
            let length = if length < SHORTEST { SHORTEST } else { length };
            row.iter_mut().for_each(|x| *x /= length);
            lengths.push(length);
        }
        Ok(Self { head: head.clone(), inputs, lengths, embedding })
    }

    /// The embeddings (N, dim).
    pub fn embedding(&self) -> Result<Tensor> {
        let rows = self.lengths.len();
        Ok(Tensor::from_slice(&self.embedding, (rows, self.embedding.len() / rows), &Device::Cpu)?)
    }

    /// From the gradient of the embeddings (N, dim) to that of the features (N, d); the parameters' are added to
    /// `gradients` and then complete.
    pub fn backward(
        &self,
        gradient: &Tensor,
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<Tensor> {
        let rows = self.lengths.len();
        let dim = self.embedding.len() / rows;
        let mut output = read_f32(&gradient.contiguous()?, <[f32]>::to_vec)?;
        let pairs = output.chunks_exact_mut(dim).zip(self.embedding.chunks_exact(dim)).zip(&self.lengths);
        for ((g, e), &length) in pairs {
            // What is along the embedding does not change it.
            let along = g.iter().zip(e).map(|(&g, &e)| f64::from(g) * f64::from(e)).sum::<f64>() as f32;
            let along = if length > SHORTEST { along } else { 0.0 };
            g.iter_mut().zip(e).for_each(|(g, e)| *g = (*g - e * along) / length);
        }
        let mut layers = self.inputs.iter().rev();
        let mut input = layers.next().expect("the features at least");
        let mut features = self.head.output.backward(input, &output, gradients, complete)?;
        for hidden in self.head.hidden.iter().rev() {
            features.iter_mut().zip(input).for_each(|(g, &x)| *g = if x > 0.0 { *g } else { 0.0 });
            input = layers.next().expect("an input for each layer");
            features = hidden.linear.backward(input, &features, gradients, complete)?;
        }
        let width = features.len() / rows;
        Ok(Tensor::from_vec(features, (rows, width), &Device::Cpu)?)
    }
}

impl Linear {
    /// The layer's output for each of `rows` rows.
    fn apply(&self, x: &[f32], rows: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; rows * self.bias.var.elem_count()];
        read_f32(&self.weight.var, |w| read_f32(&self.bias.var, |b| linear(x, w, b, &mut out)))??;
        Ok(out)
    }

    /// The gradient of `x`; those of the parameters are added to `gradients` and then complete.
    fn backward(
        &self,
        x: &[f32],
        gradient: &[f32],
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        let mut bias = vec![0.0; self.bias.var.elem_count()];
        gradients.accumulate_f32(&self.weight, |to| {
            read_f32(&self.weight.var, |w| linear_backward(x, w, gradient, &mut out, to, &mut bias))
        })??;
        gradients.accumulate_f32(&self.bias, |to| to.iter_mut().zip(&bias).for_each(|(to, g)| *to += g))?;
        for parameter in [&self.weight, &self.bias] {
            gradients.get(parameter.index).into_iter().for_each(|gradient| complete(parameter.index, gradient));
        }
        Ok(out)
    }
}
