//! Proves a CUDA kernel of one's own without a GPU:
//! `cargo run -p gar-kernels --features emulator,laws --example emulate_my_kernel`.
//!
//! The kernel finds the index of the largest entry of a row. The emulator compiles it for the host, the laws judge it, and a
//! barrier that is taken out is found.
#![allow(clippy::print_stdout)]

use gar_kernels::{
    DType, Device, Error, Result, Tensor,
    cuda::{Argument, Copies, CudaDevice, Edit, Emulator, EmulatorOptions, Kernel, Launch, Source},
    laws::{self, LawConfig},
    ops::ArgMax,
};

static SOURCE: Source = Source {
    name: "my_argmax",
    text: r#"
#include "gar.cuh"

// Rises with x; a NaN comes below all numbers.
__device__ inline unsigned rank(float x) {
    int bits = __float_as_int(x + 0.0f);
    return x != x ? 0 : bits < 0 ? ~bits : bits | 0x80000000u;
}

// A block of four warps takes a row.
extern "C" __global__ void my_argmax(const float* x, unsigned* index, int width) {
    await_previous();
    __shared__ unsigned ranks[4], places[4];
    const float* row = x + (size_t)blockIdx.x * width;
    unsigned best = 0, place = threadIdx.x;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x)
        if (rank(row[i]) > best) best = rank(row[i]), place = i;
    for (int step = WARP / 2; step > 0; step /= 2) {
        unsigned other = __shfl_xor_sync(ALL_LANES, best, step), where = __shfl_xor_sync(ALL_LANES, place, step);
        if (other > best || (other == best && where < place)) best = other, place = where;
    }
    if (threadIdx.x % WARP == 0) ranks[threadIdx.x / WARP] = best, places[threadIdx.x / WARP] = place;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < 4; ++w)
        if (ranks[w] > best || (ranks[w] == best && places[w] < place)) best = ranks[w], place = places[w];
    index[blockIdx.x] = place;
}
"#,
};

/// The wrapper: checks, allocates, launches. On a GPU it is the same.
struct MyArgMax(CudaDevice);

impl ArgMax for MyArgMax {
    fn argmax(&self, x: &Tensor) -> Result<Vec<u32>> {
        let [rows, width] = x.dims("my_argmax", "x")?;
        if width == 0 {
            let found = x.shape().to_vec();
            return Err(Error::Shape { op: "my_argmax", what: "x", expected: "[B, V] with V > 0".into(), found });
        }
        let from = self.0.pointer("my_argmax", "x", x, &[DType::F32], "f32")?;
        let (index, to) = self.0.empty(&[rows], DType::U32)?;
        let kernel = Kernel { source: &SOURCE, function: "my_argmax", defines: Vec::new() };
        let launch = Launch { grid: [rows as u32, 1, 1], threads: 128, shared_bytes: 0 };
        self.0.runtime().launch(&kernel, launch, &[from.into(), to.into(), Argument::I32(width as i32)])?;
        Ok(self.0.download(&index)?.host::<u32>()?.to_vec())
    }
}

fn main() -> Result<()> {
    let barrier = Edit { file: "my_argmax", from: "__syncthreads();", to: "" };
    for (what, edits) in [("my_argmax", vec![]), ("my_argmax without its barrier", vec![barrier])] {
        // A kernel must pass whether asynchronous copies land at once or late, and whichever warp runs first.
        for copies in [Copies::Eager, Copies::Lazy] {
            let options = EmulatorOptions { copies, edits: edits.clone(), ..EmulatorOptions::default() };
            let mine = MyArgMax(CudaDevice::new(Emulator::start(options)?));
            let config = LawConfig { cases: 8, ..LawConfig::f32() };
            match laws::argmax(&mine, &mine.0, &config) {
                Ok(()) => println!("{what}, {copies:?}: every law holds"),
                Err(violation) => println!("{what}, {copies:?}: breaks a law\n  {violation}"),
            }
        }
    }
    Ok(())
}
