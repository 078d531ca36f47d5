//! The projection head of MoCo v2 and CLSA: `Linear(d, d) -> ReLU -> Linear(d, dim)`, then L2 normalisation.

use crate::error::Result;
use crate::kernels::{linear, linear_backward};
use crate::params::{Builder, Gradients, Init, Parameter};
use crate::portable::relu_of;
use crate::storage::read_f32;
use candle_core::{D, Device, Tensor};

#[derive(Clone, Debug)]
struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// Initialised as torch's `nn.Linear`: uniform in plus or minus 1/sqrt(inputs).
    fn new(builder: &mut Builder, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
        Ok(Self {
            weight: builder.parameter(format!("{name}.weight"), &[outputs, inputs], init)?,
            bias: builder.parameter(format!("{name}.bias"), &[outputs], init)?,
        })
    }

    fn forward(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let take = |p: &Parameter| if track { p.var.as_tensor().clone() } else { p.var.as_detached_tensor() };
        Ok(x.matmul(&take(&self.weight).t()?)?.broadcast_add(&take(&self.bias))?)
    }

    /// As `forward`, in this crate's kernels.
    fn apply(&self, x: &[f32], rows: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; rows * self.bias.var.elem_count()];
        read_f32(&self.weight.var, |w| read_f32(&self.bias.var, |b| linear(x, w, b, &mut out)))??;
        Ok(out)
    }

    /// The gradient of `x`; those of the parameters are added to `gradients`.
    fn backward(&self, x: &[f32], gradient: &[f32], gradients: &mut Gradients) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        let mut bias = vec![0.0; self.bias.var.elem_count()];
        gradients.accumulate_f32(&self.weight, |to| {
            read_f32(&self.weight.var, |w| linear_backward(x, w, gradient, &mut out, to, &mut bias))
        })??;
        gradients.accumulate_f32(&self.bias, |to| to.iter_mut().zip(&bias).for_each(|(to, g)| *to += g))?;
        Ok(out)
    }
}

/// The projection head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    hidden: Linear,
    output: Linear,
}

impl Head {
    pub fn new(builder: &mut Builder, features: usize, dim: usize) -> Result<Self> {
        Ok(Self {
            hidden: Linear::new(builder, "fc.0", features, features)?,
            output: Linear::new(builder, "fc.2", features, dim)?,
        })
    }

    /// Features (N, d) to embeddings (N, dim) of unit length. With `track`, Candle's `backward` reaches the parameters.
    pub fn forward(&self, features: &Tensor, track: bool) -> Result<Tensor> {
        let hidden = relu_of(&self.hidden.forward(features, track)?)?;
        normalize(&self.output.forward(&hidden, track)?)
    }

    /// As `forward`, for f32 features on the CPU, in this crate's kernels and with its own way back.
    pub fn pass(&self, features: &Tensor) -> Result<HeadPass> {
        let rows = features.dim(0)?;
        let features = features.flatten_all()?.to_vec1::<f32>()?;
        let mut hidden = self.hidden.apply(&features, rows)?;
        for x in &mut hidden {
            // What is not a number stays so.
            if *x < 0.0 {
                *x = 0.0;
            }
        }
        let mut embedding = self.output.apply(&hidden, rows)?;
        let dim = embedding.len() / rows;
        let mut lengths = Vec::with_capacity(rows);
        for row in embedding.chunks_exact_mut(dim) {
            let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
            let length = if length < SHORTEST { SHORTEST } else { length };
            row.iter_mut().for_each(|x| *x /= length);
            lengths.push(length);
        }
        Ok(HeadPass { head: self.clone(), features, hidden, lengths, embedding })
    }
}

/// A pass of the head in this crate's kernels, with what the way back needs.
pub(crate) struct HeadPass {
    head: Head,
    features: Vec<f32>,
    hidden: Vec<f32>,
    lengths: Vec<f32>,
    embedding: Vec<f32>,
}

impl HeadPass {
    /// The embeddings (N, dim).
    pub fn embedding(&self) -> Result<Tensor> {
        let rows = self.lengths.len();
        Ok(Tensor::from_slice(&self.embedding, (rows, self.embedding.len() / rows), &Device::Cpu)?)
    }

