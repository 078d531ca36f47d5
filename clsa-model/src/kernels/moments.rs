//! Mean and variance of each channel over a group of the batch, joined from parts in a fixed order.

/// A part of a group whose moments are gathered together.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockOfMoments {
    pub group: usize,
    /// Values per channel.
    pub count: usize,
}

/// Mean and variance of every group and channel of a convolution's output, in f64.
#[derive(Clone, Debug)]
pub struct Moments {
    channels: usize,
    counts: Vec<usize>,
    mean: Vec<f64>,
    /// Sums of squared distances to the mean.
    squares: Vec<f64>,
}

impl Moments {
    fn new(groups: usize, channels: usize) -> Self {
        let n = groups * channels;
        Self { channels, counts: vec![0; groups], mean: vec![0.0; n], squares: vec![0.0; n] }
    }

    /// Joins the blocks in their order. `values` has three arrays of `stride` for each, of which the first `channels`
    /// count: pivots, sums and sums of squares, as for [`Self::join`].
    pub(super) fn joined(
        groups: usize,
        channels: usize,
        blocks: impl Iterator<Item = BlockOfMoments>,
        values: &[f32],
        stride: usize,
    ) -> Self {
        let mut moments = Self::new(groups, channels);
        for (block, values) in blocks.zip(values.chunks_exact(3 * stride)) {
            let (pivot, rest) = values.split_at(stride);
            let (sum, squares) = rest.split_at(stride);
            moments.join(block.group, block.count, pivot, sum, squares);
        }
        moments
    }

    /// Joins a block of `count` values per channel, given as sum and sum of squares of their distances to a pivot
    /// (Chan, Golub and LeVeque 1979).
    fn join(&mut self, group: usize, count: usize, pivot: &[f32], sum: &[f32], squares: &[f32]) {
        let (n, before) = (count as f64, self.counts[group] as f64);
        let range = group * self.channels..(group + 1) * self.channels;
        let channels = self.mean[range.clone()].iter_mut().zip(&mut self.squares[range]);
        for (((mean, m2), &pivot), (&sum, &squares)) in channels.zip(pivot).zip(sum.iter().zip(squares)) {
            let offset = f64::from(sum) / n;
            let part_mean = f64::from(pivot) + offset;
            let part_m2 = (f64::from(squares) - offset * f64::from(sum)).max(0.0);
            let delta = part_mean - *mean;
            *mean += delta * n / (before + n);
            *m2 += part_m2 + delta * delta * before * n / (before + n);
        }
        self.counts[group] += count;
    }

    /// Values per channel in a group: images times pixels.
    pub fn count(&self) -> usize {
        self.counts[0]
    }

    /// Means, (groups, channels).
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Biased variances, (groups, channels).
    pub fn variance(&self) -> Vec<f64> {
        let count = self.counts[0] as f64;
        self.squares.iter().map(|m2| m2 / count).collect()
    }
}
