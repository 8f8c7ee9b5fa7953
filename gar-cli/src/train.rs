//! `gar train`: fine-tunes a checkpoint as a configuration file says.
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gar_core::GarModel;
use gar_core::kernels::Weights;
use gar_data::scene::Split;
use gar_train::{
    DrawnScenes, EvaluationConfig, Recorded, RunConfig, Sample, Samples, StepReport, Tallies, Tally, TrainFile, Trainer,
};

use crate::error::{Error, Result};
use crate::output::Console;

/// Lines that a run reports its steps in.
const LINES: u64 = 100;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The configuration: `model`, `data`, `out`, and tables `run`, `run.optimizer` and `evaluation`
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Begin anew where `out` holds checkpoints of an interrupted run [default: go on from the newest]
    #[arg(long)]
    restart: bool,
}

pub(crate) fn run(args: &TrainArgs, console: &Console) -> Result<()> {
    let file = TrainFile::read(&args.config)?;
    let mut start = file.start()?;
    for (run, out) in file.runs() {
        start = one(&file, run, &start, &out, args.restart, console)?;
    }
    Ok(())
}

/// One run, from the model in `start`; gives the folder of its model.
fn one(
    file: &TrainFile,
    run: &RunConfig,
    start: &Path,
    out: &Path,
    restart: bool,
    console: &Console,
) -> Result<PathBuf> {
    let model = GarModel::open(start)?.with_progress(console.bars()).load()?;
    let samples = samples(file, run, &model)?;
    let evaluation = match &file.evaluation {
        Some(evaluation) => Some((held_out(file, evaluation, &model)?, evaluation.every)),
        None => None,
    };
    let trainer = Trainer::new(model, &Weights::open(start)?, run.clone())?;
    let mut trainer = trainer.with_probes(samples.heads())?;
    if !restart && trainer.resume(out)? {
        console.note(&format!("goes on after step {}", trainer.steps_done()));
    }
    let every = (run.steps / LINES).max(1);
    let curve = out.join("loss.svg");
    let mut probes = Tallies::new();
    trainer.run(samples.as_ref(), out, &mut |trainer, report| {
        for (head, tally) in &report.probes {
            *probes.entry(head.clone()).or_default() += *tally;
        }
        if report.step == 1 || report.step.is_multiple_of(every) {
            console.note(&line(report, trainer.config().steps));
            if !probes.is_empty() {
                console.note(&heads(&std::mem::take(&mut probes)));
            }
        }
        if let Some((samples, every)) = &evaluation
            && (report.step.is_multiple_of(*every) || report.step == trainer.config().steps)
        {
            let loss = trainer.evaluate(samples)?;
            console.note(&format!("step {}: evaluation loss {loss:.4}", report.step));
        }
        Ok(())
    })?;
    write(&curve, &trainer.history().svg())?;
    let out = out.join("model");
    trainer.export(start, &out)?;
    console.note(&format!("model: {}\nloss curve: {}", out.display(), curve.display()));
    Ok(out)
}

/// What a run trains on.
fn samples(file: &TrainFile, run: &RunConfig, model: &GarModel) -> Result<Box<dyn Samples>> {
    Ok(match &file.data {
        Some(data) => Box::new(Recorded::open(data, model, file.seed)?),
        None => {
            let scenes = file.scenes_of(run).cloned().unwrap_or_default();
            Box::new(DrawnScenes::new(&scenes, model, file.seed, Split::Train)?)
        }
    })
}

/// What a run is evaluated on: every sample of a file, or the first held-out scenes.
fn held_out(file: &TrainFile, evaluation: &EvaluationConfig, model: &GarModel) -> Result<Vec<Sample>> {
    let read: gar_train::Result<Vec<Sample>> = match &evaluation.data {
        Some(path) => {
            let samples = Recorded::open(path, model, 0)?;
            (0..samples.len() as u64).map(|i| samples.sample(i)).collect()
        }
        None => {
            let config = file.scenes.clone().unwrap_or_default();
            let scenes = DrawnScenes::new(&config, model, file.seed, Split::HeldOut)?;
            (0..evaluation.scenes.unwrap_or(0)).map(|i| scenes.sample(i)).collect()
        }
    };
    Ok(read?)
}

fn line(report: &StepReport, steps: u64) -> String {
    let StepReport { step, loss, rate, norm, left, .. } = report;
    format!("step {step}/{steps}: loss {loss:.4}, rate {rate:.2e}, gradient {norm:.3}, {} left", time(*left))
}

/// How often the probes' heads were right since the last line, in percent.
fn heads(probes: &Tallies) -> String {
    let mut text = String::from("  probes, % right:");
    let mut last = "";
    for (name, Tally { right, of }) in probes {
        let (probe, head) = name.split_once('.').unwrap_or((name, ""));
        if probe != last {
            text += &format!(" | {probe}");
            last = probe;
        }
        text += &format!(" {head} {}", 100 * right / (*of).max(1));
    }
    text
}

fn time(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_has_two_places_at_most() {
        let cases = [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7260, "2 h 1 min")];
        for (seconds, text) in cases {
            assert_eq!(time(Duration::from_secs(seconds)), text);
        }
    }
}
