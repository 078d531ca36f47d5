// Batch norm's gradient with that of the ReLU after it: one pass for sums over the batch, one that applies them.
#include "join.h"

// Where the gradient of a unit's output passes its ReLU.
enum Mask {
    OPEN = 0,         // everywhere: there is none
    NORMALIZED = 1,   // where the normalized value is above zero
    STORED = 2,       // where the stored output is above zero
};

struct norm_backward_sums_args {
    const void *z;                      // (groups, rows, channels)
    void *dy;                           // the same; where the mask is STORED, the masked gradient replaces it
    const void *out;                    // the same, for the mask STORED
    NormPointers norm;
    Parts parts;
    float *weight_grad, *bias_grad;     // (channels)
    float *slope, *constant;            // (groups, channels): what `norm_backward_apply` needs
    i64 rows;                           // pixels of a group, fewer than 2^31
    u32 per_split, reserved;            // pixels of a split
    int channels, groups, mask, overwrite;
};
static_assert(sizeof(norm_backward_sums_args) == 136, "as in Rust");

template <class T, Mask MASK>
INLINE void sums_of_split(const norm_backward_sums_args &a, Eight &sum, Eight &weighted) {
    constexpr int N = Flight<T>::OF_TWO;
    const Place at;
    if (at.c >= a.channels) return;
    const ChannelNorm norm(a.norm, blockIdx.z, a.channels, at.c);
    const u32 first = blockIdx.y * a.per_split, end = (u32)smaller((i64)first + a.per_split, a.rows);
    const i64 base = blockIdx.z * a.rows * a.channels + at.c;
    const T *z = static_cast<const T *>(a.z) + base;
    const T *out = MASK == STORED ? static_cast<const T *>(a.out) + base : nullptr;
    T *dy = static_cast<T *>(a.dy) + base;
    for (u32 r = first + at.line; r < end; r += N * LINES) {
        Packed<T> gradients[N], values[N], outputs[N];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < end) {
                gradients[n] = load(dy + (i64)(r + n * LINES) * a.channels);
                values[n] = load(z + (i64)(r + n * LINES) * a.channels);
                if (MASK == STORED) outputs[n] = load(out + (i64)(r + n * LINES) * a.channels);
            }
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < end) {
                Eight g = unpack(gradients[n]);
                const Eight x = unpack(values[n]);
                if (MASK == STORED) {
                    const Eight y = unpack(outputs[n]);
#pragma unroll
                    for (int i = 0; i < 8; i++) g.v[i] = y.v[i] > 0.0f ? g.v[i] : 0.0f;
                    store(dy + (i64)(r + n * LINES) * a.channels, g);
                }
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const float masked = MASK != NORMALIZED || norm.of(x.v[i], i) > 0.0f ? g.v[i] : 0.0f;
                    sum.v[i] += masked;
                    weighted.v[i] = fmaf(masked, x.v[i] - norm.mean.v[i], weighted.v[i]);
                }
            }
    }
}

// grid: (tiles of channels, splits, groups)
template <class T> INLINE void norm_backward_sums_of_block(const norm_backward_sums_args &a) {
    __shared__ JoinMemory memory;
    __shared__ u32 ticket;
    Eight sum = zeros(), weighted = zeros();
    if (a.mask == OPEN) sums_of_split<T, OPEN>(a, sum, weighted);
    else if (a.mask == NORMALIZED) sums_of_split<T, NORMALIZED>(a, sum, weighted);
    else sums_of_split<T, STORED>(a, sum, weighted);
    if (!write_part(a.parts, sum, weighted, memory, ticket)) return;

    const int c = blockIdx.x * TILE + threadIdx.x;
    const bool mine = threadIdx.x < TILE && c < a.channels;
    float weight_grad = 0.0f, bias_grad = 0.0f;
    if (mine && !a.overwrite) {
        weight_grad = a.weight_grad[c];
        bias_grad = a.bias_grad[c];
    }
    for (int group = 0; group < a.groups; group++) {
        const Joined sums = join(a.parts, group, memory);
        if (!mine) continue;
        const i64 at = (i64)group * a.channels + c;
        const double count = (double)a.rows, scale = (double)a.norm.scale[at], inv_std = (double)a.norm.inv_std[at];
        const double normalized = sums.second * inv_std;   // Σ g · (z - mean) / deviation
        a.constant[at] = (float)(-scale * sums.first / count);
        a.slope[at] = (float)(-scale * inv_std * normalized / count);
        weight_grad += (float)normalized;
        bias_grad += (float)sums.first;
    }
    if (!mine) return;
    a.weight_grad[c] = weight_grad;
    a.bias_grad[c] = bias_grad;
}
KERNEL_BY_ELEMENT_WITH_BARRIERS(norm_backward_sums, 3)

struct norm_backward_apply_args {
    const void *z, *dy;               // (groups, rows, channels)
    void *dz;                         // the same; may be dy
    NormPointers norm;
    const float *slope, *constant;    // (groups, channels)
    i64 rows;                         // pixels of a group, fewer than 2^31
    int channels, mask;               // OPEN or NORMALIZED: a STORED mask has been applied by the sums' pass
};
static_assert(sizeof(norm_backward_apply_args) == 88, "as in Rust");

// dz = scale · (g - mean(g) - normalized · mean(g · normalized)), as g · scale + constant + (z - mean) · slope.
template <class T, Mask MASK> INLINE void apply_to_block(const norm_backward_apply_args &a) {
    constexpr int N = Flight<T>::OF_TWO;
    const Place at;
    if (at.c >= a.channels) return;
    const ChannelNorm norm(a.norm, blockIdx.z, a.channels, at.c);
    const u32 rows = (u32)a.rows;
    const Eight slope = read(a.slope + (i64)blockIdx.z * a.channels + at.c);
    const Eight constant = read(a.constant + (i64)blockIdx.z * a.channels + at.c);
    const i64 base = blockIdx.z * a.rows * a.channels + at.c;
    const T *z = static_cast<const T *>(a.z) + base, *dy = static_cast<const T *>(a.dy) + base;
    T *dz = static_cast<T *>(a.dz) + base;
    for (u32 r = blockIdx.y * (N * LINES) + at.line; r < rows; r += gridDim.y * (N * LINES)) {
        Packed<T> gradients[N], values[N];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                gradients[n] = load(dy + (i64)(r + n * LINES) * a.channels);
                values[n] = load(z + (i64)(r + n * LINES) * a.channels);
            }
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                Eight g = unpack(gradients[n]);
                const Eight x = unpack(values[n]);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const float masked = MASK == OPEN || norm.of(x.v[i], i) > 0.0f ? g.v[i] : 0.0f;
                    const float flat = fmaf(masked, norm.scale.v[i], constant.v[i]);
                    g.v[i] = fmaf(x.v[i] - norm.mean.v[i], slope.v[i], flat);
                }
                store(dz + (i64)(r + n * LINES) * a.channels, g);
            }
    }
}

// grid: (tiles of channels, blocks of pixels, groups)
template <class T> INLINE void norm_backward_apply_of_block(const norm_backward_apply_args &a) {
    if (a.mask == OPEN) apply_to_block<T, OPEN>(a);
    else apply_to_block<T, NORMALIZED>(a);
}
KERNEL_BY_ELEMENT(norm_backward_apply, 3)
