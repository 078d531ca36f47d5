//! The cost of the loss as the bank grows, from 4096 to 1,048,576 keys: a Markdown table, and a plot as SVG.
//!
//!     cargo run --release -p clsa-loss --example bank_sizes -- bank_sizes.svg

mod measure;

use std::path::Path;

use candle_core::DType;
use clsa_loss::ClsaLoss;
use measure::{Measured, Work, matrix_product_rate};
use plotters::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plot = std::env::args().nth(1).ok_or("usage: bank_sizes PLOT.svg")?;
    println!("A product of square matrices in f32: {:.0} GFLOP/s.\n", matrix_product_rate()?);
    println!("| K | f32 | GFLOP/s | bf16 | GFLOP/s |");
    println!("|--:|--:|--:|--:|--:|");
    let (mut f32_points, mut bf16_points) = (vec![], vec![]);
    for bank in (12..=20).map(|exponent| 1usize << exponent) {
        let run = |precision: DType| -> Result<(Work, Measured), Box<dyn std::error::Error>> {
            let work = Work { batch: 32, weak: 5, strong: 5, bank, dim: 128, precision, loss: ClsaLoss::default() };
            let measured = work.measure(if bank > 1 << 17 { 3 } else { 9 })?;
            Ok((work, measured))
        };
        let (work, single) = run(DType::F32)?;
        let (_, half) = run(DType::BF16)?;
        println!(
            "| {bank} | {:.1} ms | {:.0} | {:.1} ms | {:.0} |",
            1e3 * single.median(),
            work.gflop() / single.median(),
            1e3 * half.median(),
            work.gflop() / half.median(),
        );
        f32_points.push((bank as f64, 1e3 * single.median()));
        bf16_points.push((bank as f64, 1e3 * half.median()));
    }
    println!("\nThe same product again: {:.0} GFLOP/s.", matrix_product_rate()?);
    draw(Path::new(&plot), &f32_points, &bf16_points)
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
    for (name, colour, points) in [("f32", BLUE, f32_points), ("bf16", RED, bf16_points)] {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?
            .label(format!("bank in {name}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
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
