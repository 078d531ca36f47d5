// Launches every kernel at odd sizes on memory of exactly the size that it may use, under sanitizers. What they compute is
// tested elsewhere.
#define CLSA_HOST
#include "kernels.cu"

static int failures = 0;

// Memory that begins at a multiple of 256 and ends where it must. It starts as NaN.
struct Memory {
    void *p;
    explicit Memory(size_t bytes) {
        // The tail of the last line is for the allocator alone: the sanitizer guards what follows `bytes`.
        p = nullptr;
        if (posix_memalign(&p, 256, bytes ? bytes : 1) != 0) abort();
        memset(p, 0xff, bytes);
    }
    Memory(const Memory &) = delete;
    ~Memory() { free(p); }
    template <class T> T *as() { return static_cast<T *>(p); }
};

struct Numbers : Memory {
    explicit Numbers(size_t n) : Memory(n * 4) {
        for (size_t i = 0; i < n; i++) as<float>()[i] = (float)((i * 37 % 101) * 0.02 - 1.0);
    }
    operator float *() { return as<float>(); }
};

template <class T> struct Activation : Memory {
    explicit Activation(size_t n) : Memory(n * sizeof(T)) {
        for (size_t i = 0; i + 8 <= n; i += 8) {
            Eight e;
            for (int j = 0; j < 8; j++) e.v[j] = (float)(((i + j) * 53 % 97) * 0.03 - 1.4);
            store(as<T>() + i, e);
        }
    }
};

template <class T> const char *suffix();
template <> const char *suffix<float>() { return "_f32"; }
template <> const char *suffix<bf16>() { return "_bf16"; }

template <class Args> void launch(const char *name, const char *suffix, unsigned x, unsigned y, unsigned z, const Args &args) {
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    const unsigned grid[3] = {x, y, z};
    const int result = shim::launch(full, grid, &args, sizeof args);
    if (result != shim::DONE) {
        printf("%s: %d\n", full, result);
        failures++;
    }
}

struct Sizes {
    int groups, channels;
    i64 rows;
    unsigned splits;
};

template <class T> void norms(const Sizes &s) {
    const char *type = suffix<T>();
    const size_t n = (size_t)s.groups * s.rows * s.channels, of_norm = (size_t)s.groups * s.channels;
    const unsigned tiles = (s.channels + TILE - 1) / TILE;
    const i64 per_split = (s.rows + s.splits - 1) / s.splits;
    const unsigned splits = (unsigned)((s.rows + per_split - 1) / per_split);
    Activation<T> z(n), residual(n), out(n), dy(n), dz(n);
    Numbers parts((size_t)tiles * s.groups * splits * PART), weight(s.channels), bias(s.channels);
    Memory tickets(tiles * sizeof(u32));
    memset(tickets.p, 0, tiles * sizeof(u32));
    const Parts where = {parts, tickets.as<u32>()};
    Numbers running_mean(s.channels), running_var(s.channels), mean(of_norm), scale(of_norm), inv_std(of_norm);
    Numbers norm_bias(s.channels), slope(of_norm), constant(of_norm);
    const NormPointers norm = {mean, scale, inv_std, norm_bias};
    launch("statistics", type, tiles, splits, s.groups,
           statistics_args{z.p, where, weight, bias, running_mean, running_var, mean, scale, inv_std, norm_bias, 1e-5, 0.1,
                           s.rows, (u32)per_split, 0, s.channels, s.groups});
    for (const void *added : {(const void *)nullptr, (const void *)residual.p})
        launch("normalize", type, tiles, 2, s.groups,
               normalize_args{z.p, added, out.p, norm, {}, s.rows, s.channels, 1, 0, 0});
    launch("add_normalized", type, tiles, 1, s.groups,
           add_normalized_args{z.p, residual.p, out.p, norm, norm, s.rows, s.channels, 1, 1, 0});
    for (int mask : {OPEN, NORMALIZED, STORED}) {
        launch("norm_backward_sums", type, tiles, splits, s.groups,
               norm_backward_sums_args{z.p, dy.p, mask == STORED ? out.p : nullptr, norm, where, weight, bias, slope,
                                       constant, s.rows, (u32)per_split, 0, s.channels, s.groups, mask, mask == OPEN});
        launch("norm_backward_apply", type, tiles, 3, s.groups,
               norm_backward_apply_args{z.p, dy.p, mask == STORED ? dz.p : dy.p, norm, slope, constant, s.rows, s.channels,
                                        mask == NORMALIZED ? NORMALIZED : OPEN});
    }
    launch("add", type, 2, 1, 1, add_args{dy.p, dz.p, (i64)(n / 8)});
    for (unsigned tile = 0; tile < tiles; tile++)
        if (tickets.as<u32>()[tile] != 0) failures++;
    if (s.groups == 1)
        launch("running_norm", "", (s.channels + THREADS - 1) / THREADS, 1, 1,
               running_norm_args{weight, bias, running_mean, running_var, mean, scale, inv_std, norm_bias, 1e-5, s.channels});
}

