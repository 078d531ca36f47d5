// The two updates of a training step, each of all parameters at once: a block for each row of a table.
#include "element.h"

struct SgdChunk {
    float *weight, *velocity;
    const float *gradient;
    i64 length;
};
static_assert(sizeof(SgdChunk) == 32, "as in Rust");

struct sgd_args {
    const SgdChunk *chunks;
    float lr, momentum, decay, reserved;
};
static_assert(sizeof(sgd_args) == 24, "as in Rust");

// In the order of torch.optim.SGD and without fused operations, so that the bits are those of the CPU.
INLINE void sgd_of_one(const sgd_args &a, float &w, float &v, float g) {
    v = __fadd_rn(__fmul_rn(a.momentum, v), __fadd_rn(g, __fmul_rn(a.decay, w)));
    w = __fsub_rn(w, __fmul_rn(a.lr, v));
}

INLINE bool aligned(const void *p) { return (u64)p % 16 == 0; }

// grid: (chunks)
INLINE void sgd_of_block(const sgd_args &a) {
    const SgdChunk chunk = a.chunks[blockIdx.x];
    i64 done = 0;
    if (aligned(chunk.weight) && aligned(chunk.velocity) && aligned(chunk.gradient)) {
        const i64 fours = chunk.length / 4;
        float4 *weight = reinterpret_cast<float4 *>(chunk.weight), *velocity = reinterpret_cast<float4 *>(chunk.velocity);
        const float4 *gradient = reinterpret_cast<const float4 *>(chunk.gradient);
        for (i64 k = threadIdx.x; k < fours; k += THREADS) {
            float4 w = weight[k], v = velocity[k];
            const float4 g = gradient[k];
            sgd_of_one(a, w.x, v.x, g.x);
            sgd_of_one(a, w.y, v.y, g.y);
            sgd_of_one(a, w.z, v.z, g.z);
            sgd_of_one(a, w.w, v.w, g.w);
            velocity[k] = v;
            weight[k] = w;
        }
        done = fours * 4;
    }
    for (i64 k = done + threadIdx.x; k < chunk.length; k += THREADS) {
        float w = chunk.weight[k], v = chunk.velocity[k];
        sgd_of_one(a, w, v, chunk.gradient[k]);
        chunk.velocity[k] = v;
        chunk.weight[k] = w;
    }
}
KERNEL(sgd, 4)

struct AverageChunk {
    float *average;
    const float *value;
    i64 length;
};
static_assert(sizeof(AverageChunk) == 24, "as in Rust");

struct moving_average_args {
    const AverageChunk *chunks;
    float kept, rest;
};
static_assert(sizeof(moving_average_args) == 16, "as in Rust");

INLINE float average_of_one(const moving_average_args &a, float average, float value) {
    return __fadd_rn(__fmul_rn(average, a.kept), __fmul_rn(value, a.rest));
}

// grid: (chunks)
INLINE void moving_average_of_block(const moving_average_args &a) {
    const AverageChunk chunk = a.chunks[blockIdx.x];
    i64 done = 0;
    if (aligned(chunk.average) && aligned(chunk.value)) {
        const i64 fours = chunk.length / 4;
        float4 *average = reinterpret_cast<float4 *>(chunk.average);
        const float4 *value = reinterpret_cast<const float4 *>(chunk.value);
        for (i64 k = threadIdx.x; k < fours; k += THREADS) {
            float4 m = average[k];
            const float4 x = value[k];
            m.x = average_of_one(a, m.x, x.x);
            m.y = average_of_one(a, m.y, x.y);
            m.z = average_of_one(a, m.z, x.z);
            m.w = average_of_one(a, m.w, x.w);
            average[k] = m;
        }
        done = fours * 4;
    }
    for (i64 k = done + threadIdx.x; k < chunk.length; k += THREADS)
        chunk.average[k] = average_of_one(a, chunk.average[k], chunk.value[k]);
}
KERNEL(moving_average, 4)
