//! The backbone's operations in this crate's CPU kernels, with an explicit tape instead of a graph.
//!
//! Activations and their gradients are stored in f32 or bf16; parameters, statistics and parameter gradients are f32.
//! A training pass keeps one tensor for each convolution, its output: batch norm and ReLU are applied by whatever reads
//! it, forward and backward alike. Only where a residual is added, the sum is kept too, for the blocks that follow.

use crate::error::{ModelError, Result};
use crate::kernels::{
    ActivationView, Affine, BatchNormPass, BatchShape, Conv, ConvShape, Element, FoldedNorm, InstructionSet, Memory,
    MemoryPool, ReluMask, global_avg_pool, global_avg_pool_backward, max_pool, max_pool_backward, max_pool_side,
};
use crate::ops::{BatchNorm, ConvBn, Mode, Ops};
use crate::params::Gradients;
use crate::storage::{read_f32, write_f32};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// What is in memory of an activation.
enum Stored<E> {
    Plain(Memory<E>),
    /// A convolution's output, normalised by its readers.
    Norm {
        z: Memory<E>,
        affine: Affine,
        relu: bool,
    },
}

/// An activation (N, C, H, W), channels last in memory.
pub(crate) struct Act<E> {
    /// Place among the activations of its pass.
    id: usize,
    /// N, H, W, C.
    dims: [usize; 4],
    stored: Arc<Stored<E>>,
}

impl<E> Clone for Act<E> {
    fn clone(&self) -> Self {
        Self { stored: Arc::clone(&self.stored), ..*self }
    }
}

impl<E: Element> Act<E> {
    fn view(&self) -> ActivationView<'_, E> {
        match &*self.stored {
            Stored::Plain(values) => ActivationView::Plain(values),
            Stored::Norm { z, affine, relu } => {
                ActivationView::Normalized { z, scale: &affine.scale, shift: &affine.shift, relu: *relu }
            }
        }
    }

    fn shape(&self) -> BatchShape {
        let [batch, height, width, channels] = self.dims;
        BatchShape { batch, height, width, channels }
    }

    fn len(&self) -> usize {
        self.dims.iter().product()
    }

    fn pixels(&self) -> usize {
        self.dims[1] * self.dims[2]
    }
}

/// A step of the pass that can be taken back.
#[allow(clippy::large_enum_variant)] // nearly all records are of the large kind
enum Record<E> {
    ConvBn {
        x: Act<E>,
        unit: ConvBn,
        shape: ConvShape,
        residual: Option<Residual<E>>,
        y: Act<E>,
    },
    MaxPool {
        x: Act<E>,
        y: usize,
        /// Which place of its window each output is from, one byte each.
        taps: Memory<u8>,
    },
    GlobalAvgPool {
        x: Act<E>,
    },
}

/// What a unit with a residual keeps beyond the sum: its own normalised part.
struct Residual<E> {
    from: usize,
    z: Memory<E>,
    affine: Affine,
    relu: bool,
}

/// One pass in CPU kernels; where it is tracked, also the tape to take it back.
pub(crate) struct Tape<E> {
    mode: Mode,
    groups: usize,
    instructions: InstructionSet,
    pool: MemoryPool,
    track: bool,
    records: Vec<Record<E>>,
    activations: usize,
}

impl<E: Element> Tape<E> {
    /// A pass with batch norm over `groups` groups of the batch; with `track` it records what `backward` needs.
    pub fn new(instructions: InstructionSet, pool: &MemoryPool, mode: Mode, groups: usize, track: bool) -> Self {
        Self { mode, groups, instructions, pool: pool.clone(), track, records: Vec::new(), activations: 0 }
    }

    fn act(&mut self, dims: [usize; 4], stored: Stored<E>) -> Act<E> {
        self.activations += 1;
        Act { id: self.activations - 1, dims, stored: Arc::new(stored) }
    }

    /// The groups of a batch of `n` images that batch norm sees: one in evaluation, where statistics are constants.
    fn groups_of(&self, n: usize) -> Result<usize> {
        match self.mode {
            Mode::Eval => Ok(1),
            Mode::Train if self.groups == 0 || !n.is_multiple_of(self.groups) => Err(ModelError::Config {
                key: "model.bn_splits",
                value: self.groups.to_string(),
                expected: format!("use a divisor of the batch, which has {n} images"),
            }),
            Mode::Train => Ok(self.groups),
        }
    }

