//! What only a GPU can show: convolutions against loops on the host, launches, memory, time. Without a GPU, nothing is tested.

// Convolutions work on addresses.
#![allow(unsafe_code)]

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::cuda_backend::cudarc::driver::sys::cudaError_enum::CUDA_ERROR_UNKNOWN;
use clsa_cuda::{
    Buffer, ConvShape, Convolve, Cuda, CudaBuffer, Direction, Element, Feeder, Gpu, Planner, Product, memory,
};
use half::bf16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Held by a test that takes much memory of the GPU, and by the one that counts it.
static MEMORY: Mutex<()> = Mutex::new(());

const DIRECTIONS: [Direction; 3] = [Direction::Forward, Direction::Data, Direction::Weight];

/// The first GPU, if there is one.
fn gpu() -> Option<Cuda> {
    let device = match Device::new_cuda_with_stream(0) {
        Ok(device) => device,
        Err(error) => {
            println!("not tested: {}", error.to_string().lines().next().unwrap_or_default());
            return None;
        }
    };
    // SAFETY: one stream, no tensors.
    unsafe { device.as_cuda_device().unwrap().disable_event_tracking() };
    Some(Cuda::new(&device).unwrap())
}

/// Numbers from -1 to 1 that `element` holds exactly, the same for the same seed.
fn numbers(count: usize, seed: u64, element: Element) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match element {
            Element::F32 => number,
            Element::Bf16 => bf16::from_f32(number).to_f32(),
        }
    };
    (0..count).map(|_| next()).collect()
}

fn bytes_of(numbers: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Element::Bf16 => numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect(),
    }
}

fn numbers_of(bytes: &[u8], element: Element) -> Vec<f32> {
    match element {
        Element::F32 => bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect(),
        Element::Bf16 => {
            bytes.chunks_exact(2).map(|number| bf16::from_le_bytes(number.try_into().unwrap()).to_f32()).collect()
        }
    }
}

/// Calls `term` with the places in input, weight and output of every product that a convolution adds up.
fn terms(shape: &ConvShape, mut term: impl FnMut(usize, usize, usize)) {
    let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = *shape;
    for image in 0..batch {
        for (out_row, out_column) in (0..shape.out_height()).flat_map(|r| (0..shape.out_width()).map(move |c| (r, c))) {
            for (kernel_row, kernel_column) in (0..kernel).flat_map(|r| (0..kernel).map(move |c| (r, c))) {
                let row = (out_row * stride + kernel_row).wrapping_sub(padding);
                let column = (out_column * stride + kernel_column).wrapping_sub(padding);
                if row >= height || column >= width {
                    continue;
                }
                let x = ((image * height + row) * width + column) * c_in;
                let y = ((image * shape.out_height() + out_row) * shape.out_width() + out_column) * c_out;
                for out in 0..c_out {
                    let w = ((out * kernel + kernel_row) * kernel + kernel_column) * c_in;
                    for channel in 0..c_in {
                        term(x + channel, w + channel, y + out);
                    }
                }
            }
        }
    }
}

/// The result and the sum of the terms' absolute values, in f64.
fn expected(direction: Direction, shape: &ConvShape, [x, w, y]: [&[f32]; 3], start: Option<&[f32]>) -> Vec<(f64, f64)> {
    let len = match direction {
        Direction::Forward => y.len(),
        Direction::Data => x.len(),
        Direction::Weight => w.len(),
    };
    let from = |number: f32| (f64::from(number), f64::from(number).abs());
    let mut sums = start.map_or_else(|| vec![(0.0, 0.0); len], |start| start.iter().copied().map(from).collect());
    let mut add = |place: usize, one: f32, other: f32| {
        let product = f64::from(one) * f64::from(other);
        let (sum, absolute) = &mut sums[place];
        *sum += product;
        *absolute += product.abs();
    };
    match direction {
        Direction::Forward => terms(shape, |i, j, k| add(k, x[i], w[j])),
        Direction::Data => terms(shape, |i, j, k| add(i, w[j], y[k])),
        Direction::Weight => terms(shape, |i, j, k| add(j, x[i], y[k])),
    }
    sums
}

