//! Laws of attention over a key/value cache, and of the cache.
use ndarray::{Array4, ArrayD, Axis, concatenate, s};
use proptest::{collection::vec, prelude::*};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{CacheSpec, CachedAttention, CachedAttentionSpec, KvCache, Mask},
};

/// Layers of every cache: two, so that one written over the other shows.
const LAYERS: usize = 2;

#[derive(Clone, Debug)]
struct Case {
    /// Lengths of the chunks that a sequence arrives in.
    chunks: Vec<usize>,
    kv_heads: usize,
    /// Query heads of each key/value head.
    group: usize,
    dim: usize,
    seed: u64,
}

/// Queries, keys and values [1, L, ·, d] of each layer.
#[derive(Clone)]
struct Tokens {
    layers: [[Array4<f64>; 3]; LAYERS],
}

impl Case {
    fn total(&self) -> usize {
        self.chunks.iter().sum()
    }

    /// `len` tokens; another `salt` gives others.
    fn tokens(&self, config: &LawConfig, len: usize, salt: u64) -> Tokens {
        let mut values = config.values(self.seed ^ salt);
        let heads = [self.kv_heads * self.group, self.kv_heads, self.kv_heads];
        Tokens { layers: [(); LAYERS].map(|()| heads.map(|h| values.array((1, len, h, self.dim)))) }
    }

    fn spec(&self, capacity: usize) -> CacheSpec {
        CacheSpec { layers: LAYERS, kv_heads: self.kv_heads, head_dim: self.dim, capacity }
    }

    fn attention(&self, layer: usize) -> CachedAttentionSpec {
        CachedAttentionSpec { layer, scale: (self.dim as f32).sqrt().recip(), to: None }
    }
}

impl Tokens {
    fn len(&self) -> usize {
        self.layers[0][0].len_of(Axis(1))
    }

    fn part(&self, range: std::ops::Range<usize>) -> Self {
        let part = |a: &Array4<f64>| a.slice(s![.., range.clone(), .., ..]).to_owned();
        Self { layers: self.layers.each_ref().map(|layer| layer.each_ref().map(part)) }
    }

    /// The same, of which only the last `queries` ask.
    fn asking(mut self, queries: usize) -> Self {
        for [q, ..] in &mut self.layers {
            *q = q.slice(s![.., q.len_of(Axis(1)) - queries.., .., ..]).to_owned();
        }
        self
    }

    /// These tokens and `others` along an axis: 0 for a batch, 1 for a longer sequence.
    fn join(&self, axis: Axis, others: &Self) -> Verdict<Self> {
        let mut joined = self.clone();
        for (layer, other) in joined.layers.iter_mut().flatten().zip(others.layers.iter().flatten()) {
            *layer = concatenate(axis, &[layer.view(), other.view()])
                .map_err(|e| Failure::new("one length", e.to_string()))?;
        }
        Ok(joined)
    }
}

/// One implementation, one case.
struct Trial<'a> {
    op: &'a dyn CachedAttention,
    judge: &'a Judge<'a>,
    case: &'a Case,
}

impl Trial<'_> {
    fn cache(&self, capacity: usize) -> Verdict<Box<dyn KvCache>> {
        Ok(self.op.cache(self.case.spec(capacity))?)
    }

    /// Attends in every layer without advancing.
    fn attend(&self, caches: &mut [&mut dyn KvCache], tokens: &Tokens) -> Verdict<Vec<Tensor>> {
        self.attend_in(caches, tokens, None, None)
    }

    /// The same with values of a type, results asked for in another.
    fn attend_in(
        &self,
        caches: &mut [&mut dyn KvCache],
        tokens: &Tokens,
        values: Option<DType>,
        to: Option<DType>,
    ) -> Verdict<Vec<Tensor>> {
        let step = |(layer, [q, k, v]): (usize, &[Array4<f64>; 3])| {
            let (q, k, v) = (self.judge.up(q)?, self.judge.up(k)?, self.judge.up_rounded(v, values)?);
            let spec = CachedAttentionSpec { to, ..self.case.attention(layer) };
            Ok(self.op.attend(&q, &k, &v, caches, &spec)?)
        };
        tokens.layers.iter().enumerate().map(step).collect()
    }

    /// Feeds the part `range` of a sequence to a cache that holds what precedes it, and compares with the reference.
    fn feed(&self, cache: &mut dyn KvCache, sequence: &Tokens, range: std::ops::Range<usize>) -> Verdict {
        let queries = range.len();
        self.feed_asking(cache, sequence, range, queries)
    }

    /// The same, only the last `queries` of the part asking.
    fn feed_asking(
        &self,
        cache: &mut dyn KvCache,
        sequence: &Tokens,
        range: std::ops::Range<usize>,
        queries: usize,
    ) -> Verdict {
        let found = self.attend(&mut [cache], &sequence.part(range.clone()).asking(queries))?;
        for (layer, found) in found.iter().enumerate() {
            self.judge.close(&self.expected(sequence, layer, range.end - queries..range.end), found)?;
        }
        cache.advance(range.len())?;
        length(range.end, cache)
    }

    fn expected(&self, sequence: &Tokens, layer: usize, range: std::ops::Range<usize>) -> Array4<f64> {
        let [q, k, v] = &sequence.part(0..range.end).layers[layer];
        let q = q.slice(s![.., range.clone(), .., ..]).to_owned();
        reference::attention(
            &q,
            k,
            v,
            f64::from(self.case.attention(layer).scale),
            Mask::Causal { offset: range.start },
        )
    }
}

