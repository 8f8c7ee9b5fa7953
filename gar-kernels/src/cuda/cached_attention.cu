// Causal attention over a key/value cache in pages.
//
// Row b of `table` belongs to sequence b (pages.cuh). Whatever changes from token to token stands there, so that the launches of a
// decoder's steps are the same until the table grows.
//
// cached_append: stores k, v [B, L, G, d] behind what the cache holds, 16 bytes a thread; cached_split does it by itself.
// v1 cached_plain: a thread takes one query of one head (plain.cuh), f32 and bf16. The oracle.
// v2 cached_flash: many queries, as attention_flash of attention.cu. On Hopper cached_hopper of hopper.cu.
// v2 cached_split: few queries. A block takes the query heads of one kv head, so that keys and values are read once, and a share of
//    the keys; each warp has tiles and two stages of its own and waits for nobody. 4 · G · d bytes a position and sequence, bound
//    by memory: a step of GAR-1B behind 4400 positions reads 9 MB a layer. cached_combine joins the shares.
//    It also turns queries and keys and stores the new positions, and asks for its first tile while the kernel before it ends: one
//    sequence of GAR-1B behind 4864 positions takes 8.4 µs, with two launches of rotary.cu and one of cached_append 10.8.
// On an H200 (a copy makes 4.23 TB/s): 16 sequences of 16 384 positions, 8 kv heads of 64, take 143 µs, 3.76 TB/s; one sequence of
// 4864 takes 10.3 µs and of 1024 6.4, three launches each.
#include "pages.cuh"

#ifdef GAR_T
#include "plain.cuh"

extern "C" __global__ void cached_append(const Address* table, int table_stride, const GAR_T* k, const GAR_T* v, int batch, int queries,
                                         int kv_heads, int layer) {
    await_previous();
    constexpr int VECTOR = 16 / sizeof(GAR_T), VECTORS = GAR_HEAD_DIM / VECTOR;
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / VECTORS;
    if (row >= (long long)batch * queries * kv_heads) return;
    int entry = item % VECTORS * VECTOR, kv_head = row % kv_heads, query = row / kv_heads % queries;
    const Address* sequence = table + row / kv_heads / queries * table_stride;
    Pages<GAR_T> pages(sequence, layer, kv_heads, kv_head);
    int position = (int)sequence[0] + query;
    store16(pages.row(position, pages.keys_at) + entry, load16(k + row * GAR_HEAD_DIM + entry));
    store16(pages.row(position, pages.values_at) + entry, load16(v + row * GAR_HEAD_DIM + entry));
}

// Blocks of one warp.
extern "C" __global__ void cached_plain(const Address* table, int table_stride, const GAR_T* q, GAR_T* out, int batch, int queries,
                                        int heads, int group, int layer, float scale) {
    await_previous();
    __shared__ Values values;
    long long row = (long long)blockIdx.x * WARP + threadIdx.x;
    if (row >= (long long)batch * queries * heads) return;
    int head = row % heads, query = row / heads % queries;
    const Address* sequence = table + row / heads / queries * table_stride;
    Pages<const GAR_T> pages(sequence, layer, heads / group, head / group);
    attend_row(
        q + row * GAR_HEAD_DIM, out + row * GAR_HEAD_DIM, (int)sequence[0] + query + 1, scale, values,
        [&](int key) { return pages.row(key, pages.keys_at); }, [&](int key) { return pages.row(key, pages.values_at); });
}
#else
#include "flash.cuh"
#include "turn.cuh"

#ifdef GAR_M
// Grid: tiles of queries, heads, sequences.
extern "C" __global__ void __launch_bounds__(GAR_WARPS * WARP, 2)
    cached_flash(const Address* table, int table_stride, const bf16* q, bf16* out, int queries, int heads, int group, int layer,
                 float scale) {
    await_previous(false);
    GAR_DYNAMIC_SHARED(memory);
    constexpr int ROWS = 16 * GAR_M * GAR_WARPS;
    // Blocks start in order: those with most keys first, so that short ones fill the end.
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, stride = heads * GAR_HEAD_DIM;
    const Address* sequence = table + (size_t)blockIdx.z * table_stride;
    size_t at = ((size_t)blockIdx.z * queries + first) * stride + head * GAR_HEAD_DIM;
    int length = sequence[0];
    Tiles tiles = {Pages<const bf16>(sequence, layer, heads / group, head / group)};
    flash<GAR_M, GAR_WARPS, GAR_KEYS, true>(memory, q + at, out + at, stride, queries - first, tiles, length + first + 1,
                                            scale);
}
#else
// Where row `row` of a kv head's query heads stands in [B, L, H]: rows count queries, then heads of the group.
__device__ inline size_t flat_row(int row, int queries, int heads, int group, int kv_head) {
    return ((size_t)blockIdx.z * queries + row / group) * heads + kv_head * group + row % group;
}

