// Patch embedding around its matrix product: pictures cut into rows before it, class token and positions put in after it.
//
// v2 cut_patches: a block takes one channel of a row of patches at a time. Neighbouring threads write neighbouring entries; what
//    they read lies in runs of a patch's side, and the lines of a row of patches (25 KB for 14 lines of 448 f32) stay in L1 until
//    they have been read whole. Indices within a block are 32 bits wide. 17 pictures of 3×448×448 are 10 MB in bytes,
//    3.4 MB as one channel, and their rows 20 MB in bf16: each is moved once. The levels of a band, 1 KB, stay in L1. (v1 divided
//    64-bit numbers for every entry.)
// v1 join_tokens: a thread moves one entry; neighbouring threads read and write neighbouring entries. Tokens [17, 1025, 1024] are
//    36 MB in bf16.
// On an H200, 17 pictures of 3×448×448: cut_patches about 45 µs; join_tokens about 105 with divisions of
// 64 bits, which are made now where an index needs them alone (`Place`).
#include "values.cuh"

// pixels [pictures, planes, side, side] → rows [pictures · grid², channels · patch²]; channel c sees plane c % planes. Where there
// are levels [planes, 256], pixels are bytes that stand for them. A band is one channel of one row of patches; patch · side fits
// into an int.
extern "C" __global__ void cut_patches(const void* pixels, int type, const float* levels, GAR_T* rows, int channels, int planes,
                                       int side, int patch, unsigned long long bands) {
    await_previous();
    unsigned grid = side / patch, square = patch * patch;
    size_t pitch = (size_t)channels * square;
    for (unsigned long long band = blockIdx.x; band < bands; band += gridDim.x) {
        int channel = band % channels, plane = channel % planes;
        unsigned long long line = band / channels;
        size_t picture = line / grid, first = line % grid * patch;
        size_t from = ((picture * planes + plane) * side + first) * side;
        GAR_T* to = rows + line * grid * pitch + (size_t)channel * square;
        for (unsigned i = threadIdx.x; i < grid * square; i += blockDim.x) {
            unsigned column = i / square, tap = i % square, dy = tap / patch, dx = tap % patch;
            size_t at = from + (size_t)dy * side + column * patch + dx;
            float value = levels ? levels[plane * 256 + ((const unsigned char*)pixels)[at]] : pixel(pixels, type, at);
            to[column * pitch + tap] = from_float<GAR_T>(value);
        }
    }
}

// patches [pictures, count, width] → tokens [pictures, front + count, width] with the class token in front (front is 0 or 1) and
// the positions [front + count, width] added, where there are any.
extern "C" __global__ void join_tokens(const GAR_T* patches, const void* class_token, int class_type, const void* positions,
                                       int positions_type, GAR_T* tokens, int front, int count, int width,
                                       unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    int all = front + count;
    Place at(item, width), line(at.row, all);
    int entry = at.part, token = line.part;
    float value = token < front ? stored(class_token, class_type, entry)
                                : to_float(patches[(line.row * count + token - front) * width + entry]);
    if (positions) value += stored(positions, positions_type, (size_t)token * width + entry);
    tokens[item] = from_float<GAR_T>(value);
}