    /// From the gradient of the embeddings to that of the features (N, d); the parameters' are added to `gradients`.
    pub fn backward(&self, gradient: &[f32], gradients: &mut Gradients) -> Result<Vec<f32>> {
        let dim = gradient.len() / self.lengths.len();
        let mut output = gradient.to_vec();
        let rows = output.chunks_exact_mut(dim).zip(self.embedding.chunks_exact(dim)).zip(&self.lengths);
        for ((g, e), &length) in rows {
            // What is along the embedding does not change it.
            let along = g.iter().zip(e).map(|(&g, &e)| f64::from(g) * f64::from(e)).sum::<f64>() as f32;
            let along = if length > SHORTEST { along } else { 0.0 };
            g.iter_mut().zip(e).for_each(|(g, e)| *g = (*g - e * along) / length);
        }
        let mut hidden = self.head.output.backward(&self.hidden, &output, gradients)?;
        hidden.iter_mut().zip(&self.hidden).for_each(|(g, &h)| *g = if h > 0.0 { *g } else { 0.0 });
        self.head.hidden.backward(&self.features, &hidden, gradients)
    }
}

/// Rows are divided by their length, or by this where they are shorter (torch's `F.normalize`).
const SHORTEST: f32 = 1e-12;

/// Rows divided by their length, at least [`SHORTEST`].
fn normalize(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(f64::from(SHORTEST))?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    /// The largest difference over the largest value.
    fn difference(got: &Tensor, expected: &[f64]) -> f64 {
        let got = got.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(got.len(), expected.len());
        let scale = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
        got.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn linear_and_its_gradients_match_f64(
            (rows, inputs, outputs) in (1..40usize, 1..200usize, 1..150usize), seed in 0..1000usize
        ) {
            let mut builder = Builder::new(seed as u64, DType::F32, &Device::Cpu);
            let linear = Linear::new(&mut builder, "fc", inputs, outputs).unwrap();
            let f64s = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let of = |p: &Parameter| f64s(&p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            let (x, dy) = (values(rows * inputs, seed), values(rows * outputs, seed + 1));
            let images = candle_core::Var::from_vec(x.clone(), (rows, inputs), &Device::Cpu).unwrap();
            let y = linear.forward(images.as_tensor(), true).unwrap();
            let upstream = Tensor::from_vec(dy.clone(), (rows, outputs), &Device::Cpu).unwrap();
            let store = (&y * upstream).unwrap().sum_all().unwrap().backward().unwrap();

            let (x, dy, w, b) = (f64s(&x), f64s(&dy), of(&linear.weight), of(&linear.bias));
            let mut expected: Vec<f64> = (0..rows).flat_map(|_| b.iter().copied()).collect();
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
            for (row, output) in (0..rows * outputs).map(|i| (i / outputs, i % outputs)) {
                let g = dy[row * outputs + output];
                db[output] += g;
                for input in 0..inputs {
                    expected[row * outputs + output] += x[row * inputs + input] * w[output * inputs + input];
                    dx[row * inputs + input] += g * w[output * inputs + input];
                    dw[output * inputs + input] += g * x[row * inputs + input];
                }
            }
            prop_assert!(difference(&y, &expected) < 1e-5, "output");
            prop_assert!(difference(store.get(&images).unwrap(), &dx) < 1e-5, "input gradient");
            prop_assert!(difference(store.get(&linear.weight.var).unwrap(), &dw) < 1e-5, "weight gradient");
            prop_assert!(difference(store.get(&linear.bias.var).unwrap(), &db) < 1e-5, "bias gradient");
            // Without the graph the values are the same.
            let untracked = linear.forward(&images.as_detached_tensor(), false).unwrap();
            prop_assert!(!untracked.track_op());
            prop_assert_eq!(
                untracked.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            );
        }
    }

    /// As torch's `F.normalize`: a row of zeros stays one.
    #[test]
    fn embeddings_have_unit_length() {
        let x = Tensor::new(&[[3.0f32, -4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(normalize(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.6, -0.8], [0.0, 0.0]]);
    }
}
