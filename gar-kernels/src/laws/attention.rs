//! Laws of attention.
use ndarray::{Array4, Axis, s};
use proptest::prelude::*;

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{Attention, AttentionSpec, Mask},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    queries: usize,
    keys: usize,
    kv_heads: usize,
    /// Query heads of each key/value head.
    group: usize,
    dim: usize,
    mask: Mask,
    seed: u64,
}

impl Case {
    fn operands(&self, config: &LawConfig) -> [Array4<f64>; 3] {
        let mut values = config.values(self.seed);
        let q = values.array((self.batch, self.queries, self.kv_heads * self.group, self.dim));
        let [k, v] = [(); 2].map(|()| values.array((self.batch, self.keys, self.kv_heads, self.dim)));
        // A wider spread than 1 makes some keys matter more than others.
        [q * 4.0, k, v]
    }

    fn spec(&self) -> AttentionSpec {
        AttentionSpec { scale: (self.dim as f32).sqrt().recip(), mask: self.mask, to: None }
    }

    /// The keys that query `i` sees.
    fn seen(&self, i: usize) -> usize {
        match self.mask {
            Mask::Full => self.keys,
            Mask::Causal { offset } => offset + i + 1,
        }
    }

    /// Batch, query, head, entry.
    fn entries(&self) -> ndarray::iter::Indices<ndarray::Ix4> {
        ndarray::indices((self.batch, self.queries, self.kv_heads * self.group, self.dim))
    }
}

/// Judges an [`Attention`]: agreement for both masks, grouped heads and every offset; convex combinations of what a query
/// sees; nothing of the future; shift and permutation of keys; scores beyond the range of `exp`; values and results in the types
/// that they are rounded to; refusals.
///
/// # Errors
/// The first law that is broken.
pub fn attention(op: &dyn Attention, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "attention", device, config };
    let attend = |[q, k, v]: &[Array4<f64>; 3], spec: &AttentionSpec| -> Verdict<Tensor> {
        Ok(op.attention(&judge.up(q)?, &judge.up(k)?, &judge.up(v)?, spec)?)
    };
    let expected = |[q, k, v]: &[Array4<f64>; 3], spec: &AttentionSpec| {
        reference::attention(q, k, v, f64::from(spec.scale), spec.mask)
    };
    judge.law("agrees with softmax(scale · q kᵀ + mask) v", cases(config), |c| {
        let operands = c.operands(config);
        judge.close(&expected(&operands, &c.spec()), &attend(&operands, &c.spec())?)
    })?;
    judge.law("every entry lies between the least and the largest value seen", cases(config), |c| {
        let operands = c.operands(config);
        let found = judge.down(&attend(&operands, &c.spec())?)?;
        for (b, i, h, e) in c.entries().into_iter().filter(|&(_, i, ..)| c.seen(i) > 0) {
            let seen = operands[2].slice(s![b, ..c.seen(i), h / c.group, e]);
            let (least, most) = seen.iter().fold((f64::MAX, f64::MIN), |(l, m), &v| (l.min(v), m.max(v)));
            let y = found[[b, i, h, e]];
            let inside = y >= least - config.tolerance && y <= most + config.tolerance;
            if !inside {
                let at = format!("between {least} and {most} at {:?}", [b, i, h, e]);
                return Err(Failure::new(at, y.to_string()));
            }
        }
        Ok(())
    })?;
    judge.law("causal attention ignores the future", (cases(config), 0.0..1.0), |(c, at)| {
        let Mask::Causal { .. } = c.mask else { return Ok(()) };
        let (last, operands) = ((at * c.queries as f64) as usize, c.operands(config));
        if c.queries == 0 {
            return Ok(());
        }
        let mut changed = operands.clone();
        for array in &mut changed[1..] {
            array.slice_mut(s![.., c.seen(last).., .., ..]).fill(100.0);
        }
        let past = |operands| -> Verdict<_> {
            let all = judge.down(&attend(operands, &c.spec())?)?;
            Ok(all.slice_axis(Axis(1), (0..=last).into()).to_owned())
        };
        judge.close(&past(&operands)?, &judge.up(&past(&changed)?)?)
    })?;
    judge.law("one vector added to all keys changes nothing", cases(config), |c| {
        let [q, k, v] = c.operands(config);
        // Quarters stay exact when added, so that the shift alone is judged.
        let k = k.mapv(|k| (k * 4.0).round() / 4.0);
        let shift = config.values(!c.seed).array(c.dim).mapv(|s| (s * 4.0).round() / 2.0);
        let shifted = [q.clone(), &k + &shift, v.clone()];
        judge.same(&attend(&[q, k, v], &c.spec())?, &attend(&shifted, &c.spec())?)
    })?;
    judge.law("keys that all are seen may come in any order", cases(config), |c| {
        let c = Case { mask: Mask::Full, ..*c };
        let [q, k, v] = c.operands(config);
        let order = config.values(!c.seed).order(c.keys);
        let permuted = [q.clone(), k.select(Axis(1), &order), v.select(Axis(1), &order)];
        judge.same(&attend(&[q, k, v], &c.spec())?, &attend(&permuted, &c.spec())?)
    })?;
    judge.law("scores beyond the range of exp do not overflow", cases(config), |c| {
        let mut operands = c.operands(config);
        // Whole numbers: the scores, hundreds to thousands, are exact, and only the softmax is judged.
        for array in &mut operands[..2] {
            array.mapv_inplace(|v| (v * 8.0).round());
        }
        let spec = AttentionSpec { scale: 1.0, ..c.spec() };
        judge.close(&expected(&operands, &spec), &attend(&operands, &spec)?)
    })?;
    judge.law("grouped heads equal repeated key/value heads", cases(config), |c| {
        let [q, k, v] = c.operands(config);
        let each: Vec<usize> = (0..c.kv_heads * c.group).map(|h| h / c.group).collect();
        let repeated = [q.clone(), k.select(Axis(2), &each), v.select(Axis(2), &each)];
        judge.same(&attend(&repeated, &c.spec())?, &attend(&[q, k, v], &c.spec())?)
    })?;
    judge.law("the last queries alone, offset, give the same rows", (cases(config), 0.0..1.0), |(c, at)| {
        let (skip, [q, k, v]) = ((at * c.queries as f64) as usize, c.operands(config));
        let mask = match c.mask {
            Mask::Full => Mask::Full,
            Mask::Causal { offset } => Mask::Causal { offset: offset + skip },
        };
        let tail = q.slice(s![.., skip.., .., ..]).to_owned();
        let found = attend(&[tail, k.clone(), v.clone()], &AttentionSpec { mask, ..c.spec() })?;
        let all = judge.down(&attend(&[q, k, v], &c.spec())?)?;
        judge.close(&all.slice_axis(Axis(1), (skip..).into()).to_owned(), &found)
    })?;
    judge.law("values and results in the types that they are rounded to change nothing", cases(config), |c| {
        let [q, k, v] = c.operands(config);
        let (values, q, k) = (judge.up_rounded(&v, op.rounding())?, judge.up(&q)?, judge.up(&k)?);
        let plain = op.attention(&q, &k, &judge.up(&v)?, &c.spec())?;
        judge.same(&plain, &op.attention(&q, &k, &values, &c.spec())?)?;
        let asked = op.attention(&q, &k, &values, &AttentionSpec { to: Some(DType::BF16), ..c.spec() })?;
        judge.same_in_its_type(&plain, &asked)
    })?;
    refusals(op, &judge)
}

