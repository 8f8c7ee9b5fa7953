//! A recorder changes how often a device is called, never what is computed: drawn programs, run many times with changes in
//! between, give what plain arithmetic gives.
#![cfg(any(feature = "cuda", feature = "emulator"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use gar_kernels::{
    Error, Result,
    cuda::{Argument, Buffer, Command, Graph, Kernel, Launch, Memory, Pointer, Properties, Recorder, Runtime, Source},
};
use proptest::prelude::*;

/// Bytes of every buffer: four numbers.
const BYTES: usize = 16;
static ADD: Source = Source { name: "add", text: "" };

/// A device in main memory. Its one kernel adds; freed memory is overwritten and handed out again first.
#[derive(Clone, Debug)]
struct Plain(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    memory: Mutex<BTreeMap<u64, Vec<u8>>>,
    free: Mutex<Vec<(u64, usize)>>,
    graphs: bool,
    /// Commands that came one by one, and starts of graphs.
    commands: AtomicUsize,
    starts: AtomicUsize,
    broken: AtomicBool,
}

impl Plain {
    fn new(graphs: bool) -> Self {
        Self(Arc::new(Shared { graphs, ..Shared::default() }))
    }

    fn with<T>(&self, at: Pointer, bytes: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut memory = self.0.memory.lock().unwrap();
        let (start, block) = memory.range_mut(..=at.0).next_back().unwrap();
        let from = (at.0 - start) as usize;
        f(&mut block[from..from + bytes])
    }

    fn get(&self, at: Pointer, bytes: usize) -> Vec<u8> {
        self.with(at, bytes, |block| block.to_vec())
    }

    fn carry_out(&self, command: &Command) -> Result<()> {
        if self.0.broken.load(Ordering::Relaxed) {
            return Err(Error::Capacity { capacity: 0, needed: 0 });
        }
        match command {
            Command::Launch { arguments, .. } => {
                let [Argument::Pointer(a), Argument::Pointer(b), Argument::Pointer(to)] = arguments[..] else {
                    panic!("{arguments:?}");
                };
                let (a, b) = (self.get(Pointer(a), BYTES), self.get(Pointer(b), BYTES));
                let sum: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a.wrapping_add(*b)).collect();
                self.with(Pointer(to), BYTES, |block| block.copy_from_slice(&sum));
            }
            Command::Copy { from, to, bytes } => {
                let from = self.get(*from, *bytes);
                self.with(*to, *bytes, |block| block.copy_from_slice(&from));
            }
            Command::Zero { at, bytes } => self.with(*at, *bytes, |block| block.fill(0)),
            Command::Product(_) => panic!("no matrix library"),
        }
        Ok(())
    }

    fn one(&self, command: &Command) -> Result<()> {
        self.0.commands.fetch_add(1, Ordering::Relaxed);
        self.carry_out(command)
    }
}

impl Memory for Plain {
    fn release(&self, address: u64, bytes: usize) {
        self.with(Pointer(address), bytes, |block| block.fill(0xAA));
        self.0.free.lock().unwrap().push((address, bytes));
    }
}

impl Runtime for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn properties(&self) -> Properties {
        Properties { multiprocessors: 1, capability: (8, 0), shared_bytes: 0 }
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        let mut free = self.0.free.lock().unwrap();
        let address = match free.iter().rposition(|(_, size)| *size == bytes) {
            Some(i) => free.remove(i).0,
            None => {
                let mut memory = self.0.memory.lock().unwrap();
                let end = memory.last_key_value().map_or(4096, |(at, block)| at + block.len() as u64);
                let address = end.next_multiple_of(256);
                memory.insert(address, vec![0xAA; bytes]);
                address
            }
        };
        Ok(Arc::new(Buffer::new(address, bytes, "plain".into(), Arc::new(self.clone()))))
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        self.with(to, bytes.len(), |block| block.copy_from_slice(bytes));
        Ok(())
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.get(from, bytes.len()));
        Ok(())
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.one(&Command::Zero { at, bytes })
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        self.one(&Command::Copy { from, to, bytes })
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        self.one(&Command::Launch { kernel: kernel.clone(), launch, arguments: arguments.to_vec() })
    }

    fn graph(&self, commands: &[Command]) -> Result<Option<Box<dyn Graph>>> {
        struct Made(Plain, Vec<Command>);
        impl Graph for Made {
            fn launch(&self) -> Result<()> {
                self.0.0.starts.fetch_add(1, Ordering::Relaxed);
                self.1.iter().try_for_each(|command| self.0.carry_out(command))
            }
        }
        Ok(self.0.graphs.then(|| Box::new(Made(self.clone(), commands.to_vec())) as Box<dyn Graph>))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// One line of a drawn program; numbers choose among the buffers made so far.
#[derive(Clone, Debug)]
enum Line {
    /// Values that change from run to run.
    Values(u8),
    Add(usize, usize),
    Copy(usize),
    Zero,
    /// More values than a recording takes as small ones.
    Many(u8),
    Read(usize),
    /// Kept by the caller beyond the run.
    Keep(usize),
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        4 => any::<u8>().prop_map(Line::Values),
        8 => (0..99_usize, 0..99_usize).prop_map(|(a, b)| Line::Add(a, b)),
        2 => (0..99_usize).prop_map(Line::Copy),
        1 => Just(Line::Zero),
        1 => any::<u8>().prop_map(Line::Many),
        1 => (0..99_usize).prop_map(Line::Read),
        1 => (0..99_usize).prop_map(Line::Keep),
    ]
}

