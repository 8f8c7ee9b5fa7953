// Rotary position embedding: pairs of a head turned by the angles of their position.
//
// v1 rotary_plain: a thread turns one pair. Any even head, both pairings. The oracle.
// v2 rotary_interleaved, rotary_half_split: a thread turns 4 or 8 pairs in 16-byte accesses. 4 bytes an element in bf16 and
//    the tables from L1 and L2 (1025 · 32 angles are 131 kB each): bound by memory.
// Positions start at start[sequence], read from device memory: a recorded decode step stays the same from token to token.
// On an H200, 17 · 1024 tokens of 16 heads of 64: 19.3 µs, 3.7 TB/s.
#include "turn.cuh"
#include "values.cuh"

// The row of the tables for token `token` of [sequences · len].
__device__ inline size_t position(const unsigned* start, unsigned token, int len) { return start[token / len] + token % len; }

// x, y [sequences, len, heads, dim]; cosines and sines [positions, dim / 2]; items: pairs.
extern "C" __global__ void rotary_plain(const GAR_T* x, const float* cosines, const float* sines, const unsigned* start,
                                        GAR_T* y, int len, int heads, int dim, int interleaved, unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    int half = dim / 2, pair = item % half;
    unsigned long long head = item / half;
    size_t angle = position(start, head / heads, len) * half + pair;
    size_t first = head * dim + (interleaved ? 2 * pair : pair), second = first + (interleaved ? 1 : half);
    float a = to_float(x[first]), b = to_float(x[second]);
    turn(a, b, cosines[angle], sines[angle]);
    y[first] = from_float<GAR_T>(a), y[second] = from_float<GAR_T>(b);
}

// items: vectors of 8 entries; dim is a multiple of 8.
extern "C" __global__ void rotary_interleaved(const GAR_T* x, const float* cosines, const float* sines, const unsigned* start,
                                              GAR_T* y, int len, int heads, int dim, unsigned items) {
    await_previous();
    unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    unsigned vectors = dim / 8, head = item / vectors, part = item % vectors;
    size_t angle = position(start, head / heads, len) * (dim / 2) + part * 4;
    float value[8], cosine[4], sine[4];
    load8(x + (size_t)item * 8, value);
    load4(cosines + angle, cosine);
    load4(sines + angle, sine);
#pragma unroll
    for (int j = 0; j < 4; ++j) turn(value[2 * j], value[2 * j + 1], cosine[j], sine[j]);
    store8(y + (size_t)item * 8, value);
}

// items: vectors of 8 pairs; dim is a multiple of 16.
extern "C" __global__ void rotary_half_split(const GAR_T* x, const float* cosines, const float* sines, const unsigned* start,
                                             GAR_T* y, int len, int heads, int dim, unsigned items) {
    await_previous();
    unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    unsigned half = dim / 2, vectors = half / 8, head = item / vectors, part = item % vectors;
    size_t angle = position(start, head / heads, len) * half + part * 8, at = (size_t)head * dim + part * 8;
    float first[8], second[8];
    turn_halves(x + at, half, cosines + angle, sines + angle, first, second);
    store8(y + at, first);
    store8(y + at + half, second);
}
