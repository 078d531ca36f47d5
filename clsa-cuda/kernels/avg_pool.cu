// The mean over an image's pixels.
#include "element.h"

struct global_avg_pool_args {
    const void *x;    // (images, pixels, channels)
    float *out;       // (images, channels)
    i64 images;
    int pixels, channels;
};
static_assert(sizeof(global_avg_pool_args) == 32, "as in Rust");

// grid: (blocks of eight channels of an image)
template <class T> INLINE void global_avg_pool_of_block(const global_avg_pool_args &a) {
    const i64 at = (i64)blockIdx.x * THREADS + threadIdx.x;
    const int vectors = a.channels / 8;
    if (at >= a.images * vectors) return;
    const i64 image = at / vectors;
    const int c = (int)(at % vectors) * 8;
    const T *x = static_cast<const T *>(a.x) + image * a.pixels * a.channels + c;
    double sum[8];
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = 0.0;
#pragma unroll 4
    for (int p = 0; p < a.pixels; p++) {
        const Eight e = read(x + (i64)p * a.channels);
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] += (double)e.v[i];
    }
    Eight mean;
#pragma unroll
    for (int i = 0; i < 8; i++) mean.v[i] = (float)(sum[i] / (double)a.pixels);
    store(a.out + image * a.channels + c, mean);
}
KERNEL_BY_ELEMENT(global_avg_pool, 3)

struct global_avg_pool_backward_args {
    const float *dy;    // (images, channels)
    void *dx;           // (images, pixels, channels)
    i64 images;
    int pixels, channels;
    float share;        // 1 / pixels
    u32 reserved;
};
static_assert(sizeof(global_avg_pool_backward_args) == 40, "as in Rust");

// grid: (blocks of eight channels of a pixel)
template <class T> INLINE void global_avg_pool_backward_of_block(const global_avg_pool_backward_args &a) {
    const int vectors = a.channels / 8;
    const i64 all = a.images * a.pixels * vectors;
    for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < all; at += (i64)gridDim.x * THREADS) {
        const i64 pixel = at / vectors, image = pixel / a.pixels;
        Eight e = read(a.dy + image * a.channels + (at - pixel * vectors) * 8);
#pragma unroll
        for (int i = 0; i < 8; i++) e.v[i] *= a.share;
        store(static_cast<T *>(a.dx) + at * 8, e);
    }
}
KERNEL_BY_ELEMENT(global_avg_pool_backward, 4)
