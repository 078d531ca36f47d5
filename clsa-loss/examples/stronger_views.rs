//! The loss in your own contrastive method: a linear encoder learns to tell points apart from weakly and strongly disturbed
//! copies of them, with the keys of earlier batches as negatives. Candle draws the points without a seed, so the figures differ
//! from run to run.
//!
//!     cargo run --release -p clsa-loss --example stronger_views

use candle_core::{D, DType, Device, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, MemoryBank};

const BATCH: usize = 64;
const INPUTS: usize = 32;
const DIM: usize = 16;
const LEARNING_RATE: f64 = 0.2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    let encoder = Var::randn(0f32, 0.2f32, (INPUTS, DIM), &device)?;
    let encode = |points: &Tensor| -> candle_core::Result<Tensor> {
        let rows = points.matmul(&encoder)?;
        rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
    };
    // Only the first half of the inputs tells points apart; the second is noise.
    let disturbed = |points: &Tensor, signal: f64, noise: f64| -> candle_core::Result<Tensor> {
        let half = (BATCH, INPUTS / 2);
        let kept = (points + (Tensor::randn(0f32, 1f32, half, &device)? * signal)?)?;
        Tensor::cat(&[kept, (Tensor::randn(0f32, 1f32, half, &device)? * noise)?], 1)
    };

    let mut bank = MemoryBank::random(2048, DIM, 0, DType::F32, &device)?;
    let loss = ClsaLoss::default();
    for step in 0..=200 {
        let points = Tensor::randn(0f32, 1f32, (BATCH, INPUTS / 2), &device)?;
        let keys = encode(&disturbed(&points, 0.1, 1.0)?)?.detach();
        let weak = [encode(&disturbed(&points, 0.1, 1.0)?)?];
        let strong = [encode(&disturbed(&points, 0.4, 2.0)?)?, encode(&disturbed(&points, 0.4, 2.0)?)?];

        let output = loss.forward(&weak, &strong, Candidates::new(&keys).with_bank(&bank))?;
        if let Some(gradient) = output.loss.backward()?.get(&encoder) {
            encoder.set(&(encoder.as_tensor() - (gradient * LEARNING_RATE)?)?)?;
        }
        bank.push(&keys)?;
        if step % 50 == 0 {
            println!(
                "step {step:3}: InfoNCE {:.3}, DDM {:.3}, top-1 {:.0} %, top-5 {:.0} %",
                output.contrastive, output.ddm, output.acc1, output.acc5
            );
        }
    }
    Ok(())
}
