//! Attention through the key/value cache on CUDA: many queries by tiles, few by shares of the keys.
//!
//! Whatever changes from token to token, lengths and addresses of pages, goes to the device as values; grids, shapes and
//! scalars stay the same until the table or the number of shares doubles, so that a decoder's steps repeat.
use super::{
    Argument, Cuda, Kernel, Launch, Pointer, Source,
    attention::FlashTile,
    heads::{HEAD_DIMS, base_two, check_head, is_head},
    hopper::{self, HopperTile},
    kv_cache::{CudaCache, PAGE},
    launch::{WARP, int, is_aligned},
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{
        CacheSpec, CachedAttention, CachedAttentionDims, CachedAttentionSpec, KvCache, Pairing, RotaryDims, Rotation,
    },
};

const OP: &str = "cached_attention";
/// Most new positions of a sequence whose keys are shared out among blocks, with a query for each. With more, blocks are
/// enough as it is.
const FEW: usize = 16;
/// Rows of a block of `cached_split`: query heads of one kv head, at as many positions as there are.
const SPLIT_ROWS: usize = 16;
static SOURCE: Source = Source { name: OP, text: include_str!("cached_attention.cu") };

impl CachedAttention for Cuda {
    /// Heads of a multiple of 8 up to 128, as pages are read by 16 bytes, stored in the type of this table's activations.
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>> {
        if spec.kv_heads == 0 || !is_head(spec.head_dim) {
            let found = format!("{} heads of {}", spec.kv_heads, spec.head_dim);
            return Err(Error::value(OP, "cache", "at least one head of a multiple of 8 up to 128", found));
        }
        if CudaCache::page_elements(spec).is_none() {
            let expected = format!("at most {} elements in {PAGE} positions of all layers", i32::MAX);
            return Err(Error::value(OP, "cache", expected, format!("{spec:?}")));
        }
        Ok(Box::new(CudaCache::new(self.device.clone(), self.activations, spec)))
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        self.attend_turned([q, k, v], None, caches, spec)
    }

    /// Few queries are turned by the kernel that reads them.
    fn attend_rotated(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rotation: Rotation<'_>,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        match self.angles(q, k, &rotation, caches)? {
            None => {
                let [q, k] = rotation.apply_to_last(q, k)?;
                self.attend(&q, &k, v, caches, spec)
            }
            angles => self.attend_turned([q, k, v], angles, caches, spec),
        }
    }
}

/// Cosines and sines.
type Angles = [Pointer; 2];

impl Cuda {
    /// The tables of a rotation that `cached_split` can do: this table's, of few rows of bf16 that continue their caches, a
    /// query for each key.
    fn angles(
        &self,
        q: &Tensor,
        k: &Tensor,
        Rotation { rotary, spec }: &Rotation<'_>,
        caches: &[&mut dyn KvCache],
    ) -> Result<Option<Angles>> {
        let RotaryDims { len, head_dim, .. } = spec.check(k)?;
        let every = spec.check(q)?.len == len && !q.is_empty();
        let continues = spec.start.iter().copied().eq(caches.iter().map(|cache| cache.len()));
        let halves = spec.pairing == Pairing::HalfSplit && head_dim.is_multiple_of(16);
        if !self.is_own(*rotary) || !continues || !halves || !every || len > FEW || q.dtype() != DType::BF16 {
            return Ok(None);
        }
        let cos = self.operand(OP, "cos", spec.cos, DType::F32)?;
        let sin = self.operand(OP, "sin", spec.sin, DType::F32)?;
        Ok((is_aligned(cos) && is_aligned(sin)).then_some([cos, sin]))
    }