fn cases(config: &LawConfig) -> impl Strategy<Value = Case> + use<> {
    let extents = (0..3_usize, config.extent(70), config.extent(130), 1..4_usize, 1..4_usize, config.head_dim());
    (extents, any::<bool>(), seed()).prop_map(|((batch, queries, more, kv_heads, group, dim), causal, seed)| {
        // Under a causal mask the last query may see any number of keys before it, and some may come after all.
        let (keys, mask) = match causal {
            true => (queries + more, Mask::Causal { offset: more - more / 3 }),
            false => (more, Mask::Full),
        };
        Case { batch, queries, keys, kv_heads, group, dim, mask, seed }
    })
}

fn refusals(op: &dyn Attention, judge: &Judge<'_>) -> Result<(), Violation> {
    judge.law("operands that do not fit are refused", cases(judge.config), |c| {
        let heads = c.kv_heads * c.group;
        let zeros = |b, l, h, d| judge.up(&Array4::zeros((b, l, h, d)));
        let q = zeros(c.batch, c.queries, heads, c.dim)?;
        let kv = zeros(c.batch, c.keys, c.kv_heads, c.dim)?;
        let try_with = |k: &Tensor, v: &Tensor| op.attention(&q, k, v, &c.spec());
        for (what, other) in [
            ("another batch", zeros(c.batch + 1, c.keys, c.kv_heads, c.dim)?),
            ("wider key heads", zeros(c.batch, c.keys, c.kv_heads, c.dim + 1)?),
            ("heads that are no multiple", zeros(c.batch, c.keys, heads + 1, c.dim)?),
            ("no key heads", zeros(c.batch, c.keys, 0, c.dim)?),
        ] {
            judge.refuses(what, try_with(&other, &other))?;
        }
        judge.refuses("more values than keys", try_with(&kv, &zeros(c.batch, c.keys + 1, c.kv_heads, c.dim)?))?;
        judge.refuses("keys of three axes", try_with(&judge.up(&ndarray::Array3::zeros((1, 1, 1)))?, &kv))?;
        for offset in [c.keys + 1, usize::MAX] {
            let spec = AttentionSpec { mask: Mask::Causal { offset }, ..c.spec() };
            judge.refuses("an offset beyond the keys", op.attention(&q, &kv, &kv, &spec))?;
        }
        let spec = AttentionSpec { scale: f32::NAN, ..c.spec() };
        judge.refuses("a scale that is not a number", op.attention(&q, &kv, &kv, &spec))
    })
}
