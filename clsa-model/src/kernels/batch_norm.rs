//! Batch norm with what surrounds it in a ResNet: ReLU, and the addition of a residual before it.
//!
//! Forward it is two numbers per channel, [`Affine`], which the next convolution applies while it reads. Backward it is
//! one pass that gathers sums and one that writes the convolution's output gradient.

use super::element::{Element, part, write};
use super::memory::Shared;
use super::moments::Moments;
use super::simd::{Isa, Kernel, Simd, dispatch};
use super::source::Source;
use rayon::prelude::*;

/// Elements of a chunk of pixels.
const CHUNK: usize = 32 * 1024;

/// Batch norm as `z * scale + shift`, with what its backward pass needs. All of (groups, channels).
#[derive(Clone, Debug)]
pub struct Affine {
    /// Weight over standard deviation.
    pub scale: Vec<f32>,
    /// Bias minus scaled mean.
    pub shift: Vec<f32>,
    /// Means.
    pub mean: Vec<f32>,
    /// Reciprocal standard deviations.
    pub inv_std: Vec<f32>,
}

impl Affine {
    /// From the moments of a batch and the norm's weight and bias (channels).
    pub fn new(moments: &Moments, weight: &[f32], bias: &[f32], eps: f64) -> Self {
        let channels = weight.len();
        let inv_std: Vec<f64> = moments.variance().iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
        let scale = |i: usize| f64::from(weight[i % channels]) * inv_std[i];
        let n = inv_std.len();
        Self {
            scale: (0..n).map(|i| scale(i) as f32).collect(),
            shift: (0..n).map(|i| (f64::from(bias[i % channels]) - moments.mean()[i] * scale(i)) as f32).collect(),
            mean: moments.mean().iter().map(|&m| m as f32).collect(),
            inv_std: inv_std.iter().map(|&s| s as f32).collect(),
        }
    }

    fn groups(&self, channels: usize) -> usize {
        self.scale.len() / channels
    }
}

/// `out = relu?(z * scale + shift + residual?)`.
pub fn normalize<E: Element>(
    isa: Isa,
    channels: usize,
    z: &[E],
    affine: &Affine,
    residual: Option<Source<'_, E>>,
    relu: bool,
    out: &mut [E],
) {
    let groups = affine.groups(channels);
    assert_eq!(z.len(), out.len());
    assert!(residual.is_none_or(|r| r.stored().len() == z.len()));
    let chunks = Chunks::new(z.len() / channels, groups, channels);
    let to = Shared::new(out);
    chunks.for_each(|_, group, start, n| {
        let affine = [&affine.scale, &affine.shift].map(|v| v[group * channels..][..channels].as_ptr());
        let residual = residual.map(|r| {
            let norm = match r {
                Source::Plain(_) => None,
                Source::Norm { scale, shift, relu, .. } => {
                    let own = [scale, shift].map(|v| v[group * channels..][..channels].as_ptr());
                    Some((own[0], own[1], relu))
                }
            };
            (r.stored()[start..].as_ptr(), norm)
        });
        // SAFETY: chunks are disjoint parts of `out`.
        let to = unsafe { to.get().add(start) };
        dispatch(isa, Normalize { channels, pixels: n, z: z[start..].as_ptr(), affine, residual, relu, to });
    });
}

/// A residual's own scale and shift, and whether ReLU follows.
type OwnNorm = (*const f32, *const f32, bool);

struct Normalize<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    affine: [*const f32; 2],
    residual: Option<(*const E, Option<OwnNorm>)>,
    relu: bool,
    to: *mut E,
}

impl<E: Element> Kernel for Normalize<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let [scale, shift] = self.affine;
        for pixel in 0..self.pixels {
            for c in (0..self.channels).step_by(V::LANES) {
                let lanes = self.channels - c;
                let at = pixel * self.channels + c;
                // SAFETY: `normalize` has checked the lengths.
                unsafe {
                    let z: V = part(self.z.add(at), lanes);
                    let mut y = z.mul_add(part(scale.add(c), lanes), part(shift.add(c), lanes));
                    if let Some((residual, norm)) = self.residual {
                        let mut r: V = part(residual.add(at), lanes);
                        if let Some((scale, shift, relu)) = norm {
                            r = r.mul_add(part(scale.add(c), lanes), part(shift.add(c), lanes));
                            if relu {
                                r = V::zero().max(r);
                            }
                        }
                        y = y.add(r);
                    }
                    if self.relu {
                        y = V::zero().max(y);
                    }
                    write(y, self.to.add(at), lanes);
                }
            }
        }
    }
}

