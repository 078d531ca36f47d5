// The kernels compiled for the host, behind two C functions.
#define CLSA_HOST
#include "kernels.cu"

// Starts the kernel `name` on a grid of blocks of 256 threads; `bytes` is the size of its argument. Answers a shim::Result.
extern "C" int clsa_host_launch(const char *name, const unsigned grid[3], const void *args, size_t bytes) {
    return shim::launch(name, grid, args, bytes);
}

// From what the order of threads and blocks is drawn, in this thread of the host.
extern "C" void clsa_host_seed(uint64_t seed) { shim::state = seed; }
