//! Laws of rotary position embedding, alone and on the way to attention.
use std::ops::Range;

use ndarray::{Array2, Array4, s};
use proptest::{prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{
        Attention, AttentionSpec, CacheSpec, CachedAttention, CachedAttentionSpec, KvCache, Mask, Pairing, Rotary,
        RotarySpec, Rotation,
    },
};

#[derive(Clone, Debug)]
struct Case {
    len: usize,
    heads: usize,
    dim: usize,
    /// One a sequence.
    start: Vec<usize>,
    pairing: Pairing,
    seed: u64,
}

impl Case {
    fn shape(&self) -> (usize, usize, usize, usize) {
        (self.start.len(), self.len, self.heads, self.dim)
    }

    /// cos and sin of `p · 10000^(−2i/d)`, as f32 holds them, for as many positions as the case needs and `more`.
    fn tables(&self, more: usize) -> [Array2<f64>; 2] {
        let positions = self.start.iter().max().map_or(0, |s| s + self.len) + more;
        let angle = |(p, i): (usize, usize)| p as f64 * 10_000_f64.powf(-2.0 * i as f64 / self.dim as f64);
        let table =
            |of: fn(f64) -> f64| Array2::from_shape_fn((positions, self.dim / 2), |at| f64::from(of(angle(at)) as f32));
        [table(f64::cos), table(f64::sin)]
    }
}

/// Judges a [`Rotary`]: agreement for both pairings and any start, norms kept, products that depend on relative position
/// only, rows without rotation, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn rotary(op: &dyn Rotary, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "rotary", device, config };
    let cases = || cases(config, 70, 0..4);
    let rotate = |x: &Array4<f64>, [cos, sin]: &[Array2<f64>; 2], start: &[usize], pairing| -> Verdict<Tensor> {
        let (cos, sin) = (judge.up_as(cos, DType::F32)?, judge.up_as(sin, DType::F32)?);
        Ok(op.rotary(&judge.up(x)?, &RotarySpec { cos: &cos, sin: &sin, start, pairing })?)
    };
    judge.law("agrees with the rotation of each pair", cases(), |c| {
        let (x, tables) = (config.values(c.seed).array(c.shape()), c.tables(0));
        let expected = reference::rotary(&x, &tables[0], &tables[1], &c.start, c.pairing);
        judge.close(&expected, &rotate(&x, &tables, &c.start, c.pairing)?)
    })?;
    judge.law("keeps the norm of every head", cases(), |c| {
        let x = config.values(c.seed).array(c.shape());
        let norms = |x: &Array4<f64>| x.mapv(|v| v * v / c.dim as f64).sum_axis(ndarray::Axis(3));
        let found = four(&judge, &rotate(&x, &c.tables(0), &c.start, c.pairing)?)?;
        judge.close(&norms(&x), &judge.up_as(&norms(&found), DType::F32)?)
    })?;
    judge.law("products depend on relative positions only", (cases(), 0..50_usize), |(c, shift)| {
        let mut values = config.values(c.seed);
        let (q, k): (Array4<f64>, Array4<f64>) = (values.array(c.shape()), values.array(c.shape()));
        let tables = c.tables(*shift);
        let products = |start: &[usize]| -> Verdict<_> {
            let q = four(&judge, &rotate(&q, &tables, start, c.pairing)?)?;
            let k = four(&judge, &rotate(&k, &tables, start, c.pairing)?)?;
            // Every query with the first key of its sequence.
            let first = k.slice(s![.., 0..usize::from(c.len > 0), .., ..]);
            let first = first.broadcast(q.dim()).map(|k| k.to_owned()).unwrap_or_else(|| q.clone());
            Ok((q * first).sum_axis(ndarray::Axis(3)) / c.dim as f64)
        };
        let later: Vec<usize> = c.start.iter().map(|s| s + shift).collect();
        judge.close(&products(&c.start)?, &judge.up_as(&products(&later)?, DType::F32)?)
    })?;
    judge.law("rows of ones and zeros leave a token as it is", cases(), |c| {
        let x = config.values(c.seed).array(c.shape());
        let tables = c.tables(0);
        let still = [Array2::ones(tables[0].dim()), Array2::zeros(tables[0].dim())];
        judge.close(&x, &rotate(&x, &still, &c.start, c.pairing)?)
    })?;
    judge.law("an odd head, tables of another width, and positions outside them are refused", cases(), |c| {
        let [cos, sin] = c.tables(0);
        let positions = cos.nrows();
        let tables = [judge.up_as(&cos, DType::F32)?, judge.up_as(&sin, DType::F32)?];
        let wide = judge.up_as(&Array2::ones((positions, c.dim / 2 + 1)), DType::F32)?;
        let x = |dim| judge.up(&Array4::zeros((1, c.len, 1, dim)));
        let try_with =
            |x: &Tensor, cos, sin, start: &[usize]| op.rotary(x, &RotarySpec { cos, sin, start, pairing: c.pairing });
        let (fits, [cos, sin]) = (x(c.dim)?, &tables);
        judge.refuses("an odd head", try_with(&x(c.dim + 1)?, cos, sin, &[0]))?;
        judge.refuses("wider tables", try_with(&fits, &wide, &wide, &[0]))?;
        judge.refuses("tables of two widths", try_with(&fits, cos, &wide, &[0]))?;
        judge.refuses("two starts for one sequence", try_with(&fits, cos, sin, &[0, 0]))?;
        judge.refuses("a start outside the tables", try_with(&fits, cos, sin, &[positions + 1]))?;
        judge.refuses("a start that overflows", try_with(&fits, cos, sin, &[usize::MAX - c.len / 2]))
    })
}

