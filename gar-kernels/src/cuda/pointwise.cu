// Elementwise operations.
//
// v1 add_plain, swiglu_plain, gelu_plain: a thread makes one element. The oracle.
// v2 add_8, swiglu_8, gelu_8: a thread makes 8 elements in 16-byte accesses, the last thread what is left. 6 bytes an element for
//    two bf16 operands: bound by memory.
// On an H200 (a copy makes 4.23 TB/s), 17 408 · 1024 elements of bf16: swiglu_8 20.7 µs, 71 MB of one operand read and 36 written
// at 3.5 TB/s; gelu_8 21.5.
#include "values.cuh"

__device__ inline float add_of(float a, float b) { return a + b; }
__device__ inline float swiglu_of(float gate, float up) { return silu(gate) * up; }
__device__ inline float gelu_of(float x, float) { return gelu(x); }
__device__ inline float gelu_fast_of(float x, float) { return gelu_fast(x); }

// a, b, y [items]; b is not read where it is null.
template <typename F>
__device__ inline void one(const GAR_T* a, const GAR_T* b, GAR_T* y, unsigned long long items, F f) {
    unsigned long long i = flat_index();
    if (i < items) y[i] = from_float<GAR_T>(f(to_float(a[i]), b ? to_float(b[i]) : 0.0f));
}

template <typename F>
__device__ inline void eight(const GAR_T* a, const GAR_T* b, GAR_T* y, unsigned long long items, F f) {
    unsigned long long first = flat_index() * 8;
    if (first + 8 <= items) {
        float left[8], right[8] = {};
        load8(a + first, left);
        if (b) load8(b + first, right);
#pragma unroll
        for (int j = 0; j < 8; ++j) left[j] = f(left[j], right[j]);
        store8(y + first, left);
        return;
    }
    for (unsigned long long i = first; i < items; ++i) y[i] = from_float<GAR_T>(f(to_float(a[i]), b ? to_float(b[i]) : 0.0f));
}

#define GAR_POINTWISE(name, fast)                                                                                       \
    extern "C" __global__ void name##_plain(const GAR_T* a, const GAR_T* b, GAR_T* y, unsigned long long items) {      \
        await_previous();                                                                                               \
        one(a, b, y, items, name##_of);                                                                                 \
    }                                                                                                                   \
    extern "C" __global__ void name##_8(const GAR_T* a, const GAR_T* b, GAR_T* y, unsigned long long items) {          \
        await_previous();                                                                                               \
        eight(a, b, y, items, fast##_of);                                                                               \
    }
GAR_POINTWISE(add, add)
GAR_POINTWISE(swiglu, swiglu)
GAR_POINTWISE(gelu, gelu_fast)
