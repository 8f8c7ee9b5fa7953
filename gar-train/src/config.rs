//! What a run does. Two runs of one configuration on the same samples give the same bytes.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Error, OptimizerConfig, Part, ProbeConfig, Result, ScenesConfig, Weigh, checkpoint::copy_all_but_weights, fresh,
};

/// Settings of a run; they are saved with it, and a run resumes only under the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Samples (pictures) of a step; their gradients are summed and divided by the answer tokens of all.
    #[serde(default = "batch")]
    pub batch: u64,
    /// Samples that are computed side by side. More need more memory; the result does not depend on it.
    #[serde(default = "at_once")]
    pub at_once: usize,
    /// Steps between two checkpoints; the last step always makes one.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// Parts that stay as they are.
    #[serde(default)]
    pub freeze: Vec<Part>,
    /// Drawn scenes of this run, in place of those of the [`TrainFile`].
    #[serde(default)]
    pub scenes: Option<ScenesConfig>,
    /// What weighs the same in the loss of the answers.
    #[serde(default)]
    pub weigh: Weigh,
    /// Linear probes beside the answers; none where nothing is said.
    #[serde(default)]
    pub probes: ProbeConfig,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
}

fn batch() -> u64 {
    8
}

fn at_once() -> usize {
    4
}

fn checkpoint_every() -> u64 {
    200
}

impl RunConfig {
    /// A run of so many steps with the paper's optimiser.
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            batch: batch(),
            at_once: at_once(),
            checkpoint_every: checkpoint_every(),
            freeze: Vec::new(),
            scenes: None,
            weigh: Weigh::default(),
            probes: ProbeConfig::default(),
            optimizer: OptimizerConfig::default(),
        }
    }

    /// What makes no sense in it, if anything.
    pub fn fault(&self) -> Option<String> {
        let at_least_one = [
            ("steps", self.steps),
            ("batch", self.batch),
            ("at_once", self.at_once as u64),
            ("checkpoint_every", self.checkpoint_every),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Some(format!("`{key}`: expected at least 1, found 0")),
            None => self.probes.fault().or_else(|| self.optimizer.fault()),
        }
    }
}

/// A configuration file: what is trained, on what, where to. Paths start from the file's folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFile {
    /// Checkpoint directory to begin with.
    pub model: PathBuf,
    /// Draws the weights anew from this seed; `model` need not hold any then.
    #[serde(default)]
    pub fresh: Option<u64>,
    /// Checkpoint directory whose tower, convolution of masks and projector begin in place of drawn ones; only with
    /// [`fresh`](Self::fresh).
    #[serde(default)]
    pub tower: Option<PathBuf>,
    /// JSON Lines in the released schema.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Drawn scenes, in place of `data`.
    #[serde(default)]
    pub scenes: Option<ScenesConfig>,
    /// Folder for checkpoints, the loss curve and, at the end, the trained model.
    pub out: PathBuf,
    /// Orders the samples.
    #[serde(default)]
    pub seed: u64,
    /// The run.
    pub run: RunConfig,
    /// Runs behind it. Each begins with the model of the one before, with new probes and the optimiser's state at zero.
    #[serde(default)]
    pub then: Vec<RunConfig>,
    /// Losses on other samples while training.
    #[serde(default)]
    pub evaluation: Option<EvaluationConfig>,
}

/// When and on what a run is evaluated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// JSON Lines in the released schema; all samples are read.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// So many held-out drawn scenes, in place of `data`.
    #[serde(default)]
    pub scenes: Option<u64>,
    /// Steps between two evaluations.
    pub every: u64,
}

