//! Prints how fast the CPU kernels are: each convolution of a ResNet-50 forward, backward to its input and backward to
//! its weight, beside what this machine reaches in a plain matrix product.
//!
//!     cargo run --release -p clsa-model --example kernels -- [BATCH] [SIDE]
//!
//! BATCH is 8 and SIDE, that of the images, 224 unless given. `RAYON_NUM_THREADS` and `CLSA_KERNELS` apply. GFLOP/s count the
//! multiplications and additions of the direct sum, so that Winograd's figures can exceed the peak.

use clsa_model::kernels::{ConvShape, Isa, Pool, Source, backward_data, backward_weight, forward};
use std::time::Instant;

/// Runs of each kernel, of which the fastest counts.
const RUNS: usize = 5;

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.618).fract() - 0.5).collect()
}

/// GFLOP/s of the fastest run.
fn rate(flops: f64, mut run: impl FnMut()) -> f64 {
    let seconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    flops / seconds.fold(f64::MAX, f64::min) / 1e9
}

/// A square matrix product by the `gemm` crate on all threads: the machine's practical peak.
fn peak() -> f64 {
    const N: usize = 1536;
    let (a, b, mut c) = (values(N * N), values(N * N), vec![0.0f32; N * N]);
    let (rows, columns) = (N as isize, 1);
    rate(2.0 * (N * N * N) as f64, || {
        let threads = gemm::Parallelism::Rayon(0);
        let (to, a, b) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        // SAFETY: three row-major matrices of N x N elements, of which only `c` is written.
        #[allow(unsafe_code)]
        unsafe {
            gemm::gemm(
                N, N, N, to, columns, rows, false, a, columns, rows, b, columns, rows, 0.0, 1.0, false, false, false,
                threads,
            );
        }
    })
}

/// The convolutions of a ResNet-50 with how often each occurs.
fn layers(batch: usize, side: usize) -> Vec<(&'static str, ConvShape, usize)> {
    let conv = |side: usize, c_in, c_out, kernel: usize, stride| ConvShape {
        batch,
        height: side,
        width: side,
        c_in,
        c_out,
        kernel,
        stride,
        padding: kernel / 2,
    };
    let mut layers = vec![("conv1", conv(side, 3, 64, 7, 2), 1)];
    let mut side = side.div_ceil(2).div_ceil(2);
    let mut c_in = 64;
    for (name, inner, blocks) in [("layer1", 64, 3), ("layer2", 128, 4), ("layer3", 256, 6), ("layer4", 512, 3)] {
        let stride = if inner == 64 { 1 } else { 2 };
        layers.push((name, conv(side, c_in, inner, 1, 1), 1));
        layers.push((name, conv(side, inner, inner, 3, stride), 1));
        layers.push((name, conv(side, c_in, 4 * inner, 1, stride), 1));
        side = side.div_ceil(stride);
        layers.push((name, conv(side, inner, 4 * inner, 1, 1), blocks));
        layers.push((name, conv(side, 4 * inner, inner, 1, 1), blocks - 1));
        layers.push((name, conv(side, inner, inner, 3, 1), blocks - 1));
        c_in = 4 * inner;
    }
    layers
}

fn main() {
    let argument = |i: usize, default: usize| match std::env::args().nth(i) {
        None => default,
        Some(text) => match text.parse() {
            Ok(n) if n > 0 => n,
            _ => {
                eprintln!("{text:?} is not a positive number: give BATCH and SIDE");
                std::process::exit(2);
            }
        },
    };
    let (batch, side) = (argument(1, 8), argument(2, 224));
    let isa = Isa::chosen().unwrap_or_else(|value| {
        eprintln!("CLSA_KERNELS is {value:?}: use avx512, avx2 or scalar");
        std::process::exit(2);
    });
    let pool = Pool::default();
    let peak = peak();
    println!(
        "{isa:?}, {} threads, batch {batch}; a matrix product reaches {peak:.0} GFLOP/s",
        rayon::current_num_threads()
    );
    println!("| layer | input | c_in | c_out | kernel | stride | times | forward | backward data | backward weight |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let (mut flops, mut seconds) = (0.0, [0.0; 3]);
    for (name, shape, times) in layers(batch, side) {
        let (x, w, dy) = (values(shape.input_len()), values(shape.weight_len()), values(shape.output_len()));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let rates = [
            rate(shape.flops(), || drop(forward(isa, &pool, shape, 1, Source::Plain(&x), &w, &mut y))),
            // The images need no gradient.
            if name == "conv1" {
                f64::INFINITY
            } else {
                rate(shape.flops(), || backward_data(isa, &pool, shape, &dy, &w, &mut dx, false))
            },
            rate(shape.flops(), || backward_weight(isa, &pool, shape, 1, Source::Plain(&x), &dy, &mut dw)),
        ];
        let ConvShape { height, c_in, c_out, kernel, stride, .. } = shape;
        let data = if rates[1].is_finite() { format!("{:.0}", rates[1]) } else { "-".to_owned() };
        println!(
            "| {name} | {height}x{height} | {c_in} | {c_out} | {kernel}x{kernel} | {stride} | {times} | {:.0} | {data} | {:.0} |",
            rates[0], rates[2]
        );
        let all = shape.flops() * times as f64 / 1e9;
        flops += all;
        for (seconds, rate) in seconds.iter_mut().zip(rates) {
            *seconds += all / rate;
        }
    }
    let rates = seconds.map(|s| format!("{:.0} ({:.0} ms)", flops / s, s * 1e3));
    println!("| all | | | | | | | {} | {} | {} |", rates[0], rates[1], rates[2]);
}
