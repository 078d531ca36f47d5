// Batch norm's forward pass, with the addition of a residual and ReLU; the sum of two gradients.
#include "norm.h"

struct normalize_args {
    const void *z, *residual;             // (groups, rows, channels); the residual may be null
    void *out;                            // the same
    NormPointers norm, residual_norm;     // the latter for `add_normalized`
    i64 rows;                             // pixels of a group, fewer than 2^31
    int channels, relu, residual_relu, reserved;
};
static_assert(sizeof(normalize_args) == 112, "as in Rust");
typedef normalize_args add_normalized_args;

// grid: (tiles of channels, blocks of pixels, groups)
template <class T> INLINE void normalize_of_block(const normalize_args &a) {
    constexpr int N = Flight<T>::OF_TWO;
    const Place at;
    if (at.c >= a.channels) return;
    const ChannelNorm norm(a.norm, blockIdx.z, a.channels, at.c);
    const u32 rows = (u32)a.rows;
    const i64 base = blockIdx.z * a.rows * a.channels + at.c;
    const T *z = static_cast<const T *>(a.z) + base;
    const T *residual = a.residual ? static_cast<const T *>(a.residual) + base : nullptr;
    T *out = static_cast<T *>(a.out) + base;
    for (u32 r = blockIdx.y * (N * LINES) + at.line; r < rows; r += gridDim.y * (N * LINES)) {
        Packed<T> x[N], more[N];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                x[n] = load(z + (i64)(r + n * LINES) * a.channels);
                if (residual) more[n] = load(residual + (i64)(r + n * LINES) * a.channels);
            }
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                Eight y = unpack(x[n]);
#pragma unroll
                for (int i = 0; i < 8; i++) y.v[i] = norm.of(y.v[i], i);
                if (residual) {
                    const Eight e = unpack(more[n]);
#pragma unroll
                    for (int i = 0; i < 8; i++) y.v[i] += e.v[i];
                }
                if (a.relu)
#pragma unroll
                    for (int i = 0; i < 8; i++) y.v[i] = relu(y.v[i]);
                store(out + (i64)(r + n * LINES) * a.channels, y);
            }
    }
}
KERNEL_BY_ELEMENT(normalize, 4)

// The residual is read through its own norm. Apart from `normalize`, which needs fewer registers.
template <class T> INLINE void add_normalized_of_block(const add_normalized_args &a) {
    constexpr int N = Flight<T>::OF_TWO;
    const Place at;
    if (at.c >= a.channels) return;
    const ChannelNorm norm(a.norm, blockIdx.z, a.channels, at.c);
    const u32 rows = (u32)a.rows;
    const ChannelNorm residual_norm(a.residual_norm, blockIdx.z, a.channels, at.c);
    const i64 base = blockIdx.z * a.rows * a.channels + at.c;
    const T *z = static_cast<const T *>(a.z) + base, *residual = static_cast<const T *>(a.residual) + base;
    T *out = static_cast<T *>(a.out) + base;
    for (u32 r = blockIdx.y * (N * LINES) + at.line; r < rows; r += gridDim.y * (N * LINES)) {
        Packed<T> x[N], more[N];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                x[n] = load(z + (i64)(r + n * LINES) * a.channels);
                more[n] = load(residual + (i64)(r + n * LINES) * a.channels);
            }
#pragma unroll
        for (int n = 0; n < N; n++)
            if (r + n * LINES < rows) {
                Eight y = unpack(x[n]);
                const Eight e = unpack(more[n]);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const float added = residual_norm.of(e.v[i], i);
                    y.v[i] = norm.of(y.v[i], i) + (a.residual_relu ? relu(added) : added);
                    if (a.relu) y.v[i] = relu(y.v[i]);
                }
                store(out + (i64)(r + n * LINES) * a.channels, y);
            }
    }
}
KERNEL_BY_ELEMENT(add_normalized, 2)

struct add_args {
    void *sum;            // (count, 8)
    const void *other;    // the same
    i64 count;            // groups of eight elements
};
static_assert(sizeof(add_args) == 24, "as in Rust");

// grid: (blocks of elements)
template <class T> INLINE void add_of_block(const add_args &a) {
    constexpr int N = Flight<T>::OF_TWO;
    T *sum = static_cast<T *>(a.sum);
    const T *other = static_cast<const T *>(a.other);
    for (i64 k = blockIdx.x * (i64)(N * THREADS) + threadIdx.x; k < a.count; k += (i64)gridDim.x * (N * THREADS)) {
        Packed<T> x[N], y[N];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (k + n * THREADS < a.count) {
                x[n] = load(sum + (k + n * THREADS) * 8);
                y[n] = load(other + (k + n * THREADS) * 8);
            }
#pragma unroll
        for (int n = 0; n < N; n++)
            if (k + n * THREADS < a.count) {
                Eight e = unpack(x[n]);
                const Eight f = unpack(y[n]);
#pragma unroll
                for (int i = 0; i < 8; i++) e.v[i] += f.v[i];
                store(sum + (k + n * THREADS) * 8, e);
            }
    }
}
KERNEL_BY_ELEMENT(add, 4)