fn length(expected: usize, cache: &dyn KvCache) -> Verdict {
    if cache.len() == expected && cache.is_empty() == (expected == 0) {
        return Ok(());
    }
    Err(Failure::new(format!("a cache of {expected} positions"), cache.len().to_string()))
}

/// Judges a [`CachedAttention`]: causal attention however a sequence is cut and however few of the last positions ask, forks
/// that share a prefix and nothing else, truncation, steps that leave no trace until they are counted in, batches equal to single sequences, values and results in the
/// types that they are rounded to, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn cached_attention(op: &dyn CachedAttention, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = &Judge { op: "cached_attention", device, config };
    let cases = || {
        // A long chunk now and then: the reference's work grows with the square.
        let chunk = prop_oneof![15 => config.extent(20), 1 => config.extent(130)];
        let extents = (vec(chunk, 1..4), 1..3_usize, 1..4_usize, config.head_dim(), seed());
        extents.prop_map(|(chunks, kv_heads, group, dim, seed)| Case { chunks, kv_heads, group, dim, seed })
    };
    judge.law("equals causal attention, however the sequence is cut", cases(), |c| {
        let (t, sequence) = (Trial { op, judge, case: c }, c.tokens(config, c.total(), 0));
        let (mut cache, mut at) = (t.cache(c.total())?, 0);
        length(0, &*cache)?;
        for &chunk in &c.chunks {
            t.feed(&mut *cache, &sequence, at..at + chunk)?;
            at += chunk;
        }
        Ok(())
    })?;
    judge.law("the last positions may ask alone, or none", (cases(), 0.0..1.0), |(c, share)| {
        let (t, sequence) = (Trial { op, judge, case: c }, c.tokens(config, c.total(), 0));
        let (mut cache, mut at) = (t.cache(c.total())?, 0);
        for &chunk in &c.chunks {
            t.feed_asking(&mut *cache, &sequence, at..at + chunk, (share * (chunk + 1) as f64) as usize)?;
            at += chunk;
        }
        Ok(())
    })?;
    judge.law("forks share a prefix and nothing else", cases(), |c| {
        let t = Trial { op, judge, case: c };
        let (prefix, more) = (c.total(), c.chunks[0] + 1);
        let start = c.tokens(config, prefix, 0);
        let [a, b, d] = [1, 2, 3].map(|salt| start.join(Axis(1), &c.tokens(config, 2 * more, salt)));
        let (a, b, d) = (a?, b?, d?);
        let mut first = t.cache(prefix + 2 * more)?;
        t.feed(&mut *first, &a, 0..prefix)?;
        let mut second = first.fork()?;
        length(prefix, &*second)?;
        // Turn by turn: what one writes must not reach the other, nor a fork made in between.
        t.feed(&mut *first, &a, prefix..prefix + more)?;
        length(prefix, &*second)?;
        t.feed(&mut *second, &b, prefix..prefix + more)?;
        let mut third = second.fork()?;
        third.truncate(prefix);
        t.feed(&mut *third, &d, prefix..prefix + more)?;
        t.feed(&mut *first, &a, prefix + more..prefix + 2 * more)?;
        t.feed(&mut *second, &b, prefix + more..prefix + 2 * more)?;
        drop((first, second));
        t.feed(&mut *third, &d, prefix + more..prefix + 2 * more)
    })?;
    judge.law("truncated and filled again, a cache is as new", (cases(), 0.0..1.0), |(c, at)| {
        let (t, total) = (Trial { op, judge, case: c }, c.total());
        let kept = (at * total as f64) as usize;
        let old = c.tokens(config, total, 0);
        let new = old.part(0..kept).join(Axis(1), &c.tokens(config, total - kept, 1))?;
        let mut cache = t.cache(total)?;
        t.feed(&mut *cache, &old, 0..total)?;
        cache.truncate(total + 1);
        length(total, &*cache)?;
        cache.truncate(kept);
        length(kept, &*cache)?;
        t.feed(&mut *cache, &new, kept..total)
    })?;
    judge.law("a step that is not counted in leaves no trace", cases(), |c| {
        let (t, total) = (Trial { op, judge, case: c }, c.total());
        let (failed, sequence) = (c.tokens(config, total, 1), c.tokens(config, total, 0));
        let (mut cache, half) = (t.cache(total)?, total / 2);
        t.attend(&mut [&mut *cache], &failed)?;
        length(0, &*cache)?;
        t.feed(&mut *cache, &sequence, 0..half)?;
        t.attend(&mut [&mut *cache], &failed.part(half..total))?;
        t.feed(&mut *cache, &sequence, half..total)
    })?;
    judge.law(
        "a batch equals its sequences one by one",
        (cases(), 0..3_usize, 0..3_usize),
        |&(ref c, step, asking)| {
            let (t, asking) = (Trial { op, judge, case: c }, asking.min(step));
            // As many sequences as chunks, each with a past of its chunk's length.
            let past: Vec<Tokens> = (0_u64..).zip(&c.chunks).map(|(i, &n)| c.tokens(config, n + step, i)).collect();
            let mut caches = past.iter().map(|p| t.cache(p.len())).collect::<Verdict<Vec<_>>>()?;
            let mut batch: Option<Tokens> = None;
            for ((cache, tokens), &n) in caches.iter_mut().zip(&past).zip(&c.chunks) {
                t.feed(&mut **cache, tokens, 0..n)?;
                let new = tokens.part(n..n + step);
                batch = Some(batch.map_or_else(|| Ok(new.clone()), |b| b.join(Axis(0), &new))?);
            }
            let Some(batch) = batch else { return Ok(()) };
            let mut together: Vec<&mut dyn KvCache> = caches.iter_mut().map(|c| &mut **c as &mut dyn KvCache).collect();
            let found = t.attend(&mut together, &batch.asking(asking))?;
            for ((layer, found), (i, &n)) in every_pair(found.iter().enumerate(), c.chunks.iter().enumerate()) {
                judge.close(&t.expected(&past[i], layer, n + step - asking..n + step), &found.rows(i..i + 1)?)?;
            }
            Ok(())
        },
    )?;
    judge.law("values and results in the types that they are rounded to change nothing", cases(), |c| {
        let (t, sequence) = (Trial { op, judge, case: c }, c.tokens(config, c.total(), 0));
        let (mut plain, mut rounded, mut at) = (t.cache(c.total())?, t.cache(c.total())?, 0);
        for &chunk in &c.chunks {
            let tokens = sequence.part(at..at + chunk);
            let expected = t.attend(&mut [&mut *plain], &tokens)?;
            let found = t.attend_in(&mut [&mut *rounded], &tokens, op.rounding(), Some(DType::BF16))?;
            expected.iter().zip(&found).try_for_each(|(e, f)| judge.same_in_its_type(e, f))?;
            plain.advance(chunk)?;
            rounded.advance(chunk)?;
            at += chunk;
        }
        Ok(())
    })?;
    refusals(op, judge, cases())
}

