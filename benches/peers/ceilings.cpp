// What this machine can do at most: products per second of each kind, and bytes read from main memory.
//
//   g++ -O3 -march=native -pthread ceilings.cpp -o ceilings && ./ceilings 2
//
// Prints one JSON object: GFLOP/s (two operations a product) and GB/s, with the given number of threads, the best of
// several tries. Sums stay in registers, so nothing but the instruction's own rate counts. What the middle try reached is there
// too, as "..._held": on a shared machine it is less, and long work gets no more.
#include <immintrin.h>

#ifdef __linux__
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

static double seconds_of(int threads, const std::function<void(int)>& work) {
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> all;
  for (int t = 0; t < threads; t++) all.emplace_back(work, t);
  for (auto& thread : all) thread.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Five tries, in billions of operations per second: the best, and the one in the middle.
static void print(const char* name, int threads, double operations, const std::function<void(int)>& work) {
  std::vector<double> rates;
  for (int i = 0; i < 5; i++) rates.push_back(operations / seconds_of(threads, work) / 1e9);
  std::sort(rates.begin(), rates.end());
  std::printf(", \"%s\": %.1f, \"%s_held\": %.1f", name, rates[4], name, rates[2]);
}

constexpr long ROUNDS = 30'000'000;
constexpr int SUMS = 12;  // enough to hide the latency of an addition
static volatile float float_sink;
static volatile int int_sink;

#ifdef __AVX512F__
using Floats = __m512;
static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static Floats all(float v) { return _mm512_set1_ps(v); }
static float first(Floats v) { return _mm512_cvtss_f32(v); }
constexpr int LANES = 16;
#else
using Floats = __m256;
static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
static Floats all(float v) { return _mm256_set1_ps(v); }
static float first(Floats v) { return _mm256_cvtss_f32(v); }
constexpr int LANES = 8;
#endif

static void f32(int seed) {
  Floats sums[SUMS], x = all(1.0f + seed), w = all(1e-9f);
  for (auto& s : sums) s = all(0);
  for (long i = 0; i < ROUNDS; i++) {
    for (auto& s : sums) s = fma(x, w, s);
    asm volatile("" : "+x"(x));
  }
  for (auto& s : sums) float_sink = float_sink + first(s);
}

#ifdef __AVX512BF16__
static void bf16(int seed) {
  __m512 sums[SUMS];
  __m512i x = _mm512_set1_epi32(0x3f803f80 + seed), w = _mm512_set1_epi32(0x30803080);
  for (auto& s : sums) s = _mm512_setzero_ps();
  for (long i = 0; i < ROUNDS; i++) {
    for (auto& s : sums) s = _mm512_dpbf16_ps(s, (__m512bh)x, (__m512bh)w);
    asm volatile("" : "+v"(x));
  }
  for (auto& s : sums) float_sink = float_sink + _mm512_cvtss_f32(s);
}
#endif

#if defined(__AVX512VNNI__)
constexpr int INT_PRODUCTS = 64;
static void int8(int seed) {
  __m512i sums[SUMS], x = _mm512_set1_epi32(0x01010101 + seed), w = _mm512_set1_epi32(0x01010101);
  for (auto& s : sums) s = _mm512_setzero_si512();
  for (long i = 0; i < ROUNDS; i++) {
    for (auto& s : sums) s = _mm512_dpbusd_epi32(s, x, w);
    asm volatile("" : "+v"(x));
  }
  for (auto& s : sums) int_sink = int_sink + _mm512_cvtsi512_si32(s);
}
#else
constexpr int INT_PRODUCTS = 16;
// In assembly: GCC keeps these sums in memory. Their values are of no use.
#define SUM(n) "vpmaddwd %%ymm12, %%ymm13, %%ymm14\n\tvpaddd %%ymm14, %%ymm" #n ", %%ymm" #n "\n\t"
static void int8(int) {
  for (long i = 0; i < ROUNDS; i++) {
    asm volatile(SUM(0) SUM(1) SUM(2) SUM(3) SUM(4) SUM(5) SUM(6) SUM(7) SUM(8) SUM(9) SUM(10) SUM(11)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14");
  }
}
#endif

#if defined(__linux__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)
#define AMX
// Sixteen rows of 64 bytes in each of the eight registers; four of them take sums.
struct alignas(64) Shape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr long TILE_ROUNDS = 5'000'000;

// In assembly: some compilers take only the first bytes of a shape for what their intrinsic reads.
#define TILES(name, multiply)                                                                                         \
  static void name(int) {                                                                                             \
    Shape shape;                                                                                                      \
    asm volatile("ldtilecfg %0" : : "m"(shape));                                                                      \
    for (long i = 0; i < TILE_ROUNDS; i++)                                                                            \
      asm volatile(multiply " %tmm6, %tmm4, %tmm0\n" multiply " %tmm7, %tmm4, %tmm1\n" multiply                       \
                            " %tmm6, %tmm5, %tmm2\n" multiply " %tmm7, %tmm5, %tmm3");                                \
    asm volatile("tilerelease");                                                                                      \
  }
TILES(tiles_bf16, "tdpbf16ps")
TILES(tiles_int8, "tdpbusd")

// Linux gives the registers to those who ask for them.
static bool permitted() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
#endif

int main(int count, char** values) {
  int threads = count > 1 ? std::atoi(values[1]) : 2;
  double per_thread = 2.0 * ROUNDS * SUMS;
  std::printf("{\"threads\": %d", threads);
  print("f32_gflops", threads, threads * per_thread * LANES, f32);
#ifdef __AVX512BF16__
  print("bf16_gflops", threads, threads * per_thread * 2 * LANES, bf16);
#endif
  print("int8_gflops", threads, threads * per_thread * INT_PRODUCTS, int8);

#ifdef AMX
  if (permitted()) {
    double products = threads * 4.0 * TILE_ROUNDS * 16 * 16;
    print("amx_bf16_gflops", threads, 2 * 32 * products, tiles_bf16);
    print("amx_int8_gflops", threads, 2 * 64 * products, tiles_int8);
  }
#endif

  // A gigabyte, far beyond any cache, on huge pages where there are some; each thread reads its share with four sums under
  // way.
  constexpr size_t BYTES = 1ull << 30;
  auto* memory = static_cast<uint64_t*>(std::aligned_alloc(2 << 20, BYTES));
  if (!memory) return 1;
#ifdef __linux__
  madvise(memory, BYTES, MADV_HUGEPAGE);
#endif
  std::fill_n(memory, BYTES / sizeof(uint64_t), 1);
  auto read = [&](int t) {
    size_t share = BYTES / sizeof(uint64_t) / threads;
    const __m256i* at = (const __m256i*)(memory + t * share);
    __m256i sums[4] = {};
    for (size_t i = 0; i + 4 <= share / 4; i += 4)
      for (int j = 0; j < 4; j++) sums[j] = _mm256_add_epi64(sums[j], _mm256_loadu_si256(at + i + j));
    for (auto& s : sums) int_sink = int_sink + _mm256_cvtsi256_si32(s);
  };
  print("read_gbs", threads, BYTES, read);
  std::puts("}");
}