    /// `angles` turn queries and keys; then there are few of both.
    fn attend_turned(
        &self,
        [q, k, v]: [&Tensor; 3],
        angles: Option<Angles>,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        let CachedAttentionSpec { layer, scale, .. } = *spec;
        let dims = CachedAttentionDims::check(q, k, v, caches, layer)?;
        check_head(OP, q, dims.head_dim)?;
        let mut own = Vec::with_capacity(dims.batch);
        for cache in caches.iter_mut() {
            let cache = cache.as_any_mut().downcast_mut::<CudaCache>();
            own.push(cache.filter(|c| std::ptr::addr_eq(c.device.runtime(), self.runtime())).ok_or_else(|| {
                Error::Device {
                    op: OP,
                    what: "caches",
                    expected: self.runtime().name().into(),
                    found: "another device's cache".into(),
                }
            })?);
        }
        let dtype = own.first().map_or(self.activations, |cache| cache.dtype);
        if let Some(other) = own.iter().find(|cache| cache.dtype != dtype) {
            return Err(Error::value(OP, "caches", format!("caches of {dtype}"), other.dtype));
        }
        let operand = |what, tensor| self.operand(OP, what, tensor, dtype);
        let [q_at, k_at, v_at] = [operand("q", q)?, operand("k", k)?, operand("v", v)?];
        let plain = self.plain || dtype == DType::F32;
        let base_two = if plain { Argument::F32(scale) } else { base_two(OP, scale)? };
        let (out, to) = self.device.empty(q.shape(), dtype)?;
        if k.is_empty() {
            return Ok(out);
        }
        for cache in &mut own {
            cache.reserve(dims.positions)?;
        }
        let step = Step::new(dims, &own, layer, base_two);
        // Held until everything that reads it is launched.
        let (_held, table) = self.device.values(&step.table(&own, 0))?;
        let [q_at, k_at, v_at, to]: [Argument; 4] = [q_at, k_at, v_at, to].map(Into::into);
        if !plain && dims.positions <= FEW && dims.skipped() == 0 && !out.is_empty() {
            step.split(self, table, [q_at, k_at, v_at], angles, to)?;
            return Ok(out);
        }
        step.append(self, dtype, table, [k_at, v_at])?;
        if out.is_empty() {
            return Ok(out);
        }
        // What stands before the first query is stored by now: it is read as if it had been there.
        let later = (dims.skipped() > 0).then(|| self.device.values(&step.table(&own, dims.skipped()))).transpose()?;
        let table = later.as_ref().map_or(table, |(_, later)| *later);
        match plain {
            true => step.plain(self, dtype, table, [q_at, to])?,
            false => step.flash(self, table, [q_at, to])?,
        }
        Ok(out)
    }
}

/// One layer of one step of a batch.
struct Step {
    dims: CachedAttentionDims,
    layer: usize,
    /// The scale as the kernel wants it.
    scale: Argument,
    /// Pages that a row of the table has room for: a power of two, so that it seldom changes.
    room: usize,
}

impl Step {
    fn new(dims: CachedAttentionDims, caches: &[&mut CudaCache], layer: usize, scale: Argument) -> Self {
        let most = caches.iter().map(|c| c.pages(dims.positions).count()).max().unwrap_or(0);
        Self { dims, layer, scale, room: most.next_power_of_two() }
    }

    /// A row for each sequence: its length before this step with the first `stored` new positions, the addresses of its
    /// pages, zeros.
    fn table(&self, caches: &[&mut CudaCache], stored: usize) -> Vec<u64> {
        let mut table = vec![0; caches.len() * (self.room + 1)];
        for (row, cache) in table.chunks_exact_mut(self.room + 1).zip(caches) {
            row[0] = (cache.len() + stored) as u64;
            row[1..].iter_mut().zip(cache.pages(self.dims.positions)).for_each(|(to, page)| *to = page.0);
        }
        table
    }

    /// The table, some pointers, and `extents` as `int`.
    fn arguments(&self, table: Argument, pointers: &[Argument], extents: &[usize]) -> Result<Vec<Argument>> {
        let mut arguments = vec![table, int(OP, "caches", self.room + 1)?];
        arguments.extend(pointers);
        for &extent in extents {
            arguments.push(int(OP, "q", extent)?);
        }
        Ok(arguments)
    }

    fn append(&self, cuda: &Cuda, dtype: DType, table: Argument, kv: [Argument; 2]) -> Result<()> {
        let CachedAttentionDims { batch, positions, kv_heads, head_dim, .. } = self.dims;
        let arguments = self.arguments(table, &kv, &[batch, positions, kv_heads, self.layer])?;
        let vectors = head_dim * dtype.size() / 16;
        cuda.launch_items(&plain("cached_append", dtype, head_dim), batch * positions * kv_heads * vectors, &arguments)
    }

    fn plain(&self, cuda: &Cuda, dtype: DType, table: Argument, qo: [Argument; 2]) -> Result<()> {
        let CachedAttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = self.dims;
        let mut arguments = self.arguments(table, &qo, &[batch, queries, heads, heads / kv_heads, self.layer])?;
        arguments.push(self.scale);
        let blocks = (batch * queries * heads).div_ceil(WARP);
        cuda.launch_blocks(&plain("cached_plain", dtype, head_dim), blocks, WARP as u32, &arguments)
    }

    fn flash(&self, cuda: &Cuda, table: Argument, qo: [Argument; 2]) -> Result<()> {
        let CachedAttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = self.dims;
        let tile = FlashTile::of(head_dim, true);
        let chosen = tile.for_work(cuda, queries, heads * batch, head_dim);
        if chosen == tile && HopperTile::runs_on(cuda.runtime().properties().capability) {
            let tile = HopperTile::paged(head_dim);
            let mut arguments = self.arguments(table, &qo, &[batch, queries, heads, heads / kv_heads, self.layer])?;
            arguments.push(self.scale);
            let launch = tile.launch(cuda, OP, [queries, heads, batch], head_dim)?;
            return cuda.runtime().launch(&hopper::paged(tile, head_dim), launch, &arguments);
        }
        let mut arguments = self.arguments(table, &qo, &[queries, heads, heads / kv_heads, self.layer])?;
        arguments.push(self.scale);
        let launch = chosen.launch(OP, [queries, heads, batch], head_dim)?;
        cuda.runtime().launch(&flash(chosen, head_dim), launch, &arguments)
    }

