// Weights between the parameters' layout, f32 (k, c, r, s), and the convolutions', (k, r, s, c) with zeros up to a multiple
// of eight channels.
#include "element.h"

// Numbers that a block turns at a time.
constexpr int TURNED = 4096;

struct pack_weight_args {
    const float *from;    // (outputs, channels, places)
    void *to;             // (outputs, places, padded)
    i64 outputs;
    int channels, padded;
    int places;           // of the kernel
    int tile;             // channels that a block turns at a time: a multiple of 8, tile * places <= TURNED
};
static_assert(sizeof(pack_weight_args) == 40, "as in Rust");

// grid: (blocks of tiles); through the block's memory, so that both sides are read and written in rows
template <class T> INLINE void pack_weight_of_block(const pack_weight_args &a) {
    __shared__ float turned[TURNED];
    const int tiles = (a.padded + a.tile - 1) / a.tile;
    for (i64 item = blockIdx.x; item < a.outputs * tiles; item += gridDim.x) {
        const i64 k = item / tiles;
        const int first = (int)(item % tiles) * a.tile;
        const int width = (int)smaller(a.tile, a.padded - first);
        const int known = (int)smaller(width, a.channels - first) * a.places;   // those after it are zero
        const float *from = a.from + (k * a.channels + first) * a.places;
        for (int i = threadIdx.x; i < width * a.places; i += THREADS) turned[i] = i < known ? from[i] : 0.0f;
        __syncthreads();
        const int vectors = width / 8;
        for (int i = threadIdx.x; i < vectors * a.places; i += THREADS) {
            const int place = i / vectors, c = i % vectors * 8;
            Eight e;
#pragma unroll
            for (int j = 0; j < 8; j++) e.v[j] = turned[(c + j) * a.places + place];
            store(static_cast<T *>(a.to) + (k * a.places + place) * a.padded + first + c, e);
        }
        __syncthreads();
    }
}
KERNEL_BY_ELEMENT_WITH_BARRIERS(pack_weight, 4)

struct add_weight_gradient_args {
    const void *from;     // (outputs, places, padded)
    float *to;            // (outputs, channels, places)
    i64 outputs;
    int channels, padded;
    int places, tile;     // as above
    int overwrite, reserved;
};
static_assert(sizeof(add_weight_gradient_args) == 48, "as in Rust");

// grid: (blocks of tiles)
template <class T> INLINE void add_weight_gradient_of_block(const add_weight_gradient_args &a) {
    __shared__ float turned[TURNED];
    const int tiles = (a.padded + a.tile - 1) / a.tile;
    for (i64 item = blockIdx.x; item < a.outputs * tiles; item += gridDim.x) {
        const i64 k = item / tiles;
        const int first = (int)(item % tiles) * a.tile;
        const int width = (int)smaller(a.tile, a.padded - first), vectors = width / 8;
        for (int i = threadIdx.x; i < vectors * a.places; i += THREADS) {
            const int place = i / vectors, c = i % vectors * 8;
            const Eight e = read(static_cast<const T *>(a.from) + (k * a.places + place) * a.padded + first + c);
#pragma unroll
            for (int j = 0; j < 8; j++) turned[(c + j) * a.places + place] = e.v[j];
        }
        __syncthreads();
        const int known = (int)smaller(width, a.channels - first) * a.places;
        float *to = a.to + (k * a.channels + first) * a.places;
        for (int i = threadIdx.x; i < known; i += THREADS) to[i] = a.overwrite ? turned[i] : to[i] + turned[i];
        __syncthreads();
    }
}
KERNEL_BY_ELEMENT_WITH_BARRIERS(add_weight_gradient, 4)
