// What a warp does together, carried out by its last lane to arrive, and asynchronous copies.
#pragma once
#include <vector>

namespace emulator {

// --- Memory ---

// Refuses an access that is not aligned to its size, touches the zone around a buffer, or comes before await_previous. Addresses that belong to no
// buffer are shared memory or the stack.
static void check_access(const void* p, unsigned bytes, const char* what) {
    uint64_t at = (uint64_t)p;
    if (!fibers[current].awaited && !fibers[current].early) fail("%s: before await_previous", what);
    if (at % bytes) fail("%s: address %#llx is not aligned to %u bytes", what, (unsigned long long)at, bytes);
    uint64_t low = 0, high = launch->buffer_count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (launch->buffers[2 * middle] <= at) low = middle + 1;
        else high = middle;
    }
    // `low` buffers start at or below the address.
    bool below = low < launch->buffer_count && at + bytes + launch->guard_bytes > launch->buffers[2 * low];
    bool above = low > 0 && at + bytes > launch->buffers[2 * low - 1]
        && at < launch->buffers[2 * low - 1] + launch->guard_bytes;
    if (!above && !below) return;
    uint64_t of = above ? low - 1 : low;
    fail("%s: %lld bytes from the start of a buffer of %llu", what, (long long)(at - launch->buffers[2 * of]),
         (unsigned long long)(launch->buffers[2 * of + 1] - launch->buffers[2 * of]));
}

static bool is_shared(const void* p, size_t bytes) {
    const unsigned char* at = (const unsigned char*)p;
    return (at >= dynamic_shared && at + bytes <= dynamic_shared + launch->shared_bytes)
        || (__start_gar_shared && at >= __start_gar_shared && at + bytes <= __stop_gar_shared);
}

// --- Asynchronous copies: eager ones land at once, lazy ones when they are waited for ---

struct Copy {
    void* to;
    const void* from;
    int bytes;
    unsigned group;
};
struct Copies {
    std::vector<Copy> pending;
    // Of the group that is open.
    unsigned group;
};
static Copies copies[MOST_THREADS];

// Of each 16 bytes of dynamic shared memory, whose copy came there last, and how many fences that thread had made.
struct Writer {
    unsigned thread, fences;
};
static std::vector<Writer> writers;
static unsigned fences[MOST_THREADS];

static void fence_proxy_async() { fences[current]++; }

// Refuses what a copy has written and its thread has made no fence for since.
static void check_fenced(size_t byte) {
    if (byte / 16 >= writers.size()) return;
    Writer writer = writers[byte / 16];
    if (writer.thread < MOST_THREADS && fences[writer.thread] == writer.fences)
        fail("wgmma reads what thread %u copied without a fence_proxy_async", writer.thread);
}

static void reset_copies(unsigned fiber) {
    copies[fiber].pending.clear();
    copies[fiber].group = 0;
    writers.clear();
}

static void carry_out(const Copy& copy) {
    memcpy(copy.to, copy.from, copy.bytes);
    memset((char*)copy.to + copy.bytes, 0, 16 - copy.bytes);
    size_t unit = ((unsigned char*)copy.to - dynamic_shared) / 16;
    if ((unsigned char*)copy.to < dynamic_shared || unit >= launch->shared_bytes / 16) return;
    if (writers.empty()) writers.assign(launch->shared_bytes / 16, {MOST_THREADS, 0});
    writers[unit] = {current, fences[current]};
}

static void cp_async_16(void* shared, const void* global, int bytes) {
    if (bytes < 0 || bytes > 16) fail("cp_async_16: %d bytes", bytes);
    if ((uint64_t)shared % 16 || !is_shared(shared, 16)) fail("cp_async_16: the target is not 16 aligned bytes of shared memory");
    if (bytes) check_access(global, 16, "cp_async_16");
    Copy copy = {shared, global, bytes, copies[current].group};
    if (launch->lazy) copies[current].pending.push_back(copy);
    else carry_out(copy);
}

static void cp_async_commit() { copies[current].group++; }

static void cp_async_wait(unsigned most) {
    Copies& mine = copies[current];
    size_t done = 0;
    while (done < mine.pending.size() && mine.pending[done].group + most < mine.group) carry_out(mine.pending[done++]);
    mine.pending.erase(mine.pending.begin(), mine.pending.begin() + done);
}

// --- Collectives ---

// What each lane brings; null for lanes that take no part.
typedef void* const* Lanes;

// Waits until all lanes of `mask` are here with the same `what`; the last one performs.
static void collective(const char* what, unsigned mask, void* operands, void (*perform)(Lanes)) {
    unsigned w = current / LANES, lane = current % LANES, first_thread = w * LANES;
    Warp& warp = warps[w];
    unsigned there = launch->threads - first_thread;
    if (there < LANES) mask &= (1u << there) - 1;
    if (!(mask >> lane & 1)) fail("%s: the mask %#x leaves out lane %u, which calls", what, mask, lane);
    if (mask & ~warp.alive) fail("divergent: %s waits for lane %d, which has returned", what, __builtin_ctz(mask & ~warp.alive));
    if (unsigned others = warp.waiting & mask) {
        Fiber& other = fibers[first_thread + __builtin_ctz(others)];
        if (other.mask != mask || strcmp(other.waits, what))
            fail("divergent: at %s (mask %#x) while lane %d waits at %s (mask %#x)", what, mask, __builtin_ctz(others),
                 other.waits, other.mask);
    }
    fibers[current].waits = what, fibers[current].mask = mask, fibers[current].operands = operands;
    warp.waiting |= 1u << lane;
    if ((warp.waiting & mask) != mask) {
        warp.ready &= ~(1u << lane);
        return yield();
    }
    void* all[LANES] = {};
    for (unsigned i = 0; i < LANES; i++) {
        if (!(mask >> i & 1)) continue;
        all[i] = fibers[first_thread + i].operands;
        fibers[first_thread + i].waits = nullptr;
    }
    warp.waiting &= ~mask, warp.ready |= mask;
    perform(all);
}

