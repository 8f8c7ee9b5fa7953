// Attention on Hopper: products by warpgroups, tiles brought by one of their own (after FlashAttention-3, Shah et al., 2024).
//
// A program is one specialisation: GAR_HEAD_DIM entries of a head, a multiple of 8 up to 128. A block is GROUPS warpgroups that
// compute, 64 queries each, and one that loads; it lives as long as there is work. Keys and values have two places each, which
// barriers hand to and fro; so the computing groups wait for tiles and never for each other, and one group's exponentials run
// beside another's products. A group also starts the scores of a tile before it adds the values of the last.
#pragma once
#include "hopper_rows.cuh"

// Queries of one head, and the keys they see.
template <typename Cache> struct Item {
    // The first query and where its result goes; `queries` rows from there on, of which a block takes what it can.
    const bf16* q;
    bf16* out;
    int queries;
    // How many keys the first query sees.
    int seen;
    // keys(i) and values(i) point to row i, the first of a tile, rows `stride` apart.
    Cache cache;
    // Keys that the first `rows` queries see.
    template <bool CAUSAL> __device__ inline int total(int rows) const { return CAUSAL ? seen + min(queries, rows) - 1 : seen; }
};

// One place for queries, two for keys, two for values, and who may use them.
template <int ROWS, int KEYS> struct Places {
    static constexpr int ROWS_BYTES = ROWS * DIM * 2, KEYS_BYTES = KEYS * DIM * 2;
    unsigned char* memory;

    __device__ inline unsigned char* queries() const { return memory; }
    __device__ inline unsigned char* keys(unsigned tile) const { return memory + ROWS_BYTES + tile % 2 * KEYS_BYTES; }
    __device__ inline unsigned char* values(unsigned tile) const { return memory + ROWS_BYTES + (2 + tile % 2) * KEYS_BYTES; }
    __device__ inline Mbarrier* barriers() const { return (Mbarrier*)(memory + ROWS_BYTES + 4 * KEYS_BYTES); }
    // Keys of a tile have come, and with the first those queries; values have come.
    __device__ inline Mbarrier* keys_here(unsigned tile) const { return barriers() + tile % 2; }
    __device__ inline Mbarrier* values_here(unsigned tile) const { return barriers() + 2 + tile % 2; }
    // Nobody reads them any more.
    __device__ inline Mbarrier* keys_free(unsigned tile) const { return barriers() + 4 + tile % 2; }
    __device__ inline Mbarrier* values_free(unsigned tile) const { return barriers() + 6 + tile % 2; }
    __device__ inline Mbarrier* queries_free() const { return barriers() + 8; }

    __device__ inline void init(int computing_warps) const {
        for (int i = 0; i < 9; i++) mbarrier_init(barriers() + i, i < 4 ? GROUP / WARP : computing_warps);
    }
};

