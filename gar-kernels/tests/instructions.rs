//! Products and attention come out with the same bits from every instruction set (in bf16 AMX has an order of its own, and the
//! bits of its model), from any number of threads, and whatever rows are computed together.
#![allow(clippy::unwrap_used, missing_docs)]

use gar_kernels::{
    DType, Kernels, Tensor, bf16,
    cpu::{CpuOptions, InstructionSet, Precision, WeightFormat},
    ops::{AttentionSpec, Epilogue, Gated, Mask, NormKind, NormSpec, Normalization, Projection},
};

/// Numbers in (−1, 1) that repeat nowhere soon.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32).map(|i| (i ^ seed).wrapping_mul(2_654_435_761) as i32 as f32 / 2_147_483_648.0).collect()
}

fn product(set: InstructionSet, options: CpuOptions, [m, n, k]: [usize; 3]) -> Vec<f32> {
    let kernels = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..options }).unwrap();
    let x = Tensor::from_vec(noise(m * k, 7), &[m, k]).unwrap();
    let w = noise(n * k, 1 << 20).into_iter().map(bf16::from_f32).collect();
    let w = kernels.matmul.prepare(&Tensor::from_vec(w, &[n, k]).unwrap()).unwrap();
    kernels.matmul.matmul(&x, &w, Epilogue::default()).unwrap().host().unwrap().to_vec()
}

const BF16: CpuOptions = CpuOptions { precision: Precision::Bf16, weights: WeightFormat::Stored, instructions: None };
const INT8: CpuOptions = CpuOptions { precision: Precision::F32, weights: WeightFormat::Int8, instructions: None };
/// Around tiles of 1 to 32 rows, panels of 16 and 32 columns, groups of 2 and 4, runs of 16 of them, and parts of 512 along k.
const SHAPES: [[usize; 3]; 7] =
    [[1, 129, 515], [3, 33, 64], [13, 16, 1030], [33, 100, 513], [97, 31, 7], [50, 260, 512], [31, 70, 1100]];

/// Plain loops that add up in the order of a set.
fn model_of(set: InstructionSet) -> InstructionSet {
    match set {
        InstructionSet::Amx | InstructionSet::PortableTiles => InstructionSet::PortableTiles,
        _ => InstructionSet::Portable,
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_plain_loops() {
    for options in [BF16, INT8] {
        for shape in SHAPES {
            for set in InstructionSet::available() {
                let expected = product(model_of(set), options, shape);
                assert!(expected == product(set, options, shape), "{set}, {options:?}, {shape:?}");
            }
        }
    }
}

#[test]
fn exact_numbers_have_one_order() {
    for shape in SHAPES {
        let expected = product(InstructionSet::Portable, INT8, shape);
        assert!(expected == product(InstructionSet::PortableTiles, INT8, shape), "{shape:?}");
    }
}

/// A weight of which a run of 32 entries multiplies to 2²⁴ + 1 + … differently by each order, so that a set that forgot its
/// own would be seen.
#[test]
fn tiles_add_up_a_run_before_the_rest() {
    let one = |set: InstructionSet| {
        let kernels = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..BF16 }).unwrap();
        let mut w = vec![0.0_f32; 64];
        (w[0], w[32], w[33]) = (16_777_216.0, 1.0, 1.0);
        let (x, w) = (Tensor::from_vec(vec![1.0_f32; 64], &[1, 64]), Tensor::from_vec(w, &[1, 64]));
        kernels.matmul.matmul(&x.unwrap(), &w.unwrap(), Epilogue::default()).unwrap().host::<f32>().unwrap()[0]
    };
    for set in InstructionSet::available() {
        // One by one, each 1 is lost beside 2²⁴.
        let expected = if model_of(set) == InstructionSet::Portable { 16_777_216.0 } else { 16_777_218.0 };
        assert_eq!(one(set), expected, "{set}");
    }
}

/// Keys around blocks of 128, groups of heads, scores that rise so far that the softmax moves its base.
const ATTENTIONS: [[usize; 5]; 4] = [[1, 1, 1, 1, 8], [5, 127, 4, 2, 24], [97, 130, 6, 2, 64], [13, 300, 2, 2, 40]];

fn attention(set: InstructionSet, options: CpuOptions, [l, s, heads, kv_heads, d]: [usize; 5]) -> Vec<f32> {
    let kernels = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..options }).unwrap();
    let tensor = |seed, [len, heads]: [usize; 2]| {
        let values = noise(len * heads * d, seed).into_iter().enumerate();
        let rising = values.map(|(i, v)| v * (1.0 + (i / (heads * d)) as f32 / 20.0));
        Tensor::from_vec(rising.collect(), &[1, len, heads, d]).unwrap()
    };
    let (q, k, v) = (tensor(7, [l, heads]), tensor(1 << 20, [s, kv_heads]), tensor(1 << 21, [s, kv_heads]));
    let spec = AttentionSpec { scale: 0.7, mask: Mask::Causal { offset: s - l }, to: None };
    kernels.attention.attention(&q, &k, &v, &spec).unwrap().host().unwrap().to_vec()
}

