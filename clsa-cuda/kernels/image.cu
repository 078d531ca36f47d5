// Images as the first convolution reads them: channels last, with zeros up to eight channels.
#include "element.h"

constexpr int IMAGE_CHANNELS = 8;

struct image_args {
    const float *from;             // (batch, channels, height, width) of any strides
    void *to;                      // (batch, height, width, 8)
    i64 strides[4];                // of `from`, in elements: batch, channel, row, column
    i64 pixels;                    // of all images
    u32 channels, height, width;   // at most eight channels
    u32 reserved;
};
static_assert(sizeof(image_args) == 72, "as in Rust");

// grid: (blocks of pixels)
template <class T> INLINE void image_of_block(const image_args &a) {
    const u32 size = a.height * a.width;
    for (i64 p = (i64)blockIdx.x * THREADS + threadIdx.x; p < a.pixels; p += (i64)gridDim.x * THREADS) {
        const i64 image = p / size;
        const u32 within = (u32)(p % size), row = within / a.width, column = within % a.width;
        const float *from = a.from + image * a.strides[0] + row * a.strides[2] + column * a.strides[3];
        Eight e;
#pragma unroll
        for (u32 c = 0; c < IMAGE_CHANNELS; c++) e.v[c] = c < a.channels ? from[c * a.strides[1]] : 0.0f;
        store(static_cast<T *>(a.to) + p * IMAGE_CHANNELS, e);
    }
}
KERNEL_BY_ELEMENT(image, 4)