type Made = Vec<(Arc<Buffer>, Vec<u8>)>;

fn assert_holds(runtime: &dyn Runtime, (buffer, expected): &(Arc<Buffer>, Vec<u8>)) {
    let mut found = vec![0; BYTES];
    runtime.read(buffer.pointer(), &mut found).unwrap();
    assert_eq!(&found, expected);
}

/// Runs a program; `step` changes its values. Every result is carried along in plain arithmetic beside it.
fn run(runtime: &dyn Runtime, program: &[Line], step: u8, kept: &mut Made) -> Result<()> {
    let kernel = Kernel { source: &ADD, function: "add", defines: Vec::new() };
    let launch = Launch { grid: [1, 1, 1], threads: 4, shared_bytes: 0 };
    let first = vec![step; BYTES];
    let mut made: Made = vec![(runtime.values(&first)?, first)];
    for line in program {
        let at = |i: &usize| i % made.len();
        let new = match line {
            Line::Values(v) => {
                let bytes = vec![v.wrapping_mul(step); BYTES];
                (runtime.values(&bytes)?, bytes)
            }
            Line::Many(v) => {
                let bytes = vec![v.wrapping_add(step); 70_000];
                (runtime.values(&bytes)?, bytes[..BYTES].to_vec())
            }
            Line::Add(a, b) => {
                let ((a, x), (b, y)) = (&made[at(a)], &made[at(b)]);
                let to = runtime.allocate(BYTES)?;
                let arguments = [a.pointer().into(), b.pointer().into(), to.pointer().into()];
                runtime.launch(&kernel, launch, &arguments)?;
                (to, x.iter().zip(y).map(|(x, y)| x.wrapping_add(*y)).collect())
            }
            Line::Copy(from) => {
                let (from, x) = &made[at(from)];
                let to = runtime.allocate(BYTES)?;
                runtime.copy(from.pointer(), to.pointer(), BYTES)?;
                (to, x.clone())
            }
            Line::Zero => {
                let to = runtime.allocate(BYTES)?;
                runtime.zero(to.pointer(), BYTES)?;
                (to, vec![0; BYTES])
            }
            Line::Read(i) => {
                assert_holds(runtime, &made[at(i)]);
                continue;
            }
            Line::Keep(i) => {
                kept.push(made[at(i)].clone());
                continue;
            }
        };
        made.push(new);
    }
    kept.extend(made.pop());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn runs_compute_what_they_ask_for(
        programs in prop::collection::vec(prop::collection::vec(line(), 0..200), 1..3),
        changes in prop::collection::vec((0..200_usize, line()), 1..4),
        graphs: bool,
        holding in 0..3_usize,
    ) {
        let plain = Plain::new(graphs);
        let recorder = Recorder::new(Arc::new(plain));
        let mut kept: Made = Vec::new();
        for step in 0..24_u8 {
            // Every program comes three times as it is, then once with a line more and the rest cut off or not.
            let i = usize::from(step) / 4 % programs.len();
            let mut program = programs[i].clone();
            if step % 4 == 3 {
                let (at, line) = &changes[usize::from(step) / 4 % changes.len()];
                let at = at % (program.len() + 1);
                program.insert(at, line.clone());
                if step % 8 == 7 {
                    program.truncate(at + 1);
                }
            }
            recorder.repeat(0, &mut || run(&recorder, &program, step, &mut kept).unwrap()).unwrap();
            kept.iter().for_each(|held| assert_holds(&recorder, held));
            kept.drain(..kept.len().saturating_sub(holding));
        }
    }
}