// What half-split pairs of heads are turned by: tables [positions, d / 2], or null pointers for nothing.
struct Angles {
    const float *cosines, *sines;

    __device__ inline Angles at(int position) const {
        size_t skipped = (size_t)position * (GAR_HEAD_DIM / 2);
        return cosines ? Angles{cosines + skipped, sines + skipped} : *this;
    }
    // Calls of copy_chunk for a head.
    __device__ inline int chunks() const { return cosines ? GAR_HEAD_DIM / 16 : GAR_HEAD_DIM / 8; }
};

// Copies 16 bytes of a head, or turns twice 16 that pair up by the angles of the head's position.
__device__ inline void copy_chunk(const bf16* head, bf16* to, int chunk, Angles angles) {
    constexpr int HALF = GAR_HEAD_DIM / 2;
    head += chunk * 8, to += chunk * 8;
    if (!angles.cosines) {
        store16(to, load16(head));
        return;
    }
    float first[8], second[8];
    turn_halves(head, HALF, angles.cosines + chunk * 8, angles.sines + chunk * 8, first, second);
    store8(to, first);
    store8(to + HALF, second);
}

// Grid: shares, kv heads × sixteens of rows, sequences. `values` [B, L, H, shares, d] and `tops` [B, L, H, shares, 2]: weighted
// values before division, largest unscaled score and sum of weights. Whoever has the new positions in its share stores them
// first; where a kv head has several sixteens of rows, each stores the same. Tables of angles [positions, d / 2] turn queries and keys
// on the way: a sequence continues at its length.
extern "C" __global__ void __launch_bounds__(GAR_WARPS * WARP, 2)
    cached_split(const Address* table, int table_stride, const bf16* q, const bf16* k, const bf16* v, const float* cosines,
                 const float* sines, float* values, float* tops, int queries, int heads, int group, int layer, float scale) {
    // The table is not a kernel's work, and behind a kernel that stores keys and values there always comes one that does not
    // (cached_combine, an attention): both are there, but for the new positions.
    read_early();
    GAR_DYNAMIC_SHARED(memory);
    constexpr int THREADS = GAR_WARPS * WARP, STAGE = 2 * GAR_KEYS * PITCH, VECTORS = GAR_HEAD_DIM / 8;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int kv_heads = heads / group, kv_head = blockIdx.y % kv_heads, first_row = blockIdx.y / kv_heads * 16;
    int rows = min(queries * group - first_row, 16);
    const Address* sequence = table + (size_t)blockIdx.z * table_stride;
    Tiles tiles = {Pages<const bf16>(sequence, layer, kv_heads, kv_head)};
    int length = sequence[0], total = length + queries;
    int count = (total + GAR_KEYS - 1) / GAR_KEYS, share = (count + gridDim.x - 1) / gridDim.x;
    int end = min((int)(blockIdx.x + 1) * share, count);
    bf16* q_rows = (bf16*)memory;
    bf16* stages = q_rows + 16 * PITCH + warp * 2 * STAGE;
    auto load = [&](int tile, int stage) {
        if (tile < end) {
            bf16* to = stages + stage * STAGE;
            load_rows<GAR_KEYS, WARP>(to, tiles.keys(tile * GAR_KEYS), tiles.stride, total - tile * GAR_KEYS, lane);
            load_rows<GAR_KEYS, WARP>(to + GAR_KEYS * PITCH, tiles.values(tile * GAR_KEYS), tiles.stride, total - tile * GAR_KEYS, lane);
        }
        cp_async_commit();
    };
    int tile = blockIdx.x * share + warp;
    bool is_old = (tile + 1) * GAR_KEYS <= length;
    if (is_old) load(tile, 0);
    await_previous();
    // New positions of this share, from the first.
    int fresh = max(length, (int)blockIdx.x * share * GAR_KEYS), stored = min(total, end * GAR_KEYS) - fresh;
    Pages<bf16> pages(sequence, layer, kv_heads, kv_head);
    Angles angles = {cosines, sines};
    int chunks = angles.chunks() + VECTORS; // of a key and of a value
    for (int at = threadIdx.x; at < stored * chunks; at += THREADS) {
        int position = fresh + at / chunks, chunk = at % chunks;
        size_t from = (((size_t)blockIdx.z * queries + position - length) * kv_heads + kv_head) * GAR_HEAD_DIM;
        if (chunk < VECTORS) copy_chunk(v + from, pages.row(position, pages.values_at), chunk, {});
        else copy_chunk(k + from, pages.row(position, pages.keys_at), chunk - VECTORS, angles.at(position));
    }
    if (stored > 0) __syncthreads(); // They are there for all warps of this block.
    if (!is_old) load(tile, 0);
    for (int at = threadIdx.x; at < 16 * CHUNKS; at += THREADS) {
        int row = at / CHUNKS, chunk = at % CHUNKS;
        bf16* to = q_rows + row * PITCH;
        if (row >= rows || chunk >= VECTORS) {
            store16(to + chunk * 8, make_uint4(0, 0, 0, 0));
        } else if (chunk < angles.chunks()) {
            const bf16* head = q + flat_row(first_row + row, queries, heads, group, kv_head) * GAR_HEAD_DIM;
            copy_chunk(head, to, chunk, angles.at(length + (first_row + row) / group));
        }
    }
    __syncthreads(); // q is there.
    Rows<1> mine;
    mine.clear();
    for (int stage = 0; tile < end; tile += GAR_WARPS, stage ^= 1) {
        load(tile + GAR_WARPS, stage ^ 1);
        cp_async_wait<1>();
        __syncwarp(); // This tile has landed.
        bf16* k_rows = stages + stage * STAGE;
        float score[1][GAR_KEYS / 8][4];
        multiply_keys<1, GAR_KEYS>(score, q_rows, k_rows, lane);
        int first = tile * GAR_KEYS;
        if (first + GAR_KEYS > length + 1)
            hide_keys<1, GAR_KEYS>(score, lane, [&](int row) { return length + (first_row + row) / group + 1 - first; });
        weigh<1, GAR_KEYS>(mine, score, scale);
        add_values<1, GAR_KEYS>(mine, score, k_rows + GAR_KEYS * PITCH, lane);
        __syncwarp(); // Nobody reads this stage any more.
    }
    cp_async_wait<0>();
    __syncthreads(); // Nobody reads any stage any more: warps leave their rows there.
    float* all_values = (float*)(q_rows + 16 * PITCH);
    float* all_tops = all_values + GAR_WARPS * 16 * DIM;
    for (int half = 0; half < 2; half++) {
        int row = warp * 16 + half * 8 + lane / 4;
        float sum = whole_sum(mine.sum[0][half]);
        all_tops[row * 2] = mine.top[0][half], all_tops[row * 2 + 1] = sum;
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
            for (int i = 0; i < 2; i++) all_values[row * DIM + n * 8 + lane % 4 * 2 + i] = mine.values[0][n][half * 2 + i];
    }
    __syncthreads(); // All warps' rows are there.
    for (int at = threadIdx.x; at < rows * GAR_HEAD_DIM; at += THREADS) {
        int row = at / GAR_HEAD_DIM, entry = at % GAR_HEAD_DIM;
        float top = -GAR_INFINITY, sum = 0.0f, value = 0.0f;
        for (int w = 0; w < GAR_WARPS; w++) top = fmaxf(top, all_tops[(w * 16 + row) * 2]);
        for (int w = 0; w < GAR_WARPS && top > -GAR_INFINITY; w++) {
            float factor = exp2_fast((all_tops[(w * 16 + row) * 2] - top) * scale);
            sum += factor * all_tops[(w * 16 + row) * 2 + 1], value += factor * all_values[(w * 16 + row) * DIM + entry];
        }
        size_t to = flat_row(first_row + row, queries, heads, group, kv_head) * gridDim.x + blockIdx.x;
        values[to * GAR_HEAD_DIM + entry] = value;
        if (entry == 0) tops[to * 2] = top, tops[to * 2 + 1] = sum;
    }
}

