//! Running: asks a model every item of a benchmark and keeps each answer.
//!
//! A run is a directory: `manifest.json` says what it is a run of, `answers.jsonl` grows by a line an answer, and
//! `output.json`, in the form of the benchmark's published outputs, is there once every item was asked. A run that was
//! killed goes on where it stood.
mod directory;
mod log;
mod manifest;

pub use directory::RunDirectory;
use gar_core::kernels::Progress;
use gar_core::{AnswerOptions, RegionModel, RegionRequest};
pub use manifest::Manifest;

pub use crate::benchmarks::{AnswerRecord, Answered};
use crate::benchmarks::{Benchmark, Item};
use crate::{Error, Result};

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Items that were asked before, by a run that this one went on from.
    pub resumed: usize,
    /// Items that were asked now.
    pub asked: usize,
    /// Ids of all items that the model could not be asked, and why.
    pub refused: Vec<(String, String)>,
}

/// Asks `model` every item of `benchmark` that `directory` holds no answer to, `batch` at a time, and writes the output.
///
/// An item that the model refuses (a slot that it does not have, a prompt beyond its context) is kept as such, with an
/// empty answer. Progress counts items: those still to ask are the total.
///
/// # Errors
/// A picture that is missing or of another size than its masks; a model that fails; a directory that cannot be written.
pub fn run(
    model: &dyn RegionModel,
    benchmark: &Benchmark,
    directory: &mut RunDirectory,
    options: &AnswerOptions,
    batch: usize,
    progress: &dyn Progress,
) -> Result<Summary> {
    let open: Vec<&Item> = benchmark.items.iter().filter(|item| !directory.has(&item.id)).collect();
    let resumed = benchmark.items.len() - open.len();
    progress.start("questions", open.len() as u64);
    for items in open.chunks(batch.max(1)) {
        let requests: Vec<RegionRequest> = items.iter().map(|item| request(item, options)).collect::<Result<_>>()?;
        let answers = match &requests[..] {
            [request] => vec![model.answer(request)],
            requests => model.answer_batch(requests),
        };
        let (mut kept, mut failed) = (Vec::with_capacity(items.len()), Ok(()));
        for (item, answer) in items.iter().zip(answers) {
            match record(item, answer) {
                Ok(record) => kept.push(record),
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        let count = kept.len() as u64;
        directory.append(kept)?;
        failed?;
        progress.advance(count);
    }
    progress.finish();
    let answers = directory.answers(&benchmark.items)?;
    directory.write_output(&(benchmark.output)(&answers)?)?;
    let refused = answers.iter().filter_map(|a| Some((a.item.id.clone(), a.record.refused.clone()?))).collect();
    Ok(Summary { resumed, asked: open.len(), refused })
}

fn request(item: &Item, options: &AnswerOptions) -> Result<RegionRequest> {
    let (image, regions) = item.open()?;
    Ok(RegionRequest { image, regions, question: item.question.clone(), options: options.clone() })
}

/// The line to keep. Errors about the question itself are an answer of a kind; others end the run, which can go on later.
fn record(item: &Item, answer: gar_core::Result<gar_core::Answer>) -> Result<AnswerRecord> {
    use gar_core::Error as E;
    let id = item.id.clone();
    match answer {
        Ok(answer) => Ok(AnswerRecord {
            id,
            prompt_tokens: answer.prompt_tokens,
            new_tokens: answer.tokens.len(),
            answer: answer.text,
            refused: None,
        }),
        Err(error @ (E::Prompt(_) | E::ReservedToken { .. } | E::ContextFull { .. })) => Ok(AnswerRecord {
            id,
            answer: String::new(),
            prompt_tokens: 0,
            new_tokens: 0,
            refused: Some(error.to_string()),
        }),
        Err(source) => Err(Error::Asked { item: id, source: Box::new(source) }),
    }
}
