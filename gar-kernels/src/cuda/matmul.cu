// y = residual + scale ⊙ activation(x · wᵀ + bias): x [m, k], w [n, k], y [m, n].
//
// v1 matmul_plain: a thread makes one entry. Weights and parameters of any stored type. The oracle, and the way of f32.
// v2 matmul_few: up to 8 · GAR_TILES rows of x, as in decoding. Bound by reading w, 2 · n · k bytes, which it reads once, in
//    16-byte accesses. The weights are the left operand of the tensor cores and the rows of x their 8 columns; which entries
//    of k meet in which step is free as long as both sides agree, so a lane feeds the 16 bytes it reads to two steps as
//    they are, without shared memory. A block takes 16 rows of w; its warps share k between them. A row's sum has one order
//    whatever other rows there are: sequences decoded together give the bits they give alone.
//    On an H200, GAR-1B's weights: 4.35 µs for 8 MB, 11.8 for 33 MB in 128 blocks, 126 for the head's 525 MB: 4.17 TB/s of the
//    4.23 that a copy makes.
// v3 the same for up to three weights at once: queries, keys and values 5.1 µs (12.6 MB), gate and up 18.3 (67 MB). Asking for a
//    block's own or next weights in the second-level cache before await_previous() made each 0 to 15 % slower, and so did blocks
//    that stay for several sixteens (22 to 24 µs); eight rows a block gave 20.
// v4 16 warps a block instead of 8 where blocks are no more than multiprocessors: 3.83 µs for 8 MB, 10.7 for 33 MB. With more blocks
//    8 are better: gate and up take 24 µs with 16.
// v5 what stands around a product in a decoder's layer: RMS norm of the rows, SwiGLU. Norm, queries, keys and values 5.3 µs (apart
//    7.0), norm, gate, up and SwiGLU 20.0 (23.1). Rows normalised by each warp as it reads them, without shared memory, took 21.0.
//    The first weights are asked for while the kernel before ends. A decode step of GAR-1B with all this, and attention that turns and
//    stores (cached_attention.cu), takes 0.91 of its time. Without gain: 8 chunks ahead (the head 148 µs instead of 121), 2 ahead.
// v6 registers for three blocks of 8 warps on a multiprocessor, not two: a step takes 2 to 4 % less, gate and up 19.2 µs with all
//    around them. The head's 8017 blocks are better off with two, 121 µs and not 139, and have them.
// Many rows go to cuBLASLt where there is one; epilogue_plain and epilogue_8 then do what it does not. On an H200, 17 425 rows:
//    GELU of 4096 columns 99 µs (112 with erff), 2.9 TB/s; scale and residual of 1024 columns 30 µs, 3.6 TB/s.
#include "mma.cuh"
#include "values.cuh"

// What follows a product. A null pointer leaves its part out.
template <bool EXACT = false>
__device__ inline float finish(float y, float bias, int activation, float scale, float residual) {
    y += bias;
    if (activation) y = EXACT ? gelu(y) : gelu_fast(y);
    return residual + scale * y;
}

extern "C" __global__ void matmul_plain(const GAR_T* x, const void* w, int w_type, const void* bias, int bias_type,
                                        int activation, const void* scale, int scale_type, const GAR_T* residual, GAR_T* y,
                                        int n, int k, unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    int column = item % n;
    const GAR_T* row = x + item / n * k;
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) sum += to_float(row[i]) * stored(w, w_type, (size_t)column * k + i);
    y[item] = from_float<GAR_T>(finish<true>(sum, bias ? stored(bias, bias_type, column) : 0.0f, activation,
                                       scale ? stored(scale, scale_type, column) : 1.0f,
                                       residual ? to_float(residual[item]) : 0.0f));
}

