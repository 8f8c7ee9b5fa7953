//! Progress of long work.

/// Told how far long work has come; programs draw it as a bar. May be called from several threads.
pub trait Progress: Send + Sync {
    /// A stage of `total` units (bytes, tiles, tokens) begins; an earlier stage is over.
    fn start(&self, stage: &'static str, total: u64);
    /// `units` more are done.
    fn advance(&self, units: u64);
    /// The work is over.
    fn finish(&self) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &'static str, _: u64) {}
    fn advance(&self, _: u64) {}
}
