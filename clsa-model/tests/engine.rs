//! Which engine a request stands for, and where the environment variable `CLSA_KERNELS` is read.

use candle_core::Device;
use clsa_model::{Arch, Backend, Compute, Encoder, EngineKind, ModelConfig, ModelError, Precision, Stem, weights};
use std::process::Command;

fn open(backend: Backend, precision: Precision) -> Result<Encoder, ModelError> {
    let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.0625, ..ModelConfig::default() };
    Encoder::new(&config, Compute { backend, precision, bn_splits: 2 }, 0, &Device::Cpu)
}

#[test]
fn auto_means_the_cpu_kernels_where_they_can_serve() {
    for (backend, precision, engine) in [
        (Backend::Auto, Precision::F32, EngineKind::Cpu),
        (Backend::Auto, Precision::Bf16, EngineKind::Cpu),
        (Backend::Auto, Precision::F64, EngineKind::Portable),
        (Backend::Cpu, Precision::Bf16, EngineKind::Cpu),
        (Backend::Portable, Precision::F32, EngineKind::Portable),
        (Backend::Portable, Precision::Bf16, EngineKind::Portable),
    ] {
        let encoder = open(backend, precision).unwrap();
        assert_eq!(encoder.engine(), engine, "{backend:?}, {precision:?}");
        assert_eq!(encoder.compute(), Compute { backend, precision, bn_splits: 2 });
        assert_eq!(encoder.twin().unwrap().engine(), engine);
    }
}

#[test]
fn the_cpu_kernels_refuse_double_precision() {
    let error = open(Backend::Cpu, Precision::F64).unwrap_err();
    assert!(error.is_request() && error.to_string().starts_with("backend is cpu: "), "{error}");
}

#[test]
fn the_request_is_spelled_as_before() {
    let spelled = |compute: Compute| serde_json::to_string(&compute).unwrap();
    assert_eq!(spelled(Compute::default()), r#"{"backend":"auto","precision":"f32","bn_splits":1}"#);
    for (name, backend) in [("auto", Backend::Auto), ("portable", Backend::Portable), ("cpu", Backend::Cpu)] {
        let read: Compute = serde_json::from_str(&format!(r#"{{"backend":"{name}"}}"#)).unwrap();
        assert_eq!(read, Compute { backend, ..Compute::default() });
    }
}

#[test]
#[ignore = "run by the test below, which sets CLSA_KERNELS"]
fn with_an_unknown_instruction_set() {
    let portable = open(Backend::Portable, Precision::F32).unwrap();
    open(Backend::Auto, Precision::F64).unwrap();
    weights::check(&portable.state_dict().unwrap()).unwrap();
    for backend in [Backend::Auto, Backend::Cpu] {
        let error = open(backend, Precision::F32).unwrap_err();
        assert!(matches!(&error, ModelError::InstructionSet(e) if e.value == "sse9") && error.is_request(), "{error}");
        assert!(error.to_string().contains("CLSA_KERNELS is `sse9`"), "{error}");
    }
}

#[test]
fn clsa_kernels_is_read_only_where_the_cpu_kernels_are_used() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "with_an_unknown_instruction_set", "--ignored"])
        .env("CLSA_KERNELS", "sse9")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}
