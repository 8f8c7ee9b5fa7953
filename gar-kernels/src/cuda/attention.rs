//! Attention on CUDA: FlashAttention-2 on tensor cores for bf16 (on Hopper see `hopper.rs`), the plain kernel for f32 and for odd
//! sizes of heads.
use super::{
    Argument, Cuda, Kernel, Launch, Source,
    heads::{HEAD_DIMS, MOST_HEAD_DIM, check_head, is_head, with_arguments, zeros},
    hopper::{self, HopperTile},
    launch::{WARP, int},
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{Attention, AttentionDims, AttentionSpec, Mask},
};

const OP: &str = "attention";
static SOURCE: Source = Source { name: OP, text: include_str!("attention.cu") };

/// What a block of the fast kernel takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashTile {
    /// Queries of a warp, in sixteens: 1 or 2. Two share what is read of keys and values.
    pub sixteens: usize,
    /// Keys of a tile, a multiple of 16.
    pub keys: usize,
}

impl FlashTile {
    /// Warps of a block.
    pub(super) const WARPS: usize = 4;

    /// The largest tile whose scores and values fit into 255 registers without spills. A causal mask wants fewer keys: they
    /// cost registers for what rows see, and half of each tile on the diagonal is work for nothing.
    pub(super) fn of(head_dim: usize, causal: bool) -> Self {
        let keys = match head_dim {
            ..=64 if !causal => 128,
            ..=96 => 64,
            _ => 32,
        };
        Self { sixteens: 2, keys }
    }

    /// The same for few queries: half as many a block, so that more blocks share the work.
    pub(super) fn small(head_dim: usize) -> Self {
        Self { sixteens: 1, keys: if head_dim > 64 { 32 } else { 64 } }
    }

    /// This tile, or the small one where this would leave multiprocessors without work.
    pub(super) fn for_work(self, cuda: &Cuda, queries: usize, heads: usize, head_dim: usize) -> Self {
        let blocks = queries.div_ceil(self.rows()) * heads;
        let idle = blocks < cuda.runtime().properties().multiprocessors as usize;
        if idle || queries <= self.rows() / 2 { Self::small(head_dim) } else { self }
    }

    /// Queries of a block.
    pub(super) fn rows(self) -> usize {
        16 * self.sixteens * Self::WARPS
    }

    /// Bytes of shared memory: a block's queries, a tile of keys, a tile of values; PITCH of `flash.cuh` elements a row.
    fn shared_bytes(self, head_dim: usize) -> usize {
        (self.rows() + 2 * self.keys) * (head_dim.next_multiple_of(16) + 8) * DType::BF16.size()
    }

    pub(super) fn defines(self, head_dim: usize) -> Vec<(&'static str, String)> {
        vec![
            ("GAR_HEAD_DIM", head_dim.to_string()),
            ("GAR_M", self.sixteens.to_string()),
            ("GAR_WARPS", Self::WARPS.to_string()),
            ("GAR_KEYS", self.keys.to_string()),
        ]
    }

    /// One block for each tile of queries, head and sequence.
    pub(super) fn launch(self, op: &'static str, dims: [usize; 3], head_dim: usize) -> Result<Launch> {
        let [queries, heads, batch] = dims;
        let extent =
            |n: usize| u32::try_from(n).map_err(|_| Error::value(op, "extent", format!("at most {}", u32::MAX), n));
        Ok(Launch {
            grid: [extent(queries.div_ceil(self.rows()))?, extent(heads)?, extent(batch)?],
            threads: (Self::WARPS * WARP) as u32,
            shared_bytes: extent(self.shared_bytes(head_dim))?,
        })
    }
}

fn flash(tile: FlashTile, head_dim: usize, causal: bool) -> Kernel {
    let mut defines = tile.defines(head_dim);
    defines.push(("GAR_CAUSAL", u8::from(causal).to_string()));
    Kernel { source: &SOURCE, function: "attention_flash", defines }
}

fn plain(dtype: DType, head_dim: usize) -> Kernel {
    let element = if dtype == DType::F32 { "float" } else { "bf16" };
    let defines = vec![("GAR_T", element.into()), ("GAR_HEAD_DIM", head_dim.to_string())];
    Kernel { source: &SOURCE, function: "attention_plain", defines }
}

