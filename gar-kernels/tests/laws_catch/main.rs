//! The laws catch planted errors: each implementation here has one bug, and its suite must find it.
#![cfg(feature = "laws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::any::Any;

use gar_kernels::{
    DType, Kernels, Result, Tensor,
    cpu::Cpu,
    laws::{self, LawConfig, Violation},
    ops::*,
};

/// The suite must report the bug, and name the operation.
#[track_caller]
fn caught(op: &str, verdict: Result<(), Violation>) {
    let violation = verdict.expect_err("the planted error was not found");
    assert_eq!(violation.op, op, "{violation}");
    assert!(!violation.law.is_empty() && !violation.input.is_empty(), "{violation}");
    // A refusal or a panic would be an error of the plant, not the planted one.
    assert!(!violation.found.contains("the error") && violation.expected != "no panic", "{violation}");
}

macro_rules! caught {
    ($op:ident, $plant:expr) => {
        caught(stringify!($op), laws::$op(&$plant, &*Kernels::cpu().device, &LawConfig::default()))
    };
}

/// A host tensor's values, changed.
fn map(x: &Tensor, f: impl Fn(usize, f32) -> f32) -> Result<Tensor> {
    let values = x.host::<f32>()?.iter().enumerate().map(|(i, &v)| f(i, v)).collect();
    Tensor::from_vec(values, x.shape())
}

/// A tensor with two neighbouring groups of axes swapped: [a, b, c] → [b, a, c].
fn swapped(x: &Tensor, [a, b, c]: [usize; 3], shape: &[usize]) -> Result<Tensor> {
    let values = x.host::<f32>()?;
    let index = (0..a * b * c).map(|i| values[(i / c % a * b + i / c / a) * c + i % c]);
    Tensor::from_vec(index.collect(), shape)
}

mod roi_align {
    use super::*;

    /// A RoI-Align with places to go wrong.
    #[derive(Clone, Copy)]
    struct Plant {
        /// Samples further outside than this give 0; torchvision: 1.
        border: f32,
        half_pixel: bool,
        swap: bool,
        /// Where in its share of the bin a sample lies.
        within: f32,
        /// Added to an adaptive number of samples before it is cut to a whole one; rounding up is the rule.
        adaptive: fn(f32) -> f32,
        least_side: f32,
    }

    const RIGHT: Plant =
        Plant { border: 1.0, half_pixel: true, swap: false, within: 0.5, adaptive: f32::ceil, least_side: 1.0 };

    impl RoiAlign for Plant {
        fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
            let d = spec.check(map, boxes)?;
            let (cells, [rows, columns], mut out) = (map.host::<f32>()?, spec.output, Vec::new());
            let samples = |from: f32, to: f32, i: usize, bins: usize| -> Vec<f32> {
                let shift = if spec.aligned && self.half_pixel { 0.5 } else { 0.0 };
                let (start, end) = (from * spec.spatial_scale - shift, to * spec.spatial_scale - shift);
                let side = if spec.aligned { end - start } else { (end - start).max(self.least_side) };
                let bin = side / bins as f32;
                let n = if spec.sampling_ratio > 0 { spec.sampling_ratio } else { (self.adaptive)(bin) as usize };
                (0..n).map(|s| start + i as f32 * bin + (s as f32 + self.within) * bin / n as f32).collect()
            };
            let corner = |at: f32, extent: usize| {
                let outside = at < -self.border || at > extent as f32 - 1.0 + self.border;
                let at = at.clamp(0.0, extent as f32 - 1.0);
                (!outside).then_some((at as usize, (at as usize + 1).min(extent - 1), at.fract()))
            };
            for b in boxes {
                let [x1, y1, x2, y2] = if self.swap { [b[1], b[0], b[3], b[2]] } else { *b };
                for i in 0..rows * columns * d.channels {
                    let (r, c, e) = (i / d.channels / columns, i / d.channels % columns, i % d.channels);
                    let (ys, xs) = (samples(y1, y2, r, rows), samples(x1, x2, c, columns));
                    let cell = |y: usize, x: usize| cells[(y * d.width + x) * d.channels + e];
                    let mut sum = 0.0;
                    for (&y, &x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                        if let (Some((y0, y1, fy)), Some((x0, x1, fx))) = (corner(y, d.height), corner(x, d.width)) {
                            sum += (1.0 - fy) * ((1.0 - fx) * cell(y0, x0) + fx * cell(y0, x1));
                            sum += fy * ((1.0 - fx) * cell(y1, x0) + fx * cell(y1, x1));
                        }
                    }
                    out.push(sum / (ys.len() * xs.len()).max(1) as f32);
                }
            }
            Tensor::from_vec(out, &[boxes.len(), rows, columns, d.channels])
        }
    }

    #[test]
    fn without_a_bug_it_passes() {
        laws::roi_align(&RIGHT, &Cpu::default(), &LawConfig::default()).unwrap();
    }

    #[test]
    fn wrong_border_rule() {
        caught!(roi_align, Plant { border: 0.0, ..RIGHT });
        caught!(roi_align, Plant { border: f32::MAX, ..RIGHT });
        caught!(roi_align, Plant { border: 0.999, ..RIGHT });
    }

    #[test]
    fn missing_half_pixel() {
        caught!(roi_align, Plant { half_pixel: false, ..RIGHT });
    }

    #[test]
    fn swapped_axes() {
        caught!(roi_align, Plant { swap: true, ..RIGHT });
    }

    #[test]
    fn samples_off() {
        caught!(roi_align, Plant { within: 0.0, ..RIGHT });
        caught!(roi_align, Plant { adaptive: f32::floor, ..RIGHT });
        caught!(roi_align, Plant { adaptive: |v| v.floor() + 1.0, ..RIGHT });
        caught!(roi_align, Plant { least_side: 0.0, ..RIGHT });
    }
}

