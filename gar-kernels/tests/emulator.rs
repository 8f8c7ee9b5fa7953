//! What the emulator promises: undefined behaviour of a GPU is an error or a NaN, never a right answer by luck.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use emulated::{BOTH, emulator};
use gar_kernels::{
    Error,
    cuda::{Argument, Copies, Edit, Kernel, Launch, Runtime, Source},
};

static SOURCE: Source = Source { name: "conduct", text: include_str!("emulated/conduct.cu") };

fn kernel(function: &'static str) -> Kernel {
    Kernel { source: &SOURCE, function, defines: vec![("SCALE", "2.0f".into())] }
}

/// Launches one block of 64 threads on 256 floats 0, 1, 2, … and gives back what it wrote, 64 floats.
fn run(runtime: &dyn Runtime, function: &'static str) -> Result<Vec<f32>, Error> {
    let x: Vec<f32> = (0_u8..=255).map(f32::from).collect();
    let (input, output) = (runtime.allocate(1024)?, runtime.allocate(256)?);
    runtime.write(input.pointer(), bytemuck::cast_slice(&x))?;
    let launch = Launch { grid: [1, 1, 1], threads: 64, shared_bytes: 1024 };
    runtime.launch(&kernel(function), launch, &[input.pointer().into(), output.pointer().into()])?;
    let mut y = vec![0_f32; 64];
    runtime.read(output.pointer(), bytemuck::cast_slice_mut(&mut y))?;
    Ok(y)
}

#[test]
fn right_kernels_give_right_answers_in_both_modes() {
    for copies in BOTH {
        let Some(runtime) = emulator(copies, &[]) else { return };
        let whole = 2.0 * (0..64).sum::<i32>() as f32;
        assert_eq!(run(&*runtime, "sum").unwrap(), [whole; 64]);
        let reversed: Vec<f32> = (0..64_u8).rev().map(f32::from).collect();
        assert_eq!(run(&*runtime, "reversed").unwrap(), reversed);
        assert_eq!(run(&*runtime, "early_return").unwrap()[..32], [1.0; 32]);
        // ldmatrix, mma and packing: a product with the unit matrix is the matrix.
        let product = run(&*runtime, "unit_product").unwrap();
        assert_eq!(product, (0..64_u8).map(f32::from).collect::<Vec<_>>());
    }
}

#[test]
fn mistakes_are_named() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    for (function, expected) in [
        ("divergent_barrier", "thread 0 waits at __shfl_xor_sync, thread 16 at __syncthreads"),
        ("divergent_shuffle", "lane 0 waits at __shfl_xor_sync"),
        ("beyond_its_end", "wrote outside a buffer of 256 bytes, 256 bytes from its start"),
        ("before_its_start", "wrote outside a buffer of 256 bytes, -4 bytes from its start"),
        ("misaligned", "is not aligned to 16 bytes"),
        ("read_beyond", "1024 bytes from the start of a buffer of 1024"),
        ("shared_overrun", "past its dynamic shared memory"),
        ("too_early", "load16: before await_previous"),
        ("no_waiting", "ends without await_previous"),
        ("no_such_kernel", "does not compile"),
        ("other_arguments", "expected arguments (pointer, float), found (pointer, pointer)"),
    ] {
        match run(&*runtime, function) {
            Err(Error::Kernel { kernel, what }) => {
                assert_eq!(kernel, function);
                assert!(what.contains(expected), "{function}: expected {expected:?} in {what:?}");
            }
            other => panic!("{function}: {other:?}"),
        }
    }
    // An error leaves the emulator usable.
    run(&*runtime, "reversed").unwrap();
}

#[test]
fn what_was_never_written_is_nan() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    for function in ["unwritten_static", "unwritten_dynamic", "unwritten_output"] {
        let y = run(&*runtime, function).unwrap();
        assert!(y.iter().all(|y| y.is_nan()), "{function}: {y:?}");
    }
}

#[test]
fn a_missing_wait_or_barrier_shows_in_one_of_the_modes() {
    let reversed: Vec<f32> = (0..64_u8).rev().map(f32::from).collect();
    let wait = Edit { file: "conduct", from: "cp_async_wait<0>();", to: "" };
    let barrier = Edit { file: "conduct", from: "__syncthreads(); // Everyone's copies have landed.", to: "" };
    for edit in [wait, barrier] {
        let Some(eager) = emulator(Copies::Eager, std::slice::from_ref(&edit)) else { return };
        let Some(lazy) = emulator(Copies::Lazy, std::slice::from_ref(&edit)) else { return };
        let wrong = [eager, lazy].map(|r| run(&*r, "reversed").unwrap() != reversed);
        assert!(wrong.contains(&true), "{edit:?}");
    }
    let edit = Edit { file: "conduct", from: "stands nowhere", to: "" };
    let Some(runtime) = emulator(Copies::Eager, &[edit]) else { return };
    assert!(matches!(run(&*runtime, "reversed"), Err(Error::Value { what: "edit", .. })));
}

#[test]
fn launches_and_memory_have_bounds() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let free = match runtime.allocate(usize::MAX / 2) {
        Err(Error::OutOfMemory { asked, free, .. }) if asked == usize::MAX / 2 => free,
        other => panic!("{other:?}"),
    };
    assert_eq!(free, 4 << 30);
    run(&*runtime, "sum").unwrap();
    let buffer = runtime.allocate(8).unwrap();
    assert!(matches!(runtime.write(buffer.pointer(), &[0; 9]), Err(Error::Value { .. })));
    assert!(matches!(runtime.read(buffer.pointer().offset(1), &mut [0; 8]), Err(Error::Value { .. })));
    let pointer: Argument = buffer.pointer().into();
    for (threads, shared_bytes) in [(0, 0), (1025, 0), (32, 1 << 20)] {
        let launch = Launch { grid: [1, 1, 1], threads, shared_bytes };
        let refused = runtime.launch(&kernel("sum"), launch, &[pointer, pointer]);
        assert!(matches!(refused, Err(Error::Kernel { .. })), "{refused:?}");
    }
    let nothing = Launch { grid: [1, 0, 1], threads: 32, shared_bytes: 0 };
    runtime.launch(&kernel("sum"), nothing, &[pointer, pointer]).unwrap();
}