// Grid: rows [B, L, H]. Each warp adds up every GAR_WARPS-th share.
extern "C" __global__ void __launch_bounds__(GAR_WARPS * WARP, 2)
    cached_combine(const float* values, const float* tops, bf16* out, int shares, float scale) {
    await_previous();
    constexpr int COLUMNS = (GAR_HEAD_DIM + WARP - 1) / WARP;
    __shared__ float all[GAR_WARPS][GAR_HEAD_DIM + 1];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    size_t first = (size_t)blockIdx.x * shares;
    float top = -GAR_INFINITY, sum = 0.0f, value[COLUMNS] = {};
    for (int share = lane; share < shares; share += WARP) top = fmaxf(top, tops[(first + share) * 2]);
    top = warp_max(top);
#pragma unroll 4
    for (int share = warp; share < shares; share += GAR_WARPS) {
        float factor = exp2_fast((tops[(first + share) * 2] - top) * scale);
        sum += factor * tops[(first + share) * 2 + 1];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            int entry = c * WARP + lane;
            if (entry < GAR_HEAD_DIM) value[c] += factor * values[(first + share) * GAR_HEAD_DIM + entry];
        }
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        if (c * WARP + lane < GAR_HEAD_DIM) all[warp][c * WARP + lane] = value[c];
    if (lane == 0) all[warp][GAR_HEAD_DIM] = sum;
    __syncthreads(); // All warps' sums are there.
    for (int entry = threadIdx.x; entry < GAR_HEAD_DIM; entry += GAR_WARPS * WARP) {
        float value = 0.0f, sum = 0.0f;
        for (int w = 0; w < GAR_WARPS; w++) value += all[w][entry], sum += all[w][GAR_HEAD_DIM];
        out[(size_t)blockIdx.x * GAR_HEAD_DIM + entry] = from_float<bf16>(value / sum);
    }
}
#endif
#endif
