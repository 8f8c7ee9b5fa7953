// One fiber for each thread of a block, taking turns where they wait for each other.
//
// A fiber runs until a collective stops it; then the next one of its warp runs, then the next warp. Eager launches take
// warps in rising order and lazy ones in falling order, so that a missing barrier shows in one of them whichever way the
// data flows. When nobody can run and not all are done, threads wait for different things: an error that names them.
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <new>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator {

constexpr unsigned LANES = 32, MOST_THREADS = 1024;
// Of one fiber. Untouched pages cost nothing.
constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t SHARED_GUARD = 1024;

// What a launch is; the Rust side fills it in.
struct Launch {
    uint32_t grid[3];
    uint32_t threads;
    uint32_t shared_bytes;
    uint32_t lazy;
    // First and last-plus-one address of every live buffer, rising.
    const uint64_t* buffers;
    uint64_t buffer_count;
    uint64_t guard_bytes;
};

#ifdef __x86_64__
// Saves the registers that a call preserves and continues where `to` was saved.
typedef void* Context;
extern "C" void gar_switch(Context* from, Context to);
asm(R"(
.text
.hidden gar_switch
.globl gar_switch
.type gar_switch, @function
gar_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size gar_switch, .-gar_switch
)");
static inline void switch_context(Context& from, Context& to) { gar_switch(&from, to); }
static void make_context(Context& context, char* stack, void (*start)()) {
    // Six registers, where to return to, and the return address that `start` never uses: it finds the stack as a call would.
    void** top = (void**)(stack + STACK_BYTES) - 8;
    memset(top, 0, 8 * sizeof *top);
    top[6] = (void*)start;
    context = top;
}
#else
typedef ucontext_t Context;
static inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
static void make_context(Context& context, char* stack, void (*start)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, start, 0);
}
#endif

struct Fiber {
    Context context;
    // Whether it has called read_early, and await_previous, as every thread must.
    bool early;
    bool awaited;
    // What it waits for; null while it can run.
    const char* waits;
    unsigned mask;
    void* operands;
};

// Lanes as bits.
struct Warp {
    unsigned alive, ready, waiting;
};

static Fiber fibers[MOST_THREADS];
static Warp warps[MOST_THREADS / LANES];
static unsigned current, alive, at_barrier;
static Context scheduler;
static const Launch* launch;
static char* stacks;
static char message[1024];
static unsigned char* dynamic_shared;
static void (*kernel)(void* const*);
static void* const* kernel_arguments;

static void reset_copies(unsigned fiber);
static void reset_products();

// Ends the launch with an error that names the block and the thread. Fibers hold nothing that would need to be undone.
[[noreturn]] static void fail(const char* format, ...) {
    int n = snprintf(message, sizeof message, "block (%u, %u, %u), thread %u: ", blockIdx.x, blockIdx.y, blockIdx.z, current);
    va_list list;
    va_start(list, format);
    vsnprintf(message + n, sizeof message - n, format, list);
    va_end(list);
    Context unused;
    switch_context(unused, scheduler);
    __builtin_unreachable();
}

// The next fiber that can run; MOST_THREADS when there is none.
static unsigned next_ready() {
    unsigned own = current / LANES, count = (launch->threads + LANES - 1) / LANES;
    if (warps[own].ready) return own * LANES + __builtin_ctz(warps[own].ready);
    for (unsigned i = 0; i < count; i++) {
        unsigned w = launch->lazy ? count - 1 - i : i;
        if (warps[w].ready) return w * LANES + __builtin_ctz(warps[w].ready);
    }
    return MOST_THREADS;
}

static void resume(Context& from, unsigned next) {
    if (next == MOST_THREADS) return switch_context(from, scheduler);
    current = next;
    threadIdx.x = next;
    switch_context(from, fibers[next].context);
}

// Lets others run until somebody makes this fiber ready again.
static void yield() {
    unsigned self = current;
    unsigned next = next_ready();
    if (next == self) return;
    resume(fibers[self].context, next);
}

static void release_barrier() {
    for (unsigned t = 0; t < launch->threads; t++) {
        unsigned bit = 1u << t % LANES;
        if (!(warps[t / LANES].alive & bit)) continue;
        fibers[t].waits = nullptr;
        warps[t / LANES].ready |= bit;
    }
    at_barrier = 0;
}

