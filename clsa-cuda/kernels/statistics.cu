// Batch norm's statistics of a batch, and those that evaluation uses.
#include "join.h"

struct statistics_args {
    const void *z;                        // (groups, rows, channels)
    Parts parts;
    const float *weight, *bias;           // (channels)
    float *running_mean, *running_var;    // (channels)
    float *mean, *scale, *inv_std;        // (groups, channels)
    float *norm_bias;                     // (channels)
    double eps, momentum;
    i64 rows;                             // pixels of a group, fewer than 2^31
    u32 per_split, reserved;              // pixels of a split
    int channels, groups;
};
static_assert(sizeof(statistics_args) == 128, "as in Rust");

// Fractions of a group, in 13ths, at which the pivot's pixels lie: hardly ever at an image's border, whose values differ.
constexpr int PIVOTS = 4;
INLINE i64 pivot_row(i64 rows, int i) { return rows * (3 * i + 2) / 13; }

// A value near the mean, from which all distances are taken: squares of small numbers lose no digits.
template <class T> INLINE float pivot_of(const T *z, i64 rows, int channels) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < PIVOTS; i++) sum += read_one(z + pivot_row(rows, i) * channels);
    return sum * (1.0f / PIVOTS);
}
template <class T> INLINE Eight pivots_of(const T *z, i64 rows, int channels) {
    Eight sum = zeros();
#pragma unroll
    for (int i = 0; i < PIVOTS; i++) {
        const Eight x = read(z + pivot_row(rows, i) * channels);
#pragma unroll
        for (int j = 0; j < 8; j++) sum.v[j] += x.v[j];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) sum.v[j] *= 1.0f / PIVOTS;
    return sum;
}

// grid: (tiles of channels, splits, groups)
template <class T> INLINE void statistics_of_block(const statistics_args &a) {
    __shared__ JoinMemory memory;
    __shared__ u32 ticket;
    constexpr int N = Flight<T>::OF_ONE;
    const Place at;
    const u32 first = blockIdx.y * a.per_split, end = (u32)smaller((i64)first + a.per_split, a.rows);
    const i64 of_group = a.rows * a.channels;
    const T *z = static_cast<const T *>(a.z) + blockIdx.z * of_group;
    Eight sum = zeros(), squares = zeros();
    if (at.c < a.channels) {
        const Eight pivot = pivots_of(z + at.c, a.rows, a.channels);
        for (u32 r = first + at.line; r < end; r += N * LINES) {
            Packed<T> x[N];
#pragma unroll
            for (int n = 0; n < N; n++)
                if (r + n * LINES < end) x[n] = load(z + (i64)(r + n * LINES) * a.channels + at.c);
#pragma unroll
            for (int n = 0; n < N; n++)
                if (r + n * LINES < end) {
                    const Eight e = unpack(x[n]);
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        const float d = e.v[i] - pivot.v[i];
                        sum.v[i] += d;
                        squares.v[i] = fmaf(d, d, squares.v[i]);
                    }
                }
        }
    }
    if (!write_part(a.parts, sum, squares, memory, ticket)) return;

    const int c = blockIdx.x * TILE + threadIdx.x;
    const bool mine = threadIdx.x < TILE && c < a.channels;
    const double count = (double)a.rows;
    double means = 0.0, variances = 0.0;
    for (int group = 0; group < a.groups; group++) {
        const Joined sums = join(a.parts, group, memory);
        if (!mine) continue;
        const T *from = static_cast<const T *>(a.z) + group * of_group + c;
        const double offset = sums.first / count;
        const double mean = (double)pivot_of(from, a.rows, a.channels) + offset;
        double variance = (sums.second - offset * sums.first) / count;
        if (variance < 0.0) variance = 0.0;
        const double inv_std = 1.0 / sqrt(variance + a.eps);
        const i64 to = (i64)group * a.channels + c;
        a.mean[to] = (float)mean;
        a.inv_std[to] = (float)inv_std;
        a.scale[to] = (float)((double)a.weight[c] * inv_std);
        means += mean;
        variances += variance;
    }
    if (!mine) return;
    a.norm_bias[c] = a.bias[c];
    const double kept = 1.0 - a.momentum, groups = (double)a.groups;
    a.running_mean[c] = (float)((double)a.running_mean[c] * kept + means / groups * a.momentum);
    a.running_var[c] =
        (float)((double)a.running_var[c] * kept + variances / groups * (count / (count - 1.0)) * a.momentum);
}
KERNEL_BY_ELEMENT_WITH_BARRIERS(statistics, 4)

struct running_norm_args {
    const float *weight, *bias, *running_mean, *running_var;   // (channels)
    float *mean, *scale, *inv_std, *norm_bias;                 // (channels)
    double eps;
    i64 channels;
};
static_assert(sizeof(running_norm_args) == 80, "as in Rust");

// grid: (blocks of channels)
INLINE void running_norm_of_block(const running_norm_args &a) {
    const i64 c = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (c >= a.channels) return;
    const double inv_std = 1.0 / sqrt((double)a.running_var[c] + a.eps);
    a.mean[c] = a.running_mean[c];
    a.inv_std[c] = (float)inv_std;
    a.scale[c] = (float)((double)a.weight[c] * inv_std);
    a.norm_bias[c] = a.bias[c];
}
KERNEL(running_norm, 4)
