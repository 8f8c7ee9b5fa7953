// What a warpgroup does together on Hopper: products that run by themselves (wgmma), and barriers that count arrivals (mbarrier).
//
// Eager launches carry a product out when its last thread arrives. Lazy ones do so when it is waited for: it reads shared memory
// as late as may be, and until then its sums are NaN and must not be touched.
#pragma once
#include <vector>

namespace emulator {

constexpr unsigned GROUP_LANES = 128;

// Dynamic shared memory from its start, as addresses in descriptors count it.
static unsigned shared_address(const void* p) {
    const unsigned char* at = (const unsigned char*)p;
    if (at < dynamic_shared || at >= dynamic_shared + launch->shared_bytes) fail("a descriptor of what is not dynamic shared memory");
    return at - dynamic_shared;
}

// --- Products ---

struct Wgmma {
    float* d[GROUP_LANES];
    // Where a stands, or the registers that hold it.
    bool in_registers;
    unsigned a[GROUP_LANES][4];
    uint64_t a_at, b_at;
    // Whether it is added to d; with a in registers b stands in rows of k, else in columns.
    bool add;
    unsigned n;
    // Of its first thread.
    unsigned group;
};

// Sums of one thread that products under way add to.
struct Held {
    float* d;
    std::vector<float> values;
};

struct Group {
    unsigned here;
    const void* operands[GROUP_LANES];
    std::vector<Wgmma> under_way;
};
static Group groups[MOST_THREADS / GROUP_LANES];
static std::vector<Held> held[MOST_THREADS];
// Groups of products that a thread has closed.
static unsigned closed[MOST_THREADS];
// Threads that have come to each barrier with a number.
constexpr unsigned NUMBERED = 16;
static unsigned arrived[NUMBERED];

static void reset_products() {
    for (Group& group : groups) group.here = 0, group.under_way.clear();
    for (unsigned t = 0; t < launch->threads; t++) held[t].clear(), closed[t] = 0;
    memset(arrived, 0, sizeof arrived);
}

// Entry (row, k) of what a descriptor names: rows of 16 that are summed over, or (`turned`) 16 rows of k.
static float entry(uint64_t descriptor, unsigned row, unsigned k, bool turned) {
    unsigned layout = descriptor >> 62, chunks = layout == 1 ? 8 : layout == 2 ? 4 : 2;
    unsigned leading = descriptor >> 16 & 0x3fff, stride = descriptor >> 32 & 0x3fff;
    // In 16 bytes.
    unsigned outer = turned ? k : row, inner = turned ? row : k;
    unsigned at = (descriptor & 0x3fff) + outer % 8 * chunks + outer / 8 * stride + inner / 8 % chunks + inner / 8 / chunks * leading;
    // Without panels along k: 16 entries lie in one.
    unsigned byte = at * 16 + inner % 8 * 2;
    byte ^= (byte >> 7 & (chunks - 1)) << 4;
    if (byte + 2 > launch->shared_bytes) fail("wgmma: a descriptor leads %u bytes into dynamic shared memory", byte);
    check_fenced(byte);
    unsigned short bits;
    memcpy(&bits, dynamic_shared + byte, 2);
    return __uint_as_float((unsigned)bits << 16);
}

// Adds a · b to sums that `sums(thread)` finds.
template <typename Sums> static void carry_out(const Wgmma& p, Sums sums) {
    static float a[64][16], b[16][256], d[64][256];
    for (unsigned thread = 0; p.in_registers && thread < GROUP_LANES; thread++)
        for (unsigned i = 0; i < 8; i++)
            a[thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2)][2 * (thread % 4) + i % 2 + 8 * (i / 4)] =
                half_of(p.a[thread][i / 2], i % 2);
    for (unsigned row = 0; !p.in_registers && row < 64; row++)
        for (unsigned k = 0; k < 16; k++) a[row][k] = entry(p.a_at, row, k, false);
    for (unsigned k = 0; k < 16; k++)
        for (unsigned column = 0; column < p.n; column++) b[k][column] = entry(p.b_at, column, k, p.in_registers);
    for (unsigned row = 0; row < 64; row++) {
        memset(d[row], 0, p.n * sizeof(float));
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < p.n; column++) d[row][column] += a[row][k] * b[k][column];
    }
    for (unsigned thread = 0; thread < GROUP_LANES; thread++) {
        float* to = sums(thread);
        for (unsigned i = 0; i < p.n / 2; i++)
            to[i] = (p.add ? to[i] : 0.0f) + d[thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2)][i / 4 * 8 + 2 * (thread % 4) + i % 2];
    }
}

static float* held_values(unsigned thread, float* d) {
    for (Held& h : held[thread])
        if (h.d == d) return h.values.data();
    return nullptr;
}

// Takes sums from a thread until products that add to them are done.
static void hold(unsigned thread, float* d, unsigned count) {
    if (held_values(thread, d)) return;
    held[thread].push_back({d, std::vector<float>(d, d + count)});
    memset(d, 0xff, count * sizeof(float));
}

// Gives sums back of which no product is under way any more.
static void give_back(unsigned thread, const std::vector<Wgmma>& under_way) {
    std::vector<Held> still;
    for (Held& h : held[thread]) {
        bool awaited = false;
        for (const Wgmma& p : under_way) awaited |= p.d[thread % GROUP_LANES] == h.d;
        if (awaited) {
            still.push_back(h);
            continue;
        }
        for (size_t i = 0; i < h.values.size(); i++)
            if (__float_as_uint(h.d[i]) != 0xffffffff) fail("wgmma: sums of thread %u were written before they were waited for", thread);
        memcpy(h.d, h.values.data(), h.values.size() * sizeof(float));
    }
    held[thread] = still;
}

