//! Every operation against plain loops, on the host in a GPU's place or on a GPU.

pub mod foreign;
pub mod layout;
pub mod norm;
pub mod pool;
pub mod softmax;
pub mod update;

use candle_core::{Device, Tensor};
use clsa_cuda::{Area, BatchNorm, Element, Gpu, Ops};
use half::bf16;

/// A GPU whose memory tests can see.
pub trait Machine {
    type Gpu: Gpu;

    fn gpu(&self) -> &Self::Gpu;
    fn device(&self) -> Device;
    fn upload(&self, bytes: &[u8]) -> Memory<Self>;
    fn download(&self, buffer: &Memory<Self>) -> Vec<u8>;
}

pub type Memory<M> = <<M as Machine>::Gpu as Gpu>::Buffer;

/// A machine and the operations on one type of activations.
pub struct Bench<'a, M: Machine> {
    pub machine: &'a M,
    pub ops: Ops<M::Gpu>,
    pub element: Element,
}

impl<'a, M: Machine> Bench<'a, M> {
    pub fn new(machine: &'a M, element: Element) -> Self {
        Self { machine, ops: Ops::new(machine.gpu().clone(), element).unwrap(), element }
    }

    /// Values that are stored exactly.
    pub fn round(&self, values: Vec<f32>) -> Vec<f32> {
        values.into_iter().map(|x| self.rounded(x)).collect()
    }

    pub fn rounded(&self, x: f32) -> f32 {
        match self.element {
            Element::F32 => x,
            Element::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }

    pub fn put(&self, values: &[f32]) -> Memory<M> {
        let bytes: Vec<u8> = match self.element {
            Element::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        };
        self.machine.upload(&bytes)
    }

    pub fn get(&self, buffer: &Memory<M>) -> Vec<f32> {
        let bytes = self.machine.download(buffer);
        match self.element {
            Element::F32 => f32_of(&bytes),
            Element::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        }
    }

    pub fn get_f32(&self, buffer: &Memory<M>) -> Vec<f32> {
        f32_of(&self.machine.download(buffer))
    }

    pub fn tensor(&self, values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(values, shape, &self.machine.device()).unwrap()
    }

    /// The error that rounding to the activations' type makes.
    pub fn precision(&self) -> f64 {
        match self.element {
            Element::F32 => 2e-5,
            Element::Bf16 => 5e-3,
        }
    }
}

fn f32_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A batch norm's tensors.
pub struct Parameters {
    pub weight: Tensor,
    pub bias: Tensor,
    pub running_mean: Tensor,
    pub running_var: Tensor,
}

impl Parameters {
    pub fn new<M: Machine>(bench: &Bench<'_, M>, channels: usize, random: &mut Random) -> Self {
        let mut of = |low: f32, high: f32| {
            let values: Vec<f32> = (0..channels).map(|_| random.between(low, high)).collect();
            bench.tensor(&values, &[channels])
        };
        Self { weight: of(-1.5, 1.5), bias: of(-0.5, 0.5), running_mean: of(-1.0, 1.0), running_var: of(0.5, 2.0) }
    }

    pub fn batch_norm(&self) -> BatchNorm<'_> {
        BatchNorm {
            weight: &self.weight,
            bias: &self.bias,
            running_mean: &self.running_mean,
            running_var: &self.running_var,
            eps: 1e-5,
            momentum: 0.1,
        }
    }
}

/// Numbers drawn from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.between(-2.0, 2.0)).collect()
    }

    /// A convolution's output: channels with a mean of their own.
    pub fn activation(&mut self, area: Area) -> Vec<f32> {
        let means: Vec<f32> = (0..area.channels).map(|c| if c % 5 == 0 { 40.0 } else { c as f32 * 0.02 }).collect();
        (0..area.len()).map(|i| self.between(-1.0, 1.0) + means[i % area.channels]).collect()
    }
}

#[track_caller]
pub fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let got = f64::from(got);
        let same = (got.is_nan() && want.is_nan()) || (got - want).abs() <= tolerance * (1.0 + want.abs());
        assert!(same, "at {i}: {got}, expected {want}");
    }
}

/// Equal bits, but that all NaNs are one.
#[track_caller]
pub fn assert_same(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "at {i}: {got}, expected {want}");
    }
}
