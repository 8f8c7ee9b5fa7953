//! A kernel's text to a shared library, by the C++ compiler at hand.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use super::EmulatorOptions;
use crate::{
    Error, Result,
    cuda::{HEADERS, Kernel},
};

/// The host's side of CUDA's names.
const SHIM: &[(&str, &str)] = &[
    ("emulator.h", include_str!("emulator.h")),
    ("emulator_fibers.h", include_str!("emulator_fibers.h")),
    ("emulator_group.h", include_str!("emulator_group.h")),
    ("emulator_warp.h", include_str!("emulator_warp.h")),
    ("entry.cpp", include_str!("entry.cpp")),
];
/// No contraction beyond what kernels write as `fmaf`, so that results do not depend on the host's instruction set.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
    "-w",
];

/// The compiler and what it calls itself.
#[derive(Debug)]
pub(super) struct Compiler {
    program: String,
    version: String,
}

impl Compiler {
    pub(super) fn find() -> Result<Self> {
        let unavailable = |why: &str| Error::Unavailable { device: "emulator".into(), why: why.into() };
        if !cfg!(all(unix, target_pointer_width = "64")) {
            return Err(unavailable("it runs on 64-bit Unix alone"));
        }
        let named = std::env::var("CXX").ok().into_iter();
        named
            .chain(["c++", "g++", "clang++"].map(String::from))
            .find_map(|program| {
                let output = Command::new(&program).arg("--version").output().ok().filter(|o| o.status.success())?;
                Some(Self { program, version: String::from_utf8_lossy(&output.stdout).into_owned() })
            })
            .ok_or_else(|| unavailable("no C++ compiler: install g++ or clang++, or name one in CXX"))
    }

    /// The library of a kernel, from the folder or compiled into it.
    pub(super) fn compile(&self, kernel: &Kernel, options: &EmulatorOptions) -> Result<PathBuf> {
        let files = files(kernel, options)?;
        let key = fingerprint(
            files
                .iter()
                .flat_map(|(name, text)| [name.as_str(), text.as_str()])
                .chain([self.program.as_str(), self.version.as_str()])
                .chain(FLAGS.iter().copied()),
        );
        let name = format!("{}-{}-{key:032x}", kernel.source.name, kernel.function);
        let library = options.folder.join(format!("{name}.so"));
        if library.is_file() {
            return Ok(library);
        }
        // Everyone works in a folder of their own; the finished library moves to its place in one step.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = format!("{name}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let work = options.folder.join(own);
        let built = self.build(&files, &work, kernel).and_then(|file| {
            fs::rename(&file, &library).map_err(|source| Error::Io { path: library.clone(), source })?;
            Ok(library)
        });
        // What is left behind costs space and nothing else.
        let _ = fs::remove_dir_all(&work);
        built
    }

    fn build(&self, files: &[(String, String)], work: &Path, kernel: &Kernel) -> Result<PathBuf> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { path, source }
        };
        fs::create_dir_all(work).map_err(io(work))?;
        for (name, text) in files {
            let path = work.join(name);
            fs::write(&path, text).map_err(io(&path))?;
        }
        let library = work.join("kernel.so");
        let mut command = Command::new(&self.program);
        command.args(FLAGS).arg("-o").arg(&library).arg(work.join("main.cpp")).current_dir(work);
        let Output { status, stderr, .. } = command.output().map_err(io(Path::new(&self.program)))?;
        if status.success() {
            return Ok(library);
        }
        let stderr = String::from_utf8_lossy(&stderr);
        let first: Vec<&str> = stderr.lines().filter(|l| l.contains("error")).take(8).collect();
        Err(Error::Kernel { kernel: kernel.function.into(), what: format!("does not compile: {}", first.join("; ")) })
    }
}

/// Every file of a kernel's translation unit, edited.
fn files(kernel: &Kernel, options: &EmulatorOptions) -> Result<Vec<(String, String)>> {
    let source = kernel.source.name;
    let mut main = String::from("#define GAR_EMULATOR\n");
    for (name, value) in &kernel.defines {
        main += &format!("#define {name} {value}\n");
    }
    main += &format!("#include \"{source}.cu\"\n#define GAR_FUNCTION {}\n#include \"entry.cpp\"\n", kernel.function);
    let mut files = vec![("main.cpp".to_owned(), main)];
    let own = format!("{source}.cu");
    for (name, text) in SHIM.iter().chain(HEADERS).copied().chain([(own.as_str(), kernel.source.text)]) {
        let mut text = text.to_owned();
        for edit in options.edits.iter().filter(|e| e.file == name || e.file == source && name == own) {
            if text.matches(edit.from).count() != 1 {
                let expected = format!("{:?} exactly once in {name}", edit.from);
                let found = format!("{} times", text.matches(edit.from).count());
                return Err(Error::value("emulator", "edit", expected, found));
            }
            text = text.replace(edit.from, edit.to);
        }
        files.push((name.to_owned(), text));
    }
    Ok(files)
}

/// FNV-1a over 128 bits, each part ended by a byte that no text holds.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a str>) -> u128 {
    parts.flat_map(|part| part.bytes().chain([0xff])).fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
