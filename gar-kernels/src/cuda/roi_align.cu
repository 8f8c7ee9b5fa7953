// RoI-Align (He et al., Mask R-CNN, 2017) with torchvision's semantics, in f32.
//
// The wrapper turns boxes into sides (start, length of a bin, samples of a bin), in the CPU's order of operations, so that
// both take the same samples.
//
// v1 roi_align_plain: a thread makes one entry of the result, with four scalar reads a sample. Any number of channels, both
//    layouts. The oracle.
// v2 roi_align: a thread makes 8 channels of a bin; neighbouring threads take neighbouring channels, so that each of the
//    four taps of a sample is read in 16-byte accesses (two in f32) that a warp's lanes place side by side: 512 bytes.
//    4 · samples² · channels elements are read for a bin, most of them again and again from L2: 64×64×2048 in bf16 is 16 MiB.
// v2 roi_align_planar, channels first: neighbouring threads take neighbouring bins, each 8 planes, so that places and
//    weights are computed once for 8 entries and not, as in torchvision's kernel, for each.
// On an H200, 16×16 bins of 2×2 samples from 64×64×2048, 1 and 16 boxes: 5.5 and 38.7 µs in bf16, 6.8 and 51.9 in f32; torchvision
// 24 and 293 in half precision, 18 and 203 in f32, channels first.
#include "values.cuh"

// One axis of a box, in cells.
struct Side {
    float start, bin;
    int samples;
};
struct Box {
    Side x, y;
};

// The cells on both sides of a sample, and the second one's share.
struct Corner {
    int low, high;
    float part;
};

// Sample `s` of bin `i`; false beyond one cell outside the map.
__device__ inline bool corner(const Side& side, int i, int s, int extent, Corner& c) {
    float first = add_rn(side.start, mul_rn((float)i, side.bin));
    float at = add_rn(first, div_rn(mul_rn((float)s + 0.5f, side.bin), (float)side.samples));
    if (at < -1.0f || at > (float)extent) return false;
    at = fmaxf(at, 0.0f);
    c.low = (int)at;
    c.high = c.low + 1;
    c.part = at - (float)c.low;
    if (c.low >= extent - 1) c = {extent - 1, extent - 1, 0.0f};
    return true;
}

// Averages the samples of a bin: read(cell, v) gives N channels of a cell.
template <int N, typename Read>
__device__ inline void average(const Box& box, int row, int column, int height, int width, float (&sum)[N], Read read) {
    for (int j = 0; j < N; ++j) sum[j] = 0.0f;
    for (int sy = 0; sy < box.y.samples; ++sy) {
        Corner y;
        if (!corner(box.y, row, sy, height, y)) continue;
        for (int sx = 0; sx < box.x.samples; ++sx) {
            Corner x;
            if (!corner(box.x, column, sx, width, x)) continue;
            float a[N], b[N], c[N], d[N];
            read((size_t)y.low * width + x.low, a);
            read((size_t)y.low * width + x.high, b);
            read((size_t)y.high * width + x.low, c);
            read((size_t)y.high * width + x.high, d);
            float top = 1.0f - y.part, left = 1.0f - x.part;
            float wa = top * left, wb = top * x.part, wc = y.part * left, wd = y.part * x.part;
            for (int j = 0; j < N; ++j) sum[j] += wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j];
        }
    }
    float count = fmaxf((float)box.y.samples * (float)box.x.samples, 1.0f);
    for (int j = 0; j < N; ++j) sum[j] /= count;
}

// map [height, width, channels] → out [boxes, rows, columns, channels]; planar: [channels, …] → [boxes, channels, …].
extern "C" __global__ void roi_align_plain(const GAR_T* map, const Box* boxes, GAR_T* out, int height, int width, int channels,
                                           int rows, int columns, int planar, unsigned long long items) {
    await_previous();
    unsigned long long item = flat_index();
    if (item >= items) return;
    unsigned long long rest = item;
    int channel, row, column;
    if (!planar) channel = rest % channels, rest /= channels;
    column = rest % columns, rest /= columns;
    row = rest % rows, rest /= rows;
    if (planar) channel = rest % channels, rest /= channels;
    size_t cell_stride = planar ? 1 : channels, channel_stride = planar ? (size_t)height * width : 1;
    float sum[1];
    average(boxes[rest], row, column, height, width, sum,
            [&](size_t cell, float (&v)[1]) { v[0] = to_float(map[cell * cell_stride + channel * channel_stride]); });
    out[item] = from_float<GAR_T>(sum[0]);
}

// Blocks: (box, row, part of the row's columns · channels / 8). channels is a multiple of 8.
extern "C" __global__ void roi_align(const GAR_T* map, const Box* boxes, GAR_T* out, int height, int width, int channels,
                                     int rows, int columns, int parts) {
    await_previous();
    int vectors = channels / 8;
    unsigned line = blockIdx.x / parts, place = blockIdx.x % parts * blockDim.x + threadIdx.x;
    unsigned column = place / vectors, channel = place % vectors * 8;
    if (column >= columns) return;
    float sum[8];
    average(boxes[line / rows], line % rows, column, height, width, sum,
            [&](size_t cell, float (&v)[8]) { load8(map + cell * channels + channel, v); });
    store8(out + ((size_t)line * columns + column) * channels + channel, sum);
}

// Blocks: (box, 8 channels, part of the rows · columns).
extern "C" __global__ void roi_align_planar(const GAR_T* map, const Box* boxes, GAR_T* out, int height, int width,
                                            int channels, int rows, int columns, int parts) {
    await_previous();
    int groups = (channels + 7) / 8, bins = rows * columns;
    unsigned outer = blockIdx.x / parts, bin = blockIdx.x % parts * blockDim.x + threadIdx.x;
    unsigned box = outer / groups, channel = outer % groups * 8;
    if (bin >= bins) return;
    size_t plane = (size_t)height * width;
    const GAR_T* first = map + channel * plane;
    float sum[8];
    average(boxes[box], bin / columns, bin % columns, height, width, sum, [&](size_t cell, float (&v)[8]) {
        for (int j = 0; j < 8; ++j) v[j] = channel + j < channels ? to_float(first[j * plane + cell]) : 0.0f;
    });
    for (int j = 0; j < 8; ++j)
        if (channel + j < channels) out[((size_t)box * channels + channel + j) * bins + bin] = from_float<GAR_T>(sum[j]);
}