/// Where the gradient of a unit's output passes its ReLU.
#[derive(Clone, Copy)]
pub enum Gate<'a, E> {
    /// There is no ReLU.
    Open,
    /// Where the normalised value is above zero, recomputed from `z`.
    Normalized,
    /// Where the unit's output is above zero.
    Output(&'a [E]),
}

/// The sums over a batch that batch norm's backward pass needs; also the gradients of its weight and bias.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Σ g, (groups, channels): summed over groups, the bias's gradient.
    pub gradient: Vec<f64>,
    /// Σ g · (z - mean) / std, (groups, channels): summed over groups, the weight's gradient.
    pub weighted: Vec<f64>,
    /// Values per channel in a group.
    pub count: usize,
}

/// First pass of batch norm backward, over the gradient of the unit's output. With [`Gate::Output`] the gated gradient
/// replaces it (it is also the residual's).
pub fn backward_sums<E: Element>(
    isa: Isa,
    channels: usize,
    z: &[E],
    affine: &Affine,
    gate: Gate<'_, E>,
    gradient: &mut [E],
) -> Sums {
    let groups = affine.groups(channels);
    assert_eq!(z.len(), gradient.len());
    let chunks = Chunks::new(z.len() / channels, groups, channels);
    let mut partial = vec![0.0f32; chunks.len() * 2 * channels];
    let (to, sums) = (Shared::new(gradient), Shared::new(&mut partial));
    chunks.for_each(|index, group, start, n| {
        let own = |v: &[f32]| v[group * channels..][..channels].as_ptr();
        let output = match gate {
            Gate::Output(out) => out[start..start + n * channels].as_ptr(),
            _ => std::ptr::null(),
        };
        let kernel = BackwardSums {
            channels,
            pixels: n,
            z: z[start..].as_ptr(),
            scale: own(&affine.scale),
            shift: own(&affine.shift),
            mean: own(&affine.mean),
            normalized: matches!(gate, Gate::Normalized),
            output,
            // SAFETY: chunks are disjoint parts of the gradient, and each has its own two rows of sums.
            gradient: unsafe { to.get().add(start) },
            // SAFETY: as above.
            sums: unsafe { sums.get().add(index * 2 * channels) },
        };
        dispatch(isa, kernel);
    });
    let mut result = Sums {
        gradient: vec![0.0; groups * channels],
        weighted: vec![0.0; groups * channels],
        count: z.len() / channels / groups,
    };
    for (index, values) in partial.chunks_exact(2 * channels).enumerate() {
        let first = chunks.group(index) * channels;
        for c in 0..channels {
            result.gradient[first + c] += f64::from(values[c]);
            result.weighted[first + c] += f64::from(values[channels + c]);
        }
    }
    for (sum, &inv_std) in result.weighted.iter_mut().zip(&affine.inv_std) {
        *sum *= f64::from(inv_std);
    }
    result
}

struct BackwardSums<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    scale: *const f32,
    shift: *const f32,
    mean: *const f32,
    normalized: bool,
    output: *const E,
    gradient: *mut E,
    sums: *mut f32,
}

impl<E: Element> Kernel for BackwardSums<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        /// Vectors of channels whose sums are in registers together.
        const WIDE: usize = 4;
        let mut c = 0;
        while c < self.channels {
            // SAFETY: `backward_sums` has checked the lengths.
            unsafe {
                if c + WIDE * V::LANES <= self.channels {
                    self.columns::<V, WIDE>(c);
                    c += WIDE * V::LANES;
                } else {
                    self.columns::<V, 1>(c);
                    c += V::LANES;
                }
            }
        }
    }
}

impl<E: Element> BackwardSums<E> {
    #[inline(always)]
    unsafe fn columns<V: Simd, const W: usize>(&self, first: usize) {
        // SAFETY: the caller gives W vectors of channels, the last of which may be partial if W is 1.
        unsafe {
            let mut sum = [V::zero(); W];
            let mut weighted = [V::zero(); W];
            for pixel in 0..self.pixels {
                for j in 0..W {
                    let c = first + j * V::LANES;
                    let lanes = self.channels - c;
                    let at = pixel * self.channels + c;
                    let mut g: V = part(self.gradient.add(at), lanes);
                    let z: V = part(self.z.add(at), lanes);
                    if self.normalized {
                        g = g.where_positive(z.mul_add(part(self.scale.add(c), lanes), part(self.shift.add(c), lanes)));
                    } else if !self.output.is_null() {
                        g = g.where_positive(part(self.output.add(at), lanes));
                        write(g, self.gradient.add(at), lanes);
                    }
                    sum[j] = sum[j].add(g);
                    weighted[j] = g.mul_add(z.sub(part(self.mean.add(c), lanes)), weighted[j]);
                }
            }
            for j in 0..W {
                let c = first + j * V::LANES;
                let lanes = self.channels - c;
                write(sum[j], self.sums.add(c), lanes);
                write(weighted[j], self.sums.add(self.channels + c), lanes);
            }
        }
    }
}

