//! Prints how fast the CPU kernels are: each convolution of a ResNet-50 forward, backward to its input and backward to
//! its weight, beside the speed of arithmetic with all operands in registers.
//!
//!     cargo run --release -p clsa-model --example kernels -- [f32|bf16] [BATCH] [SIDE]
//!
//! Activations are f32, BATCH is 8 and SIDE, that of the images, 224 unless given. `RAYON_NUM_THREADS` and
//! `CLSA_KERNELS` apply. GFLOP/s count the multiplications and additions of the direct sum, so that Winograd's figures can
//! exceed the peak.

use clsa_model::kernels::{ActivationView, Conv, ConvShape, Element, InstructionSet, MemoryPool, peak};
use half::bf16;
use std::time::Instant;

/// Runs of each kernel, of which the fastest counts.
const RUNS: usize = 5;

fn values<E: Element>(n: usize) -> Vec<E> {
    (0..n).map(|i| E::from_f32((i as f32 * 0.618).fract() - 0.5)).collect()
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

/// Prints the table for activations of a type.
fn table<E: Element>(instructions: InstructionSet, precision: &str, batch: usize, side: usize) {
    let memory = MemoryPool::default();
    println!(
        "{instructions:?}, {} threads, {precision}, batch {batch}; in registers this machine reaches {:.0} GFLOP/s",
        rayon::current_num_threads(),
        peak::<E>(instructions)
    );
    println!("| layer | input | c_in | c_out | kernel | stride | times | forward | backward data | backward weight |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let (mut flops, mut seconds) = (0.0, [0.0; 3]);
    for (name, shape, times) in layers(batch, side) {
        let (x, w, dy) = (values::<E>(shape.input_len()), values(shape.weight_len()), values::<E>(shape.output_len()));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let conv = Conv { instructions, memory: &memory, shape, groups: 1 };
        let rates = [
            rate(shape.flops(), || drop(conv.forward(ActivationView::Plain(&x), &w, &mut y))),
            // The images need no gradient.
            if name == "conv1" {
                f64::INFINITY
            } else {
                rate(shape.flops(), || conv.backward_data(&dy, &w, &mut dx, false))
            },
            rate(shape.flops(), || conv.backward_weight(ActivationView::Plain(&x), &dy, &mut dw)),
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

fn refuse(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2)
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let precision = match arguments.first().map(String::as_str) {
        Some("f32" | "bf16") => arguments.remove(0),
        _ => "f32".to_owned(),
    };
    let number = |i: usize, default: usize| match arguments.get(i) {
        None => default,
        Some(text) => match text.parse() {
            Ok(n) if n > 0 => n,
            _ => refuse(&format!("{text:?} is not a positive number: give [f32|bf16] [BATCH] [SIDE]")),
        },
    };
    let (batch, side) = (number(0, 8), number(1, 224));
    let instructions = InstructionSet::chosen().unwrap_or_else(|error| refuse(&error.to_string()));
    if precision == "bf16" {
        table::<bf16>(instructions, &precision, batch, side);
    } else {
        table::<f32>(instructions, &precision, batch, side);
    }
}
