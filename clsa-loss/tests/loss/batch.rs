//! Random batches: views, keys and a bank.

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::MemoryBank;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Weak views.
    pub weak: usize,
    /// Strong views.
    pub strong: usize,
    /// Samples in a view, and keys.
    pub samples: usize,
    /// Components of a row.
    pub dim: usize,
    /// Rows of the bank.
    pub bank: usize,
}

/// Sizes on both sides of every block and group of the kernels.
pub fn sizes() -> impl Strategy<Value = Sizes> {
    (0usize..=5, 0usize..=5, 1usize..=70, 1usize..=200, 0usize..=5000)
        .prop_map(|(weak, strong, samples, dim, bank)| Sizes { weak, strong, samples, dim, bank })
}

/// Views, keys and bank rows of one batch.
#[derive(Clone)]
pub struct Batch {
    pub weak: Vec<Tensor>,
    pub strong: Vec<Tensor>,
    pub keys: Tensor,
    pub bank: Tensor,
}

/// Rows of length `norm`, in f64 but with values that f32 holds.
pub fn rows(count: usize, dim: usize, norm: f64, generator: &mut Xoshiro256PlusPlus) -> Tensor {
    let mut values = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let row: Vec<f64> = (0..dim).map(|_| generator.random_range(-1.0..1.0)).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.extend(row.iter().map(|x| f64::from((x * norm / length) as f32)));
    }
    Tensor::from_vec(values, (count, dim), &Device::Cpu).unwrap()
}

impl Batch {
    /// Random views whose rows have length `norm`; keys and bank have unit rows.
    pub fn random(sizes: Sizes, norm: f64, seed: u64) -> Self {
        let Sizes { weak, strong, samples, dim, bank } = sizes;
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut next = |count, norm| rows(count, dim, norm, &mut generator);
        let keys = next(samples, 1.0);
        // Weak views near their keys, as in training; strong views further away.
        let mut near = |share: f64| {
            let noise = next(samples, 1.0);
            let mixed = ((&keys * share).unwrap() + noise * (1.0 - share)).unwrap();
            let length = mixed.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = mixed.broadcast_div(&length).unwrap();
            (unit * norm).unwrap().to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap()
        };
        let weak = (0..weak).map(|_| near(0.55)).collect();
        let strong = (0..strong).map(|_| near(0.3)).collect();
        let bank = next(bank, 1.0);
        Self { weak, strong, keys, bank }
    }

    /// The same with a bank of rows near the keys, as that of a trained encoder is.
    pub fn crowded(mut self, seed: u64) -> Self {
        let (n, (k, d)) = (self.keys.dims()[0], self.bank.dims2().unwrap());
        if k > 0 {
            let near: Vec<u32> = (0..k as u32).map(|row| row % n as u32).collect();
            let near = self.keys.index_select(&Tensor::new(near, &Device::Cpu).unwrap(), 0).unwrap();
            let noise = rows(k, d, 0.6, &mut Xoshiro256PlusPlus::seed_from_u64(!seed));
            let bank = (near + noise).unwrap();
            let length = bank.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = bank.broadcast_div(&length).unwrap();
            self.bank = unit.to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap();
        }
        self
    }

    /// The same with all tensors cast.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        let cast = |tensors: &[Tensor]| tensors.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
        Self {
            weak: cast(&self.weak),
            strong: cast(&self.strong),
            keys: self.keys.to_dtype(dtype).unwrap(),
            bank: self.bank.to_dtype(dtype).unwrap(),
        }
    }
    /// The bank, stored as `dtype`.
    pub fn memory_bank(&self, dtype: DType) -> MemoryBank {
        MemoryBank::from_rows(self.bank.to_dtype(dtype).unwrap(), 0).unwrap()
    }
}

/// The views as leaves to differentiate for.
pub fn variables(tensors: &[Tensor]) -> Vec<Var> {
    tensors.iter().map(|t| Var::from_tensor(t).unwrap()).collect()
}

/// All values, as f64.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