impl TrainFile {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] with the line of what is missing, unknown or without sense.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |reason: String| Error::Config { path: path.to_path_buf(), reason };
        let mut file: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if let Some(reason) = std::iter::once(&file.run).chain(&file.then).find_map(RunConfig::fault) {
            return Err(wrong(reason));
        }
        if file.evaluation.as_ref().is_some_and(|evaluation| evaluation.every == 0) {
            return Err(wrong("`evaluation.every`: expected at least 1, found 0".into()));
        }
        let either = |table: &str, data: bool, scenes: bool| {
            let found = if data { "both" } else { "neither" };
            if data == scenes {
                Err(wrong(format!("{table}expected `data` or `scenes`, found {found}")))
            } else {
                Ok(())
            }
        };
        either("", file.data.is_some(), file.scenes.is_some())?;
        if file.data.is_some() && std::iter::once(&file.run).chain(&file.then).any(|run| run.scenes.is_some()) {
            return Err(wrong("a run's `scenes`: expected none beside `data`, found both".into()));
        }
        if let Some(evaluation) = &file.evaluation {
            either("`evaluation`: ", evaluation.data.is_some(), evaluation.scenes.is_some())?;
        }
        if file.tower.is_some() && file.fresh.is_none() {
            return Err(wrong("`tower`: expected beside `fresh`, found alone".into()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = [&mut file.model, &mut file.out].into_iter().chain(&mut file.data).chain(&mut file.tower);
        for path in paths.chain(file.evaluation.iter_mut().filter_map(|evaluation| evaluation.data.as_mut())) {
            *path = folder.join(&*path);
        }
        Ok(file)
    }

    /// Every run in order and the folder of its checkpoints, which is `out` itself where there is one run.
    pub fn runs(&self) -> Vec<(&RunConfig, PathBuf)> {
        let all = std::iter::once(&self.run).chain(&self.then).enumerate();
        let folder = |at| if self.then.is_empty() { self.out.clone() } else { self.out.join(format!("run-{at}")) };
        all.map(|(at, run)| (run, folder(at + 1))).collect()
    }

    /// The drawn scenes that a run trains on: its own, else the file's; `None` where the file names `data`.
    pub fn scenes_of<'a>(&'a self, run: &'a RunConfig) -> Option<&'a ScenesConfig> {
        run.scenes.as_ref().or(self.scenes.as_ref())
    }

    /// The checkpoint directory to begin with: [`model`](Self::model), or with [`fresh`](Self::fresh) a directory under
    /// `out` that has its files and the weights that were drawn.
    ///
    /// # Errors
    /// Files that cannot be read or written, a configuration that does not hold, a [`tower`](Self::tower) of other sizes.
    pub fn start(&self) -> Result<PathBuf> {
        let Some(seed) = self.fresh else { return Ok(self.model.clone()) };
        let start = self.out.join("start");
        copy_all_but_weights(&self.model, &start)?;
        fresh::write(&start, seed, self.tower.as_deref())?;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrainFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.toml");
        std::fs::write(&path, text).unwrap();
        TrainFile::read(&path)
    }

    const PLAIN: &str = "model = 'm'\ndata = 'd.jsonl'\nout = '/o'\n[run]\nsteps = 10\n";

    #[test]
    fn a_file_states_little_and_means_the_paper() {
        let file = read(PLAIN).unwrap();
        assert!(file.model.ends_with("m") && file.model.is_absolute() && file.out == Path::new("/o"));
        assert_eq!(file.run, RunConfig::new(10));
        let file = read(&format!("{PLAIN}freeze = ['tower', 'mask']\n[run.optimizer]\nlr = 0.5\n")).unwrap();
        assert_eq!((file.run.freeze, file.run.optimizer.lr), (vec![Part::Tower, Part::Mask], 0.5));
    }

    #[test]
    fn runs_follow_each_other_in_folders_of_their_own() {
        assert_eq!(read(PLAIN).unwrap().runs(), [(&RunConfig::new(10), PathBuf::from("/o"))]);
        let file = read(&format!("{PLAIN}[[then]]\nsteps = 3\nweigh = 'conversations'\n")).unwrap();
        let second = RunConfig { weigh: Weigh::Conversations, ..RunConfig::new(3) };
        let expected = [(&RunConfig::new(10), "/o/run-1".into()), (&second, "/o/run-2".into())];
        assert_eq!(file.runs(), expected);
    }

    #[test]
    fn what_a_file_may_not_say_is_named() {
        for (text, named) in [
            (format!("{PLAIN}stesp = 3\n"), "stesp"),
            (format!("{PLAIN}[run.optimizer]\nlearning_rate = 3\n"), "learning_rate"),
            (format!("{PLAIN}[evaluation]\ndata = 'x'\nevery = 0\n"), "evaluation.every"),
            (format!("{PLAIN}freeze = ['eyes']\n"), "eyes"),
            (PLAIN.replace("steps = 10", "steps = 0"), "steps"),
            (format!("{PLAIN}[run.probes]\nweight = -1.0\n"), "probes.weight"),
            (format!("{PLAIN}[run.scenes]\nquestions = 3\n"), "both"),
            (format!("{PLAIN}[[then]]\nsteps = 3\nbatch = 0\n"), "batch"),
            (PLAIN.replace("data = 'd.jsonl'", ""), "data"),
            (format!("scenes = {{}}\n{PLAIN}"), "both"),
            (PLAIN.replace("data = 'd.jsonl'", "scenes = { size = 56, colour = 3 }"), "colour"),
            (format!("tower = 't'\n{PLAIN}"), "fresh"),
            ("[".into(), "line 1"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("train.toml"), "{named}: {error}");
        }
    }
}
