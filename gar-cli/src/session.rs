//! What `describe` and `ask` share: the picture, its regions, the model and the scene, in the order that fails earliest.
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gar_core::kernels::{Kernels, Progress};
use gar_core::llm::Sampling;
use gar_core::prompt::{RegionSet, user_text};
use gar_core::vision::Image;
use gar_core::{Answer, AnswerOptions, GarBuilder, GarModel, Scene};
use gar_eval::overlay;

use crate::args::{AnswerArgs, Device, ModelArgs, SessionArgs};
use crate::domain;
use crate::error::{Error, Result};
use crate::find::{Environment, Found, find};
use crate::output::{self, Console};
use crate::report::AnswerReport;

/// A picture with regions that is ready for questions.
pub(crate) struct Session {
    pub(crate) scene: Scene,
    regions: RegionSet,
    options: AnswerOptions,
    json: bool,
    load: Duration,
}

/// The picture and its regions, before a model is loaded.
pub(crate) struct Picture {
    image: Image,
    pub(crate) regions: RegionSet,
}

impl Picture {
    /// Decodes the picture, reads the regions, the first of them in slot `first_slot`, and draws the overlay.
    pub(crate) fn open(path: &Path, args: &SessionArgs, first_slot: usize, console: &Console) -> Result<Self> {
        let image = Image::open(path)?;
        let regions = args.regions.read(image.width(), image.height(), first_slot)?;
        if let Some(path) = &args.overlay {
            let picture = overlay::draw(&image, &regions);
            picture.save(path).map_err(|source| Error::Overlay { path: path.clone(), source })?;
            console.note(&format!("overlay: {}", path.display()));
        }
        Ok(Self { image, regions })
    }

    /// Loads the model and encodes the picture. `question` is checked before anything slow begins.
    pub(crate) fn encode(self, args: &SessionArgs, question: Option<&str>, console: &Console) -> Result<Session> {
        let options = answer_options(&args.answer)?;
        let Self { image, regions } = self;
        if let Some(question) = question {
            user_text(&regions.slots(), question, 0, |_| String::new())?;
        }
        let directory = args.model.directory(console)?;
        let started = Instant::now();
        let model = load_with(&directory, &args.model, Some(&regions), console.bars(), |builder| {
            if let Some(warning) = domain::warning(builder.config(), &image) {
                console.note(&warning);
            }
            builder
        })?;
        let load = started.elapsed();
        let scene = model.scene_with(&image, &regions, options.max_tiles)?;
        Ok(Session { scene, regions, options, json: args.json, load })
    }
}

impl Session {
    /// Writes one answer: text as it comes, or a JSON document when it is whole. `ask` is the question or turn to run.
    pub(crate) fn answer<F>(&self, indented: bool, ask: F) -> Result<()>
    where
        F: FnOnce(&AnswerOptions, &mut dyn FnMut(&str) -> ControlFlow<()>) -> gar_core::Result<Answer>,
    {
        let (mut written, mut begun) = (Ok(()), false);
        let mut on_text = |piece: &str| {
            if !self.json {
                written = output::text(piece);
                begun = true;
            }
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let answer = ask(&self.options, &mut on_text);
        written?;
        if self.json {
            let report = AnswerReport::new(&answer?, &self.regions, self.scene.grid(), self.load);
            return output::json(&report, indented);
        }
        // A line that was begun is ended, whatever came after.
        if begun || answer.is_ok() {
            output::text("\n")?;
        }
        Ok(answer.map(drop)?)
    }
}

impl ModelArgs {
    /// The checkpoint's directory. Says so where another than the user's flag chose it.
    pub(crate) fn directory(&self, console: &Console) -> Result<PathBuf> {
        // A folder may hold the configuration to train from, and no weights yet.
        let is_checkpoint =
            |place: &Path| ["config.json", "model.safetensors"].iter().all(|file| place.join(file).is_file());
        Ok(match find(self.given.as_deref(), &Environment::of_process(), is_checkpoint)? {
            Found::Flag(directory) => directory,
            Found::Variable(directory) => {
                console.note(&format!("no --model: {}, as GAR_MODEL says", directory.display()));
                directory
            }
            Found::Bundled(directory) => {
                console.note(&format!("no --model: gar-mini, which knows drawn scenes only ({})", directory.display()));
                directory
            }
        })
    }
}

/// Loads a checkpoint as the flags say, after checking that it has the slots of `regions`.
pub(crate) fn load(args: &ModelArgs, regions: Option<&RegionSet>, console: &Console) -> Result<GarModel> {
    load_with(&args.directory(console)?, args, regions, console.bars(), |builder| builder)
}

/// As [`load`], from `directory`, with progress of one's own and with what `change` makes of the builder.
pub(crate) fn load_with(
    directory: &Path,
    args: &ModelArgs,
    regions: Option<&RegionSet>,
    progress: Arc<dyn Progress>,
    change: impl FnOnce(GarBuilder) -> GarBuilder,
) -> Result<GarModel> {
    let kernels = kernels(args)?;
    let mut builder = GarModel::open(directory)?.with_kernels(kernels).with_progress(progress);
    if let Some(regions) = regions {
        regions.check_slots(builder.config().prompt_slots)?;
    }
    if let Some(replay) = args.replay {
        builder = builder.with_replay_boxes(replay.into());
    }
    Ok(change(builder).load()?)
}

/// The table of operations that the flags ask for.
fn kernels(args: &ModelArgs) -> Result<Kernels> {
    match args.device {
        Device::Cpu => args.precision.kernels(),
        Device::Cuda(_) if args.precision.is_given() => {
            Err(Error::Usage("--precision and --quantize are for `--device cpu`; a card computes in bf16".into()))
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => Ok(Kernels::cuda(ordinal)?),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(Error::Usage("this build computes on the CPU alone".into())),
    }
}

pub(crate) fn answer_options(args: &AnswerArgs) -> Result<AnswerOptions> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    };
    sampling.validate().map_err(|error| Error::Usage(error.to_string()))?;
    Ok(AnswerOptions {
        max_new_tokens: args.max_new_tokens,
        sampling,
        stop: args.stop.clone(),
        max_tiles: args.max_tiles.map(Into::into),
    })
}
