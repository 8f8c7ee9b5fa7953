//! What one run asked a runtime for, and the comparison of the next run with it.
//!
//! A recording is cut into segments, short ones first. A segment is confirmed before it starts: so the device begins early,
//! goes on while later segments are still being compared, and few starts are enough.
use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{Argument, Buffer, Command, Graph, Kernel, Launch, Memory, Runtime};
use crate::Result;

/// Most commands of the first segment; each has at most [`GROWTH`] times as many as the one before it, three times.
/// Comparing a request takes about a microsecond, carrying it out five, so a segment is confirmed while the one before it runs.
const FIRST_COMMANDS: usize = 8;
const GROWTH: usize = 5;
/// Bytes for the small values of a segment: as many as a driver copies aside without waiting.
const ARENA: usize = 64 << 10;
/// Values start at multiples of this, so that kernels may read them sixteen bytes at a time.
const ALIGNMENT: usize = 16;

/// What one run asked for.
#[derive(Debug, Default)]
pub(super) struct Recording {
    segments: Vec<Segment>,
}

/// A part of a recording that starts together.
#[derive(Default)]
struct Segment {
    requests: Vec<Request>,
    commands: Vec<Command>,
    /// Where the values lie, and how much of it they take.
    arena: Option<Arc<Buffer>>,
    used: usize,
    /// Made when the segment comes for the second time, so that work that does not repeat costs little.
    graph: Option<Box<dyn Graph>>,
}

/// One request.
#[derive(Debug)]
enum Request {
    /// So many bytes of memory, and who holds them now.
    Memory(Lent),
    /// Values at an offset of the segment's arena.
    Values { offset: usize, lent: Lent },
    /// The next of the segment's commands.
    Command,
    /// That everything before be started: nothing else belongs to this segment.
    Settle,
}

/// Memory of a recording, lent to the run.
#[derive(Debug)]
struct Lent {
    bytes: usize,
    memory: Arc<Buffer>,
    address: u64,
    holder: Weak<Buffer>,
}

/// Keeps a recording's memory while somebody holds what was lent. Nothing goes back to the device before.
struct Loan {
    _memory: Arc<Buffer>,
}

impl Memory for Loan {
    fn release(&self, _: u64, _: usize) {}
}

impl Lent {
    fn new(memory: Arc<Buffer>, offset: usize, bytes: usize) -> Self {
        let address = memory.pointer().offset(offset).0;
        Self { bytes, memory, address, holder: Weak::new() }
    }

    fn lend(&mut self) -> Arc<Buffer> {
        let loan = Arc::new(Loan { _memory: self.memory.clone() });
        let buffer = Arc::new(Buffer::new(self.address, self.bytes, self.memory.device_name(), loan));
        self.holder = Arc::downgrade(&buffer);
        buffer
    }

    fn is_free(&self) -> bool {
        self.holder.strong_count() == 0
    }
}

impl Recording {
    /// Whether nobody holds its memory.
    pub(super) fn is_free(&self) -> bool {
        self.segments.iter().flat_map(|segment| &segment.requests).all(|request| match request {
            Request::Memory(lent) | Request::Values { lent, .. } => lent.is_free(),
            Request::Command | Request::Settle => true,
        })
    }
}

/// Most commands of a recording's segment `i`.
fn most_commands(i: usize) -> usize {
    FIRST_COMMANDS * GROWTH.pow(i.min(3) as u32)
}

impl Segment {
    /// Whether no further request belongs to it.
    fn is_full(&self, most: usize) -> bool {
        self.commands.len() >= most || matches!(self.requests.last(), Some(Request::Settle))
    }

    /// Starts the whole segment.
    fn start(&mut self, runtime: &dyn Runtime, values: &[u8]) -> Result<()> {
        self.write(runtime, values)?;
        // One command is started with one call as it is.
        if self.graph.is_none() && self.commands.len() > 1 {
            self.graph = runtime.graph(&self.commands)?;
        }
        match &self.graph {
            Some(graph) => graph.launch(),
            None => self.commands.iter().try_for_each(|command| command.run(runtime)),
        }
    }

