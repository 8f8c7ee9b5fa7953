// Rows gathered and scattered.
//
// v1 gather_plain: a thread converts one entry, from any stored type. Also the way of tables in another type than the result.
// v1 scatter_plain: a thread moves one entry. The oracles.
// v2 gather_16, scatter_16: a thread moves 16 bytes; rows are whole 16-byte vectors. Bound by memory.
// On an H200, 17 408 rows of 1024 bf16 in falling order: 34.2 µs, 2.1 TB/s (35.7 with divisions of 64 bits
// throughout); PyTorch 20.9.
#include "values.cuh"

// y [count, width] = table [.., width] at index.
extern "C" __global__ void gather_plain(const void* table, int type, const unsigned* index, GAR_T* y, int width,
                                        unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    y[item] = from_float<GAR_T>(stored(table, type, (size_t)index[item / width] * width + item % width));
}

// y at moves[2i] = rows at moves[2i + 1].
extern "C" __global__ void scatter_plain(const GAR_T* rows, const unsigned* moves, GAR_T* y, int width,
                                         unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    const unsigned* move = moves + item / width * 2;
    y[(size_t)move[0] * width + item % width] = rows[(size_t)move[1] * width + item % width];
}

// vectors: 16-byte vectors of a row.
extern "C" __global__ void gather_16(const uint4* table, const unsigned* index, uint4* y, unsigned vectors,
                                     unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    Place place(item, vectors);
    store16(y + item, load16(table + (size_t)index[place.row] * vectors + place.part));
}

extern "C" __global__ void scatter_16(const uint4* rows, const unsigned* moves, uint4* y, unsigned vectors,
                                      unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    Place place(item, vectors);
    const unsigned* move = moves + place.row * 2;
    store16(y + (size_t)move[0] * vectors + place.part, load16(rows + (size_t)move[1] * vectors + place.part));
}