// Items in the order in which this block takes them: calls `each` with the number of every one.
template <bool CAUSAL, typename Each> __device__ inline void for_items(int count, Each each) {
#pragma unroll 1
    for (int first = 0, round = 0; first < count; first += gridDim.x, round++) {
        // Causal items stand from long to short: to and fro, so that nobody always takes the longer one.
        int item = first + (CAUSAL && round % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
        if (item < count) each(item);
    }
}

// --- The warpgroup that loads ---

// Starts to copy ROWS rows; rows from `valid` on become zeros.
template <int ROWS> __device__ inline void load_tile(unsigned char* to, const bf16* from, int stride, int valid, int thread) {
    // Eights of rows at a time, so that a thread's chunk stays where it is in them; the threads left over have nothing to do.
    constexpr int STEP = GROUP / CHUNKS / 8 * 8;
    int row = thread / CHUNKS, chunk = thread % CHUNKS;
    if (row >= STEP) return;
    from += (size_t)row * stride + chunk * 8, to += Tile::chunk(ROWS, row, chunk);
    int rows = chunk * 8 < GAR_HEAD_DIM ? min(valid, ROWS) : 0;
#pragma unroll 4
    for (int first = 0; first < ROWS; first += STEP) {
        if (ROWS % STEP && first + row >= ROWS) break;
        // Where 0 bytes are read, the address need not exist.
        cp_async_16(to + first * Tile::PITCH, from, first + row < rows ? 16 : 0);
        from += (size_t)STEP * stride;
    }
}

template <int ROWS, int KEYS> struct Loader {
    Places<ROWS, KEYS> places;
    int thread;
    // Whose copies were started last.
    Mbarrier* last;

    // Says that what was started before the last `UNDER_WAY` groups of copies has come.
    template <int UNDER_WAY> __device__ inline void announce() {
        cp_async_wait<UNDER_WAY>();
        fence_proxy_async();
        __syncwarp(); // All lanes' copies have landed.
        if (last && thread % WARP == 0) mbarrier_arrive(last);
    }
    // Ends a group of copies.
    __device__ inline void close(Mbarrier* here) {
        cp_async_commit();
        announce<1>();
        last = here;
    }
    template <typename Cache> __device__ inline void keys(const Cache& cache, int first, int total, unsigned tile) {
        mbarrier_wait(places.keys_free(tile), tile / 2 % 2 ^ 1);
        load_tile<KEYS>(places.keys(tile), cache.keys(first), cache.stride, total - first, thread);
        close(places.keys_here(tile));
    }
    template <typename Cache> __device__ inline void values(const Cache& cache, int first, int total, unsigned tile) {
        mbarrier_wait(places.values_free(tile), tile / 2 % 2 ^ 1);
        load_tile<KEYS>(places.values(tile), cache.values(first), cache.stride, total - first, thread);
        close(places.values_here(tile));
    }
};

// --- The warpgroups that compute ---

// One warpgroup at one item.
template <int ROWS, int KEYS, bool CAUSAL, bool TURNS> struct Computer {
    // The last tile is taken in this part of its width where no more of it is seen: the one key of 1025, half a tile on a diagonal.
    static constexpr int NARROW = CAUSAL && KEYS >= 64 ? KEYS / 32 * 16 : 16;
    Places<ROWS, KEYS> places;
    Descriptor q;
    float scale;
    // The group, the thread's lane, and its first row of the group's.
    int group, lane, row;
    // Tiles so far.
    unsigned tile = 0;
    // Keys that the group's first row sees, and its last.
    int seen, end;
    State state;

    __device__ __forceinline__ void arrive(Mbarrier* barrier) const {
        if (lane == 0) mbarrier_arrive(barrier);
    }
    // Groups start products one after another, a tile each, so that one's exponentials run beside the others' products.
    __device__ __forceinline__ void await_turn() const {
        if (TURNS) barrier_sync(1 + group, 2 * GROUP);
    }
    __device__ __forceinline__ void end_turn() const {
        if (TURNS) barrier_arrive(1 + (group + 1) % (ROWS / 64), 2 * GROUP);
    }
    __device__ __forceinline__ Descriptor keys() const { return descriptor<DIM>(places.keys(tile), KEYS); }
    __device__ __forceinline__ Descriptor values(unsigned of) const { return descriptor<DIM>(places.values(of), KEYS); }

    // From scores of the tile from key `first` on to weights.
    template <int N> __device__ __forceinline__ bool weigh_tile(float (&score)[N / 2], float (&shrink)[2], int first) {
        bool more = first + N < end;
        arrive(places.keys_free(tile));
        if (!more) arrive(places.queries_free());
        // Every row of the group sees the whole tile in all but the last few tiles.
        if (first + N > seen) hide_keys<N, CAUSAL>(score, lane, seen - first + (CAUSAL ? row : 0));
        bool moves = weigh<N>(state, score, shrink, scale);
        settle(score);
        // A loop that the compiler moves no wgmma_wait across: the last values are added meanwhile.
        if (more) mbarrier_wait(places.keys_here(tile + 1), (tile + 1) / 2 % 2);
        return moves;
    }

    // The next tile from its keys to its weights, and the values of the tile before, whose weights are given.
    template <int N>
    __device__ __forceinline__ void next_tile(float (&score)[N / 2], const unsigned (&weight)[KEYS / 16][4], int first) {
        float shrink[2];
        tile++;
        await_turn();
        start_scores<ROWS, KEYS, N>(score, q, keys());
        mbarrier_wait(places.values_here(tile - 1), (tile - 1) / 2 % 2);
        start_values<KEYS>(state, weight, values(tile - 1));
        end_turn();
        wgmma_wait<1>(score);
        bool moves = weigh_tile<N>(score, shrink, first);
        wgmma_wait<0>(state.values);
        arrive(places.values_free(tile - 1));
        if (moves) {
#pragma unroll
            for (int n = 0; n < DIM / 2; n++) state.values[n] *= shrink[n / 2 % 2];
        }
    }

    template <int N> __device__ __forceinline__ void last_values(const unsigned (&weight)[N / 16][4]) {
        mbarrier_wait(places.values_here(tile), tile / 2 % 2);
        start_values<N>(state, weight, values(tile));
        wgmma_wait<0>(state.values);
        arrive(places.values_free(tile++));
    }

    __device__ __forceinline__ void attend() {
        float score[KEYS / 2], shrink[2];
        unsigned weight[KEYS / 16][4];
        state.top[0] = state.top[1] = -GAR_INFINITY, state.sum[0] = state.sum[1] = 0.0f;
#pragma unroll
        for (int n = 0; n < DIM / 2; n++) state.values[n] = 0.0f;
        mbarrier_wait(places.keys_here(tile), tile / 2 % 2);
        await_turn();
        start_scores<ROWS, KEYS, KEYS>(score, q, keys());
        end_turn();
        wgmma_wait<0>(score);
        weigh_tile<KEYS>(score, shrink, 0);
        pack_weights<KEYS>(weight, score);
        int first = KEYS;
#pragma unroll 1
        for (; first < end - NARROW; first += KEYS) {
            next_tile<KEYS>(score, weight, first);
            pack_weights<KEYS>(weight, score);
        }
        if (first < end) {
            float few[NARROW / 2];
            unsigned last[NARROW / 16][4];
            next_tile<NARROW>(few, weight, first);
            pack_weights<NARROW>(last, few);
            last_values<NARROW>(last);
        } else {
            last_values<KEYS>(weight);
        }
    }

    // Hands on the last `left` of an item's `all` tiles, which only other groups see; one lane speaks for the warp.
    __device__ inline void pass(int left, int all) {
        for (; left > 0; left--, tile++) {
            await_turn();
            end_turn();
            if (lane > 0) continue;
            mbarrier_wait(places.keys_here(tile), tile / 2 % 2);
            mbarrier_arrive(places.keys_free(tile));
            if (left == all) mbarrier_arrive(places.queries_free());
            mbarrier_wait(places.values_here(tile), tile / 2 % 2);
            mbarrier_arrive(places.values_free(tile));
        }
        __syncwarp();
    }
};

// One block. `items(i)` gives item i of `count`; rows of q and out are `stride` apart; query i of an item sees `seen + i` keys if
// CAUSAL, else `seen`. `scale` carries log2 e.
template <int GROUPS, int KEYS, bool CAUSAL, bool TURNS, typename Items>
__device__ inline void hopper(unsigned char* memory, int count, Items items, int stride, float scale) {
    constexpr int ROWS = GROUPS * 64;
    Places<ROWS, KEYS> places = {memory};
    if (threadIdx.x == 0) places.init(GROUPS * GROUP / WARP);
    __syncthreads(); // The barriers are there.
    // From one lane, so that the compiler knows that a warp does one thing.
    int group = __shfl_sync(ALL_LANES, threadIdx.x / GROUP, 0), thread = threadIdx.x % GROUP, lane = threadIdx.x % WARP;
    if (group == GROUPS) {
        keep_registers<GROUPS == 2 ? 40 : 32>();
        Loader<ROWS, KEYS> loader = {places, thread, nullptr};
        unsigned tile = 0, turn = 0;
        for_items<CAUSAL>(count, [&](int i) {
            auto item = items(i);
            int total = item.template total<CAUSAL>(ROWS);
            mbarrier_wait(places.queries_free(), turn++ % 2 ^ 1);
            load_tile<ROWS>(places.queries(), item.q, stride, item.queries, thread);
            loader.keys(item.cache, 0, total, tile);
            // Keys are a tile ahead of values, as they are used.
#pragma unroll 1
            for (int first = 0; first < total; first += KEYS, tile++) {
                if (first + KEYS < total) loader.keys(item.cache, first + KEYS, total, tile + 1);
                loader.values(item.cache, first, total, tile);
            }
        });
        loader.template announce<0>();
        return;
    }
    take_registers<GROUPS == 2 ? 232 : 160>();
    Computer<ROWS, KEYS, CAUSAL, TURNS> computer;
    computer.places = places, computer.scale = scale;
    computer.group = group, computer.lane = lane, computer.row = thread / WARP * 16 + lane / 4;
    computer.q = descriptor<DIM>(places.queries() + group * 64 * Tile::PITCH, ROWS);
    if (group == GROUPS - 1) computer.end_turn();
    for_items<CAUSAL>(count, [&](int i) {
        auto item = items(i);
        int own = group * 64, tiles = (item.template total<CAUSAL>(ROWS) + KEYS - 1) / KEYS, mine = 0;
        if (own < item.queries) {
            computer.seen = item.seen + (CAUSAL ? own : 0), computer.end = item.template total<CAUSAL>(own + 64);
            mine = (computer.end + KEYS - 1) / KEYS;
            computer.attend();
            int first = own + thread / WARP * 16;
            store_rows(computer.state, item.out + (size_t)first * stride, stride, item.queries - first, lane);
        }
        computer.pass(tiles - mine, tiles);
    });
}
