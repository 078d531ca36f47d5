//! How batch norm's kernels cut an activation into tasks.

use rayon::prelude::*;

/// Elements of a chunk of pixels.
const CHUNK: usize = 32 * 1024;

/// Some consecutive pixels of a group.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Its place among all chunks.
    pub index: usize,
    pub group: usize,
    /// Its first element.
    pub first: usize,
    pub pixels: usize,
}

/// Pixels cut into chunks, none across groups, by shape alone.
pub struct Chunks {
    pixels_per_group: usize,
    per_group: usize,
    groups: usize,
    channels: usize,
}

impl Chunks {
    pub fn new(pixels: usize, groups: usize, channels: usize) -> Self {
        let pixels_per_group = pixels / groups;
        let per_group = (pixels_per_group * channels).div_ceil(CHUNK).min(pixels_per_group).max(1);
        Self { pixels_per_group, per_group, groups, channels }
    }

    pub fn len(&self) -> usize {
        self.per_group * self.groups
    }

    pub fn group(&self, index: usize) -> usize {
        index / self.per_group
    }

    /// Calls `f` for every chunk, in parallel.
    pub fn for_each(&self, f: impl Fn(Chunk) + Sync) {
        (0..self.len()).into_par_iter().for_each(|index| {
            let (group, chunk) = (index / self.per_group, index % self.per_group);
            let start = self.pixels_per_group * chunk / self.per_group;
            let end = self.pixels_per_group * (chunk + 1) / self.per_group;
            let first = (group * self.pixels_per_group + start) * self.channels;
            f(Chunk { index, group, first, pixels: end - start });
        });
    }
}
