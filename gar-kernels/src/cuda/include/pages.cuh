// A key/value cache in pages of GAR_PAGE positions of all layers: [layer, keys and values, kv head, position, entry]. A sequence's
// row of the table holds its length before this step, then the addresses of its pages.
#pragma once
#include "gar.cuh"

typedef unsigned long long Address;

// One sequence, one layer, one kv head.
template <typename T> struct Pages {
    const Address* pages;
    // Where its keys and its values start in a page, in elements.
    unsigned keys_at, values_at;

    __device__ inline Pages(const Address* sequence, int layer, int kv_heads, int kv_head)
        : pages(sequence + 1), keys_at((layer * 2 * kv_heads + kv_head) * GAR_PAGE * GAR_HEAD_DIM),
          values_at(((layer * 2 + 1) * kv_heads + kv_head) * GAR_PAGE * GAR_HEAD_DIM) {}
    __device__ inline T* row(int position, unsigned at) const {
        return (T*)pages[position / GAR_PAGE] + (at + position % GAR_PAGE * GAR_HEAD_DIM);
    }
};

// The same by tiles of positions, each within one page.
struct Tiles {
    Pages<const bf16> pages;
    static constexpr int stride = GAR_HEAD_DIM;
    __device__ inline const bf16* keys(int first) const { return pages.row(first, pages.keys_at); }
    __device__ inline const bf16* values(int first) const { return pages.row(first, pages.values_at); }
};
