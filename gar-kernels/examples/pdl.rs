//! uncommitted
use gar_kernels::{Result, cuda::*};
use std::sync::Arc;
fn rnd(d: &Driver, bytes: usize) -> Result<Arc<Buffer>> {
    let b = d.allocate(bytes)?;
    let mut s = 1u32;
    let host: Vec<u16> = (0..bytes / 2)
        .map(|_| {
            s = s.wrapping_mul(1664525).wrapping_add(1013904223);
            0x3c00 | ((s >> 16) & 0x81ff) as u16
        })
        .collect();
    d.write(b.pointer(), bytemuck::cast_slice(&host))?;
    Ok(b)
}
fn time(d: &Driver, what: &str, cmds: &[Command]) -> Result<f64> {
    for c in cmds {
        run(d, c)?;
    }
    d.synchronize()?;
    let g = d.graph(cmds)?.unwrap();
    for _ in 0..3 {
        g.launch()?;
    }
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        best = best.min(
            d.time(&mut || {
                for _ in 0..3 {
                    g.launch()?;
                }
                Ok(())
            })?
            .as_secs_f64()
                / 3.0,
        );
    }
    let us = best * 1e6 / cmds.len() as f64;
    println!("{what}: {us:.3} us");
    Ok(us)
}
fn run(d: &Driver, c: &Command) -> Result<()> {
    match c {
        Command::Launch { kernel, launch, arguments } => d.launch(kernel, *launch, arguments),
        Command::Product(p) => d.blas().unwrap().matmul(p),
        _ => unreachable!(),
    }
}
fn main() -> Result<()> {
    let d = Driver::open(0)?;
    let sm = d.properties().multiprocessors;
    let x = rnd(&d, 8192 * 2 * 8)?;
    let y = d.allocate(128262 * 2 * 8)?;
    let w = rnd(&d, 8192 * 2)?;
    let norm: &'static Source = Box::leak(Box::new(Source { name: "norm", text: include_str!("../src/cuda/norm.cu") }));
    let k = Kernel { source: norm, function: "norm_row", defines: vec![("GAR_T", "bf16".into())] };
    let norm = |n: usize| -> Vec<Command> {
        (0..n)
            .map(|_| Command::Launch {
                kernel: k.clone(),
                launch: Launch { grid: [1, 1, 1], threads: 256, shared_bytes: 0 },
                arguments: vec![
                    x.pointer().into(),
                    w.pointer().into(),
                    Argument::Pointer(0),
                    y.pointer().into(),
                    Argument::I32(2048),
                    Argument::F32(1e-5),
                    Argument::I32(0),
                ],
            })
            .collect()
    };
    time(&d, "norm chain", &norm(200))?;
    let big = 1usize << 29;
    let weights = rnd(&d, 1 << 26)?;
    let all = d.allocate(big + (128262 * 2048 * 2))?;
    let mut at = 0;
    while at < big + 128262 * 4096 - (1 << 26) {
        d.copy(weights.pointer(), all.pointer().offset(at), 1 << 26)?;
        at += 1 << 26;
    }
    if std::env::var_os("GAR_NO_OVERLAP").is_none() {
        let xs = all.pointer();
        let ys = all.pointer().offset(200 << 20);
        let ws = all.pointer().offset(500 << 20);
        for (m, n, kk, bias, res) in [
            (17408, 1024, 1024, false, false),
            (17408, 1024, 1024, true, false),
            (17425, 1024, 1024, false, false),
            (17425, 1024, 1024, true, false),
            (17425, 3072, 1024, true, false),
            (17425, 4096, 1024, true, false),
            (17408, 4096, 1024, true, false),
            (17425, 1024, 4096, true, false),
            (17425, 1024, 4096, false, true),
            (4687, 3072, 2048, false, false),
            (4687, 16384, 2048, false, false),
            (4687, 8192, 2048, false, false),
            (4687, 2048, 2048, false, true),
        ] {
            let p = Product {
                m,
                n,
                k: kk,
                x: xs,
                w: ws,
                y: ys,
                bias: bias.then_some(w.pointer()),
                residual: res.then_some(ys),
            };
            let us = time_q(&d, &vec![Command::Product(p); 8])? / 8.0;
            println!(
                "blas {m}x{n}x{kk} bias {bias} residual {res}: {us:.1} us {:.0} TFLOP/s",
                2.0 * (m * n * kk) as f64 / us / 1e6
            );
        }
    }
    for path in std::env::args().skip(1) {
        let text: &'static str = Box::leak(std::fs::read_to_string(&path).unwrap().into_boxed_str());
        let field = |f: &str| -> u32 {
            text.lines()
                .next()
                .unwrap()
                .split(&format!("{f}="))
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        let (rows, persist, warps) = (field("rows"), field("persist"), field("warps"));
        let name: &'static str =
            Box::leak(path.rsplit('/').next().unwrap().trim_end_matches(".cu").to_string().into_boxed_str());
        let source: &'static Source = Box::leak(Box::new(Source { name, text }));
        let kernel = Kernel {
            source,
            function: "matmul_few",
            defines: vec![("GAR_T", "bf16".into()), ("GAR_TILES", "1".into())],
        };
        let mut line = format!("{name:10}");
        for (ns, kk) in [
            (vec![2048], 2048),
            (vec![2048, 512, 512], 2048),
            (vec![8192, 8192], 2048),
            (vec![2048], 8192),
            (vec![128262], 2048),
        ] {
            let bytes: usize = ns.iter().map(|n| n * kk * 2).sum();
            let count = (big / bytes).clamp(1, 40);
            let make = |i: usize| {
                let mut at = i * bytes;
                let mut a = vec![x.pointer().into(), Argument::I32(1), Argument::I32(kk as i32)];
                let mut blocks = 0;
                for j in 0..3 {
                    let n = ns.get(j).copied().unwrap_or(0);
                    a.extend([
                        all.pointer().offset(at).into(),
                        Argument::Pointer(0),
                        Argument::I32(0),
                        Argument::Pointer(0),
                        Argument::Pointer(0),
                        y.pointer().into(),
                        Argument::I32(n as i32),
                    ]);
                    at += n * kk * 2;
                    blocks += (n as u32).div_ceil(rows);
                }
                let grid = if persist > 0 { blocks.min(sm * persist) } else { blocks };
                Command::Launch {
                    kernel: kernel.clone(),
                    launch: Launch { grid: [grid, 1, 1], threads: warps * 32, shared_bytes: 0 },
                    arguments: a,
                }
            };
            let cmds: Vec<_> = (0..count).map(make).collect();
            let a = time_q(&d, &cmds)?;
            // alternating with a small kernel, as in a decoder
            let mixed: Vec<_> = cmds.iter().cloned().flat_map(|c| [c, norm(1).remove(0)]).collect();
            let b = time_q(&d, &mixed)?;
            line += &format!(
                " | {:6.2} us {:.2} TB/s, +norm {:6.2}",
                a / count as f64,
                bytes as f64 / a * count as f64 / 1e6,
                b / count as f64
            );
        }
        println!("{line}");
    }
    Ok(())
}
fn time_q(d: &Driver, cmds: &[Command]) -> Result<f64> {
    for c in cmds {
        run(d, c)?;
    }
    d.synchronize()?;
    let g = d.graph(cmds)?.unwrap();
    for _ in 0..3 {
        g.launch()?;
    }
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        best = best.min(
            d.time(&mut || {
                for _ in 0..3 {
                    g.launch()?;
                }
                Ok(())
            })?
            .as_secs_f64()
                / 3.0,
        );
    }
    Ok(best * 1e6)
}
