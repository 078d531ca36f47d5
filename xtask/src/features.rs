//! Which features `clsa` is built with, beyond its default ones.
//!
//! The rule: those of CUDA if the option `--device` names a GPU. A build keeps what it compiled for either set of features,
//! so that going to and fro between them costs nothing.

use std::ffi::OsString;

/// The feature of a program for GPUs.
pub const CUDA: &str = "cuda";

/// Whether the value of the option `--device` is `cuda` or `cuda:N`.
pub fn names_gpu(args: &[OsString]) -> bool {
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let apart = args.windows(2).filter(|pair| pair[0] == "--device").map(|pair| pair[1]);
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--device="));
    apart.chain(joined).any(|device| device == "cuda" || device.starts_with("cuda:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_option_for_the_device_asks_for_cuda() {
        let asks = |command: &str| names_gpu(&command.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("pretrain --device cuda:0"));
        assert!(asks("pretrain --device cuda --epochs 3"));
        assert!(asks("eval --device=cuda:1"));
        assert!(!asks("pretrain --device cpu"));
        assert!(!asks("pretrain --out runs/cuda:0 --data imagefolder:/data/cuda"));
        assert!(!asks("views --device"));
    }
}
