//! The settings of a run of a second or so.
#![allow(dead_code, reason = "each test uses some")]

/// A run of eight steps in two epochs that takes about a second.
pub const TINY: [&str; 14] = [
    "--set",
    "data.source=procedural:classes=4,train=64,test=16,side=16",
    "--set",
    "model.width=0.125",
    "--set",
    "eval={resize=16, crop=16}",
    "--set",
    "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}",
    "--set",
    "knn={every=1, k=5, train_samples=64, test_samples=16}",
    "--set",
    "method.bank=32",
    "--epochs=2",
    "--batch-size=16",
];

/// Those of [`TINY`] that are keys of a configuration, as `KEY=VALUE`.
pub fn settings() -> impl Iterator<Item = &'static str> {
    TINY.into_iter().filter(|word| word.contains('=') && !word.starts_with("--"))
}
