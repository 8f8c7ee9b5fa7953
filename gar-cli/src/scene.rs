//! `gar scene`: a drawn scene with its masks and questions, to try a model on or to look at.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gar_core::prompt::Rle;
use gar_data::png;
use gar_data::scene::{Form, Kind, Object, Question, Scene, SceneConfig, SceneGenerator, Split};
use image::GrayImage;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::output::{self, Console};

#[derive(Debug, Args)]
pub(crate) struct SceneArgs {
    /// The picture to write; the masks go beside it, `OUT-0.png` for `<Prompt0>` and so on
    #[arg(value_name = "OUT.png")]
    pub(crate) out: PathBuf,
    /// Start of the random generator; the same seed draws the same scenes everywhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Which scene of the seed
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub(crate) index: u64,
    /// Draw from the scenes that models are judged by, not from those they learn from
    #[arg(long)]
    pub(crate) held_out: bool,
    /// The kind of scene [default: any]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Layout>,
    /// Regions, 1 to 5 [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) regions: Option<u8>,
    /// Side of the picture in pixels, 56 to 1024
    #[arg(long, value_name = "PIXELS", default_value_t = 112, value_parser = clap::value_parser!(u16).range(56..=1024))]
    pub(crate) size: u16,
    /// Mirrors and screens show things on the room's own wall, so that only the frame around tells what is not there
    #[arg(long)]
    pub(crate) clear_panes: bool,
    /// Write regions, truth and questions as one JSON document in place of plain text
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kind of scene on the command line, in the order of `SceneKind::ALL`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Layout {
    /// Scattered things, some on a table, in a box or in front of others
    Room,
    /// Rows and columns of like things
    Grid,
    /// Things before a mirror or a screen
    Reflection,
}

#[derive(Serialize)]
struct Document<'a> {
    image: &'a Path,
    seed: u64,
    index: u64,
    held_out: bool,
    regions: Vec<Region>,
    questions: Vec<Asked<'a>>,
}

#[derive(Serialize)]
struct Region {
    slot: usize,
    mask: PathBuf,
    mask_rle: Rle,
    truth: String,
}

#[derive(Serialize)]
struct Asked<'a> {
    category: &'static str,
    question: &'a str,
    /// What `gar ask` is to be given: the question with its options and how to answer.
    text: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    choices: &'a [String],
    answer: &'a str,
}

pub(crate) fn run(args: &SceneArgs, console: &Console) -> Result<()> {
    let size = args.size.into();
    let usual = SceneConfig { shuffle_slots: false, absent_percent: 0, ..SceneConfig::default() };
    let mut config = SceneConfig { size, clear_percent: if args.clear_panes { 100 } else { 0 }, ..usual };
    if let Some(kind) = args.kind {
        config.kinds = std::array::from_fn(|at| u32::from(at == kind as usize));
    }
    if let Some(regions) = args.regions {
        config.regions = std::array::from_fn(|at| u32::from(at + 1 == usize::from(regions)));
    }
    let split = if args.held_out { Split::HeldOut } else { Split::Train };
    let scene = SceneGenerator::new(config, args.seed, split)?.scene(args.index)?;

    std::fs::write(&args.out, png(&scene.image)?).map_err(Error::io(&args.out))?;
    let mut regions = Vec::with_capacity(scene.regions.len());
    for region in &scene.regions {
        let path = mask_path(&args.out, region.slot());
        let (width, height) = (region.mask().width() as u32, region.mask().height() as u32);
        let inside = |x, y| region.mask().view()[[y as usize, x as usize]];
        let picture = GrayImage::from_fn(width, height, |x, y| image::Luma([if inside(x, y) { 255 } else { 0 }]));
        picture.save(&path).map_err(|source| Error::Picture { path: path.clone(), source })?;
        let truth = scene.object(region.slot()).map(truth).unwrap_or_default();
        regions.push(Region { slot: region.slot(), mask: path, mask_rle: Rle::encode(region.mask()), truth });
    }
    console.note(&format!("wrote {} and {} masks", args.out.display(), regions.len()));
    if let Some(command) = command(&args.out, &scene, &regions) {
        console.note(&format!("try: {command}"));
    }
    if args.json {
        let questions = scene.questions.iter().map(Asked::new).collect();
        let &SceneArgs { seed, index, held_out, .. } = args;
        return output::json(&Document { image: &args.out, seed, index, held_out, regions, questions }, true);
    }
    output::text(&plain(&scene, &regions))
}

/// `picture.png`, 2 → `picture-2.png`.
fn mask_path(out: &Path, slot: usize) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-{slot}.png"))
}

/// A command that asks about the scene, where its file names need no quotes in any shell.
fn command(out: &Path, scene: &Scene, regions: &[Region]) -> Option<String> {
    let plain = |path: &Path| {
        let name = path.to_str()?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        (!name.starts_with('-') && name.chars().all(is_plain)).then(|| name.to_owned())
    };
    let question = scene.questions.iter().find(|question| question.form == Form::Open)?;
    let mut command = format!("gar ask {} \"{}\"", plain(out)?, question.stem);
    for region in regions {
        let _ = write!(command, " --mask {}", plain(&region.mask)?);
    }
    Some(command + " --overlay overlay.png")
}

/// What an object is, in words.
fn truth(object: &Object) -> String {
    let what = match &object.kind {
        Kind::Thing(look) => look.phrase(),
        Kind::Table | Kind::Box => object.kind.word().to_owned(),
    };
    format!("{what} ({})", object.nature)
}

impl<'a> Asked<'a> {
    fn new(question: &'a Question) -> Self {
        let Question { category, stem, choices, answer, .. } = question;
        Self { category: category.name(), question: stem, text: question.text(), choices, answer }
    }
}

fn plain(scene: &Scene, regions: &[Region]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for region in regions {
        let _ = writeln!(text, "<Prompt{}> {}: {}", region.slot, region.mask.display(), region.truth);
    }
    for question in &scene.questions {
        let _ = writeln!(text, "\n{}", question.stem);
        for choice in &question.choices {
            let _ = writeln!(text, "  {choice}");
        }
        let arrow = if question.form == Form::MultipleChoice { "  →" } else { "→" };
        let _ = writeln!(text, "{arrow} {}", question.answer);
    }
    text
}