#ifdef GAR_TILES
// Sixteen bytes, or zeros: a predicate and no branch, so that many loads are on their way at once. Weights are read once and
// need not stay in L1. Not through the read-only path (`.nc`): what this kernel reads may be written while it already runs and
// waits, and such loads may be moved in front of the waiting.
__device__ inline uint4 load16_if(bool wanted, const void* p, bool once) {
#ifdef GAR_EMULATOR
    return wanted ? load16(p) : make_uint4(0, 0, 0, 0);
#else
    uint4 v;
    if (once) {
        asm volatile("{.reg .pred p; setp.ne.s32 p, %5, 0; mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0;"
                     "@p ld.global.L1::no_allocate.v4.b32 {%0, %1, %2, %3}, [%4];}"
                     : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
                     : "l"(p), "r"((int)wanted)
                     : "memory");
    } else {
        asm volatile("{.reg .pred p; setp.ne.s32 p, %5, 0; mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0;"
                     "@p ld.global.v4.b32 {%0, %1, %2, %3}, [%4];}"
                     : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
                     : "l"(p), "r"((int)wanted)
                     : "memory");
    }
    return v;
#endif
}

constexpr int ROWS = 16;  // of w, in a block
constexpr int CHUNK = 32; // entries of k that a warp multiplies at once: 8 for each of the four lanes of a row
constexpr int WARPS = GAR_WARPS; // in a block
constexpr int AHEAD = 4;  // chunks that a warp asks for before it multiplies the first

// A weight w [n, k] and what follows its product; n is 0 for none.
struct Part {
    const bf16 *w, *bias;
    int activation;
    const bf16 *scale, *residual;
    bf16* y;
    int n;
};

#define GAR_PART(i)                                                                                                              \
    const bf16 *w##i, const bf16 *bias##i, int activation##i, const bf16 *scale##i, const bf16 *residual##i, bf16 *y##i, int n##i
#define GAR_PART_OF(i) {w##i, bias##i, activation##i, scale##i, residual##i, y##i, n##i}

