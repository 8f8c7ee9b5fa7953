// Attention of one query in one thread: the oracle of everything faster.
#pragma once
#include "gar.cuh"

// What a warp's threads have added up, a column each. Registers would not hold it.
typedef double Values[GAR_HEAD_DIM][WARP];

// `key(i)` and `value(i)` point to what stands at position i < seen; the softmax runs online and in double.
template <typename T, typename Key, typename Value>
__device__ inline void attend_row(const T* q, T* out, int seen, float scale, Values& values, Key key, Value value) {
    int lane = threadIdx.x;
    double top = -GAR_INFINITY, sum = 0.0;
    for (int i = 0; i < GAR_HEAD_DIM; ++i) values[i][lane] = 0.0;
    for (int at = 0; at < seen; ++at) {
        const T *k = key(at), *v = value(at);
        double score = 0.0;
        for (int i = 0; i < GAR_HEAD_DIM; ++i) score += (double)to_float(q[i]) * to_float(k[i]);
        score *= scale;
        double new_top = score > top ? score : top, shrink = exp(top - new_top), weight = exp(score - new_top);
        top = new_top;
        sum = sum * shrink + weight;
        for (int i = 0; i < GAR_HEAD_DIM; ++i) values[i][lane] = values[i][lane] * shrink + weight * to_float(v[i]);
    }
    for (int i = 0; i < GAR_HEAD_DIM; ++i) out[i] = from_float<T>((float)(values[i][lane] / sum));
}