/// The shapes: of the networks in small, and some that no network has.
fn shapes() -> Vec<ConvShape> {
    let shape = |batch, (height, width), (c_in, c_out), kernel, stride| ConvShape {
        batch,
        height,
        width,
        c_in,
        c_out,
        kernel,
        stride,
        padding: kernel / 2,
    };
    vec![
        shape(2, (8, 8), (64, 64), 1, 1),
        shape(3, (7, 7), (64, 256), 1, 1),
        shape(2, (4, 4), (512, 128), 1, 1),
        shape(2, (8, 8), (64, 128), 1, 2),
        shape(5, (7, 9), (32, 64), 1, 2),
        shape(2, (8, 8), (64, 64), 3, 1),
        shape(3, (7, 5), (32, 48), 3, 1),
        shape(2, (3, 3), (256, 256), 3, 1),
        shape(2, (2, 2), (512, 512), 3, 1),
        shape(2, (8, 8), (64, 64), 3, 2),
        shape(3, (7, 9), (40, 24), 3, 2),
        shape(4, (16, 16), (8, 64), 3, 1),
        shape(2, (32, 32), (8, 64), 7, 2),
        shape(3, (23, 17), (8, 16), 7, 2),
        shape(1, (1, 1), (8, 8), 1, 1),
    ]
}

/// Which of input, weight and output a product writes.
fn result_of(direction: Direction) -> usize {
    match direction {
        Direction::Forward => 2,
        Direction::Data => 0,
        Direction::Weight => 1,
    }
}

/// Runs a product on the GPU, on memory that was not a number before unless there is a start.
fn computed(cuda: &Cuda, product: Convolve, operands: [&[f32]; 3], start: Option<&[f32]>) -> Vec<u8> {
    let element = product.element;
    let result = result_of(product.direction);
    let buffers: Vec<CudaBuffer> = operands
        .iter()
        .enumerate()
        .map(|(index, operand)| {
            let bytes = match start {
                Some(start) if index == result => bytes_of(start, element),
                None if index == result => vec![0xFF; operand.len() * element.size()],
                _ => bytes_of(operand, element),
            };
            cuda.upload(&bytes).unwrap()
        })
        .collect();
    let [x, w, y] = [0, 1, 2].map(|index: usize| buffers[index].address());
    // SAFETY: the buffers are as large as the shape's operands and are freed in the stream's order.
    unsafe { cuda.convolve(Convolve { x, w, y, ..product }).unwrap() };
    cuda.download(&buffers[result]).unwrap()
}

fn check(cuda: &Cuda, shape: ConvShape, element: Element, direction: Direction, add: bool) {
    let x = numbers(shape.input_len(), 1, element);
    let w = numbers(shape.weight_len(), 2, element);
    let y = numbers(shape.output_len(), 3, element);
    let start = add.then(|| numbers(shape.input_len(), 4, element));
    let operands = [&x[..], &w[..], &y[..]];
    let product = Convolve { direction, shape, element, x: 0, w: 0, y: 0, add };
    let bits = computed(cuda, product, operands, start.as_deref());
    assert_eq!(bits, computed(cuda, product, operands, start.as_deref()), "other bits: {product:?}");
    let expected = expected(direction, &shape, operands, start.as_deref());
    let computed = numbers_of(&bits, element);
    assert_eq!(computed.len(), expected.len());
    let mut worst = 0.0_f64;
    for (place, (&number, &(exact, absolute))) in computed.iter().zip(&expected).enumerate() {
        let number = f64::from(number);
        // A number of bf16 is off by at most 2^-9 of itself where it is rounded.
        let tolerance = match element {
            Element::F32 => 1e-5 * absolute,
            Element::Bf16 => (absolute + exact.abs()) / 256.0,
        } + 1e-30;
        let error = (number - exact).abs();
        assert!(error <= tolerance, "{number} instead of {exact} at {place} (terms {absolute}): {product:?}");
        worst = worst.max(error / absolute.max(1e-30));
    }
    println!("{direction:?} add {add} {element:?} {shape:?}: {worst:.1e} of the terms");
}

fn check_all(element: Element, direction: Direction, add: bool) {
    let Some(cuda) = gpu() else { return };
    println!("cuDNN {}", clsa_cuda::cudnn_version());
    shapes().into_iter().for_each(|shape| check(&cuda, shape, element, direction, add));
    cuda.plans().iter().for_each(|line| println!("{line}"));
}

#[test]
fn forward_in_bf16() {
    check_all(Element::Bf16, Direction::Forward, false);
}

#[test]
fn forward_in_f32() {
    check_all(Element::F32, Direction::Forward, false);
}

