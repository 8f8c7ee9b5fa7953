// LayerNorm and RMSNorm of rows.
//
// v1 norm_plain: a thread takes a row and reads it three times, with sums in double. Any width, parameters of any type. The
//    oracle.
// v2 norm_row: a block takes a row, which stays in registers between the mean, the spread and the result: one read and one write
//    of the row, in 16-byte accesses. 4 bytes an element in bf16, bound by memory: a tower's 17 · 1025 rows of 1024 are 71 MB.
// v3 norm_warp: a warp takes a row of up to 2048 entries, so that nobody waits at a barrier, where there are enough rows.
// v2 norm_wide: the same for rows that registers cannot hold or that are not whole vectors: read three times, from L2.
// On an H200 (a copy makes 4.23 TB/s), 17 408 rows of 1024 in bf16, LayerNorm and RMSNorm: norm_row 33.7 and 29.6 µs, norm_warp 25.3
// and 24.4: 2.8 TB/s.
#include "values.cuh"

extern "C" __global__ void norm_plain(const GAR_T* x, const void* weight, int weight_type, const void* bias, int bias_type,
                                      GAR_T* y, int rows, int width, float eps, int centre) {
    await_previous();
    int row = flat_index();
    if (row >= rows) return;
    const GAR_T* from = x + (size_t)row * width;
    GAR_T* to = y + (size_t)row * width;
    double mean = 0.0, spread = 0.0;
    for (int i = 0; centre && i < width; ++i) mean += (double)to_float(from[i]) / width;
    for (int i = 0; i < width; ++i) {
        double off = to_float(from[i]) - mean;
        spread += off * off / width;
    }
    double root = 1.0 / sqrt(spread + eps);
    for (int i = 0; i < width; ++i) {
        double value = (to_float(from[i]) - mean) * root * stored(weight, weight_type, i);
        to[i] = from_float<GAR_T>((float)(value + (bias ? stored(bias, bias_type, i) : 0.0f)));
    }
}

// A row by `threads` threads that keep it: up to VECTORS vectors of 8 each. width is a multiple of 8; total() adds up over the threads.
template <int VECTORS, typename Total>
__device__ inline void norm_kept(const GAR_T* from, const GAR_T* weight, const GAR_T* bias, GAR_T* to, int width, float eps,
                                 int centre, int thread, int threads, Total total) {
    float value[VECTORS][8], sum = 0.0f;
#pragma unroll
    for (int n = 0; n < VECTORS; ++n) {
        int at = (n * threads + thread) * 8;
        if (at >= width) continue;
        load8(from + at, value[n]);
        for (int j = 0; j < 8; ++j) sum += value[n][j];
    }
    float mean = centre ? total(sum) / width : 0.0f, squares = 0.0f;
#pragma unroll
    for (int n = 0; n < VECTORS; ++n) {
        if ((n * threads + thread) * 8 >= width) continue;
        for (int j = 0; j < 8; ++j) value[n][j] -= mean, squares += value[n][j] * value[n][j];
    }
    float root = 1.0f / sqrtf(total(squares) / width + eps);
#pragma unroll
    for (int n = 0; n < VECTORS; ++n) {
        int at = (n * threads + thread) * 8;
        if (at >= width) continue;
        float scale[8], shift[8] = {};
        load8(weight + at, scale);
        if (bias) load8(bias + at, shift);
        for (int j = 0; j < 8; ++j) value[n][j] = value[n][j] * root * scale[j] + shift[j];
        store8(to + at, value[n]);
    }
}

// One block a row of up to 32 · blockDim.x entries.
extern "C" __global__ void __launch_bounds__(512)
    norm_row(const GAR_T* x, const GAR_T* weight, const GAR_T* bias, GAR_T* y, int width, float eps, int centre) {
    await_previous();
    __shared__ float scratch[WARP];
    size_t at = (size_t)blockIdx.x * width;
    norm_kept<4>(x + at, weight, bias, y + at, width, eps, centre, threadIdx.x, blockDim.x,
                 [&](float v) { return block_sum(v, scratch); });
}

// One warp a row of up to 2048 entries.
extern "C" __global__ void __launch_bounds__(256)
    norm_warp(const GAR_T* x, const GAR_T* weight, const GAR_T* bias, GAR_T* y, int width, float eps, int centre, int rows) {
    await_previous();
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    size_t at = (size_t)row * width;
    norm_kept<8>(x + at, weight, bias, y + at, width, eps, centre, threadIdx.x % WARP, WARP, [](float v) { return warp_sum(v); });
}

// One block a row of any width.
extern "C" __global__ void norm_wide(const GAR_T* x, const GAR_T* weight, const GAR_T* bias, GAR_T* y, int width, float eps,
                                     int centre) {
    await_previous();
    __shared__ float scratch[WARP];
    const GAR_T* from = x + (size_t)blockIdx.x * width;
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += to_float(from[i]);
    float mean = centre ? block_sum(sum, scratch) / width : 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float off = to_float(from[i]) - mean;
        squares += off * off;
    }
    float root = 1.0f / sqrtf(block_sum(squares, scratch) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float value = (to_float(from[i]) - mean) * root * to_float(weight[i]) + (bias ? to_float(bias[i]) : 0.0f);
        y[(size_t)blockIdx.x * width + i] = from_float<GAR_T>(value);
    }
}
