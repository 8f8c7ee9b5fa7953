// What every kernel includes: bf16, 16-byte accesses, sums over a warp and a block.
//
// No toolkit header is needed: the compiler at run time (NVRTC) brings the built-in variables, `uint4` and the intrinsics,
// and the emulator's header brings the same names on the host.
//
// Two rules let one text run in both worlds. `__shared__` arrays stand in the kernel function itself, not in a template
// or a helper; and dynamic shared memory is declared through GAR_DYNAMIC_SHARED.
//
// A third lets kernels overlap: every thread of every kernel calls await_previous() before it touches memory, or read_early() before
// what may be read without waiting.
#pragma once

#ifdef GAR_EMULATOR
#include "emulator.h"
#else
#define GAR_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

// The upper half of a float.
struct bf16 {
    unsigned short bits;
};

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

#define GAR_INFINITY __int_as_float(0x7f800000)

// From capability 9.0 on, a kernel begins while the one launched before it ends (programmatic dependent launch), and waits here
// until that one is over and what it wrote can be seen. One whose blocks are all on the device at once then lets the next one
// come, so that its blocks stand ready. Behind a larger one they would take what places are free, two on one multiprocessor and
// none on others: it lets the next one come when it ends.
//
// A decode step of GAR-1B in one graph on an H200, twelve launches a layer: 1.095 ms without, 1.268 where every kernel lets the
// next come at once, 1.055 where none does, 1.033 where those of at most 64 blocks do. With six launches a layer, which read weights
// early, 64, 132, 264 blocks and any number differ by less than runs do (0.98 to 1.01 ms).
//
// A kernel that has no register to spare for the question says that it is not small.
__device__ inline void await_previous(bool may_be_small = true) {
#ifdef GAR_EMULATOR
    emulator::await_previous();
#elif __CUDA_ARCH__ >= 900
    constexpr unsigned SMALL = 264; // blocks: two on each multiprocessor
    asm volatile("griddepcontrol.wait;" ::: "memory");
    if (may_be_small && gridDim.x * gridDim.y * gridDim.z <= SMALL) asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// From here to await_previous() the kernel reads memory that the launch right before it does not write. Launches before that one
// are over: a kernel lets the next one come after its own waiting.
__device__ inline void read_early() {
#ifdef GAR_EMULATOR
    emulator::read_early();
#endif
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

// Two floats as bf16, rounded to nearest even: `low` in the lower half.
__device__ inline unsigned pack_bf16(float low, float high) {
#ifdef GAR_EMULATOR
    return emulator::round_bf16(low) | (unsigned)emulator::round_bf16(high) << 16;
#else
    unsigned packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#endif
}
__device__ inline float low_bf16(unsigned packed) { return __uint_as_float(packed << 16); }
__device__ inline float high_bf16(unsigned packed) { return __uint_as_float(packed & 0xffff0000u); }

// A float in another element type, rounded to nearest even: from_float<T>(x).
template <typename T> struct FromFloat;
template <> struct FromFloat<float> {
    static __device__ inline float of(float x) { return x; }
};
template <> struct FromFloat<bf16> {
    static __device__ inline bf16 of(float x) { return {(unsigned short)pack_bf16(x, 0.0f)}; }
};
template <typename T> __device__ inline T from_float(float x) { return FromFloat<T>::of(x); }

// One 16-byte access; `p` is aligned to 16 bytes.
__device__ inline uint4 load16(const void* p) {
#ifdef GAR_EMULATOR
    emulator::check_access(p, 16, "load16");
#endif
    return *(const uint4*)p;
}
__device__ inline void store16(void* p, uint4 value) {
#ifdef GAR_EMULATOR
    emulator::check_access(p, 16, "store16");
#endif
    *(uint4*)p = value;
}

// Eight elements as floats: one 16-byte access of bf16, two of float; `p` is aligned to 16 bytes.
__device__ inline void load8(const bf16* p, float (&out)[8]) {
    uint4 raw = load16(p);
    out[0] = low_bf16(raw.x), out[1] = high_bf16(raw.x), out[2] = low_bf16(raw.y), out[3] = high_bf16(raw.y);
    out[4] = low_bf16(raw.z), out[5] = high_bf16(raw.z), out[6] = low_bf16(raw.w), out[7] = high_bf16(raw.w);
}
__device__ inline void load8(const float* p, float (&out)[8]) {
    uint4 low = load16(p), high = load16(p + 4);
    out[0] = __uint_as_float(low.x), out[1] = __uint_as_float(low.y), out[2] = __uint_as_float(low.z);
    out[3] = __uint_as_float(low.w), out[4] = __uint_as_float(high.x), out[5] = __uint_as_float(high.y);
    out[6] = __uint_as_float(high.z), out[7] = __uint_as_float(high.w);
}
__device__ inline uint4 pack8(const float (&in)[8]) {
    return make_uint4(pack_bf16(in[0], in[1]), pack_bf16(in[2], in[3]), pack_bf16(in[4], in[5]), pack_bf16(in[6], in[7]));
}
__device__ inline void store8(bf16* p, const float (&in)[8]) { store16(p, pack8(in)); }
__device__ inline void store8(float* p, const float (&in)[8]) {
    store16(p, make_uint4(__float_as_uint(in[0]), __float_as_uint(in[1]), __float_as_uint(in[2]), __float_as_uint(in[3])));
    store16(p + 4, make_uint4(__float_as_uint(in[4]), __float_as_uint(in[5]), __float_as_uint(in[6]), __float_as_uint(in[7])));
}

// 2ˣ to 2 units in the last place; −∞ gives 0.
__device__ inline float exp2_fast(float x) {
#ifdef GAR_EMULATOR
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// The sum over a warp, in every lane. All lanes take part.
__device__ inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// The largest over a warp, in every lane. All lanes take part.
__device__ inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// The sum over a block of a multiple of 32 threads, in every thread. `scratch` holds 32 floats of shared memory; it may be
// used again at once. All threads take part.
__device__ inline float block_sum(float x, float* scratch) {
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads(); // An earlier sum has been read.
    if (lane == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_sum(lane < warps ? scratch[lane] : 0.0f);
}

// The largest over a block, as block_sum.
__device__ inline float block_max(float x, float* scratch) {
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads(); // An earlier maximum has been read.
    if (lane == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_max(lane < warps ? scratch[lane] : -GAR_INFINITY);
}
