//! Everything that is printed, and the progress bars.
#![allow(clippy::print_stderr, reason = "printing is this module's job, and no other's")]

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use gar_core::kernels::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};

/// Standard error: messages and bars, unless the user wants quiet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    quiet: bool,
    terminal: bool,
}

impl Console {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// A message, such as where a file was written.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            eprintln!("{message}");
        }
    }

    /// An error; shown even where quiet is wanted.
    pub(crate) fn error(&self, error: &Error) {
        if !error.is_broken_pipe() {
            eprintln!("error: {error}");
        }
    }

    /// The sign that a question is awaited, without a line end.
    pub(crate) fn prompt(&self) {
        if !self.quiet {
            eprint!("> ");
        }
    }

    /// Whether bars are seen.
    pub(crate) fn shows_bars(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Bars for long work, hidden where standard error is no terminal.
    pub(crate) fn bars(&self) -> Arc<Bars> {
        Arc::new(Bars { shown: self.shows_bars(), bar: Mutex::new(ProgressBar::hidden()) })
    }
}

/// Progress as a bar, one stage at a time.
pub(crate) struct Bars {
    shown: bool,
    bar: Mutex<ProgressBar>,
}

impl Bars {
    fn with(&self, act: impl FnOnce(&mut ProgressBar)) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bars {
    fn start(&self, stage: &'static str, total: u64) {
        let target = if self.shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg:22} {wide_bar} {percent:>3}% {elapsed} (left: {eta})");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(stage);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.tick();
        self.with(|old| {
            old.finish_and_clear();
            *old = bar;
        });
    }

    fn advance(&self, units: u64) {
        self.with(|bar| bar.inc(units));
    }

    fn finish(&self) {
        self.with(|bar| bar.finish_and_clear());
    }
}

/// Writes to standard output at once.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Error::Stream { stream: "output", source })
}

/// Writes one JSON document and a line end; indented, or on one line.
pub(crate) fn json(value: &impl Serialize, indented: bool) -> Result<()> {
    let written = if indented { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    match written {
        Ok(document) => text(&(document + "\n")),
        Err(error) => Err(Error::Stream { stream: "output", source: error.into() }),
    }
}