#[test]
fn data_gradient_in_bf16() {
    check_all(Element::Bf16, Direction::Data, false);
}

#[test]
fn data_gradient_in_f32() {
    check_all(Element::F32, Direction::Data, false);
}

#[test]
fn added_data_gradient_in_bf16() {
    check_all(Element::Bf16, Direction::Data, true);
}

#[test]
fn added_data_gradient_in_f32() {
    check_all(Element::F32, Direction::Data, true);
}

#[test]
fn weight_gradient_in_bf16() {
    check_all(Element::Bf16, Direction::Weight, false);
}

#[test]
fn weight_gradient_in_f32() {
    check_all(Element::F32, Direction::Weight, false);
}

#[test]
fn every_shape_has_a_plan() {
    let planner = Planner::described(include_str!("devices/h100.json")).unwrap();
    for shape in shapes() {
        for element in [Element::Bf16, Element::F32] {
            for (direction, add) in [
                (Direction::Forward, false),
                (Direction::Data, false),
                (Direction::Data, true),
                (Direction::Weight, false),
            ] {
                let product = Product { direction, shape, element, add };
                println!("{product}: {}", planner.plan(&product).unwrap());
            }
        }
    }
}

/// Numbers that both types hold, the same in both. They repeat after a prime number of them, so that neighboring images, rows and
/// pixels differ; to draw them all would take longer than all other tests.
fn many_numbers(count: usize, seed: u64, element: Element) -> Vec<u8> {
    let period = count.min(1_000_003);
    let mut bytes = bytes_of(&numbers(period, seed, Element::Bf16), element).repeat(count.div_ceil(period));
    bytes.truncate(count * element.size());
    bytes
}

/// The three products of a shape, in the order of [`DIRECTIONS`].
fn products(cuda: &Cuda, shape: ConvShape, element: Element) -> [Vec<u8>; 3] {
    let lengths = [shape.input_len(), shape.weight_len(), shape.output_len()];
    let operands = [0, 1, 2].map(|place: usize| {
        let bytes = many_numbers(lengths[place], place as u64 + 1, element);
        cuda.upload(&bytes).unwrap()
    });
    DIRECTIONS.map(|direction| {
        let place = result_of(direction);
        // What is not written is no number.
        let result = cuda.upload(&vec![0xFF; lengths[place] * element.size()]).unwrap();
        let mut addresses = operands.each_ref().map(Buffer::address);
        addresses[place] = result.address();
        let [x, w, y] = addresses;
        // SAFETY: the buffers are as large as the shape's operands and are freed in the stream's order.
        unsafe { cuda.convolve(Convolve { direction, shape, element, x, w, y, add: false }).unwrap() };
        cuda.download(&result).unwrap()
    })
}

/// The length of the difference between numbers in bf16 and in f32, over the length of those in f32.
fn distance(narrow: &[u8], wide: &[u8]) -> f64 {
    assert_eq!(2 * narrow.len(), wide.len());
    let (mut difference, mut length) = (0.0, 0.0);
    for (&narrow, &wide) in narrow.as_chunks::<2>().0.iter().zip(wide.as_chunks::<4>().0) {
        let [narrow, wide] = [bf16::from_le_bytes(narrow).to_f32(), f32::from_le_bytes(wide)].map(f64::from);
        difference += (narrow - wide).powi(2);
        length += wide.powi(2);
    }
    (difference / length).sqrt()
}

/// Each kind of convolution of a ResNet-50 as it is trained, for which cuDNN may choose other engines than for the small shapes above;
/// loops on the host would take hours. f32 is what bf16 is measured by, because its plans take no engine that rounds to TF32.
#[test]
fn products_of_full_size_in_bf16_are_those_in_f32() {
    let Some(cuda) = gpu() else { return };
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = |side, c_in, c_out, kernel, stride| ConvShape {
        batch: 256,
        height: side,
        width: side,
        c_in,
        c_out,
        kernel,
        stride,
        padding: kernel / 2,
    };
    for shape in [
        shape(224, 8, 64, 7, 2),
        shape(56, 64, 64, 1, 1),
        shape(56, 64, 64, 3, 1),
        shape(56, 64, 256, 1, 1),
        shape(56, 256, 128, 1, 1),
        shape(56, 128, 128, 3, 2),
        shape(56, 256, 512, 1, 2),
        shape(28, 128, 128, 3, 1),
        shape(14, 256, 1024, 1, 1),
        shape(14, 256, 256, 3, 1),
        shape(7, 512, 512, 3, 1),
        shape(7, 2048, 512, 1, 1),
    ] {
        let [narrow, wide] = [Element::Bf16, Element::F32].map(|element| products(&cuda, shape, element));
        for ((direction, narrow), wide) in DIRECTIONS.iter().zip(&narrow).zip(&wide) {
            let distance = distance(narrow, wide);
            println!("{direction:?} {shape:?}: {distance:.1e}");
            // One rounding to bf16 makes 0.2 %; sums that are kept in bf16 make far more.
            assert!(distance <= 4e-3, "{direction:?} {shape:?}: {distance:e}");
        }
    }
    cuda.plans().iter().for_each(|line| println!("{line}"));
}

