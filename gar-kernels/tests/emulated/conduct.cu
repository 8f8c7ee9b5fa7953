// Small kernels, right and wrong, that show what the emulator does with them. 64 threads; x holds 256 floats, y 64.
#include "mma.cuh"

extern "C" __global__ void sum(const float* x, float* y) {
    await_previous();
    __shared__ float scratch[WARP];
    y[threadIdx.x] = SCALE * block_sum(x[threadIdx.x], scratch);
}

// Copies to shared memory, and each thread reads what another copied.
extern "C" __global__ void reversed(const float* x, float* y) {
    await_previous();
    GAR_DYNAMIC_SHARED(memory);
    float* copy = (float*)memory;
    if (threadIdx.x % 4 == 0) cp_async_16(copy + threadIdx.x, x + threadIdx.x, 16);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads(); // Everyone's copies have landed.
    y[threadIdx.x] = copy[63 - threadIdx.x];
}

// Threads that have returned are not waited for.
extern "C" __global__ void early_return(const float* x, float* y) {
    await_previous();
    if (threadIdx.x >= 32) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

// [16, 16] · unit matrix [16, 8], the first 8 columns: rows 0 to 7 hold 0, 1, 2, …
extern "C" __global__ void unit_product(const float* x, float* y) {
    await_previous();
    GAR_DYNAMIC_SHARED(memory);
    bf16* matrix = (bf16*)memory;
    if (threadIdx.x >= WARP) return;
    int lane = threadIdx.x;
    for (int i = lane; i < 256; i += WARP) matrix[i] = from_float<bf16>(i % 16 < 8 && i < 128 ? x[i / 16 * 8 + i % 16] : 0.0f);
    __syncwarp();
    // Matrices: rows 0-7, rows 8-15, and the same of columns 8-15.
    unsigned a[4], b[2];
    ldmatrix_x4(a, matrix + (lane % 16) * 16 + lane / 16 * 8);
    int row = 2 * (lane % 4), column = lane / 4;
    b[0] = pack_bf16(row == column, row + 1 == column);
    b[1] = 0;
    float d[4] = {};
    mma_bf16(d, a, b);
    y[lane / 4 * 8 + 2 * (lane % 4)] = d[0];
    y[lane / 4 * 8 + 2 * (lane % 4) + 1] = d[1];
}

extern "C" __global__ void divergent_barrier(const float* x, float* y) {
    await_previous();
    if (threadIdx.x < 16) y[0] = warp_sum(x[threadIdx.x]);
    else __syncthreads();
}
extern "C" __global__ void divergent_shuffle(const float* x, float* y) {
    await_previous();
    float v = x[threadIdx.x];
    y[threadIdx.x] = threadIdx.x % 2 ? __shfl_down_sync(ALL_LANES, v, 1) : __shfl_xor_sync(ALL_LANES, v, 1);
}
extern "C" __global__ void beyond_its_end(const float* x, float* y) {
    await_previous();
    y[threadIdx.x + 1] = 1.0f;
}
extern "C" __global__ void before_its_start(const float* x, float* y) {
    await_previous();
    y[(int)threadIdx.x - 1] = 1.0f;
}
extern "C" __global__ void misaligned(const float* x, float* y) {
    await_previous();
    y[0] = __uint_as_float(load16(x + 1).x);
}
extern "C" __global__ void read_beyond(const float* x, float* y) {
    await_previous();
    float eight[8];
    load8(x + 8 * (threadIdx.x + 1), eight);
    y[threadIdx.x] = eight[0];
}
extern "C" __global__ void shared_overrun(const float* x, float* y) {
    await_previous();
    GAR_DYNAMIC_SHARED(memory);
    ((float*)memory)[256 + threadIdx.x] = x[0];
}
extern "C" __global__ void other_arguments(const float* x, float y) { await_previous(); }

extern "C" __global__ void unwritten_static(const float* x, float* y) {
    await_previous();
    __shared__ float values[64];
    if (threadIdx.x > 64) values[threadIdx.x] = x[0];
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}
extern "C" __global__ void unwritten_dynamic(const float* x, float* y) {
    await_previous();
    GAR_DYNAMIC_SHARED(memory);
    y[threadIdx.x] = x[0] + ((float*)memory)[threadIdx.x];
}
extern "C" __global__ void unwritten_output(const float* x, float* y) { await_previous(); }
extern "C" __global__ void too_early(const float* x, float* y) {
    uint4 v = load16(x);
    await_previous();
    y[threadIdx.x] = __uint_as_float(v.x);
}
extern "C" __global__ void no_waiting(const float* x, float* y) { y[threadIdx.x] = 1.0f; }