// Waits for all threads of the block that have not returned.
static void barrier(const char* what) {
    fibers[current].waits = what;
    warps[current / LANES].ready &= ~(1u << current % LANES);
    if (++at_barrier == alive) release_barrier();
    // The last to arrive goes to the end of the line as well.
    yield();
}

// Launches run one after another here. On a device a thread that goes on without it would meet the launch before.
static inline void await_previous() { fibers[current].awaited = true; }
static inline void read_early() { fibers[current].early = true; }

// Where a fiber starts and ends.
static void run_thread() {
    kernel(kernel_arguments);
    if (!fibers[current].awaited) fail("ends without await_previous");
    unsigned bit = 1u << current % LANES;
    Warp& warp = warps[current / LANES];
    warp.alive &= ~bit, warp.ready &= ~bit;
    if (--alive > 0 && at_barrier == alive) release_barrier();
    Context unused;
    resume(unused, next_ready());
    __builtin_unreachable();
}

// Names the first thread that waits for each of two different things.
static void describe_divergence() {
    unsigned first = MOST_THREADS;
    for (unsigned t = 0; t < launch->threads; t++) {
        if (!fibers[t].waits) continue;
        if (first == MOST_THREADS) {
            first = t;
        } else if (strcmp(fibers[first].waits, fibers[t].waits)) {
            snprintf(message, sizeof message, "block (%u, %u, %u): divergent: thread %u waits at %s, thread %u at %s", blockIdx.x,
                     blockIdx.y, blockIdx.z, first, fibers[first].waits, t, fibers[t].waits);
            return;
        }
    }
    snprintf(message, sizeof message, "block (%u, %u, %u): divergent: thread %u waits at %s, where others never come", blockIdx.x,
             blockIdx.y, blockIdx.z, first, fibers[first].waits);
}

extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_gar_shared[], __stop_gar_shared[];

// Runs one block; false after an error.
static bool run_block() {
    if (__start_gar_shared) memset(__start_gar_shared, 0xff, __stop_gar_shared - __start_gar_shared);
    memset(dynamic_shared, 0xff, launch->shared_bytes + SHARED_GUARD);
    memset(warps, 0, sizeof warps);
    alive = launch->threads, at_barrier = 0;
    for (unsigned t = 0; t < launch->threads; t++) {
        fibers[t].waits = nullptr;
        fibers[t].early = fibers[t].awaited = false;
        warps[t / LANES].alive |= 1u << t % LANES;
        make_context(fibers[t].context, stacks + t * STACK_BYTES, run_thread);
        reset_copies(t);
    }
    reset_products();
    for (Warp& warp : warps) warp.ready = warp.alive;
    current = launch->lazy ? launch->threads - 1 : 0;
    resume(scheduler, next_ready());
    if (message[0]) return false;
    if (alive) {
        describe_divergence();
        return false;
    }
    for (size_t i = 0; i < SHARED_GUARD; i++) {
        if (dynamic_shared[launch->shared_bytes + i] == 0xff) continue;
        snprintf(message, sizeof message, "block (%u, %u, %u) wrote %zu bytes past its dynamic shared memory", blockIdx.x,
                 blockIdx.y, blockIdx.z, i);
        return false;
    }
    return true;
}

// Runs every block, one after another. Returns null, or the error.
static const char* run_grid(const Launch* what, void (*function)(void* const*), void* const* arguments) {
    launch = what, kernel = function, kernel_arguments = arguments;
    message[0] = 0;
    if (!stacks) {
        void* memory = mmap(nullptr, STACK_BYTES * MOST_THREADS, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return "no memory for the stacks of threads";
        stacks = (char*)memory;
    }
    dynamic_shared = new (std::align_val_t(1024)) unsigned char[what->shared_bytes + SHARED_GUARD];
    gridDim = {what->grid[0], what->grid[1], what->grid[2]};
    blockDim = {what->threads, 1, 1};
    bool fine = true;
    for (uint64_t i = 0, x = gridDim.x, y = gridDim.y; fine && i < x * y * gridDim.z; i++) {
        blockIdx = {(unsigned)(i % x), (unsigned)(i / x % y), (unsigned)(i / x / y)};
        fine = run_block();
    }
    operator delete[](dynamic_shared, std::align_val_t(1024));
    return fine ? nullptr : message;
}

} // namespace emulator

static inline void __syncthreads() { emulator::barrier("__syncthreads"); }