    /// Brings the values of this run to the device.
    fn write(&self, runtime: &dyn Runtime, values: &[u8]) -> Result<()> {
        match &self.arena {
            Some(arena) if !values.is_empty() => runtime.write(arena.pointer(), values),
            _ => Ok(()),
        }
    }
}

/// A run on its way: compared with a recording, then, from where that ends, recorded itself.
#[derive(Debug)]
pub(super) struct Replay {
    recording: Recording,
    /// The segment that the next request belongs to.
    segment: usize,
    /// How many of its requests, and of its commands among them, this run has made.
    request: usize,
    command: usize,
    /// The values of this run in the segment's arena.
    values: Vec<u8>,
    /// Whether requests are compared; otherwise they are carried out and recorded.
    comparing: bool,
}

impl Replay {
    /// A run that is expected to be like `recording`; with an empty one, a run that is recorded.
    pub(super) fn new(recording: Recording) -> Self {
        let comparing = !recording.segments.is_empty();
        Self { recording, segment: 0, request: 0, command: 0, values: Vec::new(), comparing }
    }

    pub(super) fn allocate(&mut self, runtime: &dyn Runtime, bytes: usize) -> Result<Arc<Buffer>> {
        if let Some(Request::Memory(lent)) = self.expected()
            && lent.bytes == bytes
        {
            let buffer = lent.lend();
            return self.confirmed(runtime).map(|()| buffer);
        }
        self.record(runtime)?;
        let mut lent = Lent::new(runtime.allocate(bytes)?, 0, bytes);
        let buffer = lent.lend();
        self.open().requests.push(Request::Memory(lent));
        Ok(buffer)
    }

    pub(super) fn values(&mut self, runtime: &dyn Runtime, bytes: &[u8]) -> Result<Arc<Buffer>> {
        if bytes.len() > ARENA {
            // More than small values: memory of its own, written between two segments.
            let buffer = self.allocate(runtime, bytes.len())?;
            self.settle(runtime)?;
            runtime.write(buffer.pointer(), bytes)?;
            return Ok(buffer);
        }
        if let Some(Request::Values { offset, lent }) = self.expected()
            && lent.bytes == bytes.len()
        {
            let (buffer, offset) = (lent.lend(), *offset);
            self.values.resize(offset, 0);
            self.values.extend_from_slice(bytes);
            return self.confirmed(runtime).map(|()| buffer);
        }
        self.record(runtime)?;
        if self.open().used + bytes.len() > ARENA {
            self.recording.segments.push(Segment::default());
        }
        let segment = self.open();
        let arena = match &segment.arena {
            Some(arena) => arena.clone(),
            None => segment.arena.insert(runtime.allocate(ARENA)?).clone(),
        };
        let offset = segment.used;
        segment.used = (offset + bytes.len()).next_multiple_of(ALIGNMENT);
        let mut lent = Lent::new(arena, offset, bytes.len());
        let buffer = lent.lend();
        segment.requests.push(Request::Values { offset, lent });
        runtime.write(buffer.pointer(), bytes)?;
        Ok(buffer)
    }

    pub(super) fn launch(
        &mut self,
        runtime: &dyn Runtime,
        kernel: &Kernel,
        launch: Launch,
        arguments: &[Argument],
    ) -> Result<()> {
        if let Some(Command::Launch { kernel: k, launch: l, arguments: a }) = self.expected_command()
            && *l == launch
            && a == arguments
            && k == kernel
        {
            return self.confirmed(runtime);
        }
        let command = Command::Launch { kernel: kernel.clone(), launch, arguments: arguments.to_vec() };
        self.record_command(runtime, command)
    }

