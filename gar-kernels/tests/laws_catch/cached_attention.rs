//! Errors planted in attention through a cache.
use std::sync::{Arc, Mutex};

use super::*;

/// Keys and values of each layer, [capacity, G, d].
type Memory = Vec<[Vec<f32>; 2]>;

/// A cache whose forks copy its memory, or write to the same.
struct Plain {
    filled: Filled,
    memory: Arc<Mutex<Memory>>,
    copies: bool,
}

impl KvCache for Plain {
    fn filled(&self) -> &Filled {
        &self.filled
    }

    fn filled_mut(&mut self) -> &mut Filled {
        &mut self.filled
    }

    fn fork(&self) -> Result<Box<dyn KvCache>> {
        let copy = || Arc::new(Mutex::new(self.memory.lock().unwrap().clone()));
        let memory = if self.copies { copy() } else { self.memory.clone() };
        Ok(Box::new(Self { memory, ..*self }))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Plant {
    copies: bool,
    /// Writes all layers over the first.
    one_layer: bool,
    /// Takes fewer queries for those of the first new positions.
    first_ask: bool,
}

const RIGHT: Plant = Plant { copies: true, one_layer: false, first_ask: false };

impl CachedAttention for Plant {
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>> {
        let empty = vec![0.0; spec.capacity * spec.kv_heads * spec.head_dim];
        let memory = Arc::new(Mutex::new(vec![[empty.clone(), empty]; spec.layers]));
        Ok(Box::new(Plain { filled: Filled::nothing(spec), memory, copies: self.copies }))
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        let CachedAttentionSpec { layer, scale, .. } = *spec;
        let dims = CachedAttentionDims::check(q, k, v, caches, layer)?;
        let (row, mut out) = (dims.kv_heads * dims.head_dim, Vec::new());
        for (b, cache) in caches.iter_mut().enumerate() {
            let cache = cache.as_any_mut().downcast_mut::<Plain>().unwrap();
            let end = cache.len() + dims.positions;
            let mut memory = cache.memory.lock().unwrap();
            let memory = &mut memory[if self.one_layer { 0 } else { layer }];
            let mut all = Vec::new();
            for (memory, new) in memory.iter_mut().zip([k, v]) {
                memory[cache.len() * row..end * row].copy_from_slice(new.rows(b..b + 1)?.host()?);
                let held = memory[..end * row].to_vec();
                all.push(Tensor::from_vec(held, &[1, end, dims.kv_heads, dims.head_dim])?);
            }
            let skipped = if self.first_ask { 0 } else { dims.skipped() };
            let spec = AttentionSpec { scale, mask: Mask::Causal { offset: cache.len() + skipped }, to: None };
            out.extend(Cpu::default().attention(&q.rows(b..b + 1)?, &all[0], &all[1], &spec)?.to_f32_vec()?);
        }
        Tensor::from_vec(out, q.shape())
    }
}

#[test]
fn without_a_bug_it_passes() {
    laws::cached_attention(&RIGHT, &Cpu::default(), &LawConfig::default()).unwrap();
}

#[test]
fn forks_that_share_what_they_write() {
    caught!(cached_attention, Plant { copies: false, ..RIGHT });
}

#[test]
fn layers_in_one_place() {
    caught!(cached_attention, Plant { one_layer: true, ..RIGHT });
}

#[test]
fn fewer_queries_at_the_first_positions() {
    caught!(cached_attention, Plant { first_ask: true, ..RIGHT });
}

/// The CPU's attention, but for one error.
enum Wrong {
    /// Says that it rounds values, and does not.
    RoundsNothing,
    /// Turns keys as if every chunk were the first.
    KeysFromZero,
}

impl CachedAttention for Wrong {
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>> {
        Cpu::default().cache(spec)
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        Cpu::default().attend(q, k, v, caches, spec)
    }

    fn attend_rotated(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rotation: Rotation<'_>,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        let zeros = vec![0; caches.len()];
        let start = if matches!(self, Self::KeysFromZero) { &zeros } else { rotation.spec.start };
        let of_keys = Rotation { spec: RotarySpec { start, ..rotation.spec }, ..rotation };
        let [q, _] = rotation.apply_to_last(q, k)?;
        self.attend(&q, &of_keys.apply(k)?, v, caches, spec)
    }

    fn rounding(&self) -> Option<DType> {
        matches!(self, Self::RoundsNothing).then_some(DType::BF16)
    }
}

#[test]
fn rounding_of_values_that_is_not_done() {
    caught!(cached_attention, Wrong::RoundsNothing);
}

#[test]
fn turning_on_the_way_through_a_cache_is_judged() {
    let judge = |op: &dyn CachedAttention| {
        let cpu = Cpu::default();
        laws::cached_attention_rotated(op, &cpu, &cpu, &LawConfig::default())
    };
    judge(&Cpu::default()).unwrap();
    assert!(judge(&Wrong::KeysFromZero).is_err());
}