mod attention {
    use super::*;

    /// Changes what the right implementation is asked.
    struct Plant(fn([Tensor; 3], AttentionSpec) -> Result<Question>);
    type Question = ([Tensor; 3], AttentionSpec);

    impl Attention for Plant {
        fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
            spec.check(q, k, v)?;
            let ([q, k, v], spec) = (self.0)([q.clone(), k.clone(), v.clone()], *spec)?;
            Cpu::default().attention(&q, &k, &v, &spec)
        }
    }

    /// Key/value heads as key/value head `h mod G` for query head `h`, written out for every head.
    fn interleave(x: &Tensor, heads: usize) -> Result<Tensor> {
        let [b, s, g, d] = x.dims("plant", "x")?;
        let values = x.host::<f32>()?;
        let at = |i: usize| values[(i / d / heads * g + i / d % heads % g) * d + i % d];
        Tensor::from_vec((0..b * s * heads * d).map(at).collect(), &[b, s, heads, d])
    }

    #[test]
    fn future_leak() {
        caught!(attention, Plant(|x, spec| Ok((x, AttentionSpec { mask: Mask::Full, ..spec }))));
    }

    #[test]
    fn mask_off_by_one() {
        caught!(
            attention,
            Plant(|x, spec| {
                let mask = match spec.mask {
                    Mask::Causal { offset } => Mask::Causal { offset: offset.saturating_sub(1) },
                    Mask::Full => Mask::Full,
                };
                Ok((x, AttentionSpec { mask, ..spec }))
            })
        );
    }

    #[test]
    fn unscaled_softmax() {
        caught!(attention, Plant(|x, spec| Ok((x, AttentionSpec { scale: 1.0, ..spec }))));
    }

    #[test]
    fn tail_of_keys_dropped() {
        caught!(
            attention,
            Plant(|[q, k, v], spec| {
                let [b, s, g, d] = k.dims("plant", "k")?;
                if spec.mask != Mask::Full || b != 1 || s < 16 {
                    return Ok(([q, k, v], spec));
                }
                let whole = s / 16 * 16;
                let cut = |x: &Tensor| x.reshape(&[s, g, d])?.rows(0..whole)?.reshape(&[1, whole, g, d]);
                Ok(([q, cut(&k)?, cut(&v)?], spec))
            })
        );
    }

    #[test]
    fn wrong_head_grouping() {
        caught!(
            attention,
            Plant(|[q, k, v], spec| {
                let heads = q.shape()[2];
                Ok(([q, interleave(&k, heads)?, interleave(&v, heads)?], spec))
            })
        );
    }
}

mod rotary {
    use super::*;

