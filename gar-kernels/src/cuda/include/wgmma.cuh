// Hopper's tensor cores: products of a warpgroup that run by themselves (wgmma), barriers that count arrivals (mbarrier), and
// registers that one warpgroup leaves to another. Each primitive once as PTX, once as plain C++ for the emulator.
#pragma once
#include "mma.cuh"

// Threads of a warpgroup.
constexpr int GROUP = 4 * WARP;

// --- Tiles in shared memory that wgmma reads ---

// Dynamic shared memory that tiles may start in: swizzles count addresses modulo 1024.
#ifdef GAR_EMULATOR
#define GAR_TILES(name) GAR_DYNAMIC_SHARED(name)
#else
#define GAR_TILES(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

// How rows of DIM entries lie there: panels of 64, 32 or 16 columns one behind another, each with its rows one behind another,
// and the 16-byte chunks of a row swapped by its number ("swizzle"), so that reading 8 chunks of a column or of a row meets
// every bank once. A panel starts at a multiple of 8 of its rows.
template <int DIM> struct Layout {
    static constexpr int PANEL = DIM % 64 == 0 ? 64 : DIM % 32 == 0 ? 32 : 16;
    static constexpr int CHUNKS = PANEL / 8, PITCH = PANEL * 2;

    // Bytes from the start of a tile of `rows` rows to a chunk.
    static __device__ inline int chunk(int rows, int row, int chunk) {
        int at = (chunk / CHUNKS * rows + row) * PITCH + chunk % CHUNKS * 16;
        return at ^ (at >> 7 & CHUNKS - 1) << 4;
    }
    // Bytes to column `column`, a multiple of 16, of row 0 as a descriptor counts them.
    static __device__ constexpr int column(int rows, int column) { return column / PANEL * rows * PITCH + column % PANEL * 2; }
    // The number of the layout in a descriptor: 1 for swizzles of 128 bytes, 2 for 64, 3 for 32.
    static constexpr unsigned NUMBER = PANEL == 64 ? 1 : PANEL == 32 ? 2 : 3;
};

__device__ inline unsigned group_address(const void* p) {
#ifdef GAR_EMULATOR
    return emulator::shared_address(p);
#else
    return shared_address(p);
#endif
}

// What tells wgmma where a matrix lies: start, stride from panel to panel (looked at where a panel's columns are not those summed
// over), stride from 8 rows to the next 8, layout.
struct Descriptor {
    unsigned low, high;
    __device__ inline operator unsigned long long() const { return (unsigned long long)high << 32 | low; }
};
template <int DIM> __device__ inline Descriptor descriptor(const void* start, int rows) {
    constexpr unsigned PITCH = Layout<DIM>::PITCH;
    return {group_address(start) >> 4 | rows * PITCH / 16 << 16, 8 * PITCH / 16 | Layout<DIM>::NUMBER << 30};
}
// The same, `bytes` further on. The upper half stays a constant.
__device__ inline Descriptor ahead(Descriptor d, int bytes) { return {d.low + (bytes >> 4), d.high}; }

// --- Products ---

// wgmma<N>::keys: d (+)= a · bᵀ, a [64, 16] and b [N, 16] from shared memory, both in rows.
// wgmma<N>::values: d += a · b, a [64, 16] from registers as four warps' a of mma_bf16, b [16, N] from shared memory, in rows.
// d [64, N] as four warps' d of mma_bf16: floats 4n to 4n + 3 of a thread belong to columns 8n to 8n + 7. What is read and written
// belongs to the product until wgmma_wait; registers written before need wgmma_fence in between.
template <int N> struct wgmma;

#ifdef GAR_EMULATOR
template <int N> struct wgmma {
    static void keys(float (&d)[N / 2], Descriptor a, Descriptor b, int add) { emulator::wgmma(d, N, nullptr, a, b, add); }
    static void values(float (&d)[N / 2], const unsigned (&a)[4], Descriptor b) { emulator::wgmma(d, N, a, 0, b, 1); }
};
#else
#define GAR_S8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define GAR_S16 GAR_S8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define GAR_S24 GAR_S16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define GAR_S32 GAR_S24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define GAR_S40 GAR_S32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define GAR_S48 GAR_S40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define GAR_S56 GAR_S48 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define GAR_S64 GAR_S56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define GAR_S72 GAR_S64 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define GAR_S80 GAR_S72 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define GAR_S88 GAR_S80 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define GAR_S96 GAR_S88 ",%88,%89,%90,%91,%92,%93,%94,%95"
#define GAR_8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define GAR_D8 GAR_8(0)
#define GAR_D16 GAR_D8, GAR_8(8)
#define GAR_D24 GAR_D16, GAR_8(16)
#define GAR_D32 GAR_D24, GAR_8(24)
#define GAR_D40 GAR_D32, GAR_8(32)
#define GAR_D48 GAR_D40, GAR_8(40)
#define GAR_D56 GAR_D48, GAR_8(48)
#define GAR_D64 GAR_D56, GAR_8(56)
#define GAR_D72 GAR_D64, GAR_8(64)
#define GAR_D80 GAR_D72, GAR_8(72)
#define GAR_D88 GAR_D80, GAR_8(80)
#define GAR_D96 GAR_D88, GAR_8(88)
// N columns in R registers; the operands behind them are numbered i, j, …
#define GAR_WGMMA(N, R, i, j, k, l, m, n)                                                                                       \
    template <> struct wgmma<N> {                                                                                               \
        static __device__ inline void keys(float (&d)[R], Descriptor a, Descriptor b, int add) {                                \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #k ", 0;\n"                                                   \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" GAR_S##R "}, %" #i ", %" #j               \
                         ", add, 1, 1, 0, 0;\n}"                                                                                \
                         : GAR_D##R                                                                                             \
                         : "l"((unsigned long long)a), "l"((unsigned long long)b), "r"(add));                                   \
        }                                                                                                                       \
        static __device__ inline void values(float (&d)[R], const unsigned (&a)[4], Descriptor b) {                             \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #n ", 0;\n"                                                   \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" GAR_S##R "}, {%" #i ",%" #j ",%" #k       \
                         ",%" #l "}, %" #m ", add, 1, 1, 1;\n}"                                                                 \
                         : GAR_D##R                                                                                             \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"((unsigned long long)b), "r"(1));                     \
        }                                                                                                                       \
    }
