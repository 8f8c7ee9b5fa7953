// Values: parameters of any stored type, nonlinearities, arithmetic that is rounded step by step.
#pragma once
#include "gar.cuh"

// Element type of a parameter, as the wrappers number them.
enum Stored { STORED_F32 = 0, STORED_F16 = 1, STORED_BF16 = 2, STORED_U8 = 3 };

// An IEEE half as a float, exactly: its bits moved into place and the exponent's bias mended by a product.
__device__ inline float half_to_float(unsigned short bits) {
    unsigned rest = bits & 0x7fffu, sign = (bits & 0x8000u) << 16;
    float size = __uint_as_float(rest << 13) * 5.192296858534828e33f; // 2^112
    if (rest >= 0x7c00u) size = __uint_as_float(0x7f800000u | rest << 13);
    return __uint_as_float(__float_as_uint(size) | sign);
}

// Entry `at` of a parameter, which is not stored in bytes.
__device__ inline float stored(const void* p, int type, unsigned long long at) {
    if (type == STORED_F32) return ((const float*)p)[at];
    if (type == STORED_F16) return half_to_float(((const unsigned short*)p)[at]);
    return to_float(((const bf16*)p)[at]);
}

// Entry `at` of pixels, which may be: a byte is its number.
__device__ inline float pixel(const void* p, int type, unsigned long long at) {
    return type == STORED_U8 ? (float)((const unsigned char*)p)[at] : stored(p, type, at);
}

// x · Φ(x) with the error function.
__device__ inline float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// The same to a millionth of itself, without erff's branches: 1 − Φ(|x|) is half of erfc(|x| / √2), for which Press et al.
// (Numerical Recipes, 2nd edition, §6.2) give a fit with a relative error below 1.2 · 10⁻⁷ everywhere.
__device__ inline float gelu_fast(float x) {
    float z = fabsf(x) * 0.70710678118654752f, t = __fdividef(1.0f, 1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    float beyond = 0.5f * t * exp2_fast((p - z * z) * 1.44269504f);
    return x * (x < 0.0f ? beyond : 1.0f - beyond);
}

// x / (1 + e⁻ˣ).
__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }

// Rounded one by one: the device's compiler joins a product and a sum otherwise, which decides borders differently.
#ifdef GAR_EMULATOR
__device__ inline float add_rn(float a, float b) { return a + b; }
__device__ inline float mul_rn(float a, float b) { return a * b; }
__device__ inline float div_rn(float a, float b) { return a / b; }
#else
__device__ inline float add_rn(float a, float b) { return __fadd_rn(a, b); }
__device__ inline float mul_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float div_rn(float a, float b) { return __fdiv_rn(a, b); }
#endif

// The row of an item, and its place in it. Divisions of 64 bits, each some twenty instructions, only where the item needs them.
struct Place {
    unsigned long long row;
    unsigned part;
    __device__ inline Place(unsigned long long item, unsigned width) {
        if (item >> 32) row = item / width, part = item % width;
        else row = (unsigned)item / width, part = (unsigned)item % width;
    }
};

// This thread among all of a launch that is one line of blocks.
__device__ inline unsigned long long flat_index() { return (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; }

// Calls f(index, value) for each entry of a row, by all threads of a block together: 16-byte accesses between the ragged ends,
// because a row need not start at a multiple of 16 bytes.
template <typename T, typename F> __device__ inline void each_entry(const T* row, int width, F f) {
    int head = (16 - (size_t)row % 16) % 16 / sizeof(T);
    head = min(head, width);
    int vectors = (width - head) / 8, tail = head + vectors * 8;
    for (int i = threadIdx.x; i < head; i += blockDim.x) f(i, to_float(row[i]));
    for (int n = threadIdx.x; n < vectors; n += blockDim.x) {
        float value[8];
        load8(row + head + n * 8, value);
#pragma unroll
        for (int j = 0; j < 8; ++j) f(head + n * 8 + j, value[j]);
    }
    for (int i = tail + threadIdx.x; i < width; i += blockDim.x) f(i, to_float(row[i]));
}
