// Pixels as the numbers that they stand for, where they are.
#include "element.h"

struct expand_bytes_args {
    const u8 *from;        // (pixels, 3)
    const float *table;    // (3, 256): what a byte of each channel stands for
    float *to;             // (pixels, 3)
    i64 pixels;            // of all images
};
static_assert(sizeof(expand_bytes_args) == 32, "as in Rust");

// grid: (blocks of pixels)
INLINE void expand_bytes_of_block(const expand_bytes_args &a) {
    __shared__ float table[3 * 256];
    for (int i = threadIdx.x; i < 3 * 256; i += THREADS) table[i] = a.table[i];
    __syncthreads();
    const i64 values = a.pixels * 3, quads = values / 4;
    for (i64 q = (i64)blockIdx.x * THREADS + threadIdx.x; q < quads; q += (i64)gridDim.x * THREADS) {
        const u32 four = reinterpret_cast<const u32 *>(a.from)[q];
        const u32 channel = (u32)(q % 3);   // of the first of the four: 4q mod 3
        float4 out;
        out.x = table[channel * 256 + (four & 255u)];
        out.y = table[(channel + 1) % 3 * 256 + (four >> 8 & 255u)];
        out.z = table[(channel + 2) % 3 * 256 + (four >> 16 & 255u)];
        out.w = table[channel * 256 + (four >> 24)];
        reinterpret_cast<float4 *>(a.to)[q] = out;
    }
    if (blockIdx.x == 0 && threadIdx.x < values % 4) {
        const i64 i = quads * 4 + threadIdx.x;
        a.to[i] = table[i % 3 * 256 + a.from[i]];
    }
}
KERNEL_WITH_BARRIERS(expand_bytes, 4)