    fn split(
        &self,
        cuda: &Cuda,
        table: Argument,
        qkv: [Argument; 3],
        angles: Option<Angles>,
        out: Argument,
    ) -> Result<()> {
        let CachedAttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = self.dims;
        let tile = SplitTile::of(head_dim);
        let groups = kv_heads * (queries * (heads / kv_heads)).div_ceil(SPLIT_ROWS);
        let rows = batch * queries * heads;
        let shares = tile.shares(cuda, groups * batch, self.room);
        let (_values, values) = cuda.device.empty(&[rows, shares, head_dim], DType::F32)?;
        let (_tops, tops) = cuda.device.empty(&[rows, shares, 2], DType::F32)?;
        let [values, tops]: [Argument; 2] = [values.into(), tops.into()];
        let mut pointers = qkv.to_vec();
        pointers.extend(angles.map_or([Argument::Pointer(0); 2], |angles| angles.map(Into::into)));
        pointers.extend([values, tops]);
        let mut arguments = self.arguments(table, &pointers, &[queries, heads, heads / kv_heads, self.layer])?;
        arguments.push(self.scale);
        let extent = |n: usize| u32::try_from(n).map_err(|_| Error::value(OP, "q", format!("at most {}", u32::MAX), n));
        let launch = Launch {
            grid: [extent(shares)?, extent(groups)?, extent(batch)?],
            threads: SplitTile::THREADS,
            shared_bytes: tile.shared_bytes(head_dim),
        };
        cuda.runtime().launch(&split("cached_split", tile, head_dim), launch, &arguments)?;
        let arguments = [values, tops, out, int(OP, "shares", shares)?, self.scale];
        cuda.launch_blocks(&split("cached_combine", tile, head_dim), rows, SplitTile::THREADS, &arguments)
    }
}

/// What a warp of `cached_split` takes at once.
#[derive(Clone, Copy, Debug)]
struct SplitTile {
    keys: usize,
}

impl SplitTile {
    const WARPS: usize = FlashTile::WARPS;
    const THREADS: u32 = (Self::WARPS * WARP) as u32;

    /// Two stages for four warps in about 70 KiB of shared memory, so that a block is never alone.
    fn of(head_dim: usize) -> Self {
        Self { keys: if head_dim > 64 { 16 } else { 32 } }
    }

    /// Two blocks for each multiprocessor, but no share of less than a tile for each warp of a full table.
    fn shares(self, cuda: &Cuda, groups: usize, room: usize) -> usize {
        let wanted = (2 * cuda.runtime().properties().multiprocessors as usize).div_ceil(groups);
        wanted.clamp(1, room * PAGE / (self.keys * Self::WARPS))
    }

    /// Rows of q, then keys and values of two stages for each warp; PITCH of `flash.cuh` elements a row.
    fn shared_bytes(self, head_dim: usize) -> u32 {
        let rows = SPLIT_ROWS + Self::WARPS * 2 * 2 * self.keys;
        (rows * (head_dim.next_multiple_of(16) + 8) * DType::BF16.size()) as u32
    }
}

fn plain(function: &'static str, dtype: DType, head_dim: usize) -> Kernel {
    let element = if dtype == DType::F32 { "float" } else { "bf16" };
    kernel(function, vec![("GAR_T", element.into()), ("GAR_HEAD_DIM", head_dim.to_string())])
}

fn flash(tile: FlashTile, head_dim: usize) -> Kernel {
    kernel("cached_flash", tile.defines(head_dim))
}

fn split(function: &'static str, tile: SplitTile, head_dim: usize) -> Kernel {
    let numbers = [("GAR_HEAD_DIM", head_dim), ("GAR_WARPS", SplitTile::WARPS), ("GAR_KEYS", tile.keys)];
    kernel(function, numbers.map(|(name, value)| (name, value.to_string())).into())
}

fn kernel(function: &'static str, mut defines: Vec<(&'static str, String)>) -> Kernel {
    defines.push(("GAR_PAGE", PAGE.to_string()));
    Kernel { source: &SOURCE, function, defines }
}

pub(super) fn kernels() -> Vec<Kernel> {
    let of = |d| {
        let plain = ["cached_append", "cached_plain"]
            .into_iter()
            .flat_map(move |f| [DType::F32, DType::BF16].map(|dtype| plain(f, dtype, d)));
        let flash = [FlashTile::of(d, true), FlashTile::small(d)].map(|tile| flash(tile, d));
        let split = ["cached_split", "cached_combine"].map(|f| split(f, SplitTile::of(d), d));
        plain.chain(flash).chain(split)
    };
    HEAD_DIMS.into_iter().flat_map(of).collect()
}