#[test]
fn attention_on_every_instruction_set_gives_the_bits_of_plain_loops() {
    for shape in ATTENTIONS {
        for set in InstructionSet::available() {
            let expected = attention(model_of(set), BF16, shape);
            assert!(expected == attention(set, BF16, shape), "{set}, {shape:?}");
        }
    }
}

#[test]
fn values_and_attention_in_bf16_have_the_bits_of_rounded_ones() {
    let bf16_of = |values: &[f32]| values.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<bf16>>();
    for set in InstructionSet::available() {
        let kernels = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..BF16 }).unwrap();
        assert_eq!(kernels.attention.rounding(), Some(DType::BF16));
        for [l, s, heads, kv_heads, d] in ATTENTIONS {
            let tensor = |seed, [len, heads]: [usize; 2]| {
                Tensor::from_vec(noise(len * heads * d, seed), &[1, len, heads, d]).unwrap()
            };
            let (q, k, v) = (tensor(7, [l, heads]), tensor(1 << 20, [s, kv_heads]), tensor(1 << 21, [s, kv_heads]));
            let rounded = Tensor::from_vec(bf16_of(v.host().unwrap()), v.shape()).unwrap();
            let spec = AttentionSpec { scale: 0.7, mask: Mask::Causal { offset: s - l }, to: None };
            let plain = kernels.attention.attention(&q, &k, &v, &spec).unwrap();
            let asked = AttentionSpec { to: Some(DType::BF16), ..spec };
            let found = kernels.attention.attention(&q, &k, &rounded, &asked).unwrap();
            assert!(found.host::<bf16>().unwrap() == bf16_of(plain.host().unwrap()), "{set}, {l} × {s}");
        }
    }
}

#[test]
fn rows_and_results_in_bf16_have_the_bits_of_rounded_ones() {
    for set in InstructionSet::available() {
        let matmul = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..BF16 }).unwrap().matmul;
        for [m, n, k] in SHAPES {
            let (x, w) = (noise(m * k, 7), Tensor::from_vec(noise(n * k, 1 << 20), &[n, k]).unwrap());
            let rounded = x.iter().map(|&v| bf16::from_f32(v)).collect();
            let rounded = Tensor::from_vec::<bf16>(rounded, &[m, k]).unwrap();
            let x = Tensor::from_vec(x, &[m, k]).unwrap();
            assert_eq!(matmul.rounding(&w), Some(DType::BF16));
            let plain = matmul.matmul(&x, &w, Epilogue::default()).unwrap();
            let asked = Epilogue { to: Some(DType::BF16), ..Epilogue::default() };
            let (plain, of_rounded) = (plain.host::<f32>().unwrap(), matmul.matmul(&rounded, &w, asked).unwrap());
            assert!(matmul.matmul(&rounded, &w, Epilogue::default()).unwrap().host::<f32>().unwrap() == plain, "{set}");
            let expected: Vec<bf16> = plain.iter().map(|&v| bf16::from_f32(v)).collect();
            assert!(of_rounded.host::<bf16>().unwrap() == expected, "{set}, {m} x {n} x {k}");
        }
    }
}

#[test]
fn several_products_have_the_bits_of_each_alone() {
    for options in [CpuOptions::default(), BF16, INT8] {
        for set in InstructionSet::available() {
            let matmul = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..options }).unwrap().matmul;
            for m in [1, 33, 97] {
                let tensor = |seed, n| Tensor::from_vec(noise(n * 70, seed), &[n, 70]).unwrap();
                let (x, weights) = (tensor(7, m), [tensor(1 << 20, 33), tensor(1 << 21, 1), tensor(1 << 22, 300)]);
                let projections = weights.each_ref().map(|w| Projection { w, epilogue: Epilogue::default() });
                for (w, found) in weights.iter().zip(matmul.matmuls_of(&x, projections).unwrap()) {
                    let alone = matmul.matmul(&x, w, Epilogue::default()).unwrap();
                    assert!(alone.host::<f32>().unwrap() == found.host::<f32>().unwrap(), "{set}, {options:?}, {m}");
                }
            }
        }
    }
}

