// Attention of many queries on Hopper (compute capability 9.0), bf16: what attention_flash and cached_flash compute.
//
// v1, v2: attention.cu, cached_attention.cu.
// v3 attention_hopper, cached_hopper: wgmma, tiles brought by a warpgroup of their own, blocks that stay (hopper.cuh). Bound by
//    tensor cores and, with heads of 64, as much by the exponentials, of which a multiprocessor makes 16 a clock: 128 queries on
//    128 keys take 1024 clocks of either, and about as many to issue what the softmax needs.
// On an H200, TFLOP/s at 1024, 1025 and 4096 tokens, B · L = 16 384: heads of 64 373, 356, 451, causal 300, 288, 421; heads of 96 395,
// 406, 490; heads of 128 532, 470, 592, causal 412, 368, 553: 1.2 to 2.3 times FlashAttention-2 in PyTorch, 0.8 to 1.2 times cuDNN.
// `time_tiles` has other tiles beside these.
#include "hopper.cuh"

#ifdef GAR_PAGE
#include "pages.cuh"

// Queries behind what a paged cache holds.
extern "C" __global__ void __launch_bounds__((GAR_GROUPS + 1) * GROUP, 1)
    cached_hopper(const Address* table, int table_stride, const bf16* q, bf16* out, int batch, int queries, int heads, int group,
                  int layer, float scale) {
    await_previous();
    GAR_TILES(memory);
    constexpr int ROWS = 64 * GAR_GROUPS;
    int tiles = (queries + ROWS - 1) / ROWS, stride = heads * GAR_HEAD_DIM;
    auto item = [&](int i) {
        int one = i % (heads * batch), head = one % heads, first = (tiles - 1 - i / (heads * batch)) * ROWS;
        const Address* sequence = table + (size_t)(one / heads) * table_stride;
        size_t at = ((size_t)(one / heads) * queries + first) * stride + head * GAR_HEAD_DIM;
        Tiles cache = {Pages<const bf16>(sequence, layer, heads / group, head / group)};
        return Item<Tiles>{q + at, out + at, queries - first, (int)sequence[0] + first + 1, cache};
    };
    hopper<GAR_GROUPS, GAR_KEYS, true, GAR_TURNS>(memory, tiles * heads * batch, item, stride, scale);
}
#else
#include "dense.cuh"

// As many blocks as run at once. `seen` is how many keys the first query of a sequence sees.
extern "C" __global__ void __launch_bounds__((GAR_GROUPS + 1) * GROUP, 1)
    attention_hopper(const bf16* q, const bf16* k, const bf16* v, bf16* out, int queries, int keys, int heads, int group, int seen,
                     float scale, int batch) {
    await_previous();
    GAR_TILES(memory);
    constexpr int ROWS = 64 * GAR_GROUPS;
    int tiles = (queries + ROWS - 1) / ROWS, stride = heads * GAR_HEAD_DIM, kv_stride = stride / group;
    auto item = [&](int i) {
        // Full: tiles of one head one after another, so that they share keys in L2. Causal: the longest tiles of all heads first.
        int one = GAR_CAUSAL ? i % (heads * batch) : i / tiles, head = one % heads, sequence = one / heads;
        int first = (GAR_CAUSAL ? tiles - 1 - i / (heads * batch) : i % tiles) * ROWS;
        size_t at = ((size_t)sequence * queries + first) * stride + head * GAR_HEAD_DIM;
        size_t kv_at = (size_t)sequence * keys * kv_stride + head / group * GAR_HEAD_DIM;
        Dense cache = {k + kv_at, v + kv_at, kv_stride};
        return Item<Dense>{q + at, out + at, queries - first, GAR_CAUSAL ? seen + first : seen, cache};
    };
    hopper<GAR_GROUPS, GAR_KEYS, GAR_CAUSAL, GAR_TURNS>(memory, tiles * heads * batch, item, stride, scale);
}
#endif