fn adds(n: usize) -> Vec<Line> {
    (0..n).map(|i| Line::Add(i, i / 2)).collect()
}

#[test]
fn a_replay_starts_a_few_graphs_and_nothing_else() {
    let plain = Plain::new(true);
    let recorder = Recorder::new(Arc::new(plain.clone()));
    let count = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
    for step in 0..5 {
        recorder.repeat(7, &mut || run(&recorder, &adds(200), step, &mut Vec::new()).unwrap()).unwrap();
        let (commands, starts) = (count(&plain.0.commands), count(&plain.0.starts));
        assert_eq!((commands, starts), if step == 0 { (200, 0) } else { (0, 3) }, "step {step}");
    }
    assert_eq!((recorder.recordings().recorded, recorder.recordings().replayed), (1, 4));
}

#[test]
fn a_change_keeps_what_came_before_it() {
    let plain = Plain::new(true);
    let recorder = Recorder::new(Arc::new(plain.clone()));
    let once = |n: usize| {
        recorder.repeat(7, &mut || run(&recorder, &adds(n), 1, &mut Vec::new()).unwrap()).unwrap();
        (plain.0.commands.swap(0, Ordering::Relaxed), plain.0.starts.swap(0, Ordering::Relaxed))
    };
    assert_eq!(once(200), (200, 0));
    assert_eq!(once(200), (0, 3));
    assert_eq!(once(70), (22, 2), "what was confirmed of an unfinished segment is carried out one by one");
    assert_eq!(once(130), (60, 3), "the recording goes on behind its end");
    assert_eq!(once(130), (0, 4));
}

#[test]
fn memory_in_use_is_not_written_again() {
    let recorder = Recorder::new(Arc::new(Plain::new(true)));
    let mut kept = Vec::new();
    for step in 0..6 {
        recorder.repeat(7, &mut || run(&recorder, &adds(10), step, &mut kept).unwrap()).unwrap();
    }
    assert_eq!(recorder.recordings().replayed, 0, "every run's last buffer is held");
    kept.iter().for_each(|held| assert_holds(&recorder, held));
    kept.clear();
    recorder.repeat(7, &mut || run(&recorder, &adds(10), 9, &mut Vec::new()).unwrap()).unwrap();
    assert_eq!(recorder.recordings().replayed, 1);
}

#[test]
fn other_threads_and_runs_within_runs_are_carried_out() {
    let recorder = Arc::new(Recorder::new(Arc::new(Plain::new(true))));
    for step in 0..4 {
        recorder
            .repeat(1, &mut || {
                run(&*recorder, &adds(5), step, &mut Vec::new()).unwrap();
                recorder.repeat(1, &mut || run(&*recorder, &adds(6), step, &mut Vec::new()).unwrap()).unwrap();
                let other = recorder.clone();
                std::thread::spawn(move || {
                    let mut kept = Vec::new();
                    other.repeat(1, &mut || run(&*other, &adds(3), step, &mut kept).unwrap()).unwrap();
                    kept.iter().for_each(|held| assert_holds(&*other, held));
                })
                .join()
                .unwrap();
                run(&*recorder, &[Line::Add(0, 0), Line::Read(1)], step, &mut Vec::new()).unwrap();
            })
            .unwrap();
    }
    assert_eq!((recorder.recordings().recorded, recorder.recordings().replayed), (1, 3));
}

#[test]
fn failures_come_back_and_leave_the_recorder_usable() {
    let plain = Plain::new(true);
    let recorder = Recorder::new(Arc::new(plain.clone()));
    let once = |n: usize, step: u8| {
        let (mut kept, mut outcome) = (Vec::new(), Ok(()));
        let repeated = recorder.repeat(7, &mut || outcome = run(&recorder, &adds(n), step, &mut kept));
        repeated.and(outcome)?;
        kept.iter().for_each(|held| assert_holds(&recorder, held));
        Ok::<_, Error>(())
    };
    once(100, 0).unwrap();
    once(100, 1).unwrap();
    plain.0.broken.store(true, Ordering::Relaxed);
    assert!(once(100, 2).is_err());
    // Too short to start a segment: what was asked for is carried out at the end, and fails there.
    assert!(once(10, 2).is_err());
    plain.0.broken.store(false, Ordering::Relaxed);
    for step in 3..6 {
        once(100, step).unwrap();
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        recorder.repeat(7, &mut || panic!("a run that breaks off")).unwrap();
    }));
    assert!(panicked.is_err());
    once(100, 7).unwrap();
}
