// The streaming softmax over blocks of candidates: a running maximum, and sums relative to it.
#include "element.h"

struct softmax_block_args {
    float *scores;                        // (rows, columns); becomes the exponentials
    float *max, *sum;                     // (rows): of all blocks so far
    float *weighted;                      // (rows, dim): decays as the maximum grows
    float *above;                         // (counted): scores above the threshold
    const float *inverse_temperature;     // (rows)
    const float *threshold;               // (counted)
    i64 columns, dim;
    u32 counted, reserved;
};
static_assert(sizeof(softmax_block_args) == 80, "as in Rust");

INLINE float higher(float a, float b) { return a > b || a != a ? a : b; }   // NaN wins

// grid: (rows)
INLINE void softmax_block_of_block(const softmax_block_args &a) {
    __shared__ float highest[THREADS];
    __shared__ double sums[THREADS];
    __shared__ u32 counts[THREADS];
    const int t = threadIdx.x;
    const i64 row = blockIdx.x;
    float *scores = a.scores + row * a.columns;

    float local = a.max[row];
    const float before = local;
#pragma unroll 4
    for (i64 k = t; k < a.columns; k += THREADS) local = higher(local, scores[k]);
    highest[t] = local;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) highest[t] = higher(highest[t], highest[t + half]);
        __syncthreads();
    }
    const float max = highest[0], inverse = a.inverse_temperature[row];
    const float decay = expf(__fmul_rn(__fsub_rn(before, max), inverse));

    const bool counted = row < a.counted;
    const float threshold = counted ? a.threshold[row] : 0.0f;
    float sum = 0.0f;
    u32 count = 0;
#pragma unroll 4
    for (i64 k = t; k < a.columns; k += THREADS) {
        const float score = scores[k];
        const float e = expf(__fmul_rn(__fsub_rn(score, max), inverse));
        if (counted && score > threshold) count++;
        scores[k] = e;
        sum += e;
    }
    sums[t] = (double)sum;
    counts[t] = count;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            sums[t] += sums[t + half];
            counts[t] += counts[t + half];
        }
        __syncthreads();
    }
    if (t == 0) {
        a.max[row] = max;
        a.sum[row] = (float)((double)a.sum[row] * (double)decay + sums[0]);
        if (counted) a.above[row] += (float)counts[0];
    }
    float *weighted = a.weighted + row * a.dim;
    for (i64 d = t; d < a.dim; d += THREADS) weighted[d] = __fmul_rn(weighted[d], decay);
}
KERNEL_WITH_BARRIERS(softmax_block, 4)