GAR_WGMMA(16, 8, 8, 9, 10, 11, 12, 13);
GAR_WGMMA(32, 16, 16, 17, 18, 19, 20, 21);
GAR_WGMMA(48, 24, 24, 25, 26, 27, 28, 29);
GAR_WGMMA(64, 32, 32, 33, 34, 35, 36, 37);
GAR_WGMMA(80, 40, 40, 41, 42, 43, 44, 45);
GAR_WGMMA(96, 48, 48, 49, 50, 51, 52, 53);
GAR_WGMMA(112, 56, 56, 57, 58, 59, 60, 61);
GAR_WGMMA(128, 64, 64, 65, 66, 67, 68, 69);
GAR_WGMMA(144, 72, 72, 73, 74, 75, 76, 77);
GAR_WGMMA(160, 80, 80, 81, 82, 83, 84, 85);
GAR_WGMMA(176, 88, 88, 89, 90, 91, 92, 93);
GAR_WGMMA(192, 96, 96, 97, 98, 99, 100, 101);
#endif

// Lets products read and write registers that were written before.
__device__ inline void wgmma_fence() {
#ifndef GAR_EMULATOR
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Closes a group of products.
__device__ inline void wgmma_commit() {
#ifdef GAR_EMULATOR
    emulator::wgmma_commit();
#else
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Computes `x` here and not behind what follows.
template <int R> __device__ inline void settle(float (&x)[R]) {
#ifndef GAR_EMULATOR
#pragma unroll
    for (int i = 0; i < R; i++) asm volatile("" : "+f"(x[i])::"memory");
#endif
}

// Waits until at most the N groups closed last are under way. `d`, the sums that are finished by it, may be used from here on.
template <int N, int R> __device__ inline void wgmma_wait(float (&d)[R]) {
#ifdef GAR_EMULATOR
    emulator::wgmma_wait(N);
#else
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    settle(d); // The compiler knows nothing of what changes behind its back.
#endif
}

// Lets products see what this thread has written to shared memory; a barrier tells the others.
__device__ inline void fence_proxy_async() {
#ifdef GAR_EMULATOR
    emulator::fence_proxy_async();
#else
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// --- Barriers in shared memory. A phase ends when `count` arrivals have been made, and the next begins ---

typedef unsigned long long Mbarrier;

// By one thread; others may use it behind a __syncthreads.
__device__ inline void mbarrier_init(Mbarrier* barrier, int count) {
#ifdef GAR_EMULATOR
    emulator::mbarrier_init(barrier, count);
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
#endif
}

// What this thread has done before is done for whoever waits for the phase.
__device__ inline void mbarrier_arrive(Mbarrier* barrier) {
#ifdef GAR_EMULATOR
    emulator::mbarrier_arrive(barrier);
#else
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}

// Waits for the end of the phase whose number is even (parity 0) or odd (1): of the latest two that may be under way. The phase
// before the first counts as odd and over.
__device__ inline void mbarrier_wait(Mbarrier* barrier, int parity) {
#ifdef GAR_EMULATOR
    emulator::mbarrier_wait(barrier, parity);
#else
    asm volatile("{\n.reg .pred over;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n@!over bra again;\n}" ::"r"(
                     shared_address(barrier)),
                 "r"(parity)
                 : "memory");
#endif
}

// --- Barriers by number, 1 to 15: each time `threads` of them have come, whole warps, it opens ---

// Waits until it opens.
__device__ inline void barrier_sync(int number, int threads) {
#ifdef GAR_EMULATOR
    emulator::barrier_sync(number, threads);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#endif
}

// Comes, and does not wait.
__device__ inline void barrier_arrive(int number, int threads) {
#ifdef GAR_EMULATOR
    emulator::barrier_arrive(number, threads);
#else
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
#endif
}

// --- Registers ---

// The most registers of each thread of this warpgroup from here on: fewer than at the start, or more once others gave theirs up.
template <int N> __device__ inline void keep_registers() {
#ifndef GAR_EMULATOR
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
template <int N> __device__ inline void take_registers() {
#ifndef GAR_EMULATOR
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
