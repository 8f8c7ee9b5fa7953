// Attention of q [B, L, H, d] over k, v [B, S, G, d], full or causal.
//
// v1 attention_plain: a thread takes one query of one head and walks the keys with an online softmax in double. Any head size up
//    to 128, f32 and bf16. The oracle, and what takes heads that are no multiple of 8.
// v2 attention_flash: FlashAttention-2 on tensor cores (flash.cuh), bf16. 4 · B · H · L · S · d operations (half of it if causal);
//    a block reads q once and the keys and values that it sees, from L2 for all but the first of the blocks that share them.
//    A tower's tile of 1025 tokens, 16 heads of 64: 4.3 GFLOP.
// On an H200, TFLOP/s at 1024 and 4096 tokens, B · L = 16 384: heads of 64 309 and 328, causal 236 and 286; heads of 96 315 and 337;
// heads of 128 301 and 317, causal 237 and 282. FlashAttention-2 in PyTorch on the same card: 282 and 301 (64), 324 and 349 (96),
// 250 and 310 (128 causal). What came next: hopper.cu.

#ifdef GAR_T
#include "plain.cuh"

// Blocks of one warp. offset < 0: not causal.
extern "C" __global__ void attention_plain(const GAR_T* q, const GAR_T* k, const GAR_T* v, GAR_T* out, int batch, int queries,
                                           int keys, int heads, int group, int offset, float scale) {
    await_previous();
    __shared__ Values values;
    long long row = (long long)blockIdx.x * WARP + threadIdx.x;
    if (row >= (long long)batch * queries * heads) return;
    int head = row % heads, query = row / heads % queries, kv_heads = heads / group;
    long long first = (row / heads / queries * keys * kv_heads + head / group) * GAR_HEAD_DIM;
    long long stride = (long long)kv_heads * GAR_HEAD_DIM;
    attend_row(
        q + row * GAR_HEAD_DIM, out + row * GAR_HEAD_DIM, offset < 0 ? keys : offset + query + 1, scale, values,
        [&](int key) { return k + first + key * stride; }, [&](int key) { return v + first + key * stride; });
}
#else
#include "dense.cuh"
#include "flash.cuh"

// Grid: tiles of queries, heads, sequences. `seen` is how many keys the first query sees.
extern "C" __global__ void __launch_bounds__(GAR_WARPS * WARP, 2)
    attention_flash(const bf16* q, const bf16* k, const bf16* v, bf16* out, int queries, int keys, int heads, int group, int seen,
                    float scale) {
    await_previous(false);
    GAR_DYNAMIC_SHARED(memory);
    constexpr int ROWS = 16 * GAR_M * GAR_WARPS;
    // Blocks start in order: those with most keys first, so that short ones fill the end.
    int tile = GAR_CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
    int first = tile * ROWS, head = blockIdx.y, stride = heads * GAR_HEAD_DIM, kv_stride = stride / group;
    size_t row = (size_t)blockIdx.z * queries + first, at = row * stride + head * GAR_HEAD_DIM;
    size_t kv_at = (size_t)blockIdx.z * keys * kv_stride + head / group * GAR_HEAD_DIM;
    Dense cache = {k + kv_at, v + kv_at, kv_stride};
    flash<GAR_M, GAR_WARPS, GAR_KEYS, GAR_CAUSAL>(memory, q + at, out + at, stride, queries - first, cache,
                                                  GAR_CAUSAL ? seen + first : seen, scale);
}
#endif
