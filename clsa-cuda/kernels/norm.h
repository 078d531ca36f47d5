// Batch norm as its readers apply it, and which pixels and channels a thread works on.
#pragma once
#include "element.h"

// Channels of a block: eight neighboring threads of eight channels, which read 128 bytes of bf16 in a row.
constexpr int TILE = 64;
// Pixels that a block works on at a time.
constexpr int LINES = THREADS / (TILE / 8);

// A norm: (groups, channels) each, but for the bias, which is (channels).
struct NormPointers {
    const float *mean, *scale, *inv_std, *bias;
};
static_assert(sizeof(NormPointers) == 32, "as in Rust");

// In grids of (tiles of channels, parts of the pixels, groups).
struct Place {
    int line, c;

    INLINE Place() : line(threadIdx.x / 8), c(blockIdx.x * TILE + threadIdx.x % 8 * 8) {}
};

struct ChannelNorm {
    Eight mean, scale, bias;

    INLINE ChannelNorm() : mean(zeros()), scale(zeros()), bias(zeros()) {}
    INLINE ChannelNorm(const NormPointers &norm, i64 group, int channels, int c)
        : mean(read(norm.mean + group * channels + c)), scale(read(norm.scale + group * channels + c)),
          bias(read(norm.bias + c)) {}

    // Centered first: where a mean is many deviations away, z · scale + shift would lose its digits. Forward and backward
    // passes use this one expression, so that they agree on what is above zero.
    INLINE float of(float z, int i) const { return fmaf(z - mean.v[i], scale.v[i], bias.v[i]); }
};
