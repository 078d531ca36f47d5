// Numbers as activations store them, and how a kernel is declared.
//
// No CUDA header is included, so that a host compiler takes the same files (shim.h). The only lines for one compiler alone
// are in this file.
#pragma once
#ifdef CLSA_HOST
#include "shim.h"
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef unsigned short bf16;   // its bits

#define INLINE __device__ __forceinline__

// Threads of every block.
constexpr int THREADS = 256;

// `KERNEL(name, blocks)`: the entry point of the function `name`, whose argument is a `name##_args`; `blocks` are to fit on
// a multiprocessor, which bounds its registers. `KERNEL_BY_ELEMENT`: one for f32 and one for bf16 of a template.
// `..._WITH_BARRIERS`: the same for functions that call __syncthreads.
#ifdef CLSA_HOST
#define ENTRY(symbol, function, Args, blocks, barriers)                                                                \
    static const shim::Kernel registered_##symbol(#symbol, sizeof(Args), barriers, [](const void *args) {              \
        const Args a = *static_cast<const Args *>(args);                                                               \
        function(a);                                                                                                   \
    });
#else
#define ENTRY(symbol, function, Args, blocks, barriers)                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS, blocks) symbol(const Args a) { function(a); }
#endif
#define KERNEL(name, blocks) ENTRY(name, name##_of_block, name##_args, blocks, false)
#define KERNEL_WITH_BARRIERS(name, blocks) ENTRY(name, name##_of_block, name##_args, blocks, true)
#define KERNEL_BY_ELEMENT(name, blocks)                                                                                \
    ENTRY(name##_f32, name##_of_block<float>, name##_args, blocks, false)                                              \
    ENTRY(name##_bf16, name##_of_block<bf16>, name##_args, blocks, false)
#define KERNEL_BY_ELEMENT_WITH_BARRIERS(name, blocks)                                                                  \
    ENTRY(name##_f32, name##_of_block<float>, name##_args, blocks, true)                                               \
    ENTRY(name##_bf16, name##_of_block<bf16>, name##_args, blocks, true)

// Eight neighboring channels.
struct Eight {
    float v[8];
};

// The same as they lie in memory, so that a load occupies no more registers than it must until its values are needed.
template <class T> struct Packed;
template <> struct Packed<bf16> {
    uint4 q;
};
template <> struct Packed<float> {
    uint4 low, high;
};

INLINE float widen(u32 bits) { return __uint_as_float(bits << 16); }

// Two numbers as bf16, the first in the low half: to nearest, ties to even; NaN stays NaN.
INLINE u32 narrow(float first, float second) {
#ifdef __CUDA_ARCH__
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    u32 half[2] = {__float_as_uint(first), __float_as_uint(second)};
    for (u32 &b : half) b = (b & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return half[0] | half[1] << 16;
#endif
}

INLINE Packed<bf16> load(const bf16 *p) { return {*reinterpret_cast<const uint4 *>(p)}; }
INLINE Packed<float> load(const float *p) {
    const uint4 *q = reinterpret_cast<const uint4 *>(p);
    return {q[0], q[1]};
}

INLINE Eight unpack(const Packed<bf16> &p) {
    const u32 w[4] = {p.q.x, p.q.y, p.q.z, p.q.w};
    Eight e;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        e.v[2 * i] = widen(w[i]);
        e.v[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    }
    return e;
}
INLINE Eight unpack(const Packed<float> &p) {
    const u32 w[8] = {p.low.x, p.low.y, p.low.z, p.low.w, p.high.x, p.high.y, p.high.z, p.high.w};
    Eight e;
#pragma unroll
    for (int i = 0; i < 8; i++) e.v[i] = __uint_as_float(w[i]);
    return e;
}

INLINE void store(bf16 *p, const Eight &e) {
    *reinterpret_cast<uint4 *>(p) = make_uint4(narrow(e.v[0], e.v[1]), narrow(e.v[2], e.v[3]), narrow(e.v[4], e.v[5]),
                                               narrow(e.v[6], e.v[7]));
}
INLINE void store(float *p, const Eight &e) {
    const u32 w[8] = {__float_as_uint(e.v[0]), __float_as_uint(e.v[1]), __float_as_uint(e.v[2]), __float_as_uint(e.v[3]),
                      __float_as_uint(e.v[4]), __float_as_uint(e.v[5]), __float_as_uint(e.v[6]), __float_as_uint(e.v[7])};
    uint4 *q = reinterpret_cast<uint4 *>(p);
    q[0] = make_uint4(w[0], w[1], w[2], w[3]);
    q[1] = make_uint4(w[4], w[5], w[6], w[7]);
}

template <class T> INLINE Eight read(const T *p) { return unpack(load(p)); }

// One element.
INLINE float read_one(const bf16 *p) { return widen(*p); }
INLINE float read_one(const float *p) { return *p; }

// The values that `store` stores.
INLINE void round_as(const bf16 *, Eight &e) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
        const u32 pair = narrow(e.v[i], e.v[i + 1]);
        e.v[i] = widen(pair);
        e.v[i + 1] = __uint_as_float(pair & 0xffff0000u);
    }
}
INLINE void round_as(const float *, Eight &) {}

INLINE Eight zeros() {
    Eight e;
#pragma unroll
    for (int i = 0; i < 8; i++) e.v[i] = 0.0f;
    return e;
}

// NaN stays NaN.
INLINE float relu(float y) { return y < 0.0f ? 0.0f : y; }

INLINE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// Loads that a thread has under way together, so that four blocks on a multiprocessor keep some 50 KiB of an H100's memory
// traffic in flight: eight channels are 16 bytes of bf16 and 32 of f32.
template <class T> struct Flight;
template <> struct Flight<bf16> {
    static constexpr int OF_ONE = 4, OF_TWO = 2;   // kernels that read one tensor, and two or three
};
template <> struct Flight<float> {
    static constexpr int OF_ONE = 2, OF_TWO = 1;
};
