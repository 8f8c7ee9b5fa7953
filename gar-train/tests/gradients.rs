//! Every operation's gradient against finite differences of its plain f64 reference.
//!
//! An output is reduced to one number by a product with fixed random coefficients, on the tape and in f64 alike. Central
//! differences with h = 1e-4 are exact to about 1e-8 in f64; the tape computes in f32, so 1e-3 of the largest entry leaves
//! room for the order of additions and none for a wrong term.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]
use gar_kernels::{
    Kernels, Result, Tensor,
    laws::{self, LawConfig, reference},
    ops::{
        Activation, AttentionSpec, CacheSpec, CachedAttentionSpec, Epilogue, KvCache, Mask, NormKind, NormSpec,
        Pairing, PatchSpec, PoolSpec, RoiAlignSpec, RotarySpec,
    },
};
use gar_train::Tape;
use ndarray::{Array1, Array2, Array3, Array4, ArrayD, Axis, Ix1, Ix2, Ix3, Ix4, concatenate};

const BOUND: f64 = 1e-3;
const STEP: f64 = 1e-4;
/// Entries of each input that are tried.
const PROBES: usize = 12;

/// A stream of values in −1…1 that f32 holds exactly.
struct Values(u64);

impl Values {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((self.0 >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32)
    }

    fn array(&mut self, shape: &[usize]) -> ArrayD<f64> {
        ArrayD::from_shape_simple_fn(shape, || self.next())
    }
}

