//! How much memory the process has held at most, as Linux counts it, and on a GPU.

use candle_core::Device;
use std::fs;
use std::io::{Error, Result};

/// Makes the highest resident memory what it is now, so that the making of the inputs does not count, and returns it, MB.
pub(super) fn peak_rss_from_now_mb() -> Result<f64> {
    let path = "/proc/self/clear_refs";
    fs::write(path, "5").map_err(|error| Error::other(format!("{path} does not take a 5: {error}")))?;
    peak_rss_mb()
}

/// The highest resident memory of the process so far, MB (2^20 bytes), as Linux counts it.
pub(super) fn peak_rss_mb() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: f64| kib / 1024.0).ok_or_else(|| Error::other("/proc/self/status lacks VmHWM"))
}

/// The highest memory taken on a GPU so far, MB (2^20 bytes).
#[cfg(feature = "cuda")]
pub(super) fn peak_gpu_mb(device: &Device) -> Option<f64> {
    clsa_cuda::memory::peak(device).ok().map(|bytes| bytes as f64 / f64::from(1 << 20))
}

#[cfg(not(feature = "cuda"))]
pub(super) fn peak_gpu_mb(_: &Device) -> Option<f64> {
    None
}
