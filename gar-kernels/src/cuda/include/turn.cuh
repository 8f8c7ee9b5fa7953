// Pairs of a head, turned by the angles of a position: rotary.cu, and who turns on the way to something else.
#pragma once
#include "gar.cuh"

__device__ inline void turn(float& a, float& b, float cosine, float sine) {
    float first = a;
    a = first * cosine - b * sine;
    b = b * cosine + first * sine;
}

// Four floats of a table.
__device__ inline void load4(const float* p, float* out) {
    uint4 raw = load16(p);
    out[0] = __uint_as_float(raw.x), out[1] = __uint_as_float(raw.y);
    out[2] = __uint_as_float(raw.z), out[3] = __uint_as_float(raw.w);
}

// Eight pairs of a half-split head: `x` points to their first entries, the second ones stand `half` behind.
template <typename T>
__device__ inline void turn_halves(const T* x, int half, const float* cosines, const float* sines, float (&first)[8], float (&second)[8]) {
    float cosine[8], sine[8];
    load8(x, first);
    load8(x + half, second);
    load8(cosines, cosine);
    load8(sines, sine);
#pragma unroll
    for (int j = 0; j < 8; ++j) turn(first[j], second[j], cosine[j], sine[j]);
}