    /// Takes the gradient of the pooled features (N, C) back through the pass, adds the parameters' gradients to
    /// `gradients`, and frees the pass's memory on the way.
    pub fn backward(mut self, features: &[f32], gradients: &mut Gradients) -> Result<()> {
        let mut open: Vec<Option<Memory<E>>> = (0..self.activations).map(|_| None).collect();
        while let Some(record) = self.records.pop() {
            match record {
                Record::GlobalAvgPool { x } => {
                    let mut dx = self.pool.take(x.len());
                    global_avg_pool_backward(x.dims[3], x.pixels(), features, &mut dx);
                    open[x.id] = Some(dx);
                }
                Record::MaxPool { x, y, taps } => {
                    if let Some(dy) = open[y].take() {
                        let mut dx = self.pool.take(x.len());
                        max_pool_backward(self.instructions, x.shape(), &dy, &taps, &mut dx);
                        open[x.id] = Some(dx);
                    }
                }
                Record::ConvBn { x, unit, shape, residual, y } => {
                    if let Some(dy) = open[y.id].take() {
                        self.conv_bn_backward(&x, &unit, shape, residual, &y, dy, &mut open, gradients)?;
                    }
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn conv_bn_backward(
        &self,
        x: &Act<E>,
        unit: &ConvBn,
        shape: ConvShape,
        residual: Option<Residual<E>>,
        y: &Act<E>,
        mut dy: Memory<E>,
        open: &mut [Option<Memory<E>>],
        gradients: &mut Gradients,
    ) -> Result<()> {
        let channels = shape.c_out;
        let (z, affine, mask) = match (&residual, &*y.stored) {
            (Some(r), Stored::Plain(out)) => {
                (&r.z, &r.affine, if r.relu { ReluMask::Output(out) } else { ReluMask::Open })
            }
            (None, Stored::Norm { z, affine, relu }) => {
                (z, affine, if *relu { ReluMask::Normalized } else { ReluMask::Open })
            }
            _ => unreachable!("units with a residual store their sum, the others their convolution"),
        };
        let norm = BatchNormPass { instructions: self.instructions, channels, z, affine };
        let sums = norm.backward_sums(mask, &mut dy);
        let over_groups = |sums: &[f64], out: &mut [f32]| {
            for group in sums.chunks_exact(channels) {
                for (out, sum) in out.iter_mut().zip(group) {
                    *out += *sum as f32;
                }
            }
        };
        gradients.accumulate_f32(&unit.bn.weight, |g| over_groups(&sums.weighted, g))?;
        gradients.accumulate_f32(&unit.bn.bias, |g| over_groups(&sums.gradient, g))?;
        let dz = match &residual {
            None => {
                norm.backward_apply(&sums, mask, &mut dy, None);
                dy
            }
            Some(residual) => {
                let mut dz = self.pool.take(dy.len());
                norm.backward_apply(&sums, ReluMask::Open, &mut dy, Some(&mut dz));
                match &mut open[residual.from] {
                    Some(sum) => {
                        for (sum, g) in sum.iter_mut().zip(dy.iter()) {
                            *sum = E::from_f32(sum.to_f32() + g.to_f32());
                        }
                    }
                    slot => *slot = Some(dy),
                }
                dz
            }
        };
        let groups = self.groups_of(shape.batch)?;
        let conv = Conv { instructions: self.instructions, memory: &self.pool, shape, groups };
        gradients.accumulate_f32(&unit.conv.weight, |g| conv.backward_weight(x.view(), &dz, g))?;
        if x.id > 0 {
            // The images, activation 0, need no gradient.
            let add = open[x.id].is_some();
            let mut dx = open[x.id].take().unwrap_or_else(|| self.pool.take(x.len()));
            read_f32(&unit.conv.weight.var, |w| conv.backward_data(&dz, w, &mut dx, add))?;
            open[x.id] = Some(dx);
        }
        Ok(())
    }
}

impl<E: Element> Ops for Tape<E> {
    type Act = Act<E>;

    fn image(&mut self, images: &Tensor) -> Result<Act<E>> {
        let (n, c, h, w) = images.dims4()?;
        let last = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
        let mut values = self.pool.take(n * c * h * w);
        read_f32(&last, |from| values.iter_mut().zip(from).for_each(|(to, &from)| *to = E::from_f32(from)))?;
        Ok(self.act([n, h, w, c], Stored::Plain(values)))
    }

    fn conv_bn(&mut self, x: &Act<E>, unit: &ConvBn, residual: Option<&Act<E>>, relu: bool) -> Result<Act<E>> {
        let ConvBn { conv, bn } = unit;
        let [batch, height, width, c_in] = x.dims;
        if c_in != conv.c_in {
            return Err(ModelError::Shape {
                what: "the activation",
                got: vec![batch, c_in, height, width],
                expected: format!("(N, {}, H, W)", conv.c_in),
            });
        }
        let shape = ConvShape {
            batch,
            height,
            width,
            c_in,
            c_out: conv.c_out,
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
        };
        let dims = [batch, shape.out_height(), shape.out_width(), conv.c_out];
        if let Some(residual) = residual.filter(|r| r.dims != dims) {
            let [n, h, w, c] = residual.dims;
            return Err(ModelError::Shape {
                what: "the residual",
                got: vec![n, c, h, w],
                expected: "the shape of the convolution's output".to_owned(),
            });
        }
        let (instructions, pool) = (self.instructions, self.pool.clone());
        if self.mode == Mode::Eval {
            let (scale, bias) = folded(bn)?;
            let mut out = pool.take(shape.output_len());
            let residual = match residual.map(|r| &*r.stored) {
                Some(Stored::Plain(values)) => Some(&**values),
                Some(Stored::Norm { .. }) => unreachable!("evaluation stores activations as they are"),
                None => None,
            };
            let norm = FoldedNorm { scale: &scale, bias: &bias, residual, relu };
            let kernels = Conv { instructions, memory: &pool, shape, groups: 1 };
            read_f32(&conv.weight.var, |w| kernels.forward_folded(x.view(), w, norm, &mut out))?;
            return Ok(self.act(dims, Stored::Plain(out)));
        }
        let groups = self.groups_of(batch)?;
        let count = batch / groups * dims[1] * dims[2];
        if count < 2 {
            return Err(ModelError::Shape {
                what: "a batch norm group",
                got: vec![batch / groups, conv.c_out, dims[1], dims[2]],
                expected: "more than one value per channel in training".to_owned(),
            });
        }
        let mut z = pool.take(shape.output_len());
        let kernels = Conv { instructions, memory: &pool, shape, groups };
        let moments = read_f32(&conv.weight.var, |w| kernels.forward(x.view(), w, &mut z))?;
        let unbiased = count as f64 / (count - 1) as f64;
        follow(&bn.running_mean.var, moments.mean(), 1.0)?;
        follow(&bn.running_var.var, &moments.variance(), unbiased)?;
        let affine =
            read_f32(&bn.weight.var, |w| read_f32(&bn.bias.var, |b| Affine::new(&moments, w, b, BatchNorm::EPS)))??;
        let (y, kept) = match residual {
            None => (self.act(dims, Stored::Norm { z, affine, relu }), None),
            Some(residual) => {
                let mut out = pool.take(shape.output_len());
                let norm = BatchNormPass { instructions, channels: conv.c_out, z: &z, affine: &affine };
                norm.normalize(Some(residual.view()), relu, &mut out);
                let kept = Residual { from: residual.id, z, affine, relu };
                (self.act(dims, Stored::Plain(out)), Some(kept))
            }
        };
        if self.track {
            let record = Record::ConvBn { x: x.clone(), unit: unit.clone(), shape, residual: kept, y: y.clone() };
            self.records.push(record);
        }
        Ok(y)
    }

    fn max_pool(&mut self, x: &Act<E>) -> Result<Act<E>> {
        let [n, h, w, c] = x.dims;
        let dims = [n, max_pool_side(h), max_pool_side(w), c];
        let len = dims.iter().product();
        let mut out = self.pool.take(len);
        let mut taps = self.pool.take(len);
        let groups = self.groups_of(n)?;
        max_pool(self.instructions, x.shape(), groups, x.view(), &mut out, &mut taps);
        let y = self.act(dims, Stored::Plain(out));
        if self.track {
            self.records.push(Record::MaxPool { x: x.clone(), y: y.id, taps });
        }
        Ok(y)
    }

    fn global_avg_pool(&mut self, x: &Act<E>) -> Result<Tensor> {
        let [n, _, _, c] = x.dims;
        let Stored::Plain(values) = &*x.stored else {
            unreachable!("a stage ends with a residual, whose sum is stored")
        };
        let mut out = vec![0.0; n * c];
        global_avg_pool(c, x.pixels(), values, &mut out);
        if self.track {
            self.records.push(Record::GlobalAvgPool { x: x.clone() });
        }
        Ok(Tensor::from_vec(out, (n, c), &Device::Cpu)?)
    }
}

/// Batch norm with its running statistics, as a factor and a sum per channel.
fn folded(bn: &BatchNorm) -> Result<(Vec<f32>, Vec<f32>)> {
    let values = |var: &candle_core::Var| read_f32(var, <[f32]>::to_vec);
    let (weight, bias) = (values(&bn.weight.var)?, values(&bn.bias.var)?);
    let (mean, var) = (values(&bn.running_mean.var)?, values(&bn.running_var.var)?);
    let scale: Vec<f64> =
        weight.iter().zip(&var).map(|(&w, &v)| f64::from(w) / (f64::from(v) + BatchNorm::EPS).sqrt()).collect();
    let shift = bias.iter().zip(&mean).zip(&scale).map(|((&b, &m), s)| (f64::from(b) - f64::from(m) * s) as f32);
    Ok((scale.iter().map(|&s| s as f32).collect(), shift.collect()))
}

/// Moves a running statistic towards the mean over groups of that of the batch, times `factor`.
fn follow(running: &candle_core::Var, batch: &[f64], factor: f64) -> Result<()> {
    write_f32(running, |running| {
        let channels = running.len();
        let groups = (batch.len() / channels) as f64;
        for (c, running) in running.iter_mut().enumerate() {
            let sum: f64 = batch.iter().skip(c).step_by(channels).sum();
            let kept = f64::from(*running) * (1.0 - BatchNorm::MOMENTUM);
            *running = (kept + sum / groups * factor * BatchNorm::MOMENTUM) as f32;
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, ModelConfig, Stem};
    use crate::ops::Conv;
    use crate::params::{Builder, Init};
    use crate::portable::Portable;
    use crate::resnet::{ResNet, Stage};

    /// The same numbers for any place: smooth, of mixed sign, without symmetry.
    fn images(n: usize, side: usize, dtype: DType) -> Tensor {
        let values: Vec<f64> = (0..n * 3 * side * side)
            .map(|i| {
                (i as f64 * 0.37).sin() + 0.5 * (i as f64 * 0.0113).cos() + 0.3 * ((i * 7919 % 101) as f64 / 101.0)
            })
            .collect();
        Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    fn network(config: &ModelConfig, dtype: DType) -> (ResNet, Builder) {
        let mut builder = Builder::new(7, dtype, &Device::Cpu);
        (ResNet::new(config, &mut builder).unwrap(), builder)
    }

    fn f64s(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The length of the difference over the length of what is expected.
    fn difference(got: &[f64], expected: &[f64]) -> f64 {
        assert_eq!(got.len(), expected.len());
        let square = |sum: f64, x: f64| sum + x * x;
        let distance = got.iter().zip(expected).map(|(a, b)| a - b).fold(0.0, square);
        (distance / expected.iter().copied().fold(1e-300, square)).sqrt()
    }

    /// One training pass of the portable operations and its parameter gradients.
    fn portable_pass(
        net: &ResNet,
        builder: &Builder,
        images: &Tensor,
        given: &Tensor,
        groups: usize,
    ) -> (Vec<f64>, Vec<Vec<f64>>) {
        let dtype = images.dtype();
        let mut portable = Portable { mode: Mode::Train, bn_splits: groups, dtype, track: true };
        let features = net.forward(&mut portable, images, Stage::Layer4).unwrap();
        let loss = (&features * given.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
        let store = loss.backward().unwrap();
        (f64s(&features), builder.parameters.iter().map(|p| f64s(store.get(&p.var).unwrap())).collect())
    }

    fn agrees(arch: Arch, stem: Stem, width: f64, batch: usize, side: usize, groups: usize) {
        for instructions in InstructionSet::available() {
            agrees_with(instructions, arch, stem, width, batch, side, groups);
        }
    }

    fn agrees_with(
        instructions: InstructionSet,
        arch: Arch,
        stem: Stem,
        width: f64,
        batch: usize,
        side: usize,
        groups: usize,
    ) {
        let config = ModelConfig { arch, stem, width, ..ModelConfig::default() };
        let (net, single) = network(&config, DType::F32);
        let (reference, double) = network(&config, DType::F64);
        for (p, q) in double.parameters.iter().zip(&single.parameters) {
            p.var.set(&q.var.as_detached_tensor().to_dtype(DType::F64).unwrap()).unwrap();
        }
        let pool = MemoryPool::default();
        let (x32, x64) = (images(batch, side, DType::F32), images(batch, side, DType::F64));
        // The second pass works in the memory of the first.
        for pass in 0..2 {
            let mut tape = Tape::<f32>::new(instructions, &pool, Mode::Train, groups, true);
            let features = net.forward(&mut tape, &x32, Stage::Layer4).unwrap();
            let given: Vec<f32> = (0..features.elem_count()).map(|i| (i as f32 * 1.7).sin()).collect();
            let mut gradients = Gradients::new(single.parameters.len());
            tape.backward(&given, &mut gradients).unwrap();

            let given = Tensor::from_vec(given, features.dims(), &Device::Cpu).unwrap();
            let (expected, expected_gradients) = portable_pass(&reference, &double, &x64, &given, groups);
            let error = difference(&f64s(&features), &expected);
            assert!(error < 1e-4, "pass {pass}: features differ by {error:e}");
            // Deep in a network a value near zero passes ReLU in one precision and not in another: what single
            // precision itself loses is the measure.
            let (twin, twins) = network(&config, DType::F32);
            let (_, single_gradients) = portable_pass(&twin, &twins, &x32, &given, groups);
            for ((p, expected), portable) in single.parameters.iter().zip(&expected_gradients).zip(&single_gradients) {
                let error = difference(&f64s(gradients.get(p.index).unwrap()), expected);
                let allowed = 1e-4 + 4.0 * difference(portable, expected);
                assert!(error < allowed, "pass {pass}: the gradient of {} differs by {error:e} > {allowed:e}", p.name);
            }
        }
        for (b, c) in single.buffers.iter().zip(&double.buffers) {
            let error = difference(&f64s(b.var.as_tensor()), &f64s(c.var.as_tensor()));
            assert!(error < 1e-4, "{} differs by {error:e}", b.name);
        }
        let mut tape = Tape::<f32>::new(instructions, &pool, Mode::Eval, groups, false);
        let features = net.forward(&mut tape, &x32, Stage::Layer4).unwrap();
        let mut portable = Portable { mode: Mode::Eval, bn_splits: groups, dtype: DType::F64, track: false };
        let expected = reference.forward(&mut portable, &x64, Stage::Layer4).unwrap();
        let error = difference(&f64s(&features), &f64s(&expected));
        assert!(error < 1e-4, "in evaluation mode features differ by {error:e}");
    }

    #[test]
    fn basic_blocks_agree_with_the_portable_operations() {
        agrees(Arch::Resnet18, Stem::Cifar, 0.25, 4, 32, 1);
    }

    /// Stem, pooling, a bottleneck with projection and stride 2, one without: every operation, few layers deep.
    fn shallow<O: Ops>(ops: &mut O, units: &[ConvBn], images: &Tensor) -> Result<Tensor> {
        let x = ops.image(images)?;
        let x = ops.conv_bn(&x, &units[0], None, true)?;
        let x = ops.max_pool(&x)?;
        let y = ops.conv_bn(&x, &units[1], None, true)?;
        let y = ops.conv_bn(&y, &units[2], None, true)?;
        let identity = ops.conv_bn(&x, &units[3], None, false)?;
        let x = ops.conv_bn(&y, &units[4], Some(&identity), true)?;
        let y = ops.conv_bn(&x, &units[5], None, true)?;
        let y = ops.conv_bn(&y, &units[6], None, true)?;
        let x = ops.conv_bn(&y, &units[7], Some(&x), true)?;
        ops.global_avg_pool(&x)
    }

    fn shallow_units(dtype: DType) -> (Vec<ConvBn>, Builder) {
        let mut builder = Builder::new(3, dtype, &Device::Cpu);
        let shapes = [
            (3, 20, 7, 2),
            (20, 18, 1, 1),
            (18, 24, 3, 2),
            (20, 72, 1, 2),
            (24, 72, 1, 1),
            (72, 18, 1, 1),
            (18, 24, 3, 1),
            (24, 72, 1, 1),
        ];
        let unit = |(i, (c_in, c_out, kernel, stride)): (usize, (usize, usize, usize, usize))| {
            let std = Init::Normal((2.0 / (c_out * kernel * kernel) as f64).sqrt());
            let weight = builder.parameter(format!("{i}.weight"), &[c_out, c_in, kernel, kernel], std).unwrap();
            let bn = BatchNorm {
                weight: builder.parameter(format!("{i}.norm"), &[c_out], Init::Uniform(1.5)).unwrap(),
                bias: builder.parameter(format!("{i}.bias"), &[c_out], Init::Uniform(0.5)).unwrap(),
                running_mean: builder.buffer(format!("{i}.mean"), c_out, 0.0).unwrap(),
                running_var: builder.buffer(format!("{i}.var"), c_out, 1.0).unwrap(),
            };
            ConvBn { conv: Conv { weight, c_in, c_out, kernel, stride, padding: kernel / 2 }, bn }
        };
        let units = shapes.into_iter().enumerate().map(unit).collect();
        (units, builder)
    }

    #[test]
    fn bottlenecks_and_pooling_agree_with_the_portable_operations() {
        InstructionSet::available().into_iter().for_each(bottlenecks_agree_with);
    }

    fn bottlenecks_agree_with(instructions: InstructionSet) {
        let (single, singles) = shallow_units(DType::F32);
        let (double, doubles) = shallow_units(DType::F64);
        for (p, q) in doubles.parameters.iter().zip(&singles.parameters) {
            p.var.set(&q.var.as_detached_tensor().to_dtype(DType::F64).unwrap()).unwrap();
        }
        let mut tape = Tape::<f32>::new(instructions, &MemoryPool::default(), Mode::Train, 2, true);
        let features = shallow(&mut tape, &single, &images(4, 67, DType::F32)).unwrap();
        let given: Vec<f32> = (0..features.elem_count()).map(|i| (i as f32 * 1.7).sin()).collect();
        let mut gradients = Gradients::new(singles.parameters.len());
        tape.backward(&given, &mut gradients).unwrap();

        let mut portable = Portable { mode: Mode::Train, bn_splits: 2, dtype: DType::F64, track: true };
        let expected = shallow(&mut portable, &double, &images(4, 67, DType::F64)).unwrap();
        let error = difference(&f64s(&features), &f64s(&expected));
        assert!(error < 1e-5, "features differ by {error:e}");
        let given = Tensor::from_vec(given, expected.dims(), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let store = (expected * given).unwrap().sum_all().unwrap().backward().unwrap();
        for (p, q) in singles.parameters.iter().zip(&doubles.parameters) {
            let error = difference(&f64s(gradients.get(p.index).unwrap()), &f64s(store.get(&q.var).unwrap()));
            assert!(error < 1e-4, "the gradient of {} differs by {error:e}", p.name);
        }
    }

    /// Features and parameter gradients in bf16 differ from those in f64 as those of the portable operations in bf16 do, which
    /// round in the same places and, within batch norm and its gradient, in more.
    #[test]
    fn in_bf16_bottlenecks_and_pooling_lose_no_more_than_the_portable_operations() {
        let (double, doubles) = shallow_units(DType::F64);
        let copy = || {
            let (units, builder) = shallow_units(DType::F32);
            for (p, q) in doubles.parameters.iter().zip(&builder.parameters) {
                p.var.set(&q.var.as_detached_tensor().to_dtype(DType::F64).unwrap()).unwrap();
            }
            (units, builder)
        };
        let (units, builder) = copy();
        let given = |like: &Tensor| {
            let given: Vec<f32> = (0..like.elem_count()).map(|i| (i as f32 * 1.7).sin()).collect();
            Tensor::from_vec(given, like.dims(), &Device::Cpu).unwrap()
        };
        let portable = |units: &[ConvBn], builder: &Builder, dtype: DType| {
            let mut portable = Portable { mode: Mode::Train, bn_splits: 2, dtype, track: true };
            let features = shallow(&mut portable, units, &images(4, 67, DType::F64)).unwrap();
            let given = given(&features).to_dtype(features.dtype()).unwrap();
            let store = (&features * given).unwrap().sum_all().unwrap().backward().unwrap();
            let gradients: Vec<_> = builder.parameters.iter().map(|p| f64s(store.get(&p.var).unwrap())).collect();
            (f64s(&features), gradients)
        };
        let (exact, exact_gradients) = portable(&double, &doubles, DType::F64);
        let (candle, candle_gradients) = portable(&units, &builder, DType::BF16);
        for instructions in InstructionSet::available() {
            let (units, builder) = copy();
            let mut tape = Tape::<half::bf16>::new(instructions, &MemoryPool::default(), Mode::Train, 2, true);
            let features = shallow(&mut tape, &units, &images(4, 67, DType::F32)).unwrap();
            let mut gradients = Gradients::new(builder.parameters.len());
            tape.backward(&given(&features).flatten_all().unwrap().to_vec1().unwrap(), &mut gradients).unwrap();
            let (ours, theirs) = (difference(&f64s(&features), &exact), difference(&candle, &exact));
            println!("{instructions:?} features {ours:.4} portable {theirs:.4}");
            assert!(
                ours < 1.25 * theirs,
                "{instructions:?}: features differ by {ours:e}, the portable ones by {theirs:e}"
            );
            for (p, (exact, candle)) in builder.parameters.iter().zip(exact_gradients.iter().zip(&candle_gradients)) {
                let gradient = gradients.get(p.index).unwrap();
                assert_eq!(gradient.dtype(), DType::F32);
                let (ours, theirs) = (difference(&f64s(gradient), exact), difference(candle, exact));
                println!("{instructions:?} {} {ours:.4} portable {theirs:.4}", p.name);
                assert!(
                    ours < 1.25 * theirs,
                    "{instructions:?}: {} differs by {ours:e}, the portable one by {theirs:e}",
                    p.name
                );
            }
        }
    }

    #[test]
    fn a_resnet50s_gradient_points_where_that_of_f64_does() {
        InstructionSet::available().into_iter().for_each(resnet50_points_with);
    }

    fn resnet50_points_with(instructions: InstructionSet) {
        let config = ModelConfig { width: 0.25, ..ModelConfig::default() };
        let (net, single) = network(&config, DType::F32);
        let (reference, double) = network(&config, DType::F64);
        for (p, q) in double.parameters.iter().zip(&single.parameters) {
            p.var.set(&q.var.as_detached_tensor().to_dtype(DType::F64).unwrap()).unwrap();
        }
        let mut tape = Tape::<f32>::new(instructions, &MemoryPool::default(), Mode::Train, 1, true);
        let features = net.forward(&mut tape, &images(4, 65, DType::F32), Stage::Layer4).unwrap();
        let given: Vec<f32> = (0..features.elem_count()).map(|i| (i as f32 * 1.7).sin()).collect();
        let mut gradients = Gradients::new(single.parameters.len());
        tape.backward(&given, &mut gradients).unwrap();
        let given = Tensor::from_vec(given, features.dims(), &Device::Cpu).unwrap();
        let (expected, expected_gradients) = portable_pass(&reference, &double, &images(4, 65, DType::F64), &given, 1);
        assert!(difference(&f64s(&features), &expected) < 1e-4);
        // Fifty layers deep some values near zero pass ReLU in one precision and not in the other, so that single
        // parameters may differ by what one pixel contributes.
        let (mut product, mut own, mut other) = (0.0, 0.0, 0.0);
        for (p, expected) in single.parameters.iter().zip(&expected_gradients) {
            let got = f64s(gradients.get(p.index).unwrap());
            let scale = expected.iter().fold(1e-300, |sum, x| sum + x * x);
            product += got.iter().zip(expected).map(|(a, b)| a * b).sum::<f64>() / scale;
            own += got.iter().map(|a| a * a).sum::<f64>() / scale;
            other += 1.0;
        }
        let cosine = product / (own * other).sqrt();
        assert!(cosine > 0.999, "the cosine is {cosine}");
    }

    #[test]
    fn batch_norm_groups_agree_with_the_portable_operations() {
        agrees(Arch::Resnet10, Stem::Imagenet, 0.1875, 6, 75, 3);
    }
}
