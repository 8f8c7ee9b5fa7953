// The next token from each row of logits: the rules of `ops/sampling.rs`, without sorting.
//
// Entries have an order: falling logit, of equal ones the lower number first. It is a number of 64 bits, a key made of the
// logit's bits above the entry's own number. Every filter keeps a beginning of that order, and so does the draw: each asks
// for the first place up to which the entries count for so much, and finds it by halving the interval of places.
//
// v1 sample: a block takes a row. Weights are whole multiples of 2⁻⁴⁴ of the most probable token's, so that sums are exact and
//    the order in which threads add them does not matter. A filter looks at entries some 31 times, the draw some 48 times: at
//    those that hold nearly all weight, kept in shared memory, if they suffice, and else at all, 12 bytes of each from L2.
//    Of 128 262 logits, of which 2048 hold what is asked for, a row is looked at some ten times, 1.5 MB each.
// v1 sample_greedy: the largest alone, for rows that ask for nothing else: one look in 16-byte accesses, 257 kB in bf16. One block
//    took 33 µs on an H200.
// v2 sample_parts, sample_greedy: many blocks look at a part each, and a warp puts together what they have met.
//    2.7 and 0.8 µs. What would come next for sample: looks by many blocks.
#include "values.cuh"

// What a row asks for; `Draw` in `sampling.rs` writes it.
struct Draw {
    double at;
    float temperature, top_p, min_p, penalty;
    unsigned top_k, seen_start, seen_count, unused;
};

typedef unsigned long long u64;

constexpr float WEIGHT_OF_ONE = 17592186044416.0f; // 2^44: 2^19 entries of it still fit.
constexpr unsigned DROPPED = 0xffffffffu;          // The key of an entry that cannot be drawn.
constexpr unsigned LAST_KEY = 0x7f800000u;         // The largest of an entry that can.
constexpr unsigned FEW = 2048;                     // Entries that shared memory holds.
constexpr unsigned NO_FAULT = 0xffffffffu, NOT_FINITE = 0xfffffffeu;

// A value of at most 0 as a key: the larger the value the lower the key. −0 stands behind +0.
__device__ inline unsigned key_of(float value) {
    unsigned bits = __float_as_uint(value);
    return bits == 0 ? 0 : (bits & 0x7fffffffu) + 1;
}
__device__ inline float value_of(unsigned key) { return key == 0 ? 0.0f : __uint_as_float((key - 1) | 0x80000000u); }

__device__ inline u64 last_of(unsigned key) { return (u64)key << 32 | 0xffffffffu; }

// The sum over a block in every thread, as block_sum.
__device__ inline u64 block_total(u64 x, u64* scratch) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    __syncthreads(); // An earlier sum has been read.
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    x = threadIdx.x % WARP < blockDim.x / WARP ? scratch[threadIdx.x % WARP] : 0;
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// Entries of a row: key, number, weight.
struct Entries {
    const unsigned* key;
    const unsigned* number;
    const u64* weight;
    unsigned count;
};

// How much the entries up to and including place `bound` count for: their weights, or 1 each.
__device__ inline u64 up_to(const Entries& e, u64 bound, bool weighted, u64* scratch) {
    u64 sum = 0;
    for (unsigned i = threadIdx.x; i < e.count; i += blockDim.x) {
        u64 place = (u64)e.key[i] << 32 | e.number[i];
        if (e.key[i] != DROPPED && place <= bound) sum += weighted ? e.weight[i] : 1;
    }
    return block_total(sum, scratch);
}

// A row: all entries, and a beginning of their order in shared memory.
struct Row {
    Entries all, few;
};

// The lowest of the places first, first + step, … first + steps · step up to which the entries count for `wanted`; the last, if
// there is none.
__device__ inline u64 find(const Row& row, u64 first, u64 step, u64 steps, u64 wanted, bool weighted, u64* scratch) {
    // A beginning that counts for as much holds the place.
    Entries e = row.few;
    if (up_to(e, last_of(LAST_KEY), weighted, scratch) < wanted) e = row.all;
    u64 low = 0, high = steps;
    while (low < high) {
        u64 middle = (low + high) / 2;
        if (up_to(e, first + middle * step, weighted, scratch) >= wanted) high = middle;
        else low = middle + 1;
    }
    return first + low * step;
}