/// Every pair of two iterators.
fn every_pair<A: Clone, B>(
    first: impl Iterator<Item = A>,
    second: impl Iterator<Item = B> + Clone,
) -> impl Iterator<Item = (A, B)> {
    first.flat_map(move |a| second.clone().map(move |b| (a.clone(), b)))
}

fn refusals(op: &dyn CachedAttention, judge: &Judge<'_>, cases: impl Strategy<Value = Case>) -> Result<(), Violation> {
    judge.law("a full cache and operands that do not fit are refused, and nothing changes", cases, |c| {
        let (t, total, config) = (Trial { op, judge, case: c }, c.total(), judge.config);
        let sequence = c.tokens(config, total, 0);
        let mut cache = t.cache(total)?;
        t.feed(&mut *cache, &sequence, 0..total)?;
        for rows in [1, usize::MAX] {
            judge.refuses("rows beyond the capacity", cache.advance(rows))?;
        }
        let zeros = |shape: &[usize]| judge.up(&ArrayD::zeros(shape));
        let (g, h, d) = (c.kv_heads, c.kv_heads * c.group, c.dim);
        let (q, kv) = (zeros(&[1, 1, h, d])?, zeros(&[1, 1, g, d])?);
        judge.refuses("a token beyond the capacity", op.attend(&q, &kv, &kv, &mut [&mut *cache], &c.attention(0)))?;
        length(total, &*cache)?;
        let mut empty = t.cache(1)?;
        let mut refuse = |what, q: &[usize], k: &[usize], v: &[usize], layer| {
            let result = op.attend(&zeros(q)?, &zeros(k)?, &zeros(v)?, &mut [&mut *empty], &c.attention(layer));
            judge.refuses(what, result)
        };
        let (q, kv) = ([1, 1, h, d], [1, 1, g, d]);
        refuse("a layer that is not there", &q, &kv, &kv, LAYERS)?;
        refuse("two sequences for one cache", &[2, 1, h, d], &[2, 1, g, d], &[2, 1, g, d], 0)?;
        refuse("more queries than keys", &[1, 2, h, d], &kv, &kv, 0)?;
        refuse("more positions than the capacity", &q, &[1, 2, g, d], &[1, 2, g, d], 0)?;
        refuse("other values than keys", &q, &kv, &[1, 1, g + 1, d], 0)?;
        refuse("wider heads", &[1, 1, h, d + 1], &[1, 1, g, d + 1], &[1, 1, g, d + 1], 0)?;
        refuse("more heads than the cache's", &[1, 1, 2 * g, d], &[1, 1, 2 * g, d], &[1, 1, 2 * g, d], 0)?;
        refuse("keys of three axes", &q, &[1, g, d], &kv, 0)?;
        length(0, &*empty)
    })
}