/// Second pass: the gradient of `z` from the gradient of the unit's output, written to `out`, or over the gradient itself
/// where `out` is none. `gate` is as in the first pass, but [`Gate::Output`] has been applied there.
pub fn backward_apply<E: Element>(
    isa: Isa,
    channels: usize,
    z: &[E],
    affine: &Affine,
    sums: &Sums,
    gate: Gate<'_, E>,
    gradient: &mut [E],
    out: Option<&mut [E]>,
) {
    let groups = affine.groups(channels);
    assert_eq!(z.len(), gradient.len());
    assert!(out.as_ref().is_none_or(|o| o.len() == z.len()));
    let count = sums.count as f64;
    // dz = scale · (g - mean(g) - normalised · mean(g · normalised))
    let constant: Vec<f32> =
        affine.scale.iter().zip(&sums.gradient).map(|(&s, g)| (-f64::from(s) * g / count) as f32).collect();
    let slope: Vec<f32> = (0..groups * channels)
        .map(|i| (-f64::from(affine.scale[i]) * f64::from(affine.inv_std[i]) * sums.weighted[i] / count) as f32)
        .collect();
    let chunks = Chunks::new(z.len() / channels, groups, channels);
    let from = Shared::new(gradient);
    let to = out.map_or(from, Shared::new);
    chunks.for_each(|_, group, start, n| {
        let own = |v: &[f32]| v[group * channels..][..channels].as_ptr();
        let kernel = BackwardApply {
            channels,
            pixels: n,
            z: z[start..].as_ptr(),
            scale: own(&affine.scale),
            shift: own(&affine.shift),
            mean: own(&affine.mean),
            constant: own(&constant),
            slope: own(&slope),
            normalized: matches!(gate, Gate::Normalized),
            // SAFETY: chunks are disjoint parts of the gradient and of the result.
            gradient: unsafe { from.get().add(start) },
            // SAFETY: as above.
            to: unsafe { to.get().add(start) },
        };
        dispatch(isa, kernel);
    });
}

struct BackwardApply<E> {
    channels: usize,
    pixels: usize,
    z: *const E,
    scale: *const f32,
    shift: *const f32,
    mean: *const f32,
    constant: *const f32,
    slope: *const f32,
    normalized: bool,
    gradient: *const E,
    to: *mut E,
}

impl<E: Element> Kernel for BackwardApply<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        for pixel in 0..self.pixels {
            for c in (0..self.channels).step_by(V::LANES) {
                let lanes = self.channels - c;
                let at = pixel * self.channels + c;
                // SAFETY: `backward_apply` has checked the lengths.
                unsafe {
                    let scale: V = part(self.scale.add(c), lanes);
                    let z: V = part(self.z.add(at), lanes);
                    let mut g: V = part(self.gradient.add(at), lanes);
                    if self.normalized {
                        g = g.where_positive(z.mul_add(scale, part(self.shift.add(c), lanes)));
                    }
                    let centred = z.sub(part(self.mean.add(c), lanes));
                    let constant = part(self.constant.add(c), lanes);
                    let dz = centred.mul_add(part(self.slope.add(c), lanes), g.mul_add(scale, constant));
                    write(dz, self.to.add(at), lanes);
                }
            }
        }
    }
}

/// Pixels cut into chunks, none across groups, by shape alone.
struct Chunks {
    pixels_per_group: usize,
    per_group: usize,
    groups: usize,
    channels: usize,
}

impl Chunks {
    fn new(pixels: usize, groups: usize, channels: usize) -> Self {
        let pixels_per_group = pixels / groups;
        let per_group = (pixels_per_group * channels).div_ceil(CHUNK).min(pixels_per_group).max(1);
        Self { pixels_per_group, per_group, groups, channels }
    }

    fn len(&self) -> usize {
        self.per_group * self.groups
    }

    fn group(&self, index: usize) -> usize {
        index / self.per_group
    }

    /// Calls `f(index, group, first element, pixels)` for every chunk, in parallel.
    fn for_each(&self, f: impl Fn(usize, usize, usize, usize) + Sync) {
        (0..self.len()).into_par_iter().for_each(|index| {
            let (group, chunk) = (index / self.per_group, index % self.per_group);
            let start = self.pixels_per_group * chunk / self.per_group;
            let end = self.pixels_per_group * (chunk + 1) / self.per_group;
            f(index, group, (group * self.pixels_per_group + start) * self.channels, end - start);
        });
    }
}
