// Keys and values of one head that lie `stride` elements apart; `pages.cuh` has those of a cache.
#pragma once
#include "gar.cuh"

struct Dense {
    const bf16 *k, *v;
    int stride;
    __device__ inline const bf16* keys(int first) const { return k + (size_t)first * stride; }
    __device__ inline const bf16* values(int first) const { return v + (size_t)first * stride; }
};
