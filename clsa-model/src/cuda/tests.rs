//! Networks through the GPU's kernels, on the host in a GPU's place, against the portable operations in f64.

use super::{CudaKernels, can_compute};
use crate::arch::Arch;
use crate::backbone::{self, Builder, CandlePass, ConvBn, ConvBnConfig, Mode};
use crate::config::{ModelConfig, Stem};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::portable::Portable;
use crate::tape::Tape;
use crate::test_network;
use crate::test_network::{
    LAST_STAGE, copy_parameters, difference, f64s, images, network, portable_pass, units_of_eights, upstream,
};
use candle_core::{DType, Device, Tensor};
use clsa_cuda::{Element, Host, Ops};

/// A network's way from images to features, and its parameters.
type Built = (Box<dyn Fn(&mut dyn backbone::Ops, &Tensor) -> Result<Tensor>>, Builder);

fn residual(config: ModelConfig) -> impl Fn(DType) -> Built {
    move |dtype| {
        let (net, builder) = network(&config, dtype);
        (Box::new(move |ops, images| net.forward(ops, images, LAST_STAGE)), builder)
    }
}

/// What a pass gives.
struct Numbers {
    features: Vec<f64>,
    /// Of all parameters, in order.
    gradients: Vec<f64>,
    statistics: Vec<f64>,
    evaluated: Vec<f64>,
}

impl Numbers {
    /// How far features, gradients, statistics and features in evaluation are from the truth.
    fn differences(&self, truth: &Self) -> [f64; 4] {
        [
            difference(&self.features, &truth.features),
            difference(&self.gradients, &truth.gradients),
            difference(&self.statistics, &truth.statistics),
            difference(&self.evaluated, &truth.evaluated),
        ]
    }
}

fn statistics(builder: &Builder) -> Vec<f64> {
    builder.running_statistics().iter().flat_map(|statistic| f64s(statistic.var.as_tensor())).collect()
}

/// A training pass and its gradients, then features in evaluation, in portable operations.
fn portable(build: &dyn Fn(DType) -> Built, from: &Builder, images: &Tensor, dtype: DType, groups: usize) -> Numbers {
    let parameters = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (forward, builder) = build(parameters);
    copy_parameters(from, &builder);
    let (features, gradients) = portable_pass(&builder, dtype, groups, |ops| forward(ops, images));
    let statistics = statistics(&builder);
    let mut eval = Portable { pass: CandlePass::new(Mode::Eval, dtype, false), bn_splits: groups };
    let evaluated = f64s(&forward(&mut eval, images).unwrap());
    Numbers { features, gradients: gradients.concat(), statistics, evaluated }
}

/// The same by the GPU's kernels, whose threads and blocks run in the order of `seed`.
fn kernels(
    build: &dyn Fn(DType) -> Built,
    from: &Builder,
    images: &Tensor,
    element: Element,
    groups: usize,
    seed: u64,
) -> Numbers {
    let (forward, builder) = build(DType::F32);
    copy_parameters(from, &builder);
    let cuda = CudaKernels::new(Ops::new(Host::new(seed), element).unwrap(), &Device::Cpu);
    let mut gradients = Gradients::new(builder.parameters().len());
    let mut tape = Tape::new(cuda.for_pass(), Mode::Train, groups, true);
    let features = forward(&mut tape, images).unwrap();
    tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();
    let features = f64s(&features);
    let gradients = builder.parameters().iter().flat_map(|p| f64s(gradients.get(p.index).unwrap())).collect();
    let statistics = statistics(&builder);
    let mut tape = Tape::new(cuda.for_pass(), Mode::Eval, groups, false);
    let evaluated = f64s(&forward(&mut tape, images).unwrap());
    Numbers { features, gradients, statistics, evaluated }
}

/// The kernels are as near to f64 as portable operations of the same type are, within a factor for sums in another order, and
/// give equal bits in whatever order their threads and blocks run.
fn agrees(build: &dyn Fn(DType) -> Built, elements: &[Element], [batch, side, groups]: [usize; 3]) {
    let from = build(DType::F64).1;
    let images = |dtype| images(batch, side, dtype);
    let truth = portable(build, &from, &images(DType::F64), DType::F64, groups);
    for &element in elements {
        let (dtype, rounding) = match element {
            Element::F32 => (DType::F32, 2e-6),
            Element::Bf16 => (DType::BF16, 2e-3),
        };
        let expected = portable(build, &from, &images(DType::F32), dtype, groups).differences(&truth);
        let got = kernels(build, &from, &images(DType::F32), element, groups, 1);
        for (got, expected) in got.differences(&truth).iter().zip(expected) {
            assert!(
                *got <= 2.0 * expected + rounding,
                "{element:?}: {got:e} from f64, portable operations {expected:e}"
            );
        }
        let other = kernels(build, &from, &images(DType::F32), element, groups, 2);
        assert!(
            got.features == other.features && got.gradients == other.gradients,
            "{element:?}: another order, other bits"
        );
    }
}

#[test]
fn basic_blocks_agree_with_portable_operations() {
    let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.125, ..ModelConfig::default() };
    agrees(&residual(config), &[Element::F32, Element::Bf16], [4, 10, 2]);
}