#[test]
fn tuned_plans_compute_the_same() {
    let Some(cuda) = gpu() else { return };
    cuda.set_tune(true);
    for element in [Element::Bf16, Element::F32] {
        let shape = shapes()[9];
        check(&cuda, shape, element, Direction::Forward, false);
        check(&cuda, shape, element, Direction::Data, true);
        check(&cuda, shape, element, Direction::Weight, false);
    }
    cuda.plans().iter().for_each(|line| println!("{line}"));
}

#[test]
fn plans_that_were_chosen_by_timing_are_not_those_of_untimed_work() {
    let (Some(cuda), Some(untimed)) = (gpu(), gpu()) else { return };
    let (element, shape) = (Element::Bf16, shapes()[9]);
    let product = Convolve { direction: Direction::Forward, shape, element, x: 0, w: 0, y: 0, add: false };
    let x = numbers(shape.input_len(), 1, element);
    let w = numbers(shape.weight_len(), 2, element);
    let y = vec![0.0; shape.output_len()];
    let computed = |cuda: &Cuda| computed(cuda, product, [&x, &w, &y], None);
    cuda.set_tune(true);
    computed(&cuda);
    let plans = cuda.plans();
    assert!(plans.len() == 1 && plans[0].ends_with("chosen by timing"), "{plans:?}");
    cuda.set_tune(false);
    assert_eq!(computed(&cuda), computed(&untimed));
    let plans = cuda.plans();
    assert_eq!(plans.len(), 2);
    assert!(plans.contains(&untimed.plans()[0]), "{plans:?}");
}

#[test]
fn memory_is_aligned_and_set_to_zero() {
    let Some(cuda) = gpu() else { return };
    for bytes in [0, 1, 255, 4096, 100_000] {
        let mut buffer = cuda.upload(&vec![7; bytes]).unwrap();
        assert_eq!(buffer.address() % 256, 0);
        assert_eq!(buffer.bytes(), bytes);
        assert_eq!(cuda.download(&buffer).unwrap(), vec![7; bytes]);
        cuda.zero(&mut buffer).unwrap();
        assert_eq!(cuda.download(&buffer).unwrap(), vec![0; bytes]);
    }
}

#[test]
fn memory_that_an_upload_reads_is_neither_written_nor_freed() {
    if gpu().is_none() {
        return;
    }
    let feeder = Feeder::new(&clsa_cuda::open(0).unwrap()).unwrap();
    let mut bytes = feeder.allocate(3 * 64 * 64).unwrap();
    bytes.fill(7);
    let upload = feeder.upload(&bytes, 1, 64).unwrap();
    catch_unwind(AssertUnwindSafe(|| bytes[0] = 8)).unwrap_err();
    drop(upload);
    bytes[0] = 8;
    let upload = feeder.upload(&bytes, 1, 64).unwrap();
    drop(bytes);
    let copied = upload.to_bytes().unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap();
    assert_eq!((copied[0], &copied[1..]), (8, &[7; 3 * 64 * 64 - 1][..]));
}

#[test]
fn images_of_more_bytes_than_there_are_are_not_uploaded() {
    if gpu().is_none() {
        return;
    }
    let feeder = Feeder::new(&clsa_cuda::open(0).unwrap()).unwrap();
    let bytes = feeder.allocate(3 * 2 * 2).unwrap();
    // The bytes of the second are 0 in 64 bits.
    for images in [2, 1 << 62] {
        assert!(feeder.upload(&bytes, images, 2).is_err(), "{images}");
    }
}

