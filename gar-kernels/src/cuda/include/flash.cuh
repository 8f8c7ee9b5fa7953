// Attention by tiles on tensor cores: scores, online softmax and weighted values in registers (FlashAttention-2, Dao, 2023).
//
// A program is one specialisation: GAR_HEAD_DIM entries of a head, a multiple of 8 up to 128. A warp owns 16 · M queries and
// walks tiles of KEYS keys. Lane (g = lane / 4, t = lane % 4) holds rows g and g + 8 of each 16, columns 2t and 2t + 1 of
// each 8; the four lanes of one g share a row.
#pragma once
#include "mma.cuh"

// Entries of a head in shared memory: whole steps of mma, zeros behind GAR_HEAD_DIM.
constexpr int DIM = (GAR_HEAD_DIM + 15) / 16 * 16;
// 16-byte chunks of a row.
constexpr int CHUNKS = DIM / 8;
// Elements from one row in shared memory to the next: an odd number of chunks, so that the 8 rows of which ldmatrix reads one
// chunk each lie in 8 different groups of 4 banks, and every address is a lane's own start plus a constant.
constexpr int PITCH = DIM + 8;

// Starts to copy ROWS rows to shared memory by THREADS threads; rows from `valid` on become zeros.
template <int ROWS, int THREADS>
__device__ inline void load_rows(bf16* to, const bf16* from, int stride, int valid, int thread) {
    // Whole rows at a time; the threads left over have nothing to do.
    constexpr int STEP = THREADS / CHUNKS;
    int row = thread / CHUNKS, chunk = thread % CHUNKS;
    if (row >= STEP) return;
    from += (size_t)row * stride + chunk * 8, to += row * PITCH + chunk * 8;
    int rows = chunk * 8 < GAR_HEAD_DIM ? min(valid, ROWS) : 0;
#pragma unroll 4
    for (int first = 0; first < ROWS; first += STEP) {
        if (ROWS % STEP && first + row >= ROWS) break;
        // Where 0 bytes are read, the address need not exist.
        cp_async_16(to + first * PITCH, from, first + row < rows ? 16 : 0);
        from += (size_t)STEP * stride;
    }
}

// What a warp knows of its 16 · M rows: unscaled largest score, sum of weights over this lane's columns, weighted values.
template <int M> struct Rows {
    float top[M][2];
    float sum[M][2];
    float values[M][DIM / 8][4];

    __device__ inline void clear() {
#pragma unroll
        for (int m = 0; m < M; m++) {
            top[m][0] = top[m][1] = -GAR_INFINITY;
            sum[m][0] = sum[m][1] = 0.0f;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) values[m][n][i] = 0.0f;
        }
    }
};

// score = q · kᵀ: `q` points to this warp's first row.
template <int M, int KEYS>
__device__ inline void multiply_keys(float (&score)[M][KEYS / 8][4], const bf16* q, const bf16* k, int lane) {
    // Rows and their halves as the four matrices of a, keys and halves as those of two b.
    q += lane % 16 * PITCH + lane / 16 * 8, k += (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) score[m][n][i] = 0.0f;
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) ldmatrix_x4(a[m], q, m * 16 * PITCH + step * 16);
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            // Keys 0-7 and 8-15, each with the lower and the upper 8 entries of the step.
            unsigned b[4];
            ldmatrix_x4(b, k, n * 16 * PITCH + step * 16);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(score[m][2 * n], a[m], {b[0], b[1]});
                mma_bf16(score[m][2 * n + 1], a[m], {b[2], b[3]});
            }
        }
    }
}

// Hides keys: `seen(row)` says how many keys of this tile a row of this warp sees.
template <int M, int KEYS, typename Seen>
__device__ inline void hide_keys(float (&score)[M][KEYS / 8][4], int lane, Seen seen) {
    int count[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) count[m][half] = seen(m * 16 + half * 8 + lane / 4) - lane % 4 * 2;
    // Rows innermost: where all see the same, one comparison serves them.
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    if (n * 8 + i >= count[m][half]) score[m][n][half * 2 + i] = -GAR_INFINITY;
}

// Turns scores into weights 2^(scale · (score − top)) and brings what was summed before to the new top. `scale` is above 0.
template <int M, int KEYS>
__device__ inline void weigh(Rows<M>& rows, float (&score)[M][KEYS / 8][4], float scale) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = rows.top[m][half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) top = fmaxf(top, fmaxf(score[m][n][half * 2], score[m][n][half * 2 + 1]));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
            // A row that has seen nothing keeps weights of 0 instead of ∞ − ∞.
            float base = top == -GAR_INFINITY ? 0.0f : top * scale;
            float shrink = exp2_fast(fmaf(rows.top[m][half], scale, -base));
            float sum = 0.0f;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    score[m][n][i] = exp2_fast(fmaf(score[m][n][i], scale, -base));
                    sum += score[m][n][i];
                }
            rows.top[m][half] = top;
            rows.sum[m][half] = rows.sum[m][half] * shrink + sum;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
                rows.values[m][n][half * 2] *= shrink, rows.values[m][n][half * 2 + 1] *= shrink;
        }
}