#[test]
fn bottlenecks_and_pooling_agree_with_portable_operations() {
    let build = |dtype| -> Built {
        let (units, builder) = units_of_eights(dtype);
        (Box::new(move |ops, images| test_network::forward(ops, &units, images)), builder)
    };
    agrees(&build, &[Element::F32, Element::Bf16], [4, 33, 2]);
}

/// In bf16, fifty layers make noise of the gradients, which would be compared with other noise. With these images no unit is
/// so near to ReLU's edge that another order of sums turns it.
#[test]
fn a_resnet50_agrees_with_portable_operations_in_f32() {
    let config = ModelConfig { arch: Arch::Resnet50, stem: Stem::Imagenet, width: 0.125, ..ModelConfig::default() };
    agrees(&residual(config), &[Element::F32], [3, 33, 1]);
}

#[test]
fn gradients_of_several_passes_are_added() {
    let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.125, ..ModelConfig::default() };
    let (net, builder) = network(&config, DType::F32);
    let cuda = CudaKernels::new(Ops::new(Host::new(1), Element::F32).unwrap(), &Device::Cpu);
    let pass = |side, gradients: &mut Gradients| {
        let mut tape = Tape::new(cuda.for_pass(), Mode::Train, 1, true);
        let features = net.forward(&mut tape, &images(2, side, DType::F32), LAST_STAGE).unwrap();
        tape.backward(&upstream(features.dims()), gradients, &mut |_, _| {}).unwrap();
    };
    let all = |gradients: &Gradients| -> Vec<f64> {
        builder.parameters().iter().flat_map(|p| f64s(gradients.get(p.index).unwrap())).collect()
    };
    let [mut first, mut second, mut both] = [(); 3].map(|()| Gradients::new(builder.parameters().len()));
    pass(9, &mut first);
    pass(12, &mut second);
    // What was there before `clear` does not count.
    pass(12, &mut both);
    both.clear();
    pass(9, &mut both);
    pass(12, &mut both);
    let sum: Vec<f64> = all(&first).iter().zip(all(&second)).map(|(a, b)| a + b).collect();
    assert!(difference(&all(&both), &sum) < 1e-6);
}

fn unit(dtype: DType, [c_in, c_out, kernel]: [usize; 3]) -> (ConvBn, Builder) {
    let mut builder = Builder::new(5, dtype, &Device::Cpu);
    let config = ConvBnConfig { conv: "conv", norm: "norm", c_in, c_out, kernel, stride: 1, norm_weight: 1.0 };
    (ConvBn::new(&mut builder, config).unwrap(), builder)
}

/// Images have eight channels in the kernels' memory, whatever reads them.
#[test]
fn images_that_are_pooled_agree_with_portable_operations() {
    /// Without a unit, the features are the images' own channels.
    fn forward(ops: &mut dyn backbone::Ops, unit: Option<&ConvBn>, images: &Tensor) -> Result<Tensor> {
        let x = ops.image(images)?;
        let x = ops.max_pool(&x)?;
        match unit {
            Some(unit) => {
                let x = ops.conv_bn(&x, unit, None, true)?;
                ops.global_avg_pool(&x)
            }
            None => ops.global_avg_pool(&x),
        }
    }
    let ((ours, builder), (theirs, twins)) = (unit(DType::F32, [3, 8, 3]), unit(DType::F64, [3, 8, 3]));
    copy_parameters(&builder, &twins);
    let cuda = CudaKernels::new(Ops::new(Host::new(1), Element::F32).unwrap(), &Device::Cpu);
    let pass = |unit: Option<&ConvBn>| {
        let mut gradients = Gradients::new(builder.parameters().len());
        let mut tape = Tape::new(cuda.for_pass(), Mode::Train, 2, true);
        let features = forward(&mut tape, unit, &images(4, 9, DType::F32)).unwrap();
        tape.backward(&upstream(features.dims()), &mut gradients, &mut |_, _| {}).unwrap();
        (f64s(&features), gradients)
    };

    let (features, gradients) = pass(Some(&ours));
    let (truth, true_gradients) =
        portable_pass(&twins, DType::F64, 2, |ops| forward(ops, Some(&theirs), &images(4, 9, DType::F64)));
    assert!(difference(&features, &truth) < 1e-5);
    for (parameter, truth) in builder.parameters().iter().zip(true_gradients) {
        let error = difference(&f64s(gradients.get(parameter.index).unwrap()), &truth);
        assert!(error < 1e-4, "the gradient of {} differs by {error:e}", parameter.name);
    }

    let (features, _) = pass(None);
    let mut portable = Portable { pass: CandlePass::new(Mode::Eval, DType::F64, false), bn_splits: 1 };
    let truth = forward(&mut portable, None, &images(4, 9, DType::F64)).unwrap();
    assert!(difference(&features, &f64s(&truth)) < 1e-6);
}

#[test]
fn networks_whose_channels_or_kernels_do_not_suit_are_left_to_portable_operations() {
    let can = |shape| can_compute(unit(DType::F32, shape).1.parameters());
    assert!(can([3, 8, 7]) && can([16, 8, 21]));
    assert!(!can([3, 8, 23]) && !can([12, 8, 3]) && !can([8, 12, 3]));
}