#[test]
fn memory_is_not_written_under_an_upload_that_is_dropped_after_an_error_of_another_drop() {
    if gpu().is_none() {
        return;
    }
    let device = clsa_cuda::open(0).unwrap();
    let (cuda, feeder) = (Cuda::of(&device).unwrap(), Feeder::new(&device).unwrap());
    // So large that the copy has not reached the last byte when it is written again.
    let side = 8192;
    let last = 3 * side * side - 1;
    let mut bytes = feeder.allocate(last + 1).unwrap();
    // Memory for the second time comes from the pool, at once.
    for recorded in [false, true] {
        bytes[last] = 7;
        let upload = feeder.upload(&bytes, 1, side).unwrap();
        let copied = upload.to_bytes().unwrap();
        if recorded {
            cuda.stream().context().record_err(Err::<(), _>(DriverError(CUDA_ERROR_UNKNOWN)));
            // Not to who makes batches.
            feeder.allocate(1).unwrap();
        }
        drop(upload);
        bytes[last] = 8;
        assert_eq!(cuda.stream().context().check_err().is_err(), recorded, "the error is told to who works on");
        let copied = copied.flatten_all().unwrap().get(last).unwrap().to_scalar::<u8>().unwrap();
        assert_eq!(copied, 7);
    }
}

#[test]
fn the_highest_memory_is_counted_from_now_on() {
    if gpu().is_none() {
        return;
    }
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let device = clsa_cuda::open(0).unwrap();
    let cuda = Cuda::of(&device).unwrap();
    // Far more than other tests hold that run at the same time.
    let held = cuda.alloc(1 << 30).unwrap();
    drop(cuda.alloc(2 << 30).unwrap());
    assert!(memory::peak(&device).unwrap() >= 3 << 30);
    let now = memory::peak_from_now(&device).unwrap();
    assert!((1 << 30..2 << 30).contains(&now), "{now}");
    assert!(memory::peak(&device).unwrap() < 2 << 30);
    drop(held);
}

#[test]
fn what_the_gpu_is_and_what_takes_time() {
    let Some(cuda) = gpu() else { return };
    let description = cuda.device_description().unwrap();
    println!("{description}");
    assert!(description.contains("multiProcessorCount"));
    Planner::described(&description).unwrap();
    let product = Convolve {
        direction: Direction::Forward,
        shape: shapes()[5],
        element: Element::Bf16,
        x: 0,
        w: 0,
        y: 0,
        add: false,
    };
    let [x, w, y] =
        [product.shape.input_len(), product.shape.weight_len(), product.shape.output_len()].map(|len| vec![1.0; len]);
    computed(&cuda, product, [&x, &w, &y], None);
    assert!(cuda.take_profile().unwrap().is_empty());
    cuda.profile(true);
    let event = || cuda.stream().record_event(Some(CU_EVENT_DEFAULT)).unwrap();
    let start = event();
    (0..3).for_each(|_| drop(computed(&cuda, product, [&x, &w, &y], None)));
    let time = start.elapsed_ms(&event()).unwrap();
    assert!(time > 0.0);
    cuda.profile(false);
    let profile = cuda.take_profile().unwrap();
    println!("{profile:?}");
    assert_eq!(profile.len(), 1);
    assert_eq!((profile[0].0.as_str(), profile[0].1), ("convolution forward 3x3/1 bf16", 3));
    assert!(profile[0].2 > 0.0 && profile[0].2 <= f64::from(time));
    assert!(cuda.take_profile().unwrap().is_empty());
}

#[test]
fn an_impossible_convolution_is_an_error() {
    let Some(cuda) = gpu() else { return };
    let shape = ConvShape { kernel: 99, ..shapes()[0] };
    let product =
        Convolve { direction: Direction::Forward, shape, element: Element::F32, x: 0, w: 0, y: 0, add: false };
    // SAFETY: there is no such convolution, so that no memory is touched.
    let error = unsafe { cuda.convolve(product) }.unwrap_err().to_string();
    assert!(error.contains("there is no"), "{error}");
}

#[test]
fn devices_without_a_stream_of_their_own_are_refused() {
    assert!(Cuda::new(&Device::Cpu).is_err());
    if let Ok(device) = Device::new_cuda(0) {
        let error = Cuda::new(&device).err().unwrap().to_string();
        assert!(error.contains("no stream of its own"), "{error}");
    }
}