    pub(super) fn command(&mut self, runtime: &dyn Runtime, command: Command) -> Result<()> {
        if self.expected_command() == Some(&command) {
            return self.confirmed(runtime);
        }
        self.record_command(runtime, command)
    }

    /// Starts everything asked for so far.
    pub(super) fn settle(&mut self, runtime: &dyn Runtime) -> Result<()> {
        if let Some(Request::Settle) = self.expected() {
            return self.confirmed(runtime);
        }
        self.record(runtime)?;
        self.open().requests.push(Request::Settle);
        Ok(())
    }

    /// Ends the run; also whether it was as recorded from beginning to end.
    pub(super) fn finish(mut self, runtime: &dyn Runtime) -> Result<(Recording, bool)> {
        let replayed = self.comparing && self.segment == self.recording.segments.len();
        if !replayed {
            self.record(runtime)?;
            self.recording.segments.retain(|segment| !segment.requests.is_empty());
        }
        Ok((self.recording, replayed))
    }

    /// The request that the recording holds next.
    fn expected(&mut self) -> Option<&mut Request> {
        match self.comparing {
            true => self.recording.segments.get_mut(self.segment)?.requests.get_mut(self.request),
            false => None,
        }
    }

    fn expected_command(&self) -> Option<&Command> {
        let segment = self.recording.segments.get(self.segment).filter(|_| self.comparing)?;
        match segment.requests.get(self.request)? {
            Request::Command => segment.commands.get(self.command),
            _ => None,
        }
    }

    /// Moves behind a request that was as expected; starts the segment that it ends.
    fn confirmed(&mut self, runtime: &dyn Runtime) -> Result<()> {
        let segment = &mut self.recording.segments[self.segment];
        self.command += usize::from(matches!(segment.requests[self.request], Request::Command));
        self.request += 1;
        if self.request < segment.requests.len() {
            return Ok(());
        }
        (self.segment, self.request, self.command) = (self.segment + 1, 0, 0);
        let started = segment.start(runtime, &std::mem::take(&mut self.values));
        if started.is_err() {
            // Nothing that a failed segment is part of comes again.
            self.comparing = false;
            self.recording = Recording::default();
        }
        started
    }

    /// Stops comparing: carries out what this run has asked for of the segment, and forgets the rest of the recording.
    fn record(&mut self, runtime: &dyn Runtime) -> Result<()> {
        if !std::mem::take(&mut self.comparing) {
            return Ok(());
        }
        let values = std::mem::take(&mut self.values);
        let segments = &mut self.recording.segments;
        if self.request == 0 {
            // Everything confirmed has been started; what comes next is a segment of its own.
            segments.truncate(self.segment);
            segments.push(Segment::default());
            return Ok(());
        }
        segments.truncate(self.segment + 1);
        let segment = &mut segments[self.segment];
        segment.graph = None;
        segment.requests.truncate(self.request);
        segment.commands.truncate(self.command);
        let ends = segment.requests.iter().filter_map(|request| match request {
            Request::Values { offset, lent } => Some((offset + lent.bytes).next_multiple_of(ALIGNMENT)),
            _ => None,
        });
        segment.used = ends.max().unwrap_or(0);
        segment.write(runtime, &values)?;
        segment.commands.iter().try_for_each(|command| command.run(runtime))
    }

    fn record_command(&mut self, runtime: &dyn Runtime, command: Command) -> Result<()> {
        self.record(runtime)?;
        command.run(runtime)?;
        let segment = self.open();
        segment.requests.push(Request::Command);
        segment.commands.push(command);
        Ok(())
    }

    /// The segment that is being recorded.
    fn open(&mut self) -> &mut Segment {
        let segments = &mut self.recording.segments;
        let most = most_commands(segments.len().saturating_sub(1));
        if segments.last().is_none_or(|segment| segment.is_full(most)) {
            segments.push(Segment::default());
        }
        let last = segments.len() - 1;
        &mut segments[last]
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment of {} requests, {} commands", self.requests.len(), self.commands.len())
    }
}