#[test]
fn a_swiglu_in_one_pass_has_the_bits_of_its_steps() {
    for options in [CpuOptions::default(), BF16, INT8] {
        for set in InstructionSet::available() {
            let kernels = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..options }).unwrap();
            for [m, n, k] in SHAPES {
                let tensor = |seed, n| Tensor::from_vec(noise(n * k, seed), &[n, k]).unwrap();
                let (x, gate, up) = (tensor(7, m), tensor(1 << 20, n), tensor(1 << 21, n));
                let (weight, bias) = (Tensor::from_vec(vec![1.5_f32; k], &[k]), Tensor::from_vec(noise(n, 3), &[n]));
                let (weight, bias) = (weight.unwrap(), bias.unwrap());
                let spec = NormSpec { kind: NormKind::Rms, weight: &weight, bias: None, eps: 1e-5, to: None };
                let normalization = Normalization { norm: &*kernels.norm, spec };
                let of = |w, bias| Projection { w, epilogue: Epilogue { bias, ..Epilogue::default() } };
                let (gate, up) = (of(&gate, Some(&bias)), of(&up, None));
                let gated = Gated { gate, up, pointwise: &*kernels.pointwise, to: None };
                let matmul = &kernels.matmul;
                let steps = matmul.matmuls_normalized_of(&x, normalization, [gate, up]).unwrap();
                let steps = kernels.pointwise.swiglu(&steps[0], &steps[1]).unwrap();
                let steps = steps.host::<f32>().unwrap();
                let found = matmul.swiglu_normalized(&x, normalization, gated).unwrap();
                assert!(found.host::<f32>().unwrap() == steps, "{set}, {options:?}, {m} × {n} × {k}");
                let asked = Gated { to: Some(DType::BF16), ..gated };
                let found = matmul.swiglu_normalized(&x, normalization, asked).unwrap();
                let rounded: Vec<bf16> = steps.iter().map(|&v| bf16::from_f32(v)).collect();
                assert!(found.host::<bf16>().unwrap() == rounded, "{set}, {options:?}, {m} × {n} × {k}, bf16");
            }
        }
    }
}

#[test]
fn transposed_operands_have_the_same_bits() {
    let tensor = |data: Vec<f32>, shape: [usize; 2]| Tensor::from_vec(data, &shape).unwrap();
    let transpose = |x: &[f32], [rows, columns]: [usize; 2]| {
        tensor((0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect(), [columns, rows])
    };
    for options in [CpuOptions::default(), BF16] {
        for set in InstructionSet::available() {
            let matmul = Kernels::cpu_with(CpuOptions { instructions: Some(set), ..options }).unwrap().matmul;
            for [m, n, k] in SHAPES {
                let (x, w) = (noise(m * k, 7), noise(n * k, 1 << 20));
                let (xt, wt) = (transpose(&x, [m, k]), transpose(&w, [n, k]));
                let (x, w) = (tensor(x, [m, k]), tensor(w, [n, k]));
                let expected = matmul.matmul(&x, &w, Epilogue::default()).unwrap();
                let product = matmul.product(&x, &wt).unwrap().unwrap();
                let transposed = matmul.product_transposed(&xt, &wt).unwrap().unwrap();
                for found in [product, transposed] {
                    assert_eq!(found.shape(), [m, n]);
                    let [found, expected] = [&found, &expected].map(|t| t.host::<f32>().unwrap());
                    assert!(found == expected, "{set}, {options:?}, {m} x {n} x {k}");
                }
                assert!(matmul.product(&xt, &tensor(vec![0.0; m + 1], [m + 1, 1])).is_err());
                assert!(matmul.product_transposed(&x, &tensor(vec![0.0; m + 1], [m + 1, 1])).is_err());
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for options in [CpuOptions::default(), BF16, INT8] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| SHAPES.map(|shape| product(InstructionSet::best(), options, shape)))
        };
        assert!(run(1) == run(3), "{options:?}");
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ATTENTIONS.map(|shape| attention(InstructionSet::best(), options, shape)))
        };
        assert!(run(1) == run(3), "attention, {options:?}");
    }
}

#[test]
fn rows_alone_and_together_have_the_same_bits() {
    let (m, n, k) = (70, 48, 600);
    let x = Tensor::from_vec(noise(m * k, 3), &[m, k]).unwrap();
    let tiles = CpuOptions { instructions: Some(InstructionSet::PortableTiles), ..BF16 };
    for options in [CpuOptions::default(), BF16, INT8, tiles] {
        let kernels = Kernels::cpu_with(options).unwrap();
        let w = kernels.matmul.prepare(&Tensor::from_vec(noise(n * k, 5), &[n, k]).unwrap()).unwrap();
        let multiply = |x: &Tensor| kernels.matmul.matmul(x, &w, Epilogue::default()).unwrap();
        let all = multiply(&x);
        for len in [1, 2, 3, 5, 7, 32, 33] {
            let some = multiply(&x.rows(9..9 + len).unwrap());
            assert_eq!(some.host::<f32>().unwrap(), all.rows(9..9 + len).unwrap().host::<f32>().unwrap(), "{len} rows");
        }
    }
}
