//! The CUDA kernels on a card: the laws that every implementation satisfies, and what happens where there is no card, no
//! memory, or no such device.
//!
//! Skipped without a GPU, unless `GAR_REQUIRE_GPU=1`.
#![cfg(all(feature = "cuda", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::sync::Arc;

use gar_kernels::{
    DType, Error, Kernels, Result, Tensor, bf16,
    cuda::{Cuda, Driver, HopperAttention, HopperTile, Recorder, Runtime},
    laws::{self, LawConfig},
    ops::{Activation, AttentionSpec, CacheSpec, CachedAttentionSpec, Epilogue, Mask, NormKind, NormSpec},
};

fn driver() -> Option<Arc<Driver>> {
    match Driver::open(0) {
        Ok(driver) => Some(Arc::new(driver)),
        Err(why @ Error::Unavailable { .. }) if std::env::var_os("GAR_REQUIRE_GPU").is_none() => {
            println!("SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The laws for bf16; `GAR_LAW_CASES` draws fewer inputs, for tools that slow kernels down.
fn config() -> LawConfig {
    let base = LawConfig::bf16();
    let cases = std::env::var("GAR_LAW_CASES").ok().and_then(|cases| cases.parse().ok());
    LawConfig { cases: cases.unwrap_or(base.cases), ..base }
}

fn judge(kernels: &Kernels, config: &LawConfig, what: &str) {
    if let Err(violations) = laws::all(kernels, config) {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{what}:\n{}", lines.join("\n"));
    }
}

#[test]
fn the_laws_hold_in_bf16() {
    let Some(driver) = driver() else { return };
    judge(&Kernels::from(Cuda::new(driver.clone())), &config(), "fast kernels");
    judge(&Kernels::from(Cuda::new(driver).with_plain_kernels()), &config(), "plain kernels");
}

/// The wrapper takes this kernel for many queries alone, more than the laws draw.
#[test]
fn attention_for_hopper_satisfies_the_laws() {
    let Some(driver) = driver() else { return };
    if driver.properties().capability.0 != 9 {
        println!("SKIPPED: no Hopper");
        return;
    }
    let cuda = Cuda::new(driver);
    for (groups, keys, turns) in [(3, 128, false), (2, 128, false), (2, 176, true), (2, 16, false)] {
        let op = HopperAttention { cuda: cuda.clone(), tile: HopperTile { groups, keys, turns } };
        let config = LawConfig { head_dims: vec![8, 64, 96, 128], ..config() };
        if let Err(violation) = laws::attention(&op, &**cuda.device(), &config) {
            panic!("{:?}: {violation}", op.tile);
        }
    }
}

/// ‖fast − plain‖ / ‖plain‖. Both round their results to bf16, which alone is 0.2 %; weights of the softmax are rounded too.
fn apart(fast: &Tensor, plain: &Tensor, kernels: &Kernels) -> f64 {
    let [fast, plain] = [fast, plain].map(|t| kernels.device.download(t).unwrap().to_f32_vec().unwrap());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut fast.iter().zip(&plain).map(|(f, p)| f64::from(*f) - f64::from(*p)));
    error / norm(&mut plain.iter().map(|p| f64::from(*p)))
}

/// Kernels that wrappers choose for large sizes, at those of a picture of several tiles.
#[test]
fn sizes_of_a_picture_agree_with_the_plain_kernels() {
    let Some(driver) = driver() else { return };
    let fast = Kernels::from(Cuda::new(driver.clone()));
    let plain = Kernels::from(Cuda::new(driver).with_plain_kernels());
    let mut state = 7_u32;
    let mut random = |shape: &[usize]| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bf16::from_f32((state >> 8) as f32 / (1 << 22) as f32 - 2.0)
        };
        let values = (0..shape.iter().product::<usize>()).map(|_| next()).collect();
        fast.device.upload(&Tensor::from_vec(values, shape).unwrap()).unwrap()
    };
    let check = |what: &str, run: &dyn Fn(&Kernels) -> Result<Tensor>| {
        let error = apart(&run(&fast).unwrap(), &run(&plain).unwrap(), &fast);
        println!("{what}: {error:.1e}");
        assert!(error <= 6e-3, "{what}: relative error {error:.2e}");
    };
    for (batch, len, heads, kv_heads, d, mask) in [
        (9, 1025, 16, 16, 64, Mask::Full),
        (9, 1024, 16, 16, 96, Mask::Full),
        (2, 1300, 32, 8, 64, Mask::Causal { offset: 0 }),
        (2, 1300, 16, 16, 128, Mask::Causal { offset: 0 }),
    ] {
        let (q, k, v) =
            (random(&[batch, len, heads, d]), random(&[batch, len, kv_heads, d]), random(&[batch, len, kv_heads, d]));
        let spec = AttentionSpec { scale: (d as f32).sqrt().recip(), mask, to: None };
        check(&format!("attention of {len} tokens, heads of {d}"), &|kernels| {
            kernels.attention.attention(&q, &k, &v, &spec)
        });
    }
    let (q, k, v) = (random(&[1, 1300, 32, 64]), random(&[1, 1300, 8, 64]), random(&[1, 1300, 8, 64]));
    check("a prompt behind a cache", &|kernels| {
        let size = CacheSpec { layers: 2, kv_heads: 8, head_dim: 64, capacity: 2600 };
        let spec = CachedAttentionSpec { layer: 1, scale: 0.125, to: None };
        let mut cache = kernels.cached_attention.cache(size)?;
        kernels.cached_attention.attend(&q, &k, &v, &mut [&mut *cache], &spec)?;
        cache.advance(1300)?;
        kernels.cached_attention.attend(&q, &k, &v, &mut [&mut *cache], &spec)
    });
    let (x, weight, bias) = (random(&[3000, 1024]), random(&[1024]), random(&[1024]));
    let spec = NormSpec { kind: NormKind::Layer, weight: &weight, bias: Some(&bias), eps: 1e-5, to: None };
    check("norm", &|kernels| kernels.norm.norm(&x, &spec));
    let (w, hidden) = (random(&[512, 1024]), random(&[512]));
    let epilogue = Epilogue { bias: Some(&hidden), activation: Activation::Gelu, ..Epilogue::default() };
    check("a product with GELU", &|kernels| kernels.matmul.matmul(&x, &w, epilogue));
}

#[test]
fn a_recorded_run_gives_the_bits_of_an_unrecorded_one() {
    let Some(driver) = driver() else { return };
    let (plain, recorder) = (Kernels::from(Cuda::new(driver.clone())), Arc::new(Recorder::new(driver)));
    let recorded = Kernels::from(Cuda::new(recorder.clone()));
    let host = |rows: usize| {
        let values = (0..rows * 256).map(|i| bf16::from_f32((i * 37 % 101) as f32 / 50.0 - 1.0)).collect();
        Tensor::from_vec(values, &[rows, 256]).unwrap()
    };
    let tables = [&plain, &recorded].map(|k| [256, 96, 1].map(|rows| k.device.upload(&host(rows)).unwrap()));
    let run = |k: &Kernels, [w, table, scale]: &[Tensor; 3], step: u32| -> Vec<u32> {
        let scale = scale.reshape(&[256]).unwrap();
        let spec = NormSpec { kind: NormKind::Rms, weight: &scale, bias: None, eps: 1e-5, to: None };
        let mut out = None;
        let mut work = || {
            let mut y = k.rows.gather(table, &[step, 95, 3, 7]).unwrap();
            for _ in 0..40 {
                let product = k.matmul.matmul(&y, w, Epilogue::default()).unwrap();
                y = k.norm.norm(&product, &spec).unwrap();
            }
            out = Some(y);
        };
        k.device.repeat(1, &mut work).unwrap();
        let bits = k.device.download(&out.unwrap()).unwrap().to_f32_vec().unwrap();
        bits.into_iter().map(f32::to_bits).collect()
    };
    for step in 0..8 {
        assert_eq!(run(&plain, &tables[0], step), run(&recorded, &tables[1], step), "step {step}");
    }
    assert_eq!((recorder.recordings().recorded, recorder.recordings().replayed), (1, 7));
}

#[test]
fn memory_that_is_not_there_is_an_error_and_leaves_the_device_usable() {
    let Some(driver) = driver() else { return };
    let kernels = Kernels::from(Cuda::new(Arc::new(Recorder::new(driver))));
    let before = kernels.device.upload(&Tensor::from_vec(vec![bf16::ONE; 8], &[1, 8]).unwrap()).unwrap();
    match kernels.device.zeros(&[1 << 44], DType::BF16) {
        Err(Error::OutOfMemory { asked, free, .. }) => {
            assert_eq!(asked, 2 << 44);
            assert!(free > 0 && free < asked, "{free} bytes free");
        }
        other => panic!("{other:?}"),
    }
    let sum = kernels.pointwise.add(&before, &before).unwrap();
    assert_eq!(kernels.device.download(&sum).unwrap().to_f32_vec().unwrap(), [2.0; 8]);
}

#[test]
fn large_tensors_come_back_as_they_went() {
    let Some(driver) = driver() else { return };
    let kernels = Kernels::from(Cuda::new(driver));
    // More than two staging buffers, and not a multiple of one.
    let host = Tensor::from_vec((0..(40 << 20) + 77_u32).collect::<Vec<_>>(), &[(40 << 20) + 77]).unwrap();
    let back = kernels.device.download(&kernels.device.upload(&host).unwrap()).unwrap();
    assert!(back.host::<u32>().unwrap() == host.host::<u32>().unwrap());
}

/// Runs everywhere: whatever is missing, the error says what, and what to install.
#[test]
fn a_device_that_is_not_there_is_an_error() {
    match Kernels::cuda(4096) {
        Err(error @ Error::Unavailable { .. }) => {
            let text = error.to_string();
            let says = ["install", "no CUDA device", "ordinal below"].iter().any(|part| text.contains(part));
            assert!(text.contains("cuda:4096") && says, "{text}");
        }
        other => panic!("{other:?}"),
    }
}
