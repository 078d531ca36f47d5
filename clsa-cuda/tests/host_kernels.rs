//! Every operation on the host in a GPU's place: the kernels themselves, their grids and the order of launches.

mod kernels;

use candle_core::{DType, Device, Tensor};
use clsa_cuda::{
    Area, Buffer, ConvShape, Element, Gpu, GpuError, Host, HostBuffer, Images, NormGradients, Normalized, Ops, Source,
};
use kernels::norm::{Backward, Residual};
use kernels::softmax::Sizes;
use kernels::{Bench, Machine, Parameters, Random, foreign, layout, norm, pool, softmax, update};
use proptest::prelude::*;

impl Machine for Host {
    type Gpu = Self;

    fn gpu(&self) -> &Self {
        self
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn upload(&self, bytes: &[u8]) -> HostBuffer {
        self.upload(bytes).unwrap()
    }

    fn download(&self, buffer: &HostBuffer) -> Vec<u8> {
        self.download(buffer).unwrap()
    }
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![Just(Element::F32), Just(Element::Bf16)]
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![Just(8), Just(24), Just(64), Just(72), Just(136)]
}

/// Up to several splits and blocks of pixels.
fn area() -> impl Strategy<Value = Area> {
    (1..=3usize, prop_oneof![2..40usize, 500..1300usize], channels()).prop_map(|(groups, rows, channels)| Area {
        groups,
        rows,
        channels,
    })
}

fn images() -> impl Strategy<Value = Images> {
    (1..=4usize, 1..=9usize, 1..=9usize, channels()).prop_map(|(batch, height, width, channels)| Images {
        batch,
        height,
        width,
        channels,
    })
}

fn residual() -> impl Strategy<Value = Residual> {
    prop_oneof![
        Just(Residual::None),
        Just(Residual::Stored),
        any::<bool>().prop_map(|relu| Residual::Normalized { relu })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn statistics_are_those_of_each_group(element in element(), area in area(), seed: u64) {
        norm::statistics(&Bench::new(&Host::new(seed), element), area, seed);
    }

    #[test]
    fn evaluation_takes_the_running_statistics(channels in channels(), seed: u64) {
        norm::running_norm(&Bench::new(&Host::new(seed), Element::F32), channels, seed);
    }

    #[test]
    fn normalizing_adds_the_residual_and_keeps_nan(
        element in element(), area in area(), residual in residual(), relu: bool, seed: u64,
    ) {
        norm::normalize(&Bench::new(&Host::new(seed), element), area, residual, relu, seed);
    }

    #[test]
    fn gradients_through_a_norm_are_those_of_the_formula(
        element in element(), area in area(), relu: bool, residual: bool, overwrite: bool, seed: u64,
    ) {
        let case = Backward { relu, residual, overwrite };
        norm::backward(&Bench::new(&Host::new(seed), element), area, case, seed);
    }

    #[test]
    fn gradients_are_added(element in element(), count in 1..5000usize, seed: u64) {
        norm::add(&Bench::new(&Host::new(seed), element), 8 * count, seed);
    }

    #[test]
    fn max_pooling_takes_the_first_of_the_highest(element in element(), images in images(), seed: u64) {
        pool::max_pool(&Bench::new(&Host::new(seed), element), images, None, seed);
    }

    #[test]
    fn max_pooling_reads_through_a_norm(element in element(), images in images(), groups in 1..=3usize, seed: u64) {
        let images = Images { batch: groups * images.batch.max(2), ..images };
        pool::max_pool(&Bench::new(&Host::new(seed), element), images, Some(groups), seed);
    }

    #[test]
    fn the_mean_over_an_image_is_exact(element in element(), images in images(), seed: u64) {
        pool::global_avg_pool(&Bench::new(&Host::new(seed), element), images, seed);
    }

    #[test]
    fn images_of_any_strides_become_channels_last(
        element in element(), images in images(), channels in 1..=8usize, permuted: bool, seed: u64,
    ) {
        layout::image(&Bench::new(&Host::new(seed), element), Images { channels, ..images }, permuted, seed);
    }

    #[test]
    fn bytes_go_through_the_table(pixels in 1..2000usize, seed: u64) {
        layout::bytes(&Bench::new(&Host::new(seed), Element::F32), pixels, seed);
    }

    #[test]
    fn weights_go_to_the_layout_of_convolutions_and_back(
        element in element(), outputs in 1..=9usize, channels in 1..=300usize, kernel in 1..=7usize, seed: u64,
    ) {
        let shape = ([outputs, channels, kernel], channels.next_multiple_of(8));
        layout::weight(&Bench::new(&Host::new(seed), element), shape, seed);
    }

    #[test]
    fn convolutions_are_those_of_candle(
        element in element(), side in 5..=8usize, kernel in prop_oneof![Just(1usize), Just(3)], stride in 1..=2usize, seed: u64,
    ) {
        let shape =
            ConvShape { batch: 2, height: side, width: side + 1, c_in: 8, c_out: 16, kernel, stride, padding: kernel / 2 };
        layout::convolution(&Bench::new(&Host::new(seed), element), shape, seed);
    }

    #[test]
    fn sgd_has_the_bits_of_plain_loops(lengths in prop::collection::vec(1..300usize, 1..6), seed: u64) {
        update::sgd(&Bench::new(&Host::new(seed), Element::F32), &lengths, seed);
    }

    #[test]
    fn the_moving_average_has_the_bits_of_plain_loops(lengths in prop::collection::vec(1..300usize, 1..6), seed: u64) {
        update::moving_average(&Bench::new(&Host::new(seed), Element::F32), &lengths, seed);
    }

    #[test]
    fn softmax_streams_over_blocks(
        rows in 1..6usize, counted in 1..6usize, dim in 1..300usize,
        blocks in prop::collection::vec(1..600usize, 1..4), seed: u64,
    ) {
        let sizes = Sizes { rows, counted: counted.min(rows), dim };
        softmax::softmax(&Bench::new(&Host::new(seed), Element::F32), sizes, &blocks, seed);
    }
}

#[test]
fn parameters_longer_than_a_chunk_are_updated_to_their_end() {
    let host = Host::new(1);
    let bench = Bench::new(&host, Element::F32);
    update::sgd(&bench, &[40_001, 3, 16_384], 1);
    update::moving_average(&bench, &[40_001, 3, 16_384], 2);
    // No parameters are no launch, which a driver would refuse.
    clsa_cuda::sgd(&host, &[], 0.1, 0.9, 0.0).unwrap();
    clsa_cuda::moving_average(&host, &[], 0.9).unwrap();
}

#[test]
fn a_block_turns_further_tiles_of_a_large_weight() {
    layout::weight(&Bench::new(&Host::new(1), Element::Bf16), ([2300, 20, 2], 24), 1);
}

#[test]
fn kernels_of_convolutions_may_be_21_by_21_and_no_larger() {
    let host = Host::new(1);
    let bench = Bench::new(&host, Element::Bf16);
    layout::weight(&bench, ([2, 24, 21], 24), 1);
    let larger = Tensor::zeros((8, 8, 23, 23), DType::F32, &Device::Cpu).unwrap();
    let error = bench.ops.pack_weight(&larger, 8).unwrap_err().to_string();
    assert!(error.contains("at most 512 places, not 23 x 23"), "{error}");
}

#[test]
fn bits_do_not_depend_on_the_order_of_threads_and_blocks() {
    let area = Area { groups: 2, rows: 1500, channels: 72 };
    let of_seed = |seed: u64| {
        let host = Host::new(seed);
        let bench = Bench::new(&host, Element::Bf16);
        let mut random = Random::new(5);
        let parameters = Parameters::new(&bench, area.channels, &mut random);
        let (z, dy) = (bench.put(&random.activation(area)), bench.put(&random.numbers(area.len())));
        let norm = bench.ops.statistics(area, &z, parameters.batch_norm()).unwrap();
        let own = Normalized { z: &z, norm: &norm, relu: true };
        let gradients = NormGradients { weight: &parameters.weight, bias: &parameters.bias, overwrite: true };
        let dz = bench.ops.norm_backward(area, own, dy, gradients).unwrap();
        (host.download(norm.buffer()).unwrap(), host.download(&dz).unwrap(), kernels::values(&parameters.weight))
    };
    let first = of_seed(0);
    assert!((1..6).all(|seed| of_seed(seed) == first));
}

#[test]
fn memory_of_the_host_starts_as_nan() {
    let host = Host::new(0);
    let buffer = host.alloc(64).unwrap();
    assert_eq!(buffer.address() % 256, 0);
    assert!(
        host.download(&buffer).unwrap().chunks_exact(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_nan())
    );
}

#[test]
fn memory_of_another_machine_is_refused() {
    let (host, other) = (Host::new(0), Host::new(0));
    foreign::buffers(&Bench::new(&host, Element::Bf16), &Bench::new(&other, Element::Bf16));
    assert!(matches!(host.download(&other.alloc(8).unwrap()), Err(GpuError::Unsupported { .. })));
    // Clones are the same machine.
    assert_eq!(host.download(&host.clone().upload(&[7; 8]).unwrap()).unwrap(), [7; 8]);
}

#[test]
fn operands_of_the_wrong_size_or_kind_are_errors() {
    let host = Host::new(0);
    let bench = Bench::new(&host, Element::Bf16);
    let area = Area { groups: 1, rows: 9, channels: 16 };
    let parameters = Parameters::new(&bench, 16, &mut Random::new(0));
    let short = bench.put(&vec![0.0; area.len() - 1]);
    let whole = bench.put(&vec![0.0; area.len()]);
    let ops: &Ops<Host> = &bench.ops;
    let statistics = |area, z| ops.statistics(area, z, parameters.batch_norm());
    assert!(matches!(statistics(area, &short), Err(GpuError::Length { operand: "z", expected: 144, got: 143 })));
    let narrow = Area { channels: 8, ..area };
    assert!(matches!(statistics(narrow, &whole), Err(GpuError::Length { operand: "weight", expected: 8, got: 16 })));
    for wrong in [Area { channels: 12, ..area }, Area { rows: 1, ..area }, Area { groups: 0, ..area }] {
        assert!(matches!(statistics(wrong, &whole), Err(GpuError::Unsupported { .. })));
    }
    let norm = statistics(area, &whole).unwrap();
    let own = Normalized { z: &whole, norm: &norm, relu: false };
    assert!(ops.normalize(Area { groups: 3, rows: 3, ..area }, own, None).is_err());
    assert!(ops.normalize(area, own, Some(Source::Stored(&short))).is_err());
    assert!(ops.add(16, &mut bench.put(&[0.0; 8]), &whole).is_err());
    let images = Images { batch: 1, height: 3, width: 3, channels: 16 };
    assert!(ops.max_pool(images, Source::Stored(&short)).is_err());
    let f64s = Tensor::zeros((1, 3, 4, 4), DType::F64, &Device::Cpu).unwrap();
    assert!(matches!(ops.image(&f64s), Err(GpuError::Unsupported { .. })));
    let one = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
    let repeated = one.broadcast_as((1_usize << 61, 1, 1, 1)).unwrap();
    assert!(matches!(ops.image(&repeated), Err(GpuError::Unsupported { .. })));
    let strided = Tensor::zeros((16, 9), DType::F32, &Device::Cpu).unwrap().t().unwrap();
    assert!(ops.global_avg_pool(Images { batch: 9, height: 1, width: 1, channels: 16 }, &whole, &strided).is_err());
    let wide = Tensor::zeros((2, 9, 3, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(ops.pack_weight(&wide, 8).is_err());
    let table = Tensor::zeros((3, 256), DType::F32, &Device::Cpu).unwrap();
    let unaligned = Tensor::zeros((9, 3), DType::F32, &Device::Cpu).unwrap().narrow(0, 1, 8).unwrap();
    assert!(matches!(ops.expand_bytes(&whole, &table, &unaligned), Err(GpuError::Unsupported { .. })));
}
