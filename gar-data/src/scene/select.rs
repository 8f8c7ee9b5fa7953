//! Which objects become regions.

use super::Object;
use super::attributes::Nature;
use super::item::Kind;
use super::layout::SceneKind;
use super::relation::relate;
use crate::rng::Rng;

/// Visible pixels a region must have, in a picture of 112.
const LEAST_AREA: f32 = 90.0;
/// Visible part of an object a region must have.
const LEAST_PART: f32 = 0.6;

/// Up to `wanted` objects in random order. There is a thing with a look among them where there is one at all.
pub(super) fn select(objects: &[Object], kind: SceneKind, wanted: usize, unit: f32, rng: &mut Rng) -> Vec<usize> {
    let mut candidates: Vec<usize> = (0..objects.len()).filter(|&i| clear(&objects[i], unit)).collect();
    rng.shuffle(&mut candidates);
    // Furniture is never alone.
    let thing = candidates.iter().position(|&i| matches!(objects[i].kind, Kind::Thing(_)));
    let Some(thing) = thing else { return Vec::new() };
    if wanted == 1 && kind != SceneKind::Reflection {
        return vec![candidates[thing]];
    }
    let mut chosen = match kind {
        SceneKind::Grid => Vec::new(),
        SceneKind::Reflection => mixed(objects, &candidates, wanted, rng),
        SceneKind::Room if rng.percent(65) => bound(objects, &candidates, unit, rng),
        SceneKind::Room => vec![candidates[thing]],
    };
    for candidate in candidates {
        if chosen.len() >= wanted {
            break;
        }
        if !chosen.contains(&candidate) {
            chosen.push(candidate);
        }
    }
    if !chosen.iter().any(|&i| matches!(objects[i].kind, Kind::Thing(_))) {
        return Vec::new();
    }
    rng.shuffle(&mut chosen);
    chosen
}

/// Whether enough of an object is seen to ask about it.
fn clear(object: &Object, unit: f32) -> bool {
    let visible = object.mask.area() as f32;
    visible >= LEAST_AREA * unit * unit && visible >= LEAST_PART * object.full.area() as f32
}

/// Two objects that more than their direction ties together, if there are any.
fn bound(objects: &[Object], candidates: &[usize], unit: f32, rng: &mut Rng) -> Vec<usize> {
    let mut pairs = Vec::new();
    for (n, &a) in candidates.iter().enumerate() {
        for &b in &candidates[..n] {
            if relate(objects, a, b, unit).binds() {
                pairs.push([a, b]);
            }
        }
    }
    rng.pick(&pairs).map_or_else(Vec::new, |pair| pair.to_vec())
}

/// Real and unreal things. The weights make the answers to questions about them about equally likely: one region is
/// unreal three times in five; of two, none is half as often unreal as one or both.
fn mixed(objects: &[Object], candidates: &[usize], wanted: usize, rng: &mut Rng) -> Vec<usize> {
    let unreal = |&&i: &&usize| objects[i].nature != Nature::Real;
    let (seen, real): (Vec<usize>, Vec<usize>) = candidates.iter().partition(|i| unreal(i));
    let most = seen.len().min(wanted);
    let least = wanted.saturating_sub(real.len()).min(most);
    let weights = [2, if wanted == 1 { 3 } else { 4 }, 4];
    let count = (least + rng.weighted(&weights[least.min(2)..=most.min(2)])).min(most);
    seen.into_iter().take(count).chain(real.into_iter().take(wanted - count)).collect()
}