// The last place of the key up to which entries count for `wanted`.
__device__ inline u64 find_key(const Row& row, u64 wanted, bool weighted, u64* scratch) {
    return find(row, last_of(0), (u64)1 << 32, LAST_KEY, wanted, weighted, scratch);
}

// The place of the first entry up to which weights reach `wanted`: its key, then its number.
__device__ inline u64 find_entry(const Row& row, u64 wanted, unsigned width, u64* scratch) {
    u64 end = find_key(row, wanted, true, scratch);
    return find(row, end & ~(u64)0xffffffffu, 1, width - 1, wanted, true, scratch);
}

// The longest of some beginnings that FEW entries hold, copied to shared memory: the rest weighs less than e⁻ᵐ each.
__device__ inline void copy_few(Row& row, unsigned* key, unsigned* number, u64* weight, unsigned* count, u64* scratch) {
    const Entries& e = row.all;
    row.few = {key, number, weight, 0};
    float m = 32.0f;
    while (m > 0.5f && up_to(e, last_of(key_of(-m)), false, scratch) > FEW) m /= 2.0f;
    if (m <= 0.5f) return;
    if (threadIdx.x == 0) *count = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < e.count; i += blockDim.x) {
        if (e.key[i] > key_of(-m)) continue;
        unsigned to = atomicAdd(count, 1u);
        key[to] = e.key[i], number[to] = e.number[i], weight[to] = e.weight[i];
    }
    __syncthreads();
    row.few.count = *count;
}

// The larger value, of equal ones the lower index: both known to all threads of a warp.
__device__ inline void warp_first(float& value, unsigned& index) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, value, step);
        unsigned at = __shfl_xor_sync(ALL_LANES, index, step);
        if (other > value || (other == value && at < index)) value = other, index = at;
    }
}

// The first of the largest, in every thread of a block: what each has found, put together.
__device__ inline void block_first(float& value, unsigned& index, float* values, unsigned* indices) {
    unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    warp_first(value, index);
    if (lane == 0) values[warp] = value, indices[warp] = index;
    __syncthreads();
    bool there = lane < blockDim.x / WARP;
    value = there ? values[lane] : -GAR_INFINITY, index = there ? indices[lane] : 0xffffffffu;
    warp_first(value, index);
}

// chosen [rows, 2]: the token, and the first entry that is no number, or NOT_FINITE, or NO_FAULT.
__device__ inline void report(unsigned* chosen, unsigned token, unsigned fault) {
    if (threadIdx.x == 0) chosen[2 * blockIdx.x] = token, chosen[2 * blockIdx.x + 1] = fault;
}

// What a block has met of a row: its largest entry, the first of equal ones, and the first entry that is no number.
struct Met {
    float top;
    unsigned first, fault;
};

// Block: (row, part of it). met [rows, parts].
extern "C" __global__ void __launch_bounds__(1024, 1)
    sample_parts(const GAR_T* logits, Met* met, unsigned width, unsigned parts) {
    await_previous();
    __shared__ float values[WARP];
    __shared__ unsigned indices[WARP], fault;
    if (threadIdx.x == 0) fault = NO_FAULT;
    __syncthreads();
    unsigned row = blockIdx.x / parts, share = (width + parts - 1) / parts, start = min(blockIdx.x % parts * share, width);
    float top = -GAR_INFINITY;
    unsigned first = 0xffffffffu, broken = NO_FAULT;
    each_entry(logits + (size_t)row * width + start, min(share, width - start), [&](unsigned i, float x) {
        i += start;
        if (!(x < GAR_INFINITY)) broken = min(broken, i);
        else if (x > top || (x == top && i < first)) top = x, first = i;
    });
    if (broken != NO_FAULT) atomicMin(&fault, broken);
    block_first(top, first, values, indices);
    // The barrier in between has made every fault known.
    if (threadIdx.x == 0) met[blockIdx.x] = {top, first, fault};
}

// The largest of each row, from its parts: a block of one warp takes row blockIdx.x.
extern "C" __global__ void sample_greedy(const Met* met, unsigned* chosen, unsigned parts) {
    await_previous();
    Met mine = {-GAR_INFINITY, 0xffffffffu, NO_FAULT};
    for (unsigned i = threadIdx.x; i < parts; i += WARP) {
        Met other = met[(size_t)blockIdx.x * parts + i];
        if (other.top > mine.top || (other.top == mine.top && other.first < mine.first)) mine.top = other.top, mine.first = other.first;
        mine.fault = min(mine.fault, other.fault);
    }
    warp_first(mine.top, mine.first);
    for (int step = WARP / 2; step > 0; step /= 2) mine.fault = min(mine.fault, __shfl_xor_sync(ALL_LANES, mine.fault, step));
    report(chosen, mine.first, mine.fault != NO_FAULT ? mine.fault : mine.top == -GAR_INFINITY ? NOT_FINITE : NO_FAULT);
}

