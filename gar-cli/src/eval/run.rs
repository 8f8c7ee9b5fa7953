//! What running any benchmark shares: the model, the directory, progress and the last word.
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use gar_core::kernels::Progress;
use gar_eval::AsPublished;
use gar_eval::benchmarks::{Benchmark, Source};
use gar_eval::run::{Manifest, RunDirectory, Summary, run};
use serde_json::{Value, json};

use crate::args::{AnswerArgs, ModelArgs};
use crate::error::Result;
use crate::output::Console;
use crate::session::{self, answer_options};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    answer: AnswerArgs,
    /// Directory of the run: new, empty, or of the same run, which then goes on
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    out: PathBuf,
    /// Leave out questions whose picture is missing, instead of refusing to begin
    #[arg(long, help_heading = "Run")]
    skip_missing: bool,
    /// Questions decoded together; answers do not depend on it
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Run")]
    batch: NonZeroUsize,
    /// Imitate quirks of the released evaluation: all of them, or those named
    #[arg(
        long, value_enum, value_name = "QUIRK", num_args = 0.., value_delimiter = ',', require_equals = true,
        default_missing_value = "all", help_heading = "Run"
    )]
    as_published: Vec<Quirk>,
}

/// [`AsPublished`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Quirk {
    /// Everything below
    All,
    /// Every region's box is taken from the last mask
    LastMaskBoxes,
    /// Regions beyond the checkpoint's slots are painted as no prompt instead of refused
    UnpaintedSlots,
    /// A second BOS token before the template's own
    SecondBos,
}

impl RunArgs {
    fn quirks(&self) -> AsPublished {
        let has = |quirk| self.as_published.contains(&quirk) || self.as_published.contains(&Quirk::All);
        AsPublished {
            last_mask_boxes: has(Quirk::LastMaskBoxes),
            unpainted_slots: has(Quirk::UnpaintedSlots),
            second_bos: has(Quirk::SecondBos),
        }
    }
}

/// Runs a benchmark whose pictures come from `images`, or goes on with it.
pub(crate) fn run_benchmark(mut benchmark: Benchmark, images: &Path, args: &RunArgs, console: &Console) -> Result<()> {
    let options = answer_options(&args.answer)?;
    if args.skip_missing {
        let skipped = benchmark.keep_present();
        if skipped > 0 {
            console.note(&format!("{skipped} questions left out: their pictures are missing"));
        }
    }
    benchmark.check_pictures()?;
    let checkpoint = args.model.directory(console)?;
    let manifest = Manifest::new(&benchmark, model_identity(&checkpoint)?, options_identity(args), images);
    let mut directory = RunDirectory::open(&args.out, &manifest, &benchmark.items)?;
    let model = session::load_with(&checkpoint, &args.model, None, Arc::new(LoadingOnly(console.bars())), |builder| {
        args.quirks().apply(builder)
    })?;
    let questions = Questions::new(*console);
    let summary = run(&model, &benchmark, &mut directory, &options, args.batch.get(), &questions)?;
    report(&summary, args, console);
    Ok(())
}

fn report(summary: &Summary, args: &RunArgs, console: &Console) {
    let Summary { resumed, asked, refused } = summary;
    if let Some((id, reason)) = refused.first() {
        console.note(&format!("{} questions were refused and have no answer, such as {id}: {reason}", refused.len()));
    }
    let before = if *resumed > 0 { format!(", {resumed} before") } else { String::new() };
    console
        .note(&format!("{asked} questions asked{before}: {}", args.out.join(gar_eval::score::OUTPUT_FILE).display()));
}

/// What tells one checkpoint from another without reading its weights: its configuration, and names and sizes of its
/// weight files.
pub(super) fn model_identity(directory: &Path) -> Result<Value> {
    let (_, config) = Source::read(&directory.join("config.json"))?;
    let mut weights = Vec::new();
    let io = || gar_eval::Error::io(directory);
    for entry in std::fs::read_dir(directory).map_err(io())? {
        let entry = entry.map_err(io())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") {
            weights.push((name, entry.path().metadata().map_err(io())?.len()));
        }
    }
    weights.sort();
    let weights: Vec<Value> = weights.into_iter().map(|(file, bytes)| json!({"file": file, "bytes": bytes})).collect();
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(json!({"directory": name, "config_sha256": config.sha256, "weights": weights}))
}

/// Everything that may change an answer; threads and batches may not.
fn options_identity(args: &RunArgs) -> Value {
    let a = &args.answer;
    json!({
        "max_tiles": a.max_tiles, "max_new_tokens": a.max_new_tokens, "temperature": a.temperature, "top_k": a.top_k,
        "top_p": a.top_p, "min_p": a.min_p, "repetition_penalty": a.repetition_penalty, "seed": a.seed, "stop": a.stop,
        "replay": args.model.replay.map(|replay| format!("{replay:?}").to_lowercase()),
        "as_published": args.quirks(),
    })
}

/// Shows how weights are loaded; the pictures of single questions would only flicker.
pub(super) struct LoadingOnly(pub(super) Arc<dyn Progress>);

impl Progress for LoadingOnly {
    fn start(&self, stage: &'static str, total: u64) {
        match stage {
            "picture" => self.0.finish(),
            _ => self.0.start(stage, total),
        }
    }

    fn advance(&self, units: u64) {
        self.0.advance(units);
    }

    fn finish(&self) {
        self.0.finish();
    }
}

/// Questions done and time left: as a bar at a terminal, as a line now and then elsewhere.
pub(super) struct Questions {
    console: Console,
    bars: Arc<dyn Progress>,
    state: Mutex<State>,
}

struct State {
    done: u64,
    total: u64,
    begun: Instant,
    told: Instant,
}

impl Questions {
    /// Between two lines of a log.
    const PAUSE: Duration = Duration::from_secs(30);

    pub(super) fn new(console: Console) -> Self {
        let now = Instant::now();
        let state = Mutex::new(State { done: 0, total: 0, begun: now, told: now });
        Self { console, bars: console.bars(), state }
    }
}

impl Progress for Questions {
    fn start(&self, stage: &'static str, total: u64) {
        let now = Instant::now();
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { done: 0, total, begun: now, told: now };
        self.bars.start(stage, total);
    }

    fn advance(&self, units: u64) {
        self.bars.advance(units);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += units;
        if !self.console.shows_bars() && state.told.elapsed() >= Self::PAUSE {
            state.told = Instant::now();
            let left =
                state.begun.elapsed().as_secs_f64() / state.done.max(1) as f64 * (state.total - state.done) as f64;
            self.console.note(&format!("{} of {} questions, about {} left", state.done, state.total, clock(left)));
        }
    }

    fn finish(&self) {
        self.bars.finish();
    }
}

/// Seconds as hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let all = seconds.round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_a_clock_does() {
        assert_eq!([0.4, 61.0, 3599.6].map(super::clock), ["0:00", "1:01", "1:00:00"]);
    }
}
