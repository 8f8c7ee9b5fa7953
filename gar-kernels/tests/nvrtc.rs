//! Every kernel that the wrappers launch compiles for the architectures that are promised, without spilling a register, and
//! `docs/kernels.md` says what each takes of a multiprocessor.
//!
//! Needs NVRTC and no GPU. Skipped without it, unless `GAR_REQUIRE_NVRTC=1`. `GAR_WRITE_KERNELS=1` writes the page anew.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use gar_kernels::{
    Error,
    cuda::{Compiler, Kernel, KernelCache, Source, kernels},
};
use rayon::prelude::*;

/// The first chip with bf16 on tensor cores, the chip of workstations, and the one that kernels are tuned for.
const ARCHITECTURES: [(&str, (u32, u32)); 3] = [("sm_80", (8, 0)), ("sm_89", (8, 9)), ("sm_90a", (9, 0))];
/// The compiler whose figures the page holds; another one allocates registers in its own way.
const VERSION: (i32, i32) = (13, 0);

/// What an operation is called, and what it computes.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("argmax", "ArgMax", "[B, V] → B indices"),
    ("attention", "Attention", "q [B, L, H, d], k and v [B, S, G, d] → [B, L, H, d]"),
    (
        "cached_attention",
        "CachedAttention",
        "q [B, M, H, d] at the last of k, v [B, L, G, d] behind B caches → [B, M, H, d]",
    ),
    ("hopper", "Attention on Hopper", "as Attention, many queries"),
    ("matmul", "MatMul", "[m, k] · [n, k]ᵀ → [m, n]"),
    ("norm", "Norm", "[.., D] → [.., D]"),
    ("patch_embed", "PatchEmbed", "[T, channels, S, S] → [T, tokens, C]"),
    ("pointwise", "Pointwise", "one shape → the same shape"),
    ("pool", "Pool", "[T, rows·columns, D] → [T, patches, D]"),
    ("roi_align", "RoiAlign", "[H, W, D] at N boxes → [N, oh, ow, D]"),
    ("rotary", "Rotary", "[B, L, H, d] → [B, L, H, d]"),
    ("rows", "Rows", "[V, D] at n indices → [n, D], and back"),
    ("sampling", "Sample", "[B, V] → B indices"),
];

