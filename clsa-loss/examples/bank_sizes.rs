//! The cost of the loss, forward and backward, as the bank grows from 4096 to 1,048,576 keys: a Markdown table, and a plot as
//! SVG.
//!
//!     cargo run --release -p clsa-loss --example bank_sizes -- bank_sizes.svg

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, LossError, MemoryBank};
use plotters::prelude::*;

const BATCH: usize = 32;
const WEAK: usize = 5;
const STRONG: usize = 5;
const DIM: usize = 128;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plot = std::env::args().nth(1).ok_or("usage: bank_sizes PLOT.svg")?;
    println!("A product of square matrices in f32: {:.0} GFLOP/s.\n", matrix_product_rate()?);
    println!("| K | f32 | GFLOP/s | bf16 | GFLOP/s |");
    println!("|--:|--:|--:|--:|--:|");
    let (mut f32_points, mut bf16_points) = (vec![], vec![]);
    for bank in (12..=20).map(|exponent| 1usize << exponent) {
        let (single, half) = (median_seconds(bank, DType::F32)?, median_seconds(bank, DType::BF16)?);
        // Of the two matrix products of all rows with all candidates, a multiplication and an addition each.
        let gflop = 4e-9 * ((WEAK + STRONG) * BATCH * (BATCH + bank) * DIM) as f64;
        println!(
            "| {bank} | {:.1} ms | {:.0} | {:.1} ms | {:.0} |",
            1e3 * single,
            gflop / single,
            1e3 * half,
            gflop / half,
        );
        f32_points.push((bank as f64, 1e3 * single));
        bf16_points.push((bank as f64, 1e3 * half));
    }
    println!("\nThe same product again: {:.0} GFLOP/s.", matrix_product_rate()?);
    draw(Path::new(&plot), &f32_points, &bf16_points)
}

/// The median of several steps on random views, after one that is not counted, with a bank of `bank` keys stored as
/// `precision`.
fn median_seconds(bank: usize, precision: DType) -> Result<f64, LossError> {
    let unit = |rows: usize, seed: u64| MemoryBank::random(rows, DIM, seed, DType::F32, &Device::Cpu);
    let views = |count: usize, seed: u64| -> Result<Vec<Tensor>, LossError> {
        (0..count).map(|i| Ok(Var::from_tensor(unit(BATCH, seed + i as u64)?.rows())?.into_inner())).collect()
    };
    let repeat = if bank > 1 << 17 { 3 } else { 9 };
    let bank = MemoryBank::random(bank, DIM, 0, precision, &Device::Cpu)?;
    let keys = unit(BATCH, 1)?.rows().clone();
    let (weak, strong) = (views(WEAK, 100)?, views(STRONG, 200)?);
    let step = || -> Result<f64, LossError> {
        let start = Instant::now();
        let output = ClsaLoss::default().forward(&weak, &strong, Candidates::new(&keys).with_bank(&bank))?;
        output.loss.backward()?;
        Ok(start.elapsed().as_secs_f64())
    };
    step()?;
    let mut seconds = (0..repeat).map(|_| step()).collect::<Result<Vec<_>, _>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[repeat / 2])
}

/// GFLOP/s of Candle's product of square f32 matrices, which is the `gemm` crate's: the fastest of five.
fn matrix_product_rate() -> candle_core::Result<f64> {
    const N: usize = 1536;
    let matrix = Tensor::rand(-1f32, 1f32, (N, N), &Device::Cpu)?;
    let mut seconds = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        matrix.matmul(&matrix)?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(2e-9 * (N * N * N) as f64 / seconds)
}

/// Milliseconds over keys, both on logarithmic axes.
fn draw(path: &Path, f32_points: &[(f64, f64)], bf16_points: &[(f64, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (640, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((4096f64..1_048_576f64).log_scale(), (1f64..2000f64).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("keys in the bank")
        .y_desc("milliseconds")
        .x_label_formatter(&|keys| format!("{keys:.0}"))
        .y_label_formatter(&|milliseconds| format!("{milliseconds:.0}"))
        .draw()?;
    for (name, color, points) in [("f32", BLUE, f32_points), ("bf16", RED, bf16_points)] {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(format!("bank in {name}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}