/// Judges the gradients of all inputs of an operation.
fn judge(
    what: &str,
    shapes: &[&[usize]],
    run: impl Fn(&Kernels, &[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[ArrayD<f64>]) -> Vec<f64>,
) {
    let mut values =
        Values(shapes.iter().flat_map(|s| s.iter()).fold(7, |seed, &n| seed.wrapping_mul(31).wrapping_add(n as u64)));
    let mut inputs: Vec<ArrayD<f64>> = shapes.iter().map(|s| values.array(s)).collect();
    let tensors: Vec<Tensor> =
        inputs.iter().map(|x| Tensor::from_vec(x.iter().map(|&v| v as f32).collect(), x.shape()).unwrap()).collect();
    let (kernels, tape) = Tape::wrap(Kernels::cpu());
    tape.watch(&tensors);
    let y = run(&kernels, &tensors).unwrap();
    let weights: Vec<f64> = (0..y.len()).map(|_| values.next()).collect();
    let w = Tensor::from_vec(weights.iter().map(|&v| v as f32).collect(), &[1, y.len()]).unwrap();
    let loss = kernels.matmul.matmul(&y.reshape(&[1, y.len()]).unwrap(), &w, Epilogue::default()).unwrap();
    let gradients = tape.backward(&loss).unwrap();
    let number = |inputs: &[ArrayD<f64>]| -> f64 {
        let y = reference(inputs);
        assert_eq!(y.len(), weights.len(), "{what}: length of the reference");
        y.iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    for (i, tensor) in tensors.iter().enumerate() {
        let found = gradients.of(tensor).map_or(vec![0.0; tensor.len()], <[f32]>::to_vec);
        let mut shifted = |at: usize, by: f64| {
            *inputs[i].iter_mut().nth(at).unwrap() += by;
            number(&inputs)
        };
        let (mut off, mut largest) = (0.0_f64, 1e-6_f64);
        for at in (0..tensor.len()).step_by((tensor.len() / PROBES).max(1)) {
            let (up, down) = (shifted(at, STEP), shifted(at, -2.0 * STEP));
            shifted(at, STEP);
            let numeric = (up - down) / (2.0 * STEP);
            off = off.max((f64::from(found[at]) - numeric).abs());
            largest = largest.max(numeric.abs());
        }
        assert!(off / largest < BOUND, "{what}, input {i}: off by {off:.2e} of {largest:.2e}");
    }
}

fn d1(x: &ArrayD<f64>) -> Array1<f64> {
    x.clone().into_dimensionality::<Ix1>().unwrap()
}

fn d2(x: &ArrayD<f64>) -> Array2<f64> {
    x.clone().into_dimensionality::<Ix2>().unwrap()
}

fn d3(x: &ArrayD<f64>) -> Array3<f64> {
    x.clone().into_dimensionality::<Ix3>().unwrap()
}

fn d4(x: &ArrayD<f64>) -> Array4<f64> {
    x.clone().into_dimensionality::<Ix4>().unwrap()
}

#[test]
fn matmul_with_every_epilogue() {
    for (m, n, k) in [(1, 1, 1), (5, 3, 129), (33, 40, 7), (3, 130, 8)] {
        for (activation, scaled) in [
            (Activation::Identity, false),
            (Activation::Identity, true),
            (Activation::Gelu, false),
            (Activation::Gelu, true),
        ] {
            judge(
                &format!("matmul {m}×{n}×{k} {activation:?} scaled {scaled}"),
                &[&[m, k], &[n, k], &[n], &[n], &[m, n]],
                |kernels, t| {
                    let (scale, residual) = (scaled.then_some(&t[3]), scaled.then_some(&t[4]));
                    kernels.matmul.matmul(
                        &t[0],
                        &t[1],
                        Epilogue { bias: Some(&t[2]), activation, scale, residual, to: None },
                    )
                },
                |x| {
                    let (scale, residual) = (d1(&x[3]), d2(&x[4]));
                    let (scale, residual) = (scaled.then_some(&scale), scaled.then_some(&residual));
                    let bias = d1(&x[2]);
                    let y = reference::matmul(&d2(&x[0]), &d2(&x[1]), Some(&bias), activation, scale, residual);
                    y.into_iter().collect()
                },
            );
        }
    }
    judge(
        "matmul, bare, of views",
        &[&[6, 4], &[9, 4]],
        |k, t| k.matmul.matmul(&t[0].rows(2..5)?, &t[1].rows(1..8)?, Epilogue::default()),
        |x| {
            let part = |x: &ArrayD<f64>, from: usize, to: usize| {
                d2(x).slice_axis(Axis(0), ndarray::Slice::from(from..to)).to_owned()
            };
            let (a, b) = (part(&x[0], 2, 5), part(&x[1], 1, 8));
            reference::matmul(&a, &b, None, Activation::Identity, None, None).into_iter().collect()
        },
    );
}

#[test]
fn norms() {
    for kind in [NormKind::Layer, NormKind::Rms] {
        for (rows, d) in [(1, 2), (65, 7), (3, 130)] {
            judge(
                &format!("norm {kind:?} {rows}×{d}"),
                &[&[rows, d], &[d], &[d]],
                |k, t| k.norm.norm(&t[0], &NormSpec { kind, weight: &t[1], bias: Some(&t[2]), eps: 1e-5, to: None }),
                |x| reference::norm(&d2(&x[0]), kind, &d1(&x[1]), Some(&d1(&x[2])), 1e-5).into_iter().collect(),
            );
        }
    }
}

#[test]
fn rotary() {
    let mut values = Values(3);
    let angles = values.array(&[9, 4]).mapv(|a| f64::from((a * 3.0) as f32));
    let [cos, sin] = [f64::cos, f64::sin].map(|f| angles.mapv(|a| f64::from(f(a) as f32)));
    let tensor = |a: &ArrayD<f64>| Tensor::from_vec(a.iter().map(|&v| v as f32).collect::<Vec<_>>(), &[9, 4]).unwrap();
    for pairing in [Pairing::Interleaved, Pairing::HalfSplit] {
        judge(
            &format!("rotary {pairing:?}"),
            &[&[2, 5, 3, 8]],
            |k, t| {
                let spec = RotarySpec { cos: &tensor(&cos), sin: &tensor(&sin), start: &[0, 4], pairing };
                k.rotary.rotary(&t[0], &spec)
            },
            |x| reference::rotary(&d4(&x[0]), &d2(&cos), &d2(&sin), &[0, 4], pairing).into_iter().collect(),
        );
    }
}

#[test]
fn attention_full_causal_and_grouped() {
    for (b, l, s, h, g, d, mask) in [
        (1, 1, 1, 1, 1, 4, Mask::Full),
        (2, 5, 7, 4, 2, 8, Mask::Full),
        (1, 3, 257, 2, 2, 8, Mask::Full),
        (2, 9, 9, 4, 1, 6, Mask::Causal { offset: 0 }),
        (1, 129, 130, 2, 1, 8, Mask::Causal { offset: 1 }),
    ] {
        judge(
            &format!("attention B{b} L{l} S{s} H{h} G{g} d{d} {mask:?}"),
            &[&[b, l, h, d], &[b, s, g, d], &[b, s, g, d]],
            |k, t| k.attention.attention(&t[0], &t[1], &t[2], &AttentionSpec { scale: 0.7, mask, to: None }),
            |x| {
                reference::attention(&d4(&x[0]), &d4(&x[1]), &d4(&x[2]), f64::from(0.7_f32), mask).into_iter().collect()
            },
        );
    }
}

/// Two forks of one prefix, and a sequence that starts from nothing, each attend in one step: the prefix has the
/// gradients of all that read it. Of the two new positions both ask, or the last.
#[test]
fn cached_attention_through_forks() {
    [1, 2].into_iter().for_each(cached_attention_asking);
}

fn cached_attention_asking(queries: usize) {
    let size = CacheSpec { layers: 1, kv_heads: 1, head_dim: 4, capacity: 8 };
    let spec = CachedAttentionSpec { layer: 0, scale: 0.5, to: None };
    judge(
        "cached attention",
        &[&[1, 3, 2, 4], &[1, 3, 1, 4], &[1, 3, 1, 4], &[3, queries, 2, 4], &[3, 2, 1, 4], &[3, 2, 1, 4]],
        |k, t| {
            let cached = &k.cached_attention;
            let (mut prefix, mut alone) = (cached.cache(size)?, cached.cache(size)?);
            cached.attend(&t[0], &t[1], &t[2], &mut [prefix.as_mut()], &spec)?;
            // A step that was not counted leaves no trace.
            cached.attend(&t[0], &t[2], &t[1], &mut [alone.as_mut()], &spec)?;
            prefix.advance(3)?;
            let (mut first, mut second) = (prefix.fork()?, prefix.fork()?);
            let mut caches: Vec<&mut dyn KvCache> = Vec::new();
            for cache in [&mut first, &mut alone, &mut second] {
                caches.push(cache.as_mut());
            }
            cached.attend(&t[3], &t[4], &t[5], &mut caches, &spec)
        },
        |x| {
            let mut all = Vec::new();
            for (i, prefix) in [3, 0, 3].into_iter().enumerate() {
                let rows = |x: &ArrayD<f64>| d4(x).slice_axis(Axis(0), ndarray::Slice::from(i..=i)).to_owned();
                let joined = |before: &ArrayD<f64>, new: &ArrayD<f64>| match prefix {
                    0 => rows(new),
                    _ => concatenate(Axis(1), &[d4(before).view(), rows(new).view()]).unwrap(),
                };
                let (k, v) = (joined(&x[1], &x[4]), joined(&x[2], &x[5]));
                let mask = Mask::Causal { offset: prefix + 2 - queries };
                all.extend(reference::attention(&rows(&x[3]), &k, &v, 0.5, mask));
            }
            all
        },
    );
}

#[test]
fn the_cache_of_the_tape_satisfies_the_laws() {
    let (kernels, _) = Tape::wrap(Kernels::cpu());
    laws::cached_attention(&*kernels.cached_attention, &*kernels.device, &LawConfig::default()).unwrap();
}

#[test]
fn roi_align() {
    let boxes = [[0.2, 0.4, 4.1, 3.3], [-1.4, -0.9, 2.0, 2.0], [3.0, 1.0, 7.5, 6.5], [2.0, 2.0, 2.0, 2.0]];
    for (sampling_ratio, aligned) in [(2, true), (0, false)] {
        let spec = RoiAlignSpec { output: [3, 2], spatial_scale: 0.9, sampling_ratio, aligned };
        judge(
            &format!("roi_align {sampling_ratio} {aligned}"),
            &[&[4, 5, 3]],
            |k, t| k.roi_align.roi_align(&t[0], &boxes, &spec),
            |x| reference::roi_align(&d3(&x[0]), &boxes, &spec).into_iter().collect(),
        );
    }
}

#[test]
fn pool_and_pointwise() {
    let spec = PoolSpec { grid: [4, 6], window: 2 };
    judge(
        "average_pool",
        &[&[2, 24, 5]],
        |k, t| k.pool.average_pool(&t[0], &spec),
        |x| reference::average_pool(&d3(&x[0]), &spec).into_iter().collect(),
    );
    let pairs = |x: &[ArrayD<f64>], f: fn(f64, f64) -> f64| -> Vec<f64> {
        x[0].iter().zip(&x[1]).map(|(&a, &b)| f(a, b)).collect()
    };
    judge("add", &[&[3, 7], &[3, 7]], |k, t| k.pointwise.add(&t[0], &t[1]), |x| pairs(x, |a, b| a + b));
    judge(
        "add to itself",
        &[&[3, 7]],
        |k, t| k.pointwise.add(&t[0], &t[0]),
        |x| x[0].iter().map(|v| 2.0 * v).collect(),
    );
    judge(
        "swiglu",
        &[&[3, 70], &[3, 70]],
        |k, t| k.pointwise.swiglu(&t[0], &t[1]),
        |x| pairs(x, |gate, up| reference::silu(gate) * up),
    );
    // Values of −1…1 four times themselves, so that the tails are met.
    let four = |t: &Tensor, k: &Kernels| -> Result<Tensor> {
        let two = k.pointwise.add(t, t)?;
        k.pointwise.add(&two, &two)
    };
    judge(
        "gelu",
        &[&[8, 40]],
        |k, t| k.pointwise.gelu(&four(&t[0], k)?),
        |x| x[0].iter().map(|v| reference::gelu(4.0 * v)).collect(),
    );
}

#[test]
fn rows() {
    judge(
        "gather",
        &[&[5, 3]],
        |k, t| k.rows.gather(&t[0], &[4, 0, 4, 2]),
        |x| [4, 0, 4, 2].iter().flat_map(|&i| d2(&x[0]).row(i).to_vec()).collect(),
    );
    judge(
        "scatter",
        &[&[5, 3], &[3, 3]],
        |k, t| k.rows.scatter(&t[0], &[1, 4, 1], &t[1]),
        |x| {
            let mut y = d2(&x[0]);
            for (n, i) in [1, 4, 1].into_iter().enumerate() {
                y.row_mut(i).assign(&d2(&x[1]).row(n));
            }
            y.into_iter().collect()
        },
    );
}

#[test]
fn patch_embed() {
    judge(
        "patch_embed",
        &[&[2, 3, 8, 8], &[5, 3, 4, 4], &[2, 4, 5], &[5], &[5, 5]],
        |k, t| {
            let spec = PatchSpec {
                weight: &t[1],
                prompt: Some(&t[2]),
                class_token: Some(&t[3]),
                positions: Some(&t[4]),
                levels: None,
            };
            k.patch_embed.patch_embed(&t[0], &spec)
        },
        |x| {
            let (prompt, class_token, positions) = (d3(&x[2]), d1(&x[3]), d2(&x[4]));
            let extras = (Some(&prompt), Some(&class_token), Some(&positions));
            reference::patch_embed(&d4(&x[0]), &d4(&x[1]), extras.0, extras.1, extras.2).into_iter().collect()
        },
    );
}

/// One channel is shown to every channel of the weight, and gets the slopes of all.
#[test]
fn patch_embed_of_one_channel() {
    judge(
        "patch_embed",
        &[&[2, 1, 8, 8], &[5, 3, 4, 4]],
        |k, t| {
            let spec = PatchSpec { weight: &t[1], prompt: None, class_token: None, positions: None, levels: None };
            k.patch_embed.patch_embed(&t[0], &spec)
        },
        |x| {
            let one = d4(&x[0]);
            let all = concatenate(Axis(1), &[one.view(), one.view(), one.view()]).unwrap();
            reference::patch_embed(&all, &d4(&x[1]), None, None, None).into_iter().collect()
        },
    );
}

/// Bytes give the weight the slopes of what they stand for.
#[test]
fn patch_embed_of_levels() {
    let level = |channel: usize, byte: u8| f32::from(byte) / 128.0 - channel as f32;
    let levels = (0..3).flat_map(|channel| (0..=255).map(move |byte| level(channel, byte))).collect();
    let levels = Tensor::from_vec(levels, &[3, 256]).unwrap();
    let bytes = Array4::from_shape_fn((2, 3, 8, 8), |(t, c, y, x)| (37 * (((t * 3 + c) * 8 + y) * 8 + x) % 256) as u8);
    let pixels = Tensor::from_vec(bytes.iter().copied().collect(), bytes.shape()).unwrap();
    judge(
        "patch_embed of levels",
        &[&[5, 3, 4, 4]],
        |k, t| {
            let levels = Some(&levels);
            let spec = PatchSpec { weight: &t[0], prompt: None, class_token: None, positions: None, levels };
            k.patch_embed.patch_embed(&pixels, &spec)
        },
        |x| {
            let values = Array4::from_shape_fn(bytes.dim(), |at| level(at.1, bytes[at]).into());
            reference::patch_embed(&values, &d4(&x[0]), None, None, None).into_iter().collect()
        },
    );
}

#[test]
fn cross_entropy() {
    let targets = [2_u32, 0, 6];
    let mut values = Values(11);
    let mut x = values.array(&[3, 7]).mapv(|v| 5.0 * v);
    let logits = Tensor::from_vec(x.iter().map(|&v| v as f32).collect(), &[3, 7]).unwrap();
    let (_, tape) = Tape::wrap(Kernels::cpu());
    tape.watch([&logits]);
    let loss = tape.cross_entropy(&logits, &targets).unwrap();
    let exact = |x: &ArrayD<f64>| -> f64 {
        let each = |(row, &t): (ndarray::ArrayView1<'_, f64>, &u32)| row.mapv(f64::exp).sum().ln() - row[t as usize];
        d2(x).outer_iter().zip(&targets).map(each).sum()
    };
    assert!((f64::from(loss.to_f32_vec().unwrap()[0]) / exact(&x) - 1.0).abs() < 1e-6);
    let gradients = tape.backward(&loss).unwrap();
    for (at, found) in gradients.of(&logits).unwrap().iter().enumerate() {
        let mut shifted = |by: f64| {
            *x.iter_mut().nth(at).unwrap() += by;
            exact(&x)
        };
        let (up, down) = (shifted(STEP), shifted(-2.0 * STEP));
        shifted(STEP);
        assert!((f64::from(*found) - (up - down) / (2.0 * STEP)).abs() < BOUND * 0.1);
    }
    assert!(tape.cross_entropy(&logits, &[0, 7, 0]).is_err(), "a target beyond the classes");
    assert!(tape.cross_entropy(&logits, &[0]).is_err(), "too few targets");
}

#[test]
fn a_weighted_sum_passes_its_weights_on() {
    let logits = Tensor::from_vec(vec![0.5_f32, -1.0, 2.0, 0.0, 1.5, 0.25], &[2, 3]).unwrap();
    let (_, tape) = Tape::wrap(Kernels::cpu());
    tape.watch([&logits]);
    let term = |row: usize, target: u32| tape.cross_entropy(&logits.rows(row..row + 1).unwrap(), &[target]).unwrap();
    let alone = |row, target| {
        let loss = term(row, target);
        (f64::from(loss.to_f32_vec().unwrap()[0]), tape.backward(&loss).unwrap().of(&logits).unwrap().to_vec())
    };
    let ((first, d_first), (second, d_second)) = (alone(0, 2), alone(1, 0));
    let sum = tape.weighted_sum(&[(term(0, 2), 2.0), (term(1, 0), -0.5)]).unwrap();
    // Rounded to f32 once at the end.
    assert!((f64::from(sum.to_f32_vec().unwrap()[0]) - (2.0 * first - 0.5 * second)).abs() < 1e-6);
    let gradients = tape.backward(&sum).unwrap();
    // Powers of two scale without rounding.
    let expected: Vec<f32> = d_first.iter().zip(&d_second).map(|(a, b)| 2.0 * a - 0.5 * b).collect();
    assert_eq!(gradients.of(&logits).unwrap(), expected);
    assert!(tape.weighted_sum(&[(logits, 1.0)]).is_err(), "a term of six entries");
}

#[test]
fn what_leads_to_no_watched_tensor_is_not_noted() {
    let (kernels, tape) = Tape::wrap(Kernels::cpu());
    let x = Tensor::from_vec(vec![1.0_f32; 4], &[2, 2]).unwrap();
    kernels.pointwise.gelu(&x).unwrap();
    assert!(format!("{tape:?}").starts_with("Tape(0 operations"));
    tape.watch([&x]);
    let y = kernels.pointwise.gelu(&x).unwrap();
    assert!(tape.backward(&y).is_err(), "a loss of four entries");
    assert!(format!("{tape:?}").starts_with("Tape(1 operations"), "a refused loss leaves the tape");
}