// A block takes row blockIdx.x of logits [rows, width]. keys, numbers and weights [rows, width] are its scratch.
extern "C" __global__ void __launch_bounds__(1024, 1)
    sample(const GAR_T* logits, const Draw* draws, const unsigned* seen, unsigned* keys, unsigned* numbers, u64* weights,
           unsigned* chosen, unsigned width) {
    await_previous();
    __shared__ u64 scratch[WARP];
    __shared__ float values[WARP];
    __shared__ unsigned indices[WARP], fault, count;
    __shared__ unsigned few_keys[FEW], few_numbers[FEW];
    __shared__ u64 few_weights[FEW];
    size_t start = (size_t)blockIdx.x * width;
    const Draw draw = draws[blockIdx.x];
    float* value = (float*)(keys + start); // until keys take their place
    unsigned *key = keys + start, *number = numbers + start;
    u64* weight = weights + start;

    // Entries as floats, and the first that is none.
    if (threadIdx.x == 0) fault = NO_FAULT;
    __syncthreads();
    unsigned finite = 0;
    each_entry(logits + start, width, [&](unsigned i, float x) {
        value[i] = x;
        if (!(x < GAR_INFINITY)) atomicMin(&fault, i);
        else if (x > -GAR_INFINITY) finite = 1;
    });
    u64 any = block_total(finite, scratch);
    if (fault != NO_FAULT || any == 0) return report(chosen, 0, fault != NO_FAULT ? fault : NOT_FINITE);
    // `seen` names each token once.
    for (unsigned i = threadIdx.x; i < draw.seen_count; i += blockDim.x) {
        unsigned token = seen[draw.seen_start + i];
        value[token] = value[token] < 0.0f ? mul_rn(value[token], draw.penalty) : div_rn(value[token], draw.penalty);
    }
    __syncthreads();

    // The first of the largest.
    float top = -GAR_INFINITY;
    unsigned first = 0xffffffffu;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x)
        if (value[i] > top) top = value[i], first = i;
    block_first(top, first, values, indices);
    if (draw.temperature == 0.0f) return report(chosen, first, NO_FAULT);

    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float scaled = div_rn(add_rn(value[i], -top), draw.temperature);
        bool drawable = fabsf(scaled) < GAR_INFINITY;
        key[i] = drawable ? key_of(scaled) : DROPPED;
        number[i] = i;
        weight[i] = drawable ? (u64)(exp((double)scaled) * WEIGHT_OF_ONE + 0.5) : 0;
    }
    __syncthreads();
    Row row = {{key, number, weight, width}, {}};
    copy_few(row, few_keys, few_numbers, few_weights, &count, scratch);
    u64 bound = last_of(LAST_KEY);
    if (draw.top_k > 0 && draw.top_k < width) {
        bound = find_key(row, draw.top_k, false, scratch);
        // −0 equals +0.
        if (bound == last_of(0)) bound = last_of(1);
    }
    if (draw.top_p < 1.0f) {
        double enough = (double)draw.top_p * (double)up_to(row.all, bound, true, scratch);
        u64 end = find_entry(row, (u64)ceil(enough), width, scratch);
        bound = end < bound ? end : bound;
    }
    if (draw.min_p > 0.0f) {
        // The last key whose weight reaches min_p; key 0 weighs 1 and always does.
        unsigned low = 0, high = LAST_KEY;
        while (low < high) {
            unsigned middle = low + (high - low + 1) / 2;
            if (exp((double)value_of(middle)) >= (double)draw.min_p) low = middle;
            else high = middle - 1;
        }
        bound = last_of(low) < bound ? last_of(low) : bound;
    }
    u64 total = up_to(row.all, bound, true, scratch), target = (u64)(draw.at * (double)total) + 1;
    u64 place = find_entry(row, target < total ? target : total, width, scratch);
    report(chosen, (unsigned)place, NO_FAULT);
}
