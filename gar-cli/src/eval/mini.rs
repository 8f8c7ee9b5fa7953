//! `gar eval mini`: questions about drawn scenes that no model was trained on.
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use gar_core::kernels::Progress;
use gar_core::{AnswerOptions, GarModel};
use gar_data::{MiniBench, MiniConfig};
use gar_eval::benchmarks::gar_bench::{Task, load};
use gar_eval::mini::{MiniScores, score};
use gar_eval::run::{Manifest, RunDirectory, run as ask};
use gar_eval::score::{OUTPUT_FILE, gar_bench::ID, read_output};
use serde_json::{Value, json};

use super::run::{LoadingOnly, Questions, model_identity};
use crate::args::ModelArgs;
use crate::error::{Error, Result};
use crate::output::{self, Console};
use crate::session;

/// The parts, the folder of each one's run, and the tokens that its answers take: a letter and what ends it, or the
/// longest caption (35 words) with something to spare.
const PARTS: [(Task, &str, usize); 3] =
    [(Task::Vqa, "vqa", 4), (Task::Simple, "simple", 48), (Task::Detailed, "detailed", 48)];
/// Folder of annotations and pictures.
const QUESTIONS: &str = "questions";
/// What the questions were drawn from; there once they were written as a whole.
const MARK: &str = "mini.json";

#[derive(Debug, Args)]
pub(crate) struct MiniArgs {
    /// Start of the random generator; scenes of any seed are none that a model learns from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Questions: as many of one category as of another
    #[arg(long, value_name = "N", default_value = "2000")]
    questions: NonZeroUsize,
    /// Most regions of a question; with 1, none about relations are asked
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u8).range(1..=5))]
    regions: u8,
    /// Mirrors and screens show things on the room's own wall, so that only the frame around tells what is not there
    #[arg(long)]
    clear_panes: bool,
    /// Directory that keeps pictures, questions and answers, for `gar eval view DIR/vqa`; an interrupted run goes on
    /// [default: none are kept]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Questions asked at a time; answers do not depend on it
    #[arg(long, value_name = "N", default_value = "32")]
    batch: NonZeroUsize,
    /// Most tiles of the grid [default: what the checkpoint says]
    #[arg(long, value_name = "N")]
    max_tiles: Option<NonZeroUsize>,
    /// Print the scores as one JSON document in place of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) model: ModelArgs,
}

pub(crate) fn run(args: &MiniArgs, console: &Console) -> Result<()> {
    let directory = args.model.directory(console)?;
    let loading: Arc<dyn Progress> = Arc::new(LoadingOnly(console.bars()));
    let model = session::load_with(&directory, &args.model, None, loading, |builder| builder)?;
    let (questions, most_regions) = (args.questions.get(), args.regions.into());
    let config =
        MiniConfig { seed: args.seed, questions, most_regions, clear_panes: args.clear_panes, ..MiniConfig::default() };
    let bench = MiniBench::draw(config)?;
    let kept = match &args.out {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?),
    };
    let folder = args.out.as_deref().or(kept.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new("."));
    write_questions(folder, args, &bench)?;
    let (answers, refused) = answers(folder, &model, &model_identity(&directory)?, args, console)?;
    let scores = score(&bench, |image| answers.get(image).map(String::as_str))?;
    if refused > 0 {
        console.note(&format!("{refused} questions were refused and count as wrong"));
    }
    if args.json {
        output::json(&document(&scores, &directory, refused, args), true)
    } else {
        output::text(&scores.table())
    }
}

/// Writes annotations and pictures, unless they are there.
fn write_questions(folder: &Path, args: &MiniArgs, bench: &MiniBench) -> Result<()> {
    let mark = folder.join(MARK);
    let expected = json!({"seed": args.seed, "questions": args.questions, "regions": args.regions, "clear_panes": args.clear_panes});
    if let Ok(found) = std::fs::read(&mark) {
        let found: Value = serde_json::from_slice(&found).unwrap_or_default();
        for field in ["seed", "questions", "regions", "clear_panes"] {
            if found[field] != expected[field] {
                let (expected, found) = (expected[field].to_string(), found[field].to_string());
                return Err(gar_eval::Error::OtherRun { directory: folder.to_owned(), field, expected, found }.into());
            }
        }
        return Ok(());
    }
    let questions = folder.join(QUESTIONS);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        // Questions without the mark were left by a run that was killed while it wrote them.
        if entry.map_err(Error::io(folder))?.file_name() != QUESTIONS {
            return Err(Error::NotEmpty { path: folder.to_owned() });
        }
    }
    std::fs::create_dir_all(&questions).map_err(Error::io(&questions))?;
    bench.write(&questions)?;
    std::fs::write(&mark, expected.to_string() + "\n").map_err(Error::io(&mark))
}

/// Asks what was not asked yet. Answers by picture, and how many questions the model could not be asked.
fn answers(
    folder: &Path,
    model: &GarModel,
    identity: &Value,
    args: &MiniArgs,
    console: &Console,
) -> Result<(HashMap<String, String>, usize)> {
    let questions = folder.join(QUESTIONS);
    let (mut answers, mut refused) = (HashMap::new(), 0);
    for (task, name, max_new_tokens) in PARTS {
        let benchmark = load(task, &questions, &questions)?;
        if benchmark.items.is_empty() {
            continue;
        }
        let options = json!({
            "max_tiles": args.max_tiles, "max_new_tokens": max_new_tokens,
            "replay": args.model.replay.map(|replay| format!("{replay:?}").to_lowercase()),
        });
        let manifest = Manifest::new(&benchmark, identity.clone(), options, &questions);
        let path = folder.join(name);
        let mut directory = RunDirectory::open(&path, &manifest, &benchmark.items)?;
        let options =
            AnswerOptions { max_new_tokens, max_tiles: args.max_tiles.map(Into::into), ..AnswerOptions::default() };
        let progress = Questions::new(*console);
        let summary = ask(model, &benchmark, &mut directory, &options, args.batch.get(), &progress)?;
        refused += summary.refused.len();
        for entry in read_output(&path.join(OUTPUT_FILE), ID)?.iter() {
            answers.insert(entry.name.to_owned(), entry.text("model_output")?.to_owned());
        }
    }
    Ok((answers, refused))
}

/// The scores with what they are scores of.
fn document(scores: &MiniScores, directory: &Path, refused: usize, args: &MiniArgs) -> Value {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut document = json!({
        "benchmark": "mini-gar-bench", "model": name, "seed": args.seed, "questions": args.questions, "regions": args.regions,
        "clear_panes": args.clear_panes, "refused": refused,
    });
    if let (Value::Object(all), Value::Object(scores)) = (&mut document, scores.json()) {
        all.extend(scores);
    }
    document
}