    struct WrongPairing;
    impl Rotary for WrongPairing {
        fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
            Cpu::default().rotary(x, &RotarySpec { pairing: Pairing::HalfSplit, ..*spec })
        }
    }

    struct IgnoresStart;
    impl Rotary for IgnoresStart {
        fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
            spec.check(x)?;
            Cpu::default().rotary(x, &RotarySpec { start: &vec![0; spec.start.len()], ..*spec })
        }
    }

    struct Backwards;
    impl Rotary for Backwards {
        fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
            spec.check(x)?;
            Cpu::default().rotary(x, &RotarySpec { sin: &map(spec.sin, |_, v| -v)?, ..*spec })
        }
    }

    /// Leaves keys as they are, where it turns operands itself.
    struct TurnsQueriesOnly;
    impl Attention for TurnsQueriesOnly {
        fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
            Cpu::default().attention(q, k, v, spec)
        }

        fn attention_rotated(
            &self,
            q: &Tensor,
            k: &Tensor,
            v: &Tensor,
            rotation: Rotation<'_>,
            spec: &AttentionSpec,
        ) -> Result<Tensor> {
            self.attention(&rotation.apply(q)?, k, v, spec)
        }
    }

    /// Says that it rounds values, and does not.
    struct RoundsNothing;
    impl Attention for RoundsNothing {
        fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
            Cpu::default().attention(q, k, v, spec)
        }

        fn rounding(&self) -> Option<DType> {
            Some(DType::BF16)
        }
    }

    #[test]
    fn rounding_of_values_that_is_not_done() {
        caught!(attention, RoundsNothing);
    }

    #[test]
    fn turning_on_the_way_is_judged() {
        let judge = |op: &dyn Attention| {
            let cpu = Cpu::default();
            laws::attention_rotated(op, &cpu, &cpu, &LawConfig::default())
        };
        judge(&Cpu::default()).unwrap();
        assert!(judge(&TurnsQueriesOnly).is_err());
    }

    #[test]
    fn are_caught() {
        caught!(rotary, WrongPairing);
        caught!(rotary, IgnoresStart);
        caught!(rotary, Backwards);
    }
}

mod norm {
    use super::*;

    /// Normalises with a spread computed from the sum of squared deviations, D and eps.
    struct Plant(fn(f32, f32, f32) -> f32);

    impl Norm for Plant {
        fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor> {
            let (_, d) = spec.check(x)?;
            let (values, weight) = (x.host::<f32>()?, spec.weight.host::<f32>()?);
            let bias = spec.bias.map(|b| b.host::<f32>()).transpose()?;
            map(x, |i, v| {
                let row = &values[i / d * d..][..d];
                let mean = if spec.kind == NormKind::Layer { row.iter().sum::<f32>() / d as f32 } else { 0.0 };
                let squares = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>();
                (v - mean) / self.0(squares, d as f32, spec.eps) * weight[i % d] + bias.map_or(0.0, |b| b[i % d])
            })
        }
    }

    #[test]
    fn without_a_bug_it_passes() {
        laws::norm(&Plant(|squares, d, eps| (squares / d + eps).sqrt()), &Cpu::default(), &LawConfig::default())
            .unwrap();
    }

    #[test]
    fn variance_over_n_minus_one() {
        caught!(norm, Plant(|squares, d, eps| (squares / (d - 1.0).max(1.0) + eps).sqrt()));
    }

    #[test]
    fn eps_outside_the_root() {
        caught!(norm, Plant(|squares, d, eps| (squares / d).sqrt() + eps));
    }
}

mod matmul {
    use super::*;

    type Wrong = fn(&Tensor, &Tensor, Epilogue<'_>) -> Result<Tensor>;
    struct Plant(Wrong);

    impl MatMul for Plant {
        fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
            MatMulDims::check(x, w, &epilogue)?;
            self.0(x, w, epilogue)
        }
    }

    /// Says that it rounds rows, and does not.
    struct RoundsNothing;
    impl MatMul for RoundsNothing {
        fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
            Cpu::default().matmul(x, w, epilogue)
        }

