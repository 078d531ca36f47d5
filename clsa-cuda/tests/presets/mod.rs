//! The networks and views of the configurations in `clsa-run/presets`. A test holds this list against those files.

/// The network of presets, and the views that it is given.
#[derive(Debug)]
pub struct Preset {
    /// The files, without `.toml`.
    pub names: &'static [&'static str],
    /// Images of a pass.
    pub batch: usize,
    /// Channels of the first stage.
    pub width: usize,
    /// Whether the first layers are a 7x7 convolution and max pooling, or one 3x3 convolution.
    pub large_stem: bool,
    /// Blocks of the stages.
    pub blocks: [usize; 4],
    /// Channels of a block's output for each of its width.
    pub expansion: usize,
    /// Sides of the views.
    pub sides: &'static [usize],
}

pub const CIFAR10: Preset = Preset {
    names: &["cifar10", "mocov2plus-cifar10", "mocov2plus-cifar100"],
    batch: 256,
    width: 64,
    large_stem: false,
    blocks: [2; 4],
    expansion: 1,
    sides: &[32],
};

pub const PRESETS: [Preset; 7] = [
    Preset {
        names: &[
            "imagenet-mocov2-200",
            "imagenet-multi-200",
            "imagenet-multi-800",
            "imagenet-single-200",
            "imagenet-single-800",
        ],
        large_stem: true,
        blocks: [3, 4, 6, 3],
        expansion: 4,
        sides: &[224, 192, 160, 128, 96],
        ..CIFAR10
    },
    Preset { names: &["photos"], batch: 64, large_stem: true, sides: &[96], ..CIFAR10 },
    Preset { names: &["demo"], batch: 64, width: 32, blocks: [1; 4], ..CIFAR10 },
    Preset { names: &["ddm-cifar10"], batch: 128, width: 16, ..CIFAR10 },
    Preset { names: &["lightly-moco-cifar10"], batch: 128, ..CIFAR10 },
    CIFAR10,
    Preset {
        names: &["clsa-cifar10", "moco-cifar10", "moco-symmetric-cifar10", "naive-cifar10"],
        batch: 512,
        ..CIFAR10
    },
];