struct WgmmaOperands {
    float* d;
    const unsigned* a;
    uint64_t a_at, b_at;
    unsigned n, add;
};

// d [64, n] (+)= a · b: a from `a`, with b in rows of k, or from `a_at`, with b in columns.
static void wgmma(float* d, unsigned n, const unsigned* a, uint64_t a_at, uint64_t b_at, unsigned add) {
    unsigned first = current / GROUP_LANES * GROUP_LANES, last = first + GROUP_LANES - 1;
    if (last >= launch->threads) fail("wgmma: the warpgroup has fewer than %u threads", GROUP_LANES);
    Group& group = groups[current / GROUP_LANES];
    WgmmaOperands mine = {d, a, a_at, b_at, n, add};
    group.operands[current % GROUP_LANES] = &mine;
    fibers[current].waits = "wgmma";
    if (++group.here < GROUP_LANES) {
        warps[current / LANES].ready &= ~(1u << current % LANES);
        return yield();
    }
    group.here = 0;
    Wgmma p = {};
    p.in_registers = a, p.a_at = a_at, p.b_at = b_at, p.add = add, p.n = n, p.group = closed[first];
    for (unsigned i = 0; i < GROUP_LANES; i++) {
        const WgmmaOperands& of = *(const WgmmaOperands*)group.operands[i];
        if (of.n != n || !of.a != !a || of.a_at != a_at || of.b_at != b_at || of.add != add || closed[first + i] != p.group)
            fail("divergent: thread %u brings another wgmma", first + i);
        p.d[i] = of.d;
        if (a) memcpy(p.a[i], of.a, sizeof p.a[i]);
        fibers[first + i].waits = nullptr;
        warps[(first + i) / LANES].ready |= 1u << i % LANES;
    }
    if (!launch->lazy) return carry_out(p, [&](unsigned thread) { return p.d[thread]; });
    for (unsigned i = 0; i < GROUP_LANES; i++) hold(first + i, p.d[i], n / 2);
    group.under_way.push_back(p);
}

static void wgmma_commit() { closed[current]++; }

// The first thread to wait gets everyone's sums, which is late enough.
static void wgmma_wait(unsigned most) {
    unsigned first = current / GROUP_LANES * GROUP_LANES;
    std::vector<Wgmma>& under_way = groups[current / GROUP_LANES].under_way;
    size_t done = 0;
    for (; done < under_way.size() && under_way[done].group + most < closed[current]; done++) {
        const Wgmma& p = under_way[done];
        carry_out(p, [&](unsigned thread) { return held_values(first + thread, p.d[thread]); });
    }
    if (!done) return;
    under_way.erase(under_way.begin(), under_way.begin() + done);
    for (unsigned i = 0; i < GROUP_LANES; i++) give_back(first + i, under_way);
}

// --- Barriers in shared memory ---

struct Mbarrier {
    uint16_t count, awaited;
    uint32_t phase;
};

static Mbarrier& mbarrier(void* at) {
    if ((uint64_t)at % 8 || !is_shared(at, 8)) fail("mbarrier: not 8 aligned bytes of shared memory");
    return *(Mbarrier*)at;
}

static void mbarrier_init(void* at, unsigned count) { mbarrier(at) = {(uint16_t)count, (uint16_t)count, 0}; }

// Lets threads run that wait at `at`.
static void wake(const char* what, void* at) {
    for (unsigned t = 0; t < launch->threads; t++) {
        if (!fibers[t].waits || strcmp(fibers[t].waits, what) || fibers[t].operands != at) continue;
        fibers[t].waits = nullptr;
        warps[t / LANES].ready |= 1u << t % LANES;
    }
}

// Lets others run until somebody wakes this one.
static void sleep(const char* what, void* at) {
    fibers[current].waits = what, fibers[current].operands = at;
    warps[current / LANES].ready &= ~(1u << current % LANES);
    yield();
}

static void mbarrier_arrive(void* at) {
    Mbarrier& barrier = mbarrier(at);
    if (barrier.count == 0xffff) fail("mbarrier_arrive: a barrier without a count");
    if (--barrier.awaited) return;
    barrier.awaited = barrier.count, barrier.phase ^= 1;
    wake("mbarrier_wait", at);
}

static void mbarrier_wait(void* at, unsigned parity) {
    Mbarrier& barrier = mbarrier(at);
    if (barrier.count == 0xffff) fail("mbarrier_wait: a barrier without a count");
    while (barrier.phase == parity) sleep("mbarrier_wait", at);
}

// --- Barriers by number ---

// True where it opens.
static bool barrier_arrive(int number, unsigned threads) {
    if (number < 1 || number >= (int)NUMBERED || threads % LANES) fail("barrier %d of %u threads", number, threads);
    if (++arrived[number] < threads) return false;
    arrived[number] = 0;
    wake("barrier_sync", &arrived[number]);
    return true;
}

static void barrier_sync(int number, unsigned threads) {
    if (!barrier_arrive(number, threads)) sleep("barrier_sync", &arrived[number]);
}

} // namespace emulator