// Grid: sixteens of rows of the first weight, then of the second, then of the third. k is a multiple of 8, m at most
// 8 · GAR_TILES.
//
// norm [k], where there is one: the rows of x count as norm ⊙ x / √(mean(x²) + eps). norm ⊙ x is rounded and kept in dynamic
// shared memory, m rows of k + 8; the root is a factor of the whole sum.
// gated: the first two weights are gate and up of a SwiGLU, of n0 rows both, and y0 is the result. A block takes eight rows of
// each, as the halves of its sixteen.
// early: the kernel before this one does not write the weights, so that the first of them can be asked for while it ends.
extern "C" __global__ void __launch_bounds__(WARPS* WARP, GAR_BLOCKS)
    matmul_few(const bf16* x, int m, int k, const bf16* norm, float eps, int gated, int early, GAR_PART(0), GAR_PART(1),
               GAR_PART(2)) {
    int block = blockIdx.x, width = gated ? ROWS / 2 : ROWS;
    Part part = GAR_PART_OF(0);
    if (block >= (n0 + width - 1) / width) {
        block -= (n0 + ROWS - 1) / ROWS;
        part = GAR_PART_OF(1);
        if (block >= (n1 + ROWS - 1) / ROWS) {
            block -= (n1 + ROWS - 1) / ROWS;
            part = GAR_PART_OF(2);
        }
    }
    int first = block * width, n = part.n;
    GAR_DYNAMIC_SHARED(memory);
    __shared__ float partial[WARPS][8 * GAR_TILES][ROWS + 1], squares[WARPS][8 * GAR_TILES];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, group = lane / 4, quarter = lane % 4;
    // Rows beyond the last repeat it; nothing is stored of them.
    const bf16* upper = part.w + (size_t)min(first + group, n - 1) * k;
    const bf16* lower = gated ? w1 + (size_t)min(first + group, n - 1) * k : part.w + (size_t)min(first + group + 8, n - 1) * k;
    uint4 high[AHEAD], low[AHEAD];
    auto ask = [&](int start) {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int at = start + i * WARPS * CHUNK + quarter * 8;
            high[i] = load16_if(at < k, upper + at, true);
            low[i] = load16_if(at < k, lower + at, true);
        }
    };
    if (early) read_early();
    else await_previous();
    ask(warp * CHUNK);
    if (early) await_previous();

    bf16* normed = (bf16*)memory;
    int pitch = k + 8; // so that a column of rows lies in different banks
    if (norm) {
        for (int row = 0; row < m; ++row) {
            float sum = 0.0f;
            for (int at = threadIdx.x * 8; at < k; at += WARPS * WARP * 8) {
                float value[8], factor[8];
                load8(x + (size_t)row * k + at, value);
                load8(norm + at, factor);
#pragma unroll
                for (int j = 0; j < 8; ++j) sum += value[j] * value[j], value[j] *= factor[j];
                store8(normed + row * pitch + at, value);
            }
            sum = warp_sum(sum);
            if (lane == 0) squares[warp][row] = sum;
        }
        __syncthreads(); // All rows are there.
    }

    float sum[GAR_TILES][4] = {};
    for (int start = warp * CHUNK; start < k; start += AHEAD * WARPS * CHUNK) {
        if (start != warp * CHUNK) ask(start);
        uint4 rows[AHEAD][GAR_TILES];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            int at = start + i * WARPS * CHUNK + quarter * 8;
#pragma unroll
            for (int t = 0; t < GAR_TILES; ++t) {
                int row = t * 8 + group;
                bool inside = at < k && row < m;
                if (norm) rows[i][t] = inside ? load16(normed + row * pitch + at) : make_uint4(0, 0, 0, 0);
                else rows[i][t] = load16_if(inside, x + (size_t)row * k + at, false);
            }
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            unsigned left[4] = {high[i].x, low[i].x, high[i].y, low[i].y};
            unsigned right[4] = {high[i].z, low[i].z, high[i].w, low[i].w};
#pragma unroll
            for (int t = 0; t < GAR_TILES; ++t) {
                unsigned even[2] = {rows[i][t].x, rows[i][t].y}, odd[2] = {rows[i][t].z, rows[i][t].w};
                mma_bf16(sum[t], left, even);
                mma_bf16(sum[t], right, odd);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < GAR_TILES; ++t) {
        for (int i = 0; i < 4; ++i) partial[warp][t * 8 + quarter * 2 + i % 2][group + i / 2 * 8] = sum[t][i];
    }
    __syncthreads(); // All warps' sums are there.
    for (int i = threadIdx.x; i < m * width; i += WARPS * WARP) {
        int row = i / width, at_row = i % width, column = first + at_row;
        if (column >= n) continue;
        float total = 0.0f, other = 0.0f, factor = 0.0f;
        for (int j = 0; j < WARPS; ++j) {
            total += partial[j][row][at_row];
            if (gated) other += partial[j][row][at_row + ROWS / 2];
            if (norm) factor += squares[j][row];
        }
        factor = norm ? rsqrtf(factor / k + eps) : 1.0f;
        size_t at = (size_t)row * n + column;
        float bias = part.bias ? to_float(part.bias[column]) : 0.0f;
        if (gated) {
            float up = other * factor + (bias1 ? to_float(bias1[column]) : 0.0f);
            y0[at] = from_float<bf16>(silu(total * factor + bias) * up);
        } else {
            part.y[at] = from_float<bf16>(finish(total * factor, bias, part.activation,
                                                 part.scale ? to_float(part.scale[column]) : 1.0f,
                                                 part.residual ? to_float(part.residual[at]) : 0.0f));
        }
    }
}
#endif

// y [.., n] in place: a product with its bias becomes residual + scale ⊙ activation(y).
extern "C" __global__ void epilogue_plain(GAR_T* y, int activation, const GAR_T* scale, const GAR_T* residual, int n,
                                          unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    y[item] = from_float<GAR_T>(finish(to_float(y[item]), 0.0f, activation, scale ? to_float(scale[item % n]) : 1.0f,
                                       residual ? to_float(residual[item]) : 0.0f));
}

// items: vectors of 8 entries; n is a multiple of 8.
extern "C" __global__ void epilogue_8(GAR_T* y, int activation, const GAR_T* scale, const GAR_T* residual, int n,
                                      unsigned items) {
    await_previous();
    unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    size_t at = (size_t)item * 8;
    float value[8], factor[8] = {1, 1, 1, 1, 1, 1, 1, 1}, added[8] = {};
    load8(y + at, value);
    if (scale) load8(scale + item % (n / 8) * 8, factor);
    if (residual) load8(residual + at, added);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] = finish(value[j], 0.0f, activation, factor[j], added[j]);
    store8(y + at, value);
}
