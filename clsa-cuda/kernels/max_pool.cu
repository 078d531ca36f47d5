// Max pooling 3x3, stride 2, padding 1.
#include "norm.h"

constexpr int POOL_KERNEL = 3, POOL_STRIDE = 2, POOL_PADDING = 1;

struct max_pool_args {
    const void *x;                         // (groups, images, height, width, channels)
    void *out;                             // (groups, images, rows, columns, channels)
    u8 *taps;                              // the same: the place in the window, 0 to 8, that was taken
    NormPointers norm;                     // that x is read through, if its pointers are not null
    u32 images;                            // of a group
    u32 height, width, rows, columns;
    int channels, relu;
    u32 reserved;
};
static_assert(sizeof(max_pool_args) == 88, "as in Rust");

// grid: (tiles of channels, blocks of output pixels, groups). Taken is the first of the highest, or the last NaN where there
// is one, as in PyTorch. Normalized values are compared as they would be stored.
template <class T> INLINE void max_pool_of_block(const max_pool_args &a) {
    const Place at;
    if (at.c >= a.channels) return;
    const bool normalized = a.norm.mean != nullptr;
    ChannelNorm norm;
    if (normalized) norm = ChannelNorm(a.norm, blockIdx.z, a.channels, at.c);
    const u32 size = a.rows * a.columns;
    const i64 pixels = (i64)a.images * size;
    const i64 of_group = blockIdx.z * (i64)a.images;
    for (i64 p = blockIdx.y * (i64)LINES + at.line; p < pixels; p += (i64)gridDim.y * LINES) {
        const i64 image = of_group + p / size;
        const u32 within = (u32)(p % size);
        const int y = (int)(within / a.columns) * POOL_STRIDE - POOL_PADDING;
        const int x = (int)(within % a.columns) * POOL_STRIDE - POOL_PADDING;
        const T *from = static_cast<const T *>(a.x) + image * a.height * a.width * a.channels + at.c;
        Eight best;
        u32 taken[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            best.v[i] = __uint_as_float(0xff800000u);   // -infinity
            taken[i] = 0;
        }
#pragma unroll
        for (int r = 0; r < POOL_KERNEL; r++) {
            if ((u32)(y + r) >= a.height) continue;   // above the image too: it wraps
            Packed<T> packed[POOL_KERNEL];
#pragma unroll
            for (int s = 0; s < POOL_KERNEL; s++)
                if ((u32)(x + s) < a.width) packed[s] = load(from + ((i64)(y + r) * a.width + x + s) * a.channels);
#pragma unroll
            for (int s = 0; s < POOL_KERNEL; s++) {
                if ((u32)(x + s) >= a.width) continue;
                Eight e = unpack(packed[s]);
                if (normalized) {
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        e.v[i] = norm.of(e.v[i], i);
                        if (a.relu) e.v[i] = relu(e.v[i]);
                    }
                    round_as(from, e);
                }
#pragma unroll
                for (int i = 0; i < 8; i++)
                    if (e.v[i] > best.v[i] || e.v[i] != e.v[i]) {
                        best.v[i] = e.v[i];
                        taken[i] = r * POOL_KERNEL + s;
                    }
            }
        }
        const i64 to = (of_group * size + p) * a.channels + at.c;
        store(static_cast<T *>(a.out) + to, best);
        uint2 taps = {0, 0};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            taps.x |= taken[i] << (8 * i);
            taps.y |= taken[4 + i] << (8 * i);
        }
        *reinterpret_cast<uint2 *>(a.taps + to) = taps;
    }
}
KERNEL_BY_ELEMENT(max_pool, 2)

struct max_pool_backward_args {
    const void *dy;     // (images, rows, columns, channels)
    const u8 *taps;     // the same
    void *dx;           // (images, height, width, channels)
    i64 pixels;         // of all input images
    u32 height, width, rows, columns;
    int channels;
    u32 reserved;
};
static_assert(sizeof(max_pool_backward_args) == 56, "as in Rust");

// grid: (tiles of channels, blocks of input pixels). Every input gathers from the at most four windows that hold it.
template <class T> INLINE void max_pool_backward_of_block(const max_pool_backward_args &a) {
    const Place at;
    if (at.c >= a.channels) return;
    const u32 size = a.height * a.width;
    for (i64 p = blockIdx.y * (i64)LINES + at.line; p < a.pixels; p += (i64)gridDim.y * LINES) {
        const i64 image = p / size;
        const u32 within = (u32)(p % size), y = within / a.width, x = within % a.width;
        Eight sum = zeros();
#pragma unroll
        for (u32 v = 0; v < 2; v++)
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                // The input is in the windows of outputs i / 2 and, where i is odd, (i + 1) / 2.
                const u32 row = y / POOL_STRIDE + v, column = x / POOL_STRIDE + h;
                const u32 r = y + POOL_PADDING - row * POOL_STRIDE, s = x + POOL_PADDING - column * POOL_STRIDE;
                if (r >= (u32)POOL_KERNEL || s >= (u32)POOL_KERNEL || row >= a.rows || column >= a.columns) continue;
                const u32 tap = r * POOL_KERNEL + s;
                const i64 from = ((image * a.rows + row) * a.columns + column) * a.channels + at.c;
                const uint2 taps = *reinterpret_cast<const uint2 *>(a.taps + from);
                const Eight g = read(static_cast<const T *>(a.dy) + from);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const u32 taken = ((i < 4 ? taps.x : taps.y) >> (8 * (i % 4))) & 0xffu;
                    sum.v[i] += taken == tap ? g.v[i] : 0.0f;
                }
            }
        store(static_cast<T *>(a.dx) + p * a.channels + at.c, sum);
    }
}
KERNEL_BY_ELEMENT(max_pool_backward, 4)
