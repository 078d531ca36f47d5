//! The arguments of the kernels, as in `kernels/`.

// A kernel takes addresses, whose soundness the caller of `Gpu::launch` vouches for.
#![allow(unsafe_code)]

use crate::gpu::KernelArgs;

/// Threads of a block.
pub(crate) const THREADS: usize = 256;
/// Channels of a block, of kernels whose grid is (tiles of channels, parts of the pixels, groups).
pub(crate) const TILE: usize = 64;
/// Pixels that such a block works on at a time.
pub(crate) const LINES: usize = 32;
/// Floats of the sums of one split: two for each channel of a tile.
pub(crate) const PART: usize = 2 * TILE;
/// Floats that a block turns at a time between the layouts of weights.
pub(crate) const TURNED: usize = 4096;
/// Places that the kernel of a convolution has at most: a block turns eight channels of them or more at a time.
pub const MOST_PLACES: usize = TURNED / 8;

/// A struct for each kernel, with its size in bytes in C++.
macro_rules! kernels {
    ($($(#[$doc:meta])* $name:literal $by_element:literal $size:literal $args:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub(crate) struct $args {
            $(pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$args>() == $size);

        // SAFETY: the same fields in the same order as in `kernels/`, which asserts the same size.
        unsafe impl KernelArgs for $args {
            const NAME: &'static str = $name;
            const BY_ELEMENT: bool = $by_element;
        }
    )*};
}

/// A norm's addresses: (groups, channels) each, but for the bias, which is (channels).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct NormPointers {
    pub mean: u64,
    pub scale: u64,
    pub inv_std: u64,
    pub bias: u64,
}

const _: () = assert!(size_of::<NormPointers>() == 32);

/// Where splits leave their sums, (tiles, groups, splits, [`PART`]), and a ticket for each tile.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Parts {
    pub values: u64,
    pub tickets: u64,
}

const _: () = assert!(size_of::<Parts>() == 16);

kernels! {
    /// Images of any strides to channels last, padded to eight channels.
    "image" true 72 Image {
        from: u64,
        to: u64,
        strides: [i64; 4],
        pixels: i64,
        channels: u32,
        height: u32,
        width: u32,
        reserved: u32,
    }

    /// Bytes, channels last, to f32 through a table.
    "expand_bytes" false 32 ExpandBytes {
        from: u64,
        table: u64,
        to: u64,
        pixels: i64,
    }

    /// A parameter as convolutions read it.
    "pack_weight" true 40 PackWeight {
        from: u64,
        to: u64,
        outputs: i64,
        channels: i32,
        padded: i32,
        places: i32,
        tile: i32,
    }

    /// A weight's gradient from a convolution to its parameter's layout.
    "add_weight_gradient" true 48 AddWeightGradient {
        from: u64,
        to: u64,
        outputs: i64,
        channels: i32,
        padded: i32,
        places: i32,
        tile: i32,
        overwrite: i32,
        reserved: i32,
    }

    /// The statistics of a batch.
    "statistics" true 128 Statistics {
        z: u64,
        parts: Parts,
        weight: u64,
        bias: u64,
        running_mean: u64,
        running_var: u64,
        mean: u64,
        scale: u64,
        inv_std: u64,
        norm_bias: u64,
        eps: f64,
        momentum: f64,
        rows: i64,
        per_split: u32,
        reserved: u32,
        channels: i32,
        groups: i32,
    }

    /// A norm from the running statistics.
    "running_norm" false 80 RunningNorm {
        weight: u64,
        bias: u64,
        running_mean: u64,
        running_var: u64,
        mean: u64,
        scale: u64,
        inv_std: u64,
        norm_bias: u64,
        eps: f64,
        channels: i64,
    }

    /// The forward pass of a norm, with a stored residual or none.
    "normalize" true 112 Normalize {
        z: u64,
        residual: u64,
        out: u64,
        norm: NormPointers,
        residual_norm: NormPointers,
        rows: i64,
        channels: i32,
        relu: i32,
        residual_relu: i32,
        reserved: i32,
    }

    /// The same with a residual that is read through its own norm.
    "add_normalized" true 112 AddNormalized {
        z: u64,
        residual: u64,
        out: u64,
        norm: NormPointers,
        residual_norm: NormPointers,
        rows: i64,
        channels: i32,
        relu: i32,
        residual_relu: i32,
        reserved: i32,
    }

    /// A sum in place.
    "add" true 24 Add {
        sum: u64,
        other: u64,
        count: i64,
    }

    /// The first pass of a norm's gradient.
    "norm_backward_sums" true 136 NormBackwardSums {
        z: u64,
        dy: u64,
        out: u64,
        norm: NormPointers,
        parts: Parts,
        weight_grad: u64,
        bias_grad: u64,
        slope: u64,
        constant: u64,
        rows: i64,
        per_split: u32,
        reserved: u32,
        channels: i32,
        groups: i32,
        mask: i32,
        overwrite: i32,
    }

    /// The second pass.
    "norm_backward_apply" true 88 NormBackwardApply {
        z: u64,
        dy: u64,
        dz: u64,
        norm: NormPointers,
        slope: u64,
        constant: u64,
        rows: i64,
        channels: i32,
        mask: i32,
    }

    /// Max pooling 3x3, stride 2, padding 1.
    "max_pool" true 88 MaxPool {
        x: u64,
        out: u64,
        taps: u64,
        norm: NormPointers,
        images: u32,
        height: u32,
        width: u32,
        rows: u32,
        columns: u32,
        channels: i32,
        relu: i32,
        reserved: u32,
    }

    /// Its gradient.
    "max_pool_backward" true 56 MaxPoolBackward {
        dy: u64,
        taps: u64,
        dx: u64,
        pixels: i64,
        height: u32,
        width: u32,
        rows: u32,
        columns: u32,
        channels: i32,
        reserved: u32,
    }

    /// The mean over an image's pixels.
    "global_avg_pool" true 32 GlobalAvgPool {
        x: u64,
        out: u64,
        images: i64,
        pixels: i32,
        channels: i32,
    }

    /// Its gradient.
    "global_avg_pool_backward" true 40 GlobalAvgPoolBackward {
        dy: u64,
        dx: u64,
        images: i64,
        pixels: i32,
        channels: i32,
        share: f32,
        reserved: u32,
    }

    /// SGD on the chunks of a table.
    "sgd" false 24 Sgd {
        chunks: u64,
        lr: f32,
        momentum: f32,
        decay: f32,
        reserved: f32,
    }

    /// The moving average on the chunks of a table.
    "moving_average" false 16 MovingAverage {
        chunks: u64,
        kept: f32,
        rest: f32,
    }

    /// A block of the streaming softmax.
    "softmax_block" false 80 SoftmaxBlock {
        scores: u64,
        max: u64,
        sum: u64,
        weighted: u64,
        above: u64,
        inverse_temperature: u64,
        threshold: u64,
        columns: i64,
        dim: i64,
        counted: u32,
        reserved: u32,
    }
}