pub(super) fn kernels() -> Vec<Kernel> {
    let of = |d| {
        let fast = [false, true]
            .into_iter()
            .flat_map(move |causal| [FlashTile::of(d, causal), FlashTile::small(d)].map(|tile| flash(tile, d, causal)));
        fast.chain([DType::F32, DType::BF16].map(|dtype| plain(dtype, d)))
    };
    HEAD_DIMS.into_iter().flat_map(of).collect()
}

/// Attention by the fast kernel with a tile of one's own choice; [`Cuda`] chooses by head size and number of queries.
#[derive(Clone, Debug)]
pub struct FlashAttention {
    /// Where it runs.
    pub cuda: Cuda,
    /// What a block takes at once.
    pub tile: FlashTile,
}

impl Attention for Cuda {
    /// Heads of 1 to 128. bf16 with heads of a multiple of 8 and a scale above 0 by the fast kernel, where there are many queries
    /// and the card is a Hopper by the one made for it; f32, other heads, and everything
    /// [`with_plain_kernels`](Cuda::with_plain_kernels), by the plain one.
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        if !(1..=MOST_HEAD_DIM).contains(&dims.head_dim) {
            return Err(Error::shape(OP, "q", format!("[B, L, H, d] with d from 1 to {MOST_HEAD_DIM}"), q.shape()));
        }
        if self.plain || q.dtype() == DType::F32 || !is_head(dims.head_dim) {
            return run_plain(self, [q, k, v], spec, dims);
        }
        let causal = spec.mask != Mask::Full;
        let tile = FlashTile::of(dims.head_dim, causal);
        let chosen = tile.for_work(self, dims.queries, dims.heads * dims.batch, dims.head_dim);
        if chosen == tile && HopperTile::runs_on(self.runtime().properties().capability) {
            return hopper::run(self, HopperTile::of(dims.head_dim, causal), [q, k, v], spec, dims);
        }
        run_flash(self, chosen, [q, k, v], spec, dims)
    }
}

impl Attention for FlashAttention {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        check_head(OP, q, dims.head_dim)?;
        run_flash(&self.cuda, self.tile, [q, k, v], spec, dims)
    }
}

fn run_flash(
    cuda: &Cuda,
    tile: FlashTile,
    qkv: [&Tensor; 3],
    spec: &AttentionSpec,
    dims: AttentionDims,
) -> Result<Tensor> {
    with_arguments(cuda, qkv, spec, dims, |causal, arguments| {
        let launch = tile.launch(OP, [dims.queries, dims.heads, dims.batch], dims.head_dim)?;
        cuda.runtime().launch(&flash(tile, dims.head_dim, causal), launch, &arguments)
    })
}

fn run_plain(cuda: &Cuda, [q, k, v]: [&Tensor; 3], spec: &AttentionSpec, dims: AttentionDims) -> Result<Tensor> {
    let dtype = q.dtype();
    let pointers = [cuda.activation(OP, "q", q)?, cuda.operand(OP, "k", k, dtype)?, cuda.operand(OP, "v", v, dtype)?];
    if dims.keys == 0 || q.is_empty() {
        return zeros(cuda, q);
    }
    let (out, to) = cuda.device.empty(q.shape(), dtype)?;
    let mut arguments: Vec<Argument> = pointers.into_iter().chain([to]).map(Argument::from).collect();
    for (what, extent) in
        [("q", dims.batch), ("q", dims.queries), ("k", dims.keys), ("q", dims.heads), ("k", dims.heads / dims.kv_heads)]
    {
        arguments.push(int(OP, what, extent)?);
    }
    arguments.push(match spec.mask {
        Mask::Full => Argument::I32(-1),
        Mask::Causal { offset } => int(OP, "mask", offset)?,
    });
    arguments.push(Argument::F32(spec.scale));
    let rows = dims.batch * dims.queries * dims.heads;
    cuda.launch_blocks(&plain(dtype, dims.head_dim), rows.div_ceil(WARP), WARP as u32, &arguments)?;
    Ok(out)
}