static void whole_warp(const char* what) {
    if (current / LANES * LANES + LANES > launch->threads) fail("%s: the warp has fewer than %u lanes", what, LANES);
}

template <typename T> struct Shuffle {
    T mine, theirs;
    int from;
};

template <typename T> static T shuffle(const char* what, unsigned mask, T value, int from) {
    Shuffle<T> operands = {value, value, from};
    collective(what, mask, &operands, [](Lanes lanes) {
        for (unsigned i = 0; i < LANES; i++) {
            if (!lanes[i]) continue;
            Shuffle<T>& to = *(Shuffle<T>*)lanes[i];
            // From a lane that takes no part comes NaN.
            if (lanes[to.from]) to.theirs = ((Shuffle<T>*)lanes[to.from])->mine;
            else memset(&to.theirs, 0xff, sizeof(T));
        }
    });
    return operands.theirs;
}

// The lane that a shuffle within `width` lanes reads, or its own when that lies outside.
static int segment(int from, int width) {
    int lane = current % LANES, first = lane / width * width;
    return from < first || from >= first + width ? lane : from;
}

struct Vote {
    int predicate;
    unsigned result;
};

static unsigned ballot(const char* what, unsigned mask, int predicate) {
    Vote vote = {predicate, 0};
    collective(what, mask, &vote, [](Lanes lanes) {
        unsigned result = 0;
        for (unsigned i = 0; i < LANES; i++)
            if (lanes[i] && ((Vote*)lanes[i])->predicate) result |= 1u << i;
        for (unsigned i = 0; i < LANES; i++)
            if (lanes[i]) ((Vote*)lanes[i])->result = result;
    });
    return vote.result;
}

// --- Matrices ---

static unsigned short round_bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static float half_of(unsigned pair, unsigned i) { return __uint_as_float(pair >> 16 * i << 16); }

struct Product {
    float* d;
    const unsigned *a, *b;
};

static void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b) {
    whole_warp("mma_bf16");
    Product operands = {d, a, b};
    collective("mma_bf16", 0xffffffff, &operands, [](Lanes lanes) {
        float a[16][16], b[16][8];
        for (unsigned lane = 0; lane < LANES; lane++) {
            const Product& p = *(Product*)lanes[lane];
            unsigned g = lane / 4, t = lane % 4;
            for (unsigned i = 0; i < 8; i++) a[g + 8 * (i / 2 % 2)][2 * t + i % 2 + 8 * (i / 4)] = half_of(p.a[i / 2], i % 2);
            for (unsigned i = 0; i < 4; i++) b[2 * t + i % 2 + 8 * (i / 2)][g] = half_of(p.b[i / 2], i % 2);
        }
        float d[16][8] = {};
        for (unsigned row = 0; row < 16; row++)
            for (unsigned k = 0; k < 16; k++)
                for (unsigned column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
        for (unsigned lane = 0; lane < LANES; lane++)
            for (unsigned i = 0; i < 4; i++)
                ((Product*)lanes[lane])->d[i] += d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
    });
}

struct Matrices {
    unsigned* r;
    const void* row;
    bool transposed;
};

static void ldmatrix_x4(unsigned* r, const void* row, bool transposed) {
    const char* what = transposed ? "ldmatrix_x4_trans" : "ldmatrix_x4";
    whole_warp(what);
    if ((uint64_t)row % 16 || !is_shared(row, 16)) fail("%s: the row is not 16 aligned bytes of shared memory", what);
    Matrices operands = {r, row, transposed};
    collective(what, 0xffffffff, &operands, [](Lanes lanes) {
        for (unsigned lane = 0; lane < LANES; lane++)
            for (unsigned j = 0; j < 4; j++) {
                unsigned g = lane / 4, t = lane % 4;
                unsigned short pair[2];
                for (unsigned i = 0; i < 2; i++) {
                    bool transposed = ((Matrices*)lanes[lane])->transposed;
                    unsigned from = transposed ? 2 * t + i : g, column = transposed ? g : 2 * t + i;
                    pair[i] = ((const unsigned short*)((Matrices*)lanes[8 * j + from])->row)[column];
                }
                ((Matrices*)lanes[lane])->r[j] = pair[0] | (unsigned)pair[1] << 16;
            }
    });
}

} // namespace emulator

template <typename T> static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    int lane = threadIdx.x % 32;
    return emulator::shuffle("__shfl_sync", mask, value, lane / width * width + (from & (width - 1)));
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    return emulator::shuffle("__shfl_xor_sync", mask, value, emulator::segment(threadIdx.x % 32 ^ with, width));
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return emulator::shuffle("__shfl_down_sync", mask, value, emulator::segment(threadIdx.x % 32 + by, width));
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return emulator::shuffle("__shfl_up_sync", mask, value, emulator::segment((int)(threadIdx.x % 32) - (int)by, width));
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) { return emulator::ballot("__ballot_sync", mask, predicate); }
static inline int __any_sync(unsigned mask, int predicate) { return emulator::ballot("__any_sync", mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return emulator::ballot("__all_sync", mask, !predicate) == 0; }
static inline void __syncwarp(unsigned mask = 0xffffffff) { emulator::ballot("__syncwarp", mask, 0); }