template <class T> void pools(u32 images, u32 groups, u32 height, u32 width, int channels) {
    const char *type = suffix<T>();
    const u32 rows = (height + 1) / 2, columns = (width + 1) / 2;
    const unsigned tiles = (channels + TILE - 1) / TILE;
    const size_t n = (size_t)groups * images * height * width * channels;
    const size_t pooled = (size_t)groups * images * rows * columns * channels;
    Activation<T> x(n), out(pooled), dx(n);
    Memory taps(pooled);
    Numbers mean((size_t)groups * channels), scale((size_t)groups * channels), bias(channels);
    for (bool normalized : {true, false}) {
        const NormPointers norm = normalized ? NormPointers{mean, scale, nullptr, bias} : NormPointers{};
        launch("max_pool", type, tiles, 2, groups,
               max_pool_args{x.p, out.p, taps.as<u8>(), norm, images, height, width, rows, columns, channels, 1, 0});
    }
    launch("max_pool_backward", type, tiles, 1, 1,
           max_pool_backward_args{out.p, taps.as<u8>(), dx.p, (i64)groups * images * height * width, height, width, rows,
                                  columns, channels, 0});
    const i64 batch = (i64)groups * images;
    Numbers features((size_t)batch * channels);
    const unsigned blocks = (unsigned)((batch * channels / 8 + THREADS - 1) / THREADS);
    launch("global_avg_pool", type, blocks, 1, 1,
           global_avg_pool_args{x.p, features, batch, (int)(height * width), channels});
    launch("global_avg_pool_backward", type, 2, 1, 1,
           global_avg_pool_backward_args{features, dx.p, batch, (int)(height * width), channels, 0.5f, 0});
}

template <class T> void layouts(u32 channels, u32 height, u32 width, i64 outputs, int inputs, int places) {
    const char *type = suffix<T>();
    const i64 images = 3, pixels = images * height * width;
    Numbers from(pixels * channels);
    Activation<T> to(pixels * 8);
    const i64 plane = (i64)height * width;
    launch("image", type, 2, 1, 1,
           image_args{from, to.p, {channels * plane, plane, width, 1}, pixels, channels, height, width, 0});

    const int padded = (inputs + 7) / 8 * 8, most = padded < 256 ? padded : 256;
    const int tile = TURNED / places / 8 * 8 < most ? TURNED / places / 8 * 8 : most;
    Numbers weight(outputs * inputs * places);
    Activation<T> packed(outputs * padded * places);
    launch("pack_weight", type, 3, 1, 1, pack_weight_args{weight, packed.p, outputs, inputs, padded, places, tile});
    for (int overwrite : {0, 1})
        launch("add_weight_gradient", type, 3, 1, 1,
               add_weight_gradient_args{packed.p, weight, outputs, inputs, padded, places, tile, overwrite, 0});
}

void bytes(i64 pixels) {
    Memory from(pixels * 3);
    Numbers table(3 * 256), to(pixels * 3);
    launch("expand_bytes", "", 2, 1, 1, expand_bytes_args{from.as<u8>(), table, to, pixels});
}

void updates() {
    Numbers w(1003), v(1003), g(1003), q(1003);
    // The second chunk is not aligned to 16 bytes.
    SgdChunk chunks[2] = {{w, v, g, 500}, {w + 501, v + 501, g + 501, 502}};
    launch("sgd", "", 2, 1, 1, sgd_args{chunks, 0.1f, 0.9f, 1e-4f, 0.0f});
    AverageChunk averages[2] = {{w, q, 500}, {w + 501, q + 501, 502}};
    launch("moving_average", "", 2, 1, 1, moving_average_args{averages, 0.9f, 0.1f});
}

void softmaxes(i64 rows, i64 columns, i64 dim, u32 counted) {
    Numbers scores(rows * columns), max(rows), sum(rows), weighted(rows * dim), above(counted);
    Numbers inverse(rows), threshold(counted);
    launch("softmax_block", "", (unsigned)rows, 1, 1,
           softmax_block_args{scores, max, sum, weighted, above, inverse, threshold, columns, dim, counted, 0});
}

template <class T> void all() {
    for (const Sizes &s : {Sizes{1, 8, 1, 1}, Sizes{2, 24, 33, 1}, Sizes{3, 72, 101, 3}, Sizes{1, 136, 257, 7}}) norms<T>(s);
    pools<T>(2, 1, 1, 1, 8);
    pools<T>(1, 3, 5, 4, 72);
    pools<T>(3, 2, 7, 9, 24);
    layouts<T>(3, 5, 7, 4, 3, 49);
    layouts<T>(8, 1, 3, 3, 300, 9);
    layouts<T>(1, 9, 9, 5, 264, 1);
}

int main() {
    for (uint64_t seed = 1; seed <= 2; seed++) {
        shim::state = seed;
        all<float>();
        all<bf16>();
        updates();
        bytes(1 + 7 * 31);
        softmaxes(1, 1, 1, 0);
        softmaxes(3, 517, 300, 2);
    }
    for (const shim::Kernel *kernel : shim::kernels())
        if (!kernel->launched) {
            printf("%s is not tested\n", kernel->name);
            failures++;
        }
    printf("%zu kernels, %d failures\n", shim::kernels().size(), failures);
    return failures != 0;
}
