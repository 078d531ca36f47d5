// CUDA C++ for a host compiler: blocks in turn, and of a block one thread after the other. For tests of kernels.
//
// Threads of a kernel with barriers are fibers. Between two barriers they run in an order drawn anew, and blocks run forwards
// or backwards, so that a barrier that is missing or a dependence between blocks shows as a result that changes with the seed.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static thread_local
#define __syncthreads() shim::barrier(__LINE__)

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace shim {
struct Index {
    unsigned x = 0, y = 0, z = 0;
};
} // namespace shim
inline thread_local shim::Index threadIdx, blockIdx, gridDim;

inline float __uint_as_float(unsigned u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
inline unsigned __float_as_uint(float f) {
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float4 __ldcg(const float4 *p) { return *p; }
inline unsigned atomicAdd(unsigned *p, unsigned v) {
    const unsigned before = *p;
    *p += v;
    return before;
}
inline void __threadfence() {}

namespace shim {
// What a launch can answer.
enum Result { DONE = 0, UNKNOWN_KERNEL = 1, WRONG_SIZE = 2, WRONG_BARRIER = 3 };

struct Kernel;
inline std::vector<Kernel *> &kernels() {
    static std::vector<Kernel *> all;
    return all;
}

// A kernel by its name.
struct Kernel {
    const char *name;
    size_t bytes;   // of its argument
    bool barriers;
    void (*run)(const void *args);
    bool launched = false;

    Kernel(const char *name, size_t bytes, bool barriers, void (*run)(const void *))
        : name(name), bytes(bytes), barriers(barriers), run(run) {
        kernels().push_back(this);
    }
};

inline thread_local uint64_t state = 1;
inline unsigned draw(unsigned below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

constexpr unsigned BLOCK = 256;
constexpr size_t STACK = 128 << 10;

// A thread of a block. It goes on to the next block when it has ended one.
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    int barrier = 0;   // the line where it waits; 0 when it has ended
};

inline thread_local std::vector<Fiber> fibers;
inline thread_local ucontext_t scheduler;
inline thread_local Fiber *current = nullptr;
inline thread_local void (*body)(const void *);
inline thread_local const void *arguments;

inline void wait_at(int line) {
    current->barrier = line;
    swapcontext(&current->context, &scheduler);
}

inline void barrier(int line) {
    if (!current) {
        fprintf(stderr, "__syncthreads in a kernel that was declared without barriers\n");
        abort();
    }
    wait_at(line);
}

inline void live() {
    for (;;) {
        body(arguments);
        wait_at(0);
    }
}

inline void start_fibers() {
    fibers.resize(BLOCK);
    for (Fiber &fiber : fibers) {
        if (!fiber.stack) fiber.stack.reset(new char[STACK]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, live, 0);
        fiber.barrier = 0;
    }
}

inline void shuffle(unsigned (&order)[BLOCK]) {
    for (unsigned t = 0; t < BLOCK; t++) order[t] = t;
    for (unsigned t = BLOCK - 1; t > 0; t--) std::swap(order[t], order[draw(t + 1)]);
}

// A block with barriers. Threads may end early, but those that wait must wait at the same barrier.
inline Result run_fibers() {
    if (fibers.empty()) start_fibers();
    unsigned order[BLOCK];
    for (bool first = true;; first = false) {
        shuffle(order);
        int line = 0;
        bool waiting = false, agreed = true;
        for (unsigned t : order) {
            Fiber &fiber = fibers[t];
            if (!first && fiber.barrier == 0) continue;
            current = &fiber;
            threadIdx.x = t;
            swapcontext(&scheduler, &fiber.context);
            current = nullptr;
            if (fiber.barrier == 0) continue;
            if (waiting && fiber.barrier != line) agreed = false;
            line = fiber.barrier;
            waiting = true;
        }
        if (!agreed) {
            fibers.clear();   // they wait in the middle of a block
            return WRONG_BARRIER;
        }
        if (!waiting) return DONE;
    }
}

inline Result run_block(const Kernel &kernel) {
    if (kernel.barriers) return run_fibers();
    unsigned order[BLOCK];
    shuffle(order);
    for (unsigned t : order) {
        threadIdx.x = t;
        body(arguments);
    }
    return DONE;
}

inline Result launch(const char *name, const unsigned grid[3], const void *args, size_t bytes) {
    for (Kernel *kernel : kernels()) {
        if (strcmp(kernel->name, name) != 0) continue;
        if (kernel->bytes != bytes) return WRONG_SIZE;
        kernel->launched = true;
        body = kernel->run;
        arguments = args;
        gridDim.x = grid[0];
        gridDim.y = grid[1];
        gridDim.z = grid[2];
        const uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
        const bool backwards = draw(2);
        for (uint64_t i = 0; i < blocks; i++) {
            const uint64_t block = backwards ? blocks - 1 - i : i;
            blockIdx.x = (unsigned)(block % grid[0]);
            blockIdx.y = (unsigned)(block / grid[0] % grid[1]);
            blockIdx.z = (unsigned)(block / grid[0] / grid[1]);
            const Result result = run_block(*kernel);
            if (result != DONE) return result;
        }
        return DONE;
    }
    return UNKNOWN_KERNEL;
}
} // namespace shim
