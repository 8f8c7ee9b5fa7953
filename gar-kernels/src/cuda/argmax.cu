// Index of the largest entry of each row: of equal ones the first, a NaN only where a row holds nothing else.
//
// v1 argmax_plain: a thread scans a row. The oracle.
// v2 argmax: a block scans a row in 16-byte accesses between the row's ragged ends, then warps, then the block. A row of
//    128 262 bf16 logits is 257 kB, read once.
// On an H200: 29 µs, the index's way back to the host among them. sample_parts of sampling.cu shares a row out among blocks.
#include "values.cuh"

struct Best {
    float value;
    unsigned index;
};

// The better of two: a number before NaN, the larger before the smaller, the earlier before the later.
__device__ inline Best better(Best a, Best b) {
    bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    bool same = a.value == b.value || (a_nan && b_nan);
    bool second = same ? b.index < a.index : a_nan || b.value > a.value;
    return second ? b : a;
}

extern "C" __global__ void argmax_plain(const GAR_T* x, unsigned* y, int rows, int width) {
    await_previous();
    int row = flat_index();
    if (row >= rows) return;
    const GAR_T* from = x + (size_t)row * width;
    Best best = {to_float(from[0]), 0};
    for (int i = 1; i < width; ++i) best = better(best, {to_float(from[i]), (unsigned)i});
    y[row] = best.index;
}

__device__ inline Best warp_best(Best best) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        float value = __shfl_xor_sync(ALL_LANES, best.value, step);
        unsigned index = __shfl_xor_sync(ALL_LANES, best.index, step);
        best = better(best, {value, index});
    }
    return best;
}

// One block a row.
extern "C" __global__ void argmax(const GAR_T* x, unsigned* y, int width) {
    await_previous();
    __shared__ Best bests[WARP];
    // What no thread has met yet: loses to every entry, NaN included.
    Best best = {__int_as_float(0x7fffffff), 0xffffffffu};
    each_entry(x + (size_t)blockIdx.x * width, width, [&](unsigned i, float value) { best = better(best, {value, i}); });
    best = warp_best(best);
    if (threadIdx.x % WARP == 0) bests[threadIdx.x / WARP] = best;
    __syncthreads();
    if (threadIdx.x >= WARP) return;
    best = warp_best(threadIdx.x < blockDim.x / WARP ? bests[threadIdx.x] : Best{__int_as_float(0x7fffffff), 0xffffffffu});
    if (threadIdx.x == 0) y[blockIdx.x] = best.index;
}
