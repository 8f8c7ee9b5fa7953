// What a warpgroup does with 64 queries and a tile of keys on Hopper: scores, online softmax, weighted values in registers.
//
// Lane (g = lane / 4, t = lane % 4) of warp w holds rows 16w + g and 16w + g + 8, columns 2t and 2t + 1 of each 8.
#pragma once
#include "wgmma.cuh"

// Entries of a head in shared memory: whole steps of wgmma, zeros behind GAR_HEAD_DIM.
constexpr int DIM = (GAR_HEAD_DIM + 15) / 16 * 16;
constexpr int CHUNKS = DIM / 8;
typedef Layout<DIM> Tile;

// What a thread knows of its two rows: largest unscaled score, sum of weights over its own columns, weighted values.
struct State {
    float top[2], sum[2], values[DIM / 2];
};

// Starts score = q · kᵀ with the first N of KEYS keys.
template <int ROWS, int KEYS, int N> __device__ __forceinline__ void start_scores(float (&score)[N / 2], Descriptor q, Descriptor k) {
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < DIM / 16; step++)
        wgmma<N>::keys(score, ahead(q, Tile::column(ROWS, step * 16)), ahead(k, Tile::column(KEYS, step * 16)), step > 0);
    wgmma_commit();
}

// Starts values += weights · v with the first N keys.
template <int N> __device__ __forceinline__ void start_values(State& state, const unsigned (&weight)[N / 16][4], Descriptor v) {
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < N / 16; step++) wgmma<DIM>::values(state.values, weight[step], ahead(v, step * 16 * Tile::PITCH));
    wgmma_commit();
}

// Hides keys: a thread's first row sees `seen` keys of this tile, its second 8 · MORE more.
template <int N, int MORE> __device__ __forceinline__ void hide_keys(float (&score)[N / 2], int lane, int seen) {
    seen -= lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (n * 8 + i % 2 >= seen + i / 2 * 8 * MORE) score[n * 4 + i] = -GAR_INFINITY;
}

// Turns scores into weights 2^(scale · (score − top)). Where the top of a row of the warp rises, `shrink` brings what was summed
// before to the new one. Every row sees a key of its first tile, so that no top stays −∞.
template <int N>
__device__ __forceinline__ bool weigh(State& state, float (&score)[N / 2], float (&shrink)[2], float scale) {
    float top[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float& most = top[half] = state.top[half];
#pragma unroll
        for (int n = 0; n < N / 8; n++) most = fmaxf(most, fmaxf(score[n * 4 + half * 2], score[n * 4 + half * 2 + 1]));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
    }
    bool moves = __any_sync(ALL_LANES, top[0] > state.top[0] || top[1] > state.top[1]);
    if (moves) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            shrink[half] = exp2_fast((state.top[half] - top[half]) * scale);
            state.top[half] = top[half], state.sum[half] *= shrink[half];
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float base = state.top[half] * scale, sum[2] = {};
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float& weight = score[n * 4 + half * 2 + i];
                weight = exp2_fast(fmaf(weight, scale, -base));
                sum[i] += weight;
            }
        state.sum[half] += sum[0] + sum[1];
    }
    return moves;
}

// Rounds weights to what wgmma takes as a: of every 16 keys, what it leaves of two eights.
template <int N> __device__ __forceinline__ void pack_weights(unsigned (&weight)[N / 16][4], const float (&score)[N / 2]) {
#pragma unroll
    for (int step = 0; step < N / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) weight[step][i] = pack_bf16(score[step * 8 + i * 2], score[step * 8 + i * 2 + 1]);
}

// Divides by the sum of weights and stores. `out` points to the first of the warp's 16 rows, of which there are `rows`.
__device__ inline void store_rows(const State& state, bf16* out, int stride, int rows, int lane) {
    bool odd = lane % 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = state.sum[half];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        float inverse = 1.0f / sum;
        int row = half * 8 + lane / 4;
#pragma unroll
        for (int n = 0; n < DIM / 16; n++) {
            const float* of = state.values + n * 8 + half * 2;
            unsigned low = pack_bf16(of[0] * inverse, of[1] * inverse), high = pack_bf16(of[4] * inverse, of[5] * inverse);
            // Neighbours swap, so that each stores four columns: even lanes of the lower 8, odd ones of the upper.
            unsigned own = odd ? high : low, other = __shfl_xor_sync(ALL_LANES, odd ? low : high, 1);
            int column = n * 16 + (odd ? 8 : 0) + lane % 4 / 2 * 4;
            if (row < rows && column < GAR_HEAD_DIM)
                *(uint2*)(out + (size_t)row * stride + column) = odd ? make_uint2(other, own) : make_uint2(own, other);
        }
    }
}