// values += weights · v, weights rounded to bf16.
template <int M, int KEYS>
__device__ inline void add_values(Rows<M>& rows, const float (&weight)[M][KEYS / 8][4], const bf16* v, int lane) {
    v += lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        // What mma leaves of two tiles of 8 keys is what it takes as one of 16.
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[m][i] = pack_bf16(weight[m][2 * step + i / 2][i % 2 * 2], weight[m][2 * step + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < DIM / 16; n++) {
            // Entries 0-7 and 8-15, each of keys 0-7 and 8-15.
            unsigned b[4];
            ldmatrix_x4_trans(b, v, step * 16 * PITCH + n * 16);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(rows.values[m][2 * n], a[m], {b[0], b[1]});
                mma_bf16(rows.values[m][2 * n + 1], a[m], {b[2], b[3]});
            }
        }
    }
}

// The sum of weights of a row, from its four lanes.
__device__ inline float whole_sum(float sum) {
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    return sum + __shfl_xor_sync(ALL_LANES, sum, 2);
}

// Walks the tiles of a block's keys with one buffer each for K and V: V of a tile arrives under `on_keys`, which computes
// with its K, and K of the next under `on_values`. `keys(i)` and `values(i)` of `cache` point to row i, the first of a tile, rows
// `cache.stride` apart, `total` of them in all. What was started before belongs to the first wait.
template <int THREADS, int KEYS, typename Cache, typename OnKeys, typename OnValues>
__device__ inline void walk_tiles(bf16* k_rows, bf16* v_rows, const Cache& cache, int total, OnKeys on_keys,
                                  OnValues on_values) {
#pragma unroll 1
    for (int first = 0; first < total; first += KEYS) {
        cp_async_wait<0>();
        __syncthreads(); // K has landed, and nobody reads the last V any more.
        load_rows<KEYS, THREADS>(v_rows, cache.values(first), cache.stride, total - first, threadIdx.x);
        cp_async_commit();
        on_keys(first);
        cp_async_wait<0>();
        __syncthreads(); // V has landed, and nobody reads K any more.
        if (first + KEYS < total) {
            load_rows<KEYS, THREADS>(k_rows, cache.keys(first + KEYS), cache.stride, total - first - KEYS, threadIdx.x);
            cp_async_commit();
        }
        on_values();
    }
}

// One block: 16 · M · WARPS queries of one head against all keys they see. `q` and `out` point to the first of these queries,
// rows `stride` apart, `queries` of them; query i sees `seen + i` keys if CAUSAL, else `seen`. `scale` carries log2 e.
template <int M, int WARPS, int KEYS, bool CAUSAL, typename Cache>
__device__ inline void flash(unsigned char* memory, const bf16* q, bf16* out, int stride, int queries, const Cache& cache,
                             int seen, float scale) {
    constexpr int THREADS = WARPS * WARP, ROWS = 16 * M;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    bf16* q_rows = (bf16*)memory;
    bf16* k_rows = q_rows + WARPS * ROWS * PITCH;
    bf16* v_rows = k_rows + KEYS * PITCH;
    // What the last query sees: keys behind are zeros. Queries behind the last may see some, and are dropped.
    int total = CAUSAL ? seen + min(queries, WARPS * ROWS) - 1 : seen;
    load_rows<WARPS * ROWS, THREADS>(q_rows, q, stride, queries, threadIdx.x);
    load_rows<KEYS, THREADS>(k_rows, cache.keys(0), cache.stride, total, threadIdx.x);
    cp_async_commit();
    // Rows of this warp only, from here on.
    int own = warp * ROWS;
    if (own >= queries) {
        // A warp without queries helps to load. It has a loop of its own, which leaves the other one its registers.
        walk_tiles<THREADS, KEYS>(k_rows, v_rows, cache, total, [](int) {}, [] {});
        return;
    }
    q_rows += own * PITCH;
    Rows<M> rows;
    rows.clear();
    float score[M][KEYS / 8][4];
    walk_tiles<THREADS, KEYS>(
        k_rows, v_rows, cache, total,
        [&](int first) {
            multiply_keys<M, KEYS>(score, q_rows, k_rows, lane);
            // Every row of the block sees the whole tile in all but the last few tiles.
            if (first + KEYS > seen)
                hide_keys<M, KEYS>(score, lane, [&](int row) { return seen - first + (CAUSAL ? own + row : 0); });
        },
        [&] {
            weigh<M, KEYS>(rows, score, scale);
            add_values<M, KEYS>(rows, score, v_rows, lane);
        });
    // Through the warp's own rows of q, so that rows leave in 16-byte stores.
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float inverse = 1.0f / whole_sum(rows.sum[m][half]);
            int row = m * 16 + half * 8 + lane / 4;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
                *(unsigned*)(q_rows + row * PITCH + n * 8 + lane % 4 * 2) =
                    pack_bf16(rows.values[m][n][half * 2] * inverse, rows.values[m][n][half * 2 + 1] * inverse);
        }
    __syncwarp();
    for (int at = lane; at < ROWS * (GAR_HEAD_DIM / 8); at += WARP) {
        int row = at / (GAR_HEAD_DIM / 8), chunk = at % (GAR_HEAD_DIM / 8);
        if (own + row >= queries) break;
        store16(out + (size_t)(own + row) * stride + chunk * 8, load16(q_rows + row * PITCH + chunk * 8));
    }
}
