//! How much memory the process has held at most, as Linux counts it, and on a GPU.

use candle_core::Device;
use std::fs;

/// Makes the highest resident memory what it is now, so that the making of the inputs does not count, and returns it, MB; none where the
/// system does not say, or does not let it be set.
pub(super) fn peak_rss_from_now_mb() -> Option<f64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    peak_rss_mb()
}

/// The highest resident memory of the process so far, MB (2^20 bytes), as Linux counts it; none where the system does not say.
pub(super) fn peak_rss_mb() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: f64| kib / 1024.0)
}

/// The same as [`peak_rss_from_now_mb`] on a GPU; none on the CPU.
#[cfg(feature = "cuda")]
pub(super) fn peak_gpu_from_now_mb(device: &Device) -> Option<f64> {
    clsa_cuda::memory::peak_from_now(device).ok().map(mb)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn peak_gpu_from_now_mb(_: &Device) -> Option<f64> {
    None
}

/// The highest memory taken on a GPU so far, MB (2^20 bytes).
#[cfg(feature = "cuda")]
pub(super) fn peak_gpu_mb(device: &Device) -> Option<f64> {
    clsa_cuda::memory::peak(device).ok().map(mb)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn peak_gpu_mb(_: &Device) -> Option<f64> {
    None
}

#[cfg(feature = "cuda")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
