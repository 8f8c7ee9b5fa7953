//! `gar train`: fine-tunes a checkpoint as a configuration file says.
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gar_core::GarModel;
use gar_core::kernels::Weights;
use gar_train::{JsonLines, Sample, StepReport, TrainFile, Trainer};

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
    let samples = JsonLines::open(&file.data, file.seed)?;
    let evaluation = match &file.evaluation {
        Some(evaluation) => Some((read_all(&evaluation.data)?, evaluation.every)),
        None => None,
    };
    let model = GarModel::open(&file.model)?.with_progress(console.bars()).load()?;
    let mut trainer = Trainer::new(model, &Weights::open(&file.model)?, file.run.clone())?;
    if !args.restart && trainer.resume(&file.out)? {
        console.note(&format!("goes on after step {}", trainer.steps_done()));
    }
    let every = (file.run.steps / LINES).max(1);
    let curve = file.out.join("loss.svg");
    trainer.run(&samples, &file.out, &mut |trainer, report| {
        if report.step == 1 || report.step.is_multiple_of(every) {
            console.note(&line(report, trainer.config().steps));
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
    let out = file.out.join("model");
    trainer.export(&file.model, &out)?;
    console.note(&format!("model: {}\nloss curve: {}", out.display(), curve.display()));
    Ok(())
}

/// Every sample of a file, in its order.
fn read_all(path: &Path) -> Result<Vec<Sample>> {
    let lines = JsonLines::open(path, 0)?;
    Ok((0..lines.len()).map(|i| lines.read(i)).collect::<gar_train::Result<_>>()?)
}

fn line(report: &StepReport, steps: u64) -> String {
    let StepReport { step, loss, rate, norm, left, .. } = report;
    format!("step {step}/{steps}: loss {loss:.4}, rate {rate:.2e}, gradient {norm:.3}, {} left", time(*left))
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