        fn rounding(&self, _: &Tensor) -> Option<DType> {
            Some(DType::BF16)
        }
    }

    #[test]
    fn rounding_that_is_not_done() {
        caught!(matmul, RoundsNothing);
    }

    #[test]
    fn missing_bias() {
        caught!(matmul, Plant(|x, w, e| Cpu::default().matmul(x, w, Epilogue { bias: None, ..e })));
    }

    #[test]
    fn scale_before_activation() {
        caught!(
            matmul,
            Plant(|x, w, e| {
                let last = Epilogue { residual: e.residual, ..Epilogue::default() };
                let plain =
                    Cpu::default().matmul(x, w, Epilogue { activation: Activation::Identity, residual: None, ..e })?;
                let y = if e.activation == Activation::Gelu { Cpu::default().gelu(&plain)? } else { plain };
                match last.residual {
                    Some(residual) => Cpu::default().add(residual, &y),
                    None => Ok(y),
                }
            })
        );
    }

    #[test]
    fn weight_not_transposed() {
        caught!(
            matmul,
            Plant(|x, w, e| {
                let [n, k] = w.dims("plant", "w")?;
                let w = Tensor::from_vec(w.to_f32_vec()?, &[n, k])?;
                Cpu::default().matmul(x, &swapped(&w, [n, k, 1], &[n, k])?, e)
            })
        );
    }

    #[test]
    fn tail_of_the_sum_dropped() {
        caught!(
            matmul,
            Plant(|x, w, e| {
                let k = x.shape().last().copied().unwrap_or(1).max(1);
                Cpu::default().matmul(&map(x, |i, v| if k > 8 && i % k >= k / 8 * 8 { 0.0 } else { v })?, w, e)
            })
        );
    }

    #[test]
    fn bias_of_the_first_product_alone() {
        struct Together;
        impl MatMul for Together {
            fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
                Cpu::default().matmul(x, w, epilogue)
            }

            fn matmuls(&self, x: &Tensor, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
                let mut projections = projections.to_vec();
                projections.iter_mut().skip(1).for_each(|p| p.epilogue.bias = None);
                Cpu::default().matmuls(x, &projections)
            }
        }
        caught!(matmul, Together);
    }

    /// Multiplies rows as they are.
    struct NormForgotten;
    impl MatMul for NormForgotten {
        fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
            Cpu::default().matmul(x, w, epilogue)
        }

        fn matmuls_normalized(
            &self,
            x: &Tensor,
            normalization: Normalization<'_>,
            projections: &[Projection<'_>],
        ) -> Result<Vec<Tensor>> {
            normalization.spec.check(x)?;
            self.matmuls(x, projections)
        }
    }

    /// Takes gate for up and up for gate.
    struct Swapped;
    impl MatMul for Swapped {
        fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
            Cpu::default().matmul(x, w, epilogue)
        }

        fn swiglu_normalized(&self, x: &Tensor, normalization: Normalization<'_>, gated: Gated<'_>) -> Result<Tensor> {
            let swapped = Gated { gate: gated.up, up: gated.gate, ..gated };
            Cpu::default().swiglu_normalized(x, normalization, swapped)
        }
    }

    #[test]
    fn what_stands_around_a_product_is_judged() {
        let judge = |op: &dyn MatMul| {
            let cpu = Cpu::default();
            laws::normalized(op, &cpu, &cpu, &cpu, &LawConfig::default())
        };
        judge(&Cpu::default()).unwrap();
        assert!(judge(&NormForgotten).is_err());
        assert!(judge(&Swapped).is_err());
    }

    #[test]
    fn one_product_too_few() {
        struct Short;
        impl MatMul for Short {
            fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
                Cpu::default().matmul(x, w, epilogue)
            }

            fn matmuls(&self, x: &Tensor, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
                Cpu::default().matmuls(x, &projections[..projections.len().min(2)])
            }
        }
        caught!(matmul, Short);
    }
}

mod cached_attention;

mod small_operations;

/// A panic and a missing shape check are found too, and the table's verdict names what was planted in it.
#[test]
fn panics_and_missing_checks_are_reported() {
    struct Unchecked;
    impl Pool for Unchecked {
        fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
            assert!(spec.window > 0, "a window of 0");
            Cpu::default().average_pool(x, spec)
        }
    }
    let kernels = Kernels { pool: std::sync::Arc::new(Unchecked), ..Kernels::cpu() };
    let violations = laws::all(&kernels, &LawConfig { cases: 8, ..LawConfig::default() }).unwrap_err();
    assert_eq!(violations.len(), 1);
    assert_eq!((violations[0].op, violations[0].expected.as_str()), ("pool", "no panic"));
    assert!(violations[0].found.contains("a window of 0"), "{}", violations[0]);
}

#[test]
fn one_seed_gives_one_verdict() {
    struct Wrong;
    impl ArgMax for Wrong {
        fn argmax(&self, x: &Tensor) -> Result<Vec<u32>> {
            Ok(vec![0; Cpu::default().argmax(x)?.len()])
        }
    }
    let verdict = || laws::argmax(&Wrong, &Cpu::default(), &LawConfig::default()).unwrap_err();
    assert_eq!(verdict(), verdict());
}

mod sample;