fn compiler() -> Option<Compiler> {
    match Compiler::find() {
        Ok(compiler) => Some(compiler),
        Err(why @ Error::Unavailable { .. }) if std::env::var_os("GAR_REQUIRE_NVRTC").is_none() => {
            println!("SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What one function takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    registers: u32,
    shared_bytes: u32,
    spilled_bytes: u32,
}

/// What the log of a compilation says of each function.
fn uses(log: &str) -> BTreeMap<String, Use> {
    let number_before = |line: &str, what: &str| -> u32 {
        let before = line.split(what).next().filter(|before| before.len() < line.len()).unwrap_or("0");
        before.split(|c: char| !c.is_ascii_digit()).rfind(|s| !s.is_empty()).map_or(0, |n| n.parse().unwrap())
    };
    let mut found: BTreeMap<String, Use> = BTreeMap::new();
    let mut name = String::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            name = rest.split('\'').next().unwrap_or_default().to_owned();
            found.insert(name.clone(), Use::default());
        }
        let Some(of) = found.get_mut(&name) else { continue };
        if line.contains("bytes stack frame") {
            of.spilled_bytes += number_before(line, " bytes stack frame");
            of.spilled_bytes += number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
        } else if line.contains("Used ") {
            of.registers = number_before(line, " registers");
            of.shared_bytes = number_before(line, " bytes smem");
        }
    }
    found
}

#[test]
fn the_log_is_read_as_it_is_written() {
    let log = "ptxas info    : Compiling entry function 'a' for 'sm_80'\n\
               ptxas info    : Function properties for a\n    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n\
               ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]\n\
               ptxas info    : Compiling entry function 'b' for 'sm_80'\n\
               ptxas info    : Function properties for b\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
               ptxas info    : Used 12 registers, used 0 barriers, 380 bytes cmem[0]\n";
    let found = uses(log);
    assert_eq!(found["a"], Use { registers: 40, shared_bytes: 1024, spilled_bytes: 36 });
    assert_eq!(found["b"], Use { registers: 12, shared_bytes: 0, spilled_bytes: 0 });
}

#[test]
fn every_kernel_compiles_without_spills_as_the_table_says() {
    let Some(compiler) = compiler() else { return };
    // By source and macros: what is compiled together, with what each architecture has of it.
    let mut programs: BTreeMap<(&str, String), Program> = BTreeMap::new();
    for (at, (_, capability)) in ARCHITECTURES.into_iter().enumerate() {
        for kernel in kernels(capability) {
            let program = programs.entry((kernel.source.name, macros(&kernel))).or_default();
            program.on[at] = true;
            if !program.kernels.contains(&kernel) {
                program.kernels.push(kernel);
            }
        }
    }
    let jobs: Vec<(&Program, usize)> =
        programs.values().flat_map(|program| (0..ARCHITECTURES.len()).map(move |at| (program, at))).collect();
    let logs: Vec<Option<BTreeMap<String, Use>>> = jobs
        .par_iter()
        .map(|&(program, at)| {
            let kernel = &program.kernels[0];
            program.on[at].then(|| {
                let compiled = compiler.compile(kernel, ARCHITECTURES[at].0).unwrap_or_else(|error| panic!("{error}"));
                assert!(compiled.image.starts_with(b"\x7fELF"), "{}: no cubin", kernel.source.name);
                // What ptxas says where it makes wgmma wait for each other.
                assert!(!compiled.log.contains("wgmma"), "{}: {}", kernel.source.name, compiled.log);
                uses(&compiled.log)
            })
        })
        .collect();

    let mut table = String::new();
    let mut source = "";
    for (((name, macros), program), logs) in programs.iter().zip(logs.chunks(ARCHITECTURES.len())) {
        if *name != source {
            source = name;
            heading(&mut table, name);
        }
        for Kernel { function, .. } in &program.kernels {
            let found = logs.iter().zip(ARCHITECTURES).map(|(log, (at, _))| {
                let found =
                    *log.as_ref()?.get(*function).unwrap_or_else(|| panic!("{function} is not in {name} ({at})"));
                assert_eq!(found.spilled_bytes, 0, "{function} ({macros}) spills on {at}");
                assert!(found.registers > 0, "{function} ({macros}): no registers in the log for {at}");
                Some(found)
            });
            let found: Vec<Option<Use>> = found.collect();
            let each = |of: fn(Use) -> u32| -> String {
                found.iter().map(|u| u.map_or("–".into(), |u| of(u).to_string())).collect::<Vec<_>>().join(" / ")
            };
            let (registers, shared) = (each(|u| u.registers), each(|u| u.shared_bytes));
            writeln!(table, "| `{function}` | {macros} | {registers} | {shared} |").unwrap();
        }
    }
    if compiler.version() != VERSION {
        println!("SKIPPED the comparison: NVRTC {:?}, the page holds figures of {VERSION:?}", compiler.version());
        return;
    }
    compare(&table);
}

/// Kernels that are compiled together, and on which architectures.
#[derive(Default)]
struct Program {
    kernels: Vec<Kernel>,
    on: [bool; ARCHITECTURES.len()],
}

fn macros(kernel: &Kernel) -> String {
    kernel.defines.iter().map(|(name, value)| format!("`{name}={value}`")).collect::<Vec<_>>().join(" ")
}

fn heading(table: &mut String, source: &str) {
    let known = OPERATIONS.iter().find(|(name, ..)| *name == source);
    let (_, operation, shapes) = known.unwrap_or_else(|| panic!("{source}: not among OPERATIONS of this test"));
    let at = format!("../gar-kernels/src/cuda/{source}");
    writeln!(table, "\n## {operation}\n\n{shapes}. Wrapper [{source}.rs]({at}.rs), source [{source}.cu]({at}.cu).\n")
        .unwrap();
    writeln!(table, "| symbol | macros | registers | static shared memory, bytes |\n|---|---|---|---|").unwrap();
}

/// Compares the page's tables with what was found, or writes them.
fn compare(table: &str) {
    const MARK: &str = "<!-- written by gar-kernels/tests/nvrtc.rs -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernels.md");
    let page = fs::read_to_string(&path).unwrap();
    let (top, found) = page.split_once(MARK).expect("the page has its mark");
    if std::env::var_os("GAR_WRITE_KERNELS").is_some() {
        fs::write(&path, format!("{top}{MARK}{table}")).unwrap();
    } else {
        let differing = found.lines().zip(table.lines()).find(|(a, b)| a != b);
        assert!(found == table, "docs/kernels.md is out of date, first at {differing:?}: run with GAR_WRITE_KERNELS=1");
    }
}

static BROKEN: Source = Source { name: "broken", text: "extern \"C\" __global__ void broken() { nonsense }" };
static SMALL: Source = Source {
    name: "small",
    text: "#include \"gar.cuh\"\nextern \"C\" __global__ void small(int* x) { *x = GAR_ANSWER; }",
};

fn small(answer: &str) -> Kernel {
    Kernel { source: &SMALL, function: "small", defines: vec![("GAR_ANSWER", answer.into())] }
}

#[test]
fn what_does_not_compile_is_an_error_with_the_line() {
    let Some(compiler) = compiler() else { return };
    let kernel = Kernel { source: &BROKEN, function: "broken", defines: Vec::new() };
    let error = compiler.compile(&kernel, "sm_80").unwrap_err().to_string();
    assert!(error.contains("broken.cu(1)") && error.contains("nonsense"), "{error}");
    assert!(compiler.compile(&small("1"), "sm_1").is_err());
    assert!(compiler.compile(&small("a\0b"), "sm_80").is_err());
}

#[test]
fn the_cache_gives_what_the_compiler_gives() {
    let Some(compiler) = compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = KernelCache::in_folder(folder.path());
    let get = |kernel: &Kernel, architecture: &str| {
        let mut compiled = false;
        let image = cache.get(&compiler.key(kernel, architecture), || {
            compiled = true;
            Ok(compiler.compile(kernel, architecture)?.image)
        });
        (image.unwrap(), compiled)
    };
    let (first, compiled) = get(&small("42"), "sm_80");
    assert!(compiled);
    assert_eq!(get(&small("42"), "sm_80"), (first.clone(), false));
    for (kernel, architecture) in [(small("43"), "sm_80"), (small("42"), "sm_90a")] {
        let (other, compiled) = get(&kernel, architecture);
        assert!(compiled && other != first, "{kernel:?} for {architecture}");
    }
    let entries = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = entries();
    for (driver, more) in [(13_000, 1), (13_000, 1), (13_010, 2)] {
        assert_eq!(compiler.cached(&small("42"), "sm_80", driver, &cache).unwrap(), first);
        assert_eq!(entries(), before + more, "driver {driver}");
    }
}
