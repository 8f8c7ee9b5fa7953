// Tensor cores and asynchronous copies: each primitive once as PTX, once as plain C++ for the emulator.
//
// Layouts of fragments are those of the PTX ISA ("Matrix multiply-accumulate operation using mma instruction").
#pragma once
#include "gar.cuh"

// d += a · b for a [16, 16] and b [16, 8] of bf16 and d [16, 8] of float, by one warp. With g = lane / 4, t = lane % 4:
// a: {row g, columns 2t, 2t+1}, {row g+8, same}, {row g, columns 2t+8, 2t+9}, {row g+8, same};
// b: {rows 2t, 2t+1 of column g}, {rows 2t+8, 2t+9}; d: {row g, columns 2t, 2t+1}, {row g+8, same}.
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef GAR_EMULATOR
    emulator::mma_m16n8k16(d, a, b);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#ifndef GAR_EMULATOR
// The address of shared memory as PTX wants it.
__device__ inline unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
#endif

// Four [8, 8] matrices of bf16 from shared memory, by one warp. Lane i names row i % 8 of matrix i / 8, 16 bytes aligned to 16,
// as an own start and a common offset in elements, which costs no register where it is a constant; r[j] receives columns
// 2t, 2t+1 of row g of matrix j.
__device__ inline void ldmatrix_x4(unsigned (&r)[4], const bf16* start, int offset = 0) {
#ifdef GAR_EMULATOR
    emulator::ldmatrix_x4(r, start + offset, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(start) + offset * (int)sizeof(bf16))
                 : "memory");
#endif
}

// As ldmatrix_x4, each matrix transposed: r[j] receives rows 2t, 2t+1 of column g of matrix j.
__device__ inline void ldmatrix_x4_trans(unsigned (&r)[4], const bf16* start, int offset = 0) {
#ifdef GAR_EMULATOR
    emulator::ldmatrix_x4(r, start + offset, true);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(start) + offset * (int)sizeof(bf16))
                 : "memory");
#endif
}

// Starts to copy 16 bytes from global to shared memory, both aligned to 16: `bytes` (0 to 16) of them are read, the rest is 0.
// Visible to this thread after cp_async_wait, to others after a barrier behind it.
__device__ inline void cp_async_16(void* shared, const void* global, int bytes) {
#ifdef GAR_EMULATOR
    emulator::cp_async_16(shared, global, bytes);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
#endif
}

// Closes a group of this thread's copies.
__device__ inline void cp_async_commit() {
#ifdef GAR_EMULATOR
    emulator::cp_async_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most the N groups closed last are under way.
template <int N> __device__ inline void cp_async_wait() {
#ifdef GAR_EMULATOR
    emulator::cp_async_wait(N);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
