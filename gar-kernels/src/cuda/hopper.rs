//! Attention of many queries on Hopper, compute capability 9.0: wgmma and blocks that stay.
use super::{
    Cuda, Kernel, Launch, Source,
    heads::{HEAD_DIMS, check_head, with_arguments},
    kv_cache::PAGE,
    launch::int,
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{Attention, AttentionDims, AttentionSpec},
};

const OP: &str = "attention";
/// Threads, and queries, of a warpgroup.
const GROUP: (usize, usize) = (128, 64);
/// Where `Places` of `hopper.cuh` has its barriers, 8 bytes each.
const BARRIERS: usize = 9;
static SOURCE: Source = Source { name: "hopper", text: include_str!("hopper.cu") };

/// What a block of the Hopper kernel takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopperTile {
    /// Warpgroups that compute, 64 queries each: 2 or 3. Three have 160 registers a thread, two have 232.
    pub groups: usize,
    /// Keys of a tile, a multiple of 16 up to 192.
    pub keys: usize,
    /// Whether groups start their products in turn. Else each does as soon as it can.
    pub turns: bool,
}

impl HopperTile {
    /// Scores and their weights take 3/4 · `keys` registers of a thread, values half the head size. What is chosen here was the
    /// fastest of those that the example `time_tiles` tries, at 1024, 1025 and 4096 tokens on an H200.
    pub(super) fn of(head_dim: usize, causal: bool) -> Self {
        let (groups, keys, turns) = match (head_dim, causal) {
            (..=64, _) => (3, 128, !causal),
            (..=96, false) => (3, 96, false),
            (_, false) => (2, 176, true),
            (_, true) => (2, 128, false),
        };
        Self { groups, keys, turns }
    }

    /// Whether the card has what the kernel needs. Later chips have other tensor cores.
    pub(super) fn runs_on((major, _): (u32, u32)) -> bool {
        major == 9
    }

    /// Queries of a block.
    fn rows(self) -> usize {
        GROUP.1 * self.groups
    }

    /// Bytes of shared memory: a block's queries, two tiles of keys, two of values, barriers.
    fn shared_bytes(self, head_dim: usize) -> usize {
        (self.rows() + 4 * self.keys) * head_dim.next_multiple_of(16) * DType::BF16.size() + BARRIERS * 8
    }

    /// The same over pages: each tile lies within one.
    pub(super) fn paged(head_dim: usize) -> Self {
        Self { keys: PAGE, ..Self::of(head_dim, true) }
    }

    fn defines(self, head_dim: usize) -> Vec<(&'static str, String)> {
        let numbers = [
            ("GAR_HEAD_DIM", head_dim),
            ("GAR_GROUPS", self.groups),
            ("GAR_KEYS", self.keys),
            ("GAR_TURNS", usize::from(self.turns)),
        ];
        numbers.map(|(name, value)| (name, value.to_string())).into()
    }

    /// As many blocks as there are multiprocessors, or items where those are fewer.
    pub(super) fn launch(self, cuda: &Cuda, op: &'static str, dims: [usize; 3], head_dim: usize) -> Result<Launch> {
        let [queries, heads, batch] = dims;
        let items = queries.div_ceil(self.rows()) * heads * batch;
        int(op, "q", items)?;
        let blocks = items.min(cuda.runtime().properties().multiprocessors as usize);
        Ok(Launch {
            grid: [blocks as u32, 1, 1],
            threads: ((self.groups + 1) * GROUP.0) as u32,
            shared_bytes: self.shared_bytes(head_dim) as u32,
        })
    }

    fn check(self) -> Result<()> {
        if matches!(self.groups, 2 | 3) && self.keys.is_multiple_of(16) && (16..=192).contains(&self.keys) {
            return Ok(());
        }
        Err(Error::value(OP, "tile", "2 or 3 groups, a multiple of 16 keys up to 192", format!("{self:?}")))
    }
}

/// Attention by the Hopper kernel with a tile of one's own choice; [`Cuda`] chooses by head size where the card is one.
#[derive(Clone, Debug)]
pub struct HopperAttention {
    /// Where it runs.
    pub cuda: Cuda,
    /// What a block takes at once.
    pub tile: HopperTile,
}

impl Attention for HopperAttention {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        check_head(OP, q, dims.head_dim)?;
        self.tile.check()?;
        run(&self.cuda, self.tile, [q, k, v], spec, dims)
    }
}

pub(super) fn run(
    cuda: &Cuda,
    tile: HopperTile,
    qkv: [&Tensor; 3],
    spec: &AttentionSpec,
    dims: AttentionDims,
) -> Result<Tensor> {
    with_arguments(cuda, qkv, spec, dims, |causal, mut arguments| {
        arguments.push(int(OP, "q", dims.batch)?);
        let launch = tile.launch(cuda, OP, [dims.queries, dims.heads, dims.batch], dims.head_dim)?;
        cuda.runtime().launch(&dense(tile, dims.head_dim, causal), launch, &arguments)
    })
}

fn dense(tile: HopperTile, head_dim: usize, causal: bool) -> Kernel {
    let mut defines = tile.defines(head_dim);
    defines.push(("GAR_CAUSAL", u8::from(causal).to_string()));
    Kernel { source: &SOURCE, function: "attention_hopper", defines }
}

pub(super) fn paged(tile: HopperTile, head_dim: usize) -> Kernel {
    let mut defines = tile.defines(head_dim);
    defines.push(("GAR_PAGE", PAGE.to_string()));
    Kernel { source: &SOURCE, function: "cached_hopper", defines }
}

/// None where the card is no Hopper.
pub(super) fn kernels(capability: (u32, u32)) -> Vec<Kernel> {
    let of = |d| {
        let tile = |causal| dense(HopperTile::of(d, causal), d, causal);
        [tile(false), tile(true), paged(HopperTile::paged(d), d)]
    };
    HEAD_DIMS.into_iter().filter(|_| HopperTile::runs_on(capability)).flat_map(of).collect()
}
