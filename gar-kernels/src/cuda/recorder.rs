//! A runtime that records work that repeats, so that it is started with a few calls the next times.
//!
//! A decoder's step asks the device for some hundreds of small things, the same ones at every token. [`Recorder`] wraps any
//! [`Runtime`] and, inside [`Runtime::repeat`], writes down what is asked for while it passes it on. When the same work comes
//! again it is asked for the same things: each request is compared with what was written down, memory is handed out at the
//! same addresses, and nothing is started until a whole [segment](super::recording) has been confirmed; then that segment
//! starts at once, as one [`Graph`](super::Graph) where the runtime makes graphs. Only the small values that wrappers send
//! along ([`Runtime::values`]: positions, lengths, addresses of caches) change, and are written in one piece before.
//!
//! So what is computed never depends on a guess: a request that differs ends the replay at that point, what had been confirmed
//! before is carried out one by one, and the recording goes on from there.
//!
//! * Memory of a recording is used again by the next run. A run whose memory is still in use (a tensor that the caller kept,
//!   a cache's new block) is not repeated in place; another recording is made beside it.
//! * Requests from other threads pass by; a second `repeat` at the same time is carried out without recording.
//! * [`read`](Runtime::read), [`synchronize`](Runtime::synchronize) and [`write`](Runtime::write) end a segment, so they see
//!   everything that was asked for before.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::{
    Argument, Blas, Buffer, Command, Graph, Kernel, Launch, Pointer, Product, Properties, Runtime,
    recording::{Recording, Replay},
};
use crate::{Error, Result};

/// Recordings that are kept; the one used longest ago goes first.
const KEPT: usize = 8;

/// A runtime that records work that repeats.
#[derive(Debug)]
pub struct Recorder {
    inner: Arc<dyn Runtime>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The run that is on its way, and the thread that it belongs to.
    active: Option<(ThreadId, Replay)>,
    /// The last used stands last.
    kept: Vec<(u64, Recording)>,
    statistics: Recordings,
}

/// What a [`Recorder`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recordings {
    /// Runs that were carried out as they had been recorded, from beginning to end.
    pub replayed: u64,
    /// Runs that were recorded, from their beginning or from where they differed.
    pub recorded: u64,
}

impl Recorder {
    /// Wraps a runtime.
    pub fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// What it has done so far.
    pub fn recordings(&self) -> Recordings {
        self.state().statistics
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A run that panicked is taken up by nobody, see `repeat`; what is kept is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `recorded` answer where this thread's run is on its way, else `direct`.
    fn either<T>(
        &self,
        recorded: impl FnOnce(&mut Replay) -> Result<T>,
        direct: impl FnOnce(&dyn Runtime) -> Result<T>,
    ) -> Result<T> {
        {
            let mut state = self.state();
            if let Some((_, replay)) = state.active.as_mut().filter(|(owner, _)| *owner == thread::current().id()) {
                return recorded(replay);
            }
        }
        direct(&*self.inner)
    }

    /// As `work`; when memory has run out, once more without what is kept.
    fn with_room<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(Error::OutOfMemory { .. }) if !std::mem::take(&mut self.state().kept).is_empty() => work(),
            result => result,
        }
    }

    fn command(&self, command: Command) -> Result<()> {
        self.either(|replay| replay.command(&*self.inner, command.clone()), |inner| command.run(inner))
    }
}

/// Ends the run of a thread whatever way `repeat` is left.
struct Ending<'a>(&'a Recorder);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.state().active.take_if(|(owner, _)| *owner == thread::current().id());
    }
}

impl Runtime for Recorder {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        self.with_room(|| self.either(|replay| replay.allocate(&*self.inner, bytes), |inner| inner.allocate(bytes)))
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        self.either(|replay| replay.settle(&*self.inner), |_| Ok(()))?;
        self.inner.write(to, bytes)
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.either(|replay| replay.settle(&*self.inner), |_| Ok(()))?;
        self.inner.read(from, bytes)
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.command(Command::Zero { at, bytes })
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        self.command(Command::Copy { from, to, bytes })
    }

    fn values(&self, bytes: &[u8]) -> Result<Arc<Buffer>> {
        self.with_room(|| self.either(|replay| replay.values(&*self.inner, bytes), |inner| inner.values(bytes)))
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        self.either(
            |replay| replay.launch(&*self.inner, kernel, launch, arguments),
            |inner| inner.launch(kernel, launch, arguments),
        )
    }

    fn blas(&self) -> Option<&dyn Blas> {
        self.inner.blas().map(|_| self as &dyn Blas)
    }

    fn graph(&self, commands: &[Command]) -> Result<Option<Box<dyn Graph>>> {
        self.inner.graph(commands)
    }

    fn repeat(&self, key: u64, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        {
            let mut state = self.state();
            if state.active.is_some() {
                drop(state);
                work();
                return Ok(());
            }
            let again = state.kept.iter().rposition(|(k, recording)| *k == key && recording.is_free());
            let recording = again.map_or_else(Recording::default, |i| state.kept.remove(i).1);
            state.active = Some((thread::current().id(), Replay::new(recording)));
        }
        let _ending = Ending(self);
        work();
        let mut state = self.state();
        let Some((_, replay)) = state.active.take() else { return Ok(()) };
        let (recording, replayed) = replay.finish(&*self.inner)?;
        match replayed {
            true => state.statistics.replayed += 1,
            false => state.statistics.recorded += 1,
        }
        if state.kept.len() == KEPT {
            state.kept.remove(0);
        }
        state.kept.push((key, recording));
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.either(|replay| replay.settle(&*self.inner), |_| Ok(()))?;
        self.inner.synchronize()
    }
}

impl Blas for Recorder {
    fn matmul(&self, product: &Product) -> Result<()> {
        self.command(Command::Product(*product))
    }
}
