//! Commands captured as one CUDA graph.
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaGraph, result, sys};

use super::{Command, Driver, Graph, queue::Queue};
use crate::{Error, Result};

/// A graph that runs on the device's stream.
struct Captured {
    queue: Arc<Queue>,
    graph: Mutex<CudaGraph>,
}

// SAFETY: the handles inside are only passed to driver calls, which may come from any thread; the lock keeps them apart.
unsafe impl Send for Captured {}
// SAFETY: as above.
unsafe impl Sync for Captured {}

/// Captures `commands`, which have run before, so that everything they need is loaded.
pub(super) fn capture(driver: &Driver, commands: &[Command]) -> Result<Option<Box<dyn Graph>>> {
    let queue = &driver.queue;
    let stream = driver.capturing.lock().unwrap_or_else(PoisonError::into_inner);
    // Relaxed: what other threads ask the driver for meanwhile is no concern of this capture.
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    queue.call("begin a graph", || stream.begin_capture(mode))?;
    let previous = std::iter::once(None).chain(commands.iter().map(Some));
    let put = commands.iter().zip(previous).try_for_each(|(command, previous)| driver.put(command, previous, &stream));
    // Ended in any case, so that the stream can capture again.
    let graph = queue.call("make a graph", || stream.end_capture(sys::CUgraphInstantiate_flags(0)));
    put?;
    let graph = graph?.ok_or_else(|| Error::Driver {
        device: queue.name().into(),
        call: "make a graph".into(),
        reason: "nothing was captured".into(),
    })?;
    Ok(Some(Box::new(Captured { queue: queue.clone(), graph: Mutex::new(graph) })))
}

impl Graph for Captured {
    fn launch(&self) -> Result<()> {
        let graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.call("start a graph", || {
            // SAFETY: graph and stream live; the memory that the graph works on belongs to the recording that holds it.
            unsafe { result::graph::launch(graph.cu_graph_exec(), self.queue.stream().cu_stream()) }
        })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // It may still be running.
        let _ = self.queue.synchronize();
    }
}
