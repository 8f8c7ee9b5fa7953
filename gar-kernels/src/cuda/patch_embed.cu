// Patch embedding around its matrix product: pictures cut into rows before it, class token and positions put in after it.
//
// v1 cut_patches, join_tokens: a thread moves one entry; neighbouring threads read and write neighbouring entries. 17 pictures
//    of 3×448×448 are 41 MB in f32, and their tokens [17, 1025, 1024] 36 MB in bf16: each is moved once.
// Not yet measured.
#include "values.cuh"

// pixels [pictures, channels, side, side] → rows [pictures · grid², channels · patch²].
extern "C" __global__ void cut_patches(const void* pixels, int type, GAR_T* rows, int channels, int side, int patch,
                                       unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    int grid = side / patch, width = channels * patch * patch, entry = item % width;
    unsigned long long row = item / width;
    int dx = entry % patch, dy = entry / patch % patch, channel = entry / patch / patch;
    int column = row % grid, line = row / grid % grid;
    size_t picture = row / grid / grid;
    size_t at = ((picture * channels + channel) * side + line * patch + dy) * side + column * patch + dx;
    rows[item] = from_float<GAR_T>(stored(pixels, type, at));
}

// patches [pictures, count, width] → tokens [pictures, front + count, width] with the class token in front (front is 0 or 1) and
// the positions [front + count, width] added, where there are any.
extern "C" __global__ void join_tokens(const GAR_T* patches, const void* class_token, int class_type, const void* positions,
                                       int positions_type, GAR_T* tokens, int front, int count, int width,
                                       unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    int entry = item % width, all = front + count;
    unsigned long long line = item / width;
    int token = line % all;
    float value = token < front ? stored(class_token, class_type, entry)
                                : to_float(patches[(line / all * count + token - front) * width + entry]);
    if (positions) value += stored(positions, positions_type, (size_t)token * width + entry);
    tokens[item] = from_float<GAR_T>(value);
}
