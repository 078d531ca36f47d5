//! Images and weights in the layouts of convolutions, and convolutions themselves.

use super::{Bench, Machine, Random, assert_close, assert_same, values};
use candle_core::{Device, Tensor};
use clsa_cuda::{ConvShape, Images};

pub fn image<M: Machine>(bench: &Bench<'_, M>, images: Images, permuted: bool, seed: u64) {
    let mut random = Random::new(seed);
    let Images { batch, height, width, channels } = images;
    let values = random.numbers(batch * channels * height * width);
    let tensor = if permuted {
        // Of a larger batch, columns first.
        let more = random.numbers(channels * height * width);
        let all = bench.tensor(&[more, values.clone()].concat(), &[batch + 1, width, channels, height]);
        all.narrow(0, 1, batch).unwrap().permute((0, 2, 3, 1)).unwrap()
    } else {
        bench.tensor(&values, &[batch, channels, height, width])
    };
    let got = bench.get(&bench.ops.image(&tensor).unwrap());
    let want: Vec<f32> = (0..batch * height * width * 8)
        .map(|i| {
            let (c, x, y, n) = (i % 8, i / 8 % width, i / 8 / width % height, i / 8 / width / height);
            let from = if permuted {
                ((n * width + x) * channels + c) * height + y
            } else {
                ((n * channels + c) * height + y) * width + x
            };
            if c < channels { bench.rounded(values[from]) } else { 0.0 }
        })
        .collect();
    assert_same(&got, &want);
}

pub fn bytes<M: Machine>(bench: &Bench<'_, M>, pixels: usize, seed: u64) {
    let mut random = Random::new(seed);
    let bytes: Vec<u8> = (0..3 * pixels).map(|_| (random.unit() * 256.0) as u8).collect();
    let table = random.numbers(3 * 256);
    let out = bench.tensor(&vec![f32::NAN; 3 * pixels], &[pixels, 3]);
    bench.ops.expand_bytes(&bench.machine.upload(&bytes), &bench.tensor(&table, &[3, 256]), &out).unwrap();
    let expected: Vec<f32> = (0..3 * pixels).map(|i| table[i % 3 * 256 + usize::from(bytes[i])]).collect();
    assert_same(&values(&out), &expected);
}

/// (outputs, channels, kernel) and the channels with those that are padded.
pub type WeightShape = ([usize; 3], usize);

pub fn weight<M: Machine>(bench: &Bench<'_, M>, ([outputs, channels, kernel], padded): WeightShape, seed: u64) {
    let mut random = Random::new(seed);
    let places = kernel * kernel;
    let shape = [outputs, channels, kernel, kernel];
    let weight = random.numbers(outputs * channels * places);
    let packed = bench.get(&bench.ops.pack_weight(&bench.tensor(&weight, &shape), padded).unwrap());
    let of = |i: usize| {
        let (c, place, k) = (i % padded, i / padded % places, i / padded / places);
        if c < channels { bench.rounded(weight[(k * channels + c) * places + place]) } else { 0.0 }
    };
    assert_same(&packed, &(0..outputs * places * padded).map(of).collect::<Vec<_>>());

    // Gradients of channels that do not exist are whatever they are.
    let dw = bench.round(random.numbers(packed.len()));
    for overwrite in [false, true] {
        let before = if overwrite { vec![f32::NAN; weight.len()] } else { random.numbers(weight.len()) };
        let into = bench.tensor(&before, &shape);
        bench.ops.add_weight_gradient(&bench.put(&dw), padded, &into, overwrite).unwrap();
        let of = |i: usize| {
            let (place, c, k) = (i % places, i / places % channels, i / places / channels);
            let g = dw[(k * places + place) * padded + c];
            if overwrite { g } else { before[i] + g }
        };
        assert_same(&values(&into), &(0..weight.len()).map(of).collect::<Vec<_>>());
    }
}

/// The forward product is that of Candle, and the two gradients are those of `Σ dy · y`, which is linear in both operands.
pub fn convolution<M: Machine>(bench: &Bench<'_, M>, shape: ConvShape, seed: u64) {
    let mut random = Random::new(seed);
    let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = shape;
    let x = bench.round(random.numbers(shape.input_len()));
    let w = bench.round(random.numbers(shape.weight_len()));
    let dy = bench.round(random.numbers(shape.output_len()));
    let before = bench.round(random.numbers(shape.input_len()));
    let tensor = |values: &[f32], dims: (usize, usize, usize, usize)| {
        Tensor::from_slice(values, dims, &Device::Cpu).unwrap().permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()
    };
    let [x_memory, w_memory, dy_memory] = [&x, &w, &dy].map(|values| bench.put(values));
    let y = bench.get(&bench.ops.convolve_forward(shape, &x_memory, &w_memory).unwrap());
    let want = tensor(&x, (batch, height, width, c_in))
        .conv2d(&tensor(&w, (c_out, kernel, kernel, c_in)), padding, stride, 1, 1)
        .unwrap();
    let want = want.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let terms = (kernel * kernel * c_in) as f64;
    assert_close(&y, &values(&want).into_iter().map(f64::from).collect::<Vec<_>>(), bench.precision() * terms.sqrt());

    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let product = dot(&dy, &values(&want));
    let scale = bench.precision() * (shape.output_len() as f64 * terms).sqrt();
    let dx = bench.ops.convolve_data(shape, &dy_memory, &w_memory, Some(bench.put(&before))).unwrap();
    assert!((dot(&x, &bench.get(&dx)) - dot(&x, &before) - product).abs() < 10.0 * scale);
    let dx = bench.ops.convolve_data(shape, &dy_memory, &w_memory, None).unwrap();
    assert!((dot(&x, &bench.get(&dx)) - product).abs() < 10.0 * scale);
    let dw = bench.ops.convolve_weight(shape, &x_memory, &dy_memory).unwrap();
    assert!((dot(&w, &bench.get(&dw)) - product).abs() < 10.0 * scale);
}
