// Attention of one query in one thread: the oracle of everything faster.
#pragma once
#include "gar.cuh"

// `key(i)` and `value(i)` point to what stands at position i < seen; the softmax runs online and in double.
template <typename T, typename Key, typename Value>
__device__ inline void attend_row(const T* q, T* out, int seen, float scale, Key key, Value value) {
    constexpr int D = GAR_HEAD_DIM;
    // Loops stay loops: `values` stands in local memory, where registers would not hold it.
    double top = -GAR_INFINITY, sum = 0.0, values[D];
#pragma unroll 1
    for (int i = 0; i < D; ++i) values[i] = 0.0;
    for (int at = 0; at < seen; ++at) {
        const T *k = key(at), *v = value(at);
        double score = 0.0;
        for (int i = 0; i < D; ++i) score += (double)to_float(q[i]) * to_float(k[i]);
        score *= scale;
        double new_top = score > top ? score : top, shrink = exp(top - new_top), weight = exp(score - new_top);
        top = new_top;
        sum = sum * shrink + weight;
#pragma unroll 1
        for (int i = 0; i < D; ++i) values[i] = values[i] * shrink + weight * to_float(v[i]);
    }
#pragma unroll 1
    for (int i = 0; i < D; ++i) out[i] = from_float<T>((float)(values[i] / sum));
}
