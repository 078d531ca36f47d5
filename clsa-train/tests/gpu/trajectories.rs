//! The first steps of the trajectories of the original implementation.

use crate::gpu;
use candle_core::Device;
use clsa_model::{Backend, Compute, Precision};
use clsa_train::SingleProcess;
use clsa_train::replay::{Case, Trajectory, replay};
use std::path::Path;
use std::sync::Arc;

fn trajectory(name: &str, backend: Backend, precision: Precision, gpu: &Device) -> (Case, Trajectory) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    // The bundle for another machine holds the cases beside the tests.
    let text = std::fs::read_to_string(&path).or_else(|_| std::fs::read_to_string(format!("golden/{name}.json")));
    let case: Case = serde_json::from_str(&text.unwrap()).unwrap();
    let compute = Compute { backend, precision, bn_splits: case.config.bn_splits };
    let got = replay(&case, compute, gpu, Arc::new(SingleProcess)).unwrap();
    (case, got)
}

fn assert_first_step_is_like_the_originals(backend: Backend, precision: Precision, loss: f64, gradients: f64) {
    let Some(gpu) = gpu() else { return };
    for name in ["single-r18-f32", "multi-r18-f32", "single-r50-f32", "moco-r18-f64"] {
        let (case, got) = trajectory(name, backend, precision, &gpu);
        let (got, expected) = (&got.steps[0], &case.steps[0]);
        // MoCo's DDM is 0.
        let error = |got: f64, expected: f64| (got - expected).abs() / expected.abs().max(1e-12);
        let errors: Vec<f64> =
            expected.grad_norms.iter().map(|(name, norm)| error(got.grad_norms[name], *norm)).collect();
        let worst = errors.iter().copied().fold(0.0, f64::max);
        println!("{name}, {backend:?} {precision:?}: loss {:e}, gradients {worst:e}", error(got.loss, expected.loss));
        assert!(error(got.loss, expected.loss) <= loss, "{name}: loss {} instead of {}", got.loss, expected.loss);
        assert!(error(got.contrastive, expected.contrastive) <= loss && error(got.ddm, expected.ddm) <= loss);
        // Each of them: `max` leaves out what is not a number.
        assert!(errors.iter().all(|error| *error <= gradients), "{name}: the gradients' norms are off by {errors:?}");
    }
}

#[test]
fn the_first_step_of_portable_operations_is_like_the_originals_in_f32() {
    assert_first_step_is_like_the_originals(Backend::Portable, Precision::F32, 1e-4, 5e-3);
}

#[test]
fn the_first_step_of_the_kernels_is_like_the_originals_in_f32_and_near_it_in_bf16() {
    assert_first_step_is_like_the_originals(Backend::Cuda, Precision::F32, 1e-4, 5e-3);
    assert_first_step_is_like_the_originals(Backend::Cuda, Precision::Bf16, 3e-2, 0.3);
}