/// Judges [`attention_rotated`](Attention::attention_rotated) of an [`Attention`] with a [`Rotary`]: it gives what both give one
/// after the other, and refuses what they refuse.
///
/// # Errors
/// The first law that is broken.
pub fn attention_rotated(
    op: &dyn Attention,
    rotary: &(dyn Rotary + 'static),
    device: &dyn Device,
    config: &LawConfig,
) -> Result<(), Violation> {
    let judge = Judge { op: "attention_rotated", device, config };
    let cases = || cases(config, 140, 1..3);
    let spec = |c: &Case, mask| AttentionSpec { scale: (c.dim as f32).sqrt().recip(), mask, to: None };
    judge.law(
        "turning on the way gives what turning before gives",
        (cases(), 1..3_usize, any::<bool>()),
        |(c, group, causal)| {
            let mut values = config.values(c.seed);
            let q: Array4<f64> = values.array((c.start.len(), c.len.div_ceil(*group), c.heads * group, c.dim));
            let [k, v] = [(); 2].map(|()| -> Array4<f64> { values.array(c.shape()) });
            let (q, k, v) = (judge.up(&(q * 4.0))?, judge.up(&k)?, judge.up(&v)?);
            let [cos, sin] = c.tables(0);
            let (cos, sin) = (judge.up_as(&cos, DType::F32)?, judge.up_as(&sin, DType::F32)?);
            let turn = RotarySpec { cos: &cos, sin: &sin, start: &c.start, pairing: c.pairing };
            let rotation = Rotation { rotary, spec: turn };
            let spec =
                spec(c, if *causal { Mask::Causal { offset: c.len - c.len.div_ceil(*group) } } else { Mask::Full });
            let expected = op.attention(&rotary.rotary(&q, &turn)?, &rotary.rotary(&k, &turn)?, &v, &spec)?;
            judge.same(&expected, &op.attention_rotated(&q, &k, &v, rotation, &spec)?)
        },
    )?;
    judge.law("positions outside the tables are refused", cases(), |c| {
        let [cos, sin] = c.tables(0);
        let positions = cos.nrows();
        let (cos, sin) = (judge.up_as(&cos, DType::F32)?, judge.up_as(&sin, DType::F32)?);
        let x = judge.up(&Array4::zeros((1, c.len + 1, c.heads, c.dim)))?;
        let turn = RotarySpec { cos: &cos, sin: &sin, start: &[positions], pairing: c.pairing };
        judge.refuses(
            "a start outside",
            op.attention_rotated(&x, &x, &x, Rotation { rotary, spec: turn }, &spec(c, Mask::Full)),
        )
    })
}

/// Judges [`attend_rotated`](CachedAttention::attend_rotated) of a [`CachedAttention`] with a [`Rotary`]: however a sequence is
/// cut, and wherever its positions start, it gives what both give one after the other, and refuses what they refuse.
///
/// # Errors
/// The first law that is broken.
pub fn cached_attention_rotated(
    op: &dyn CachedAttention,
    rotary: &(dyn Rotary + 'static),
    device: &dyn Device,
    config: &LawConfig,
) -> Result<(), Violation> {
    let judge = Judge { op: "attend_rotated", device, config };
    let attention = CachedAttentionSpec { layer: 1, scale: 0.2, to: None };
    // Sequences of different lengths, whose new tokens come in parts; positions follow the cache, or lie elsewhere.
    let parts = proptest::collection::vec(config.extent(20), 1..3);
    let inputs = (cases(config, 140, 1..3), 1..6_usize, parts, select(vec![0, 0, 5]), select(vec![0, 0, 1, 9]));
    judge.law("turning on the way gives what turning before gives", inputs, |(c, group, parts, shift, silent)| {
        let (batch, [cos, sin]) = (c.start.len(), c.tables(parts.iter().sum::<usize>() + shift));
        let (cos, sin) = (judge.up_as(&cos, DType::F32)?, judge.up_as(&sin, DType::F32)?);
        let capacity = c.start.iter().max().unwrap_or(&0) + parts.iter().sum::<usize>();
        let spec = CacheSpec { layers: 2, kv_heads: c.heads, head_dim: c.dim, capacity };
        let caches = || (0..batch).map(|_| Ok(op.cache(spec)?)).collect::<Verdict<Vec<_>>>();
        let (mut turned, mut rotated, mut values) = (caches()?, caches()?, config.values(c.seed));
        // Of the new tokens, some first ones do not ask.
        let mut operands = |batch, len, queries| -> Verdict<[Tensor; 3]> {
            let q: Array4<f64> = values.array((batch, queries, c.heads * group, c.dim));
            let [k, v] = [(); 2].map(|()| -> Array4<f64> { values.array((batch, len, c.heads, c.dim)) });
            Ok([judge.up(&(q * 4.0))?, judge.up(&k)?, judge.up(&v)?])
        };
        for ((a, b), &len) in turned.iter_mut().zip(&mut rotated).zip(&c.start) {
            let [q, k, v] = operands(1, len, len)?;
            for cache in [a, b] {
                op.attend(&q, &k, &v, &mut [&mut **cache], &attention)?;
                cache.advance(len)?;
            }
        }
        for &len in parts {
            let silent = *silent.min(&len);
            let [q, k, v] = operands(batch, len, len - silent)?;
            let start: Vec<usize> = turned.iter().map(|cache| cache.len() + shift).collect();
            let spec = RotarySpec { cos: &cos, sin: &sin, start: &start, pairing: c.pairing };
            let rotation = Rotation { rotary, spec };
            let asking: Vec<usize> = start.iter().map(|start| start + silent).collect();
            let of_queries = Rotation { rotary, spec: RotarySpec { start: &asking, ..spec } };
            let expected =
                op.attend(&of_queries.apply(&q)?, &rotation.apply(&k)?, &v, &mut borrowed(&mut turned), &attention)?;
            judge
                .same(&expected, &op.attend_rotated(&q, &k, &v, rotation, &mut borrowed(&mut rotated), &attention)?)?;
            for cache in turned.iter_mut().chain(&mut rotated) {
                cache.advance(len)?;
            }
        }
        Ok(())
    })?;
    judge.law("positions outside the tables are refused", cases(config, 20, 1..3), |c| {
        let [cos, sin] = c.tables(0);
        let positions = cos.nrows();
        let (cos, sin) = (judge.up_as(&cos, DType::F32)?, judge.up_as(&sin, DType::F32)?);
        let x = judge.up(&Array4::zeros((1, 1, c.heads, c.dim)))?;
        let spec = RotarySpec { cos: &cos, sin: &sin, start: &[positions], pairing: c.pairing };
        let spec_of = CacheSpec { layers: 1, kv_heads: c.heads, head_dim: c.dim, capacity: positions + 1 };
        let mut cache = op.cache(spec_of)?;
        cache.advance(positions)?;
        let found = op.attend_rotated(
            &x,
            &x,
            &x,
            Rotation { rotary, spec },
            &mut [&mut *cache],
            &CachedAttentionSpec { layer: 0, ..attention },
        );
        judge.refuses("a start outside", found)
    })
}

fn borrowed(caches: &mut [Box<dyn KvCache>]) -> Vec<&mut dyn KvCache> {
    caches.iter_mut().map(|cache| &mut **cache as &mut dyn KvCache).collect()
}

/// Up to `longest` tokens of some `heads`.
fn cases(config: &LawConfig, longest: usize, heads: Range<usize>) -> impl Strategy<Value = Case> + use<> {
    let start = proptest::collection::vec(0..20_usize, 0..4);
    let pairing = select(vec![Pairing::Interleaved, Pairing::HalfSplit]);
    (config.extent(longest), heads, config.head_dim(), start, pairing, seed())
        .prop_map(|(len, heads, dim, start, pairing, seed)| Case { len, heads, dim, start, pairing, seed })
}

/// A result with its four axes.
fn four(judge: &Judge<'_>, tensor: &Tensor) -> Verdict<Array4<f64>> {
    tensor.dims::<4>(judge.op, "result")?;
    judge.down(tensor)?.into_dimensionality().map_err(|e| super::judge::Failure::new("four axes", e.to_string()))
}
