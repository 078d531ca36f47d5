// Two sums per channel over the pixels of each group: by splits in f32, joined in f64 by the last block to finish, always in
// the same order.
#pragma once
#include "norm.h"

// Floats of one split's sums: first sums, then second sums of a tile.
constexpr int PART = 2 * TILE;
// Threads that join different splits of the same sums.
constexpr int STRANDS = THREADS / (PART / 4);

struct Joined {
    double first, second;
};

// Memory of a block; first the sums of its lines, which are stored four at a time, then those of its strands.
union alignas(16) JoinMemory {
    float lines[LINES][PART];
    double strands[STRANDS][PART];
};

// Where the parts are: (tiles, groups, splits, PART) floats, and a ticket for each tile, which is zero before and after.
struct Parts {
    float *values;
    u32 *tickets;

    INLINE float *of(u32 group) const {
        return values + ((i64)blockIdx.x * gridDim.z + group) * gridDim.y * PART;
    }
};

// Writes the sums of this split of the pixels. Whether this block is its tile's last, which then joins them.
INLINE bool write_part(const Parts &parts, const Eight &first, const Eight &second, JoinMemory &memory, u32 &ticket) {
    const int line = threadIdx.x / 8, lane = threadIdx.x % 8;
    store(&memory.lines[line][lane * 8], first);
    store(&memory.lines[line][TILE + lane * 8], second);
    __syncthreads();
    if (threadIdx.x < PART) {
        float sum = 0.0f;
#pragma unroll 8
        for (int l = 0; l < LINES; l++) sum += memory.lines[l][threadIdx.x];
        parts.of(blockIdx.z)[(i64)blockIdx.y * PART + threadIdx.x] = sum;
    }
    // The part must be visible to every block before the ticket is.
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) ticket = atomicAdd(parts.tickets + blockIdx.x, 1u);
    __syncthreads();
    if (ticket != gridDim.y * gridDim.z - 1) return false;
    if (threadIdx.x == 0) parts.tickets[blockIdx.x] = 0;
    __threadfence();
    return true;
}

// The sums of a group over all splits; those of channel `threadIdx.x` of the tile, for the first TILE threads.
INLINE Joined join(const Parts &parts, u32 group, JoinMemory &memory) {
    const int quad = threadIdx.x % (PART / 4) * 4, strand = threadIdx.x / (PART / 4);
    const float *from = parts.of(group) + quad;
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
#pragma unroll 4
    for (u32 split = strand; split < gridDim.y; split += STRANDS) {
        // Not through the first-level cache, which other blocks' writes do not reach.
        const float4 x = __ldcg(reinterpret_cast<const float4 *>(from + (i64)split * PART));
        sum[0] += (double)x.x;
        sum[1] += (double)x.y;
        sum[2] += (double)x.z;
        sum[3] += (double)x.w;
    }
    __syncthreads();   // the memory's former contents have been read
#pragma unroll
    for (int i = 0; i < 4; i++) memory.strands[strand][quad + i] = sum[i];
    __syncthreads();
    Joined joined = {0.0, 0.0};
    if (threadIdx.x < TILE)
        for (int s = 0; s < STRANDS; s++) {
            joined.first += memory.strands[s][threadIdx.x];
            joined.second += memory.strands[s][TILE + threadIdx.x];
        }
    return joined;
}
