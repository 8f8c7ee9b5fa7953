//! The loss of a sample: cross-entropy of what the assistant says (SPEC §10).
use gar_core::{Exchange, GarModel, Scene, Transcript, kernels::Tensor, llm::Sequence, prompt::prompt_name};

use crate::{Error, Result, Sample, Tape, probe::States};

/// The loss of one sample.
pub struct Loss {
    /// Sum of the cross-entropies in nats.
    pub sum: f64,
    /// Tokens of answers.
    pub tokens: usize,
    /// The sum as a tensor `[1]`, for [`Tape::backward`].
    pub node: Tensor,
}

/// The loss of one sample; `model` computes with the tape's table.
///
/// The picture and what all conversations begin with are read once; the rests are read together, padded to the longest.
/// Padding stands behind what counts, and attention is causal, so it has no influence.
pub fn loss(model: &GarModel, tape: &Tape, sample: &Sample) -> Result<Loss> {
    let scene = model.scene(&sample.image, &sample.regions)?;
    Ok(Reading::of(model, tape, &scene, &sample.conversations)?.0)
}

/// What the decoder made of a sample, for probes.
pub(crate) struct Reading {
    /// States of what all conversations begin with, [shared, D].
    prefix: Tensor,
    /// States of the conversations' own parts one behind the other, [conversations · rest, D].
    rests: Option<Tensor>,
    rest: usize,
    shared: usize,
    transcripts: Vec<Transcript>,
}

impl Reading {
    /// Reads the conversations about a scene.
    pub(crate) fn of(
        model: &GarModel,
        tape: &Tape,
        scene: &Scene,
        conversations: &[Vec<Exchange>],
    ) -> Result<(Loss, Self)> {
        if conversations.is_empty() || conversations.iter().any(Vec::is_empty) {
            return Err(Error::NoAnswers);
        }
        let (k, decoder) = (model.kernels(), model.decoder());
        let transcripts =
            conversations.iter().map(|c| scene.transcript(c)).collect::<Result<Vec<_>, _>>().map_err(too_long)?;
        let shared = shared_prefix(&transcripts);
        let rest = transcripts.iter().map(|t| t.ids.len()).max().unwrap_or(0) - shared;
        let capacity = (shared + rest).min(decoder.context());

        let mut first = decoder.sequence(k, capacity)?;
        let embeds = scene.embeddings(&transcripts[0], 0..shared)?;
        let [_, width] = embeds.dims("loss", "embeds")?;
        // A conversation alone is all prefix, but for its last token: nobody asks what follows it.
        let prefix = decoder.extend(k, &mut [first.as_mut()], &embeds.reshape(&[1, shared, width])?)?;
        let prefix = prefix.reshape(&[shared, width])?;
        let mut pieces = Pieces { rows: Vec::new(), targets: Vec::new() };
        if transcripts.len() == 1 {
            pieces.take(&transcripts[0], 0..shared, 0);
            let loss = finish(model, tape, &prefix, &pieces)?;
            return Ok((loss, Self { prefix, rests: None, rest, shared, transcripts }));
        }
        let mut forks = transcripts.iter().map(|_| first.fork()).collect::<Result<Vec<Box<dyn Sequence>>, _>>()?;
        let mut sequences: Vec<&mut dyn Sequence> = Vec::with_capacity(forks.len());
        for fork in &mut forks {
            sequences.push(fork.as_mut());
        }
        let mut all = k.device.zeros(&[transcripts.len() * rest, width], gar_core::kernels::DType::F32)?;
        for (i, transcript) in transcripts.iter().enumerate() {
            let own = scene.embeddings(transcript, shared..transcript.ids.len())?;
            let index: Vec<u32> = (0..transcript.ids.len() - shared).map(|row| (i * rest + row) as u32).collect();
            all = k.rows.scatter(&all, &index, &own)?;
            pieces.take(transcript, shared..transcript.ids.len(), i * rest);
        }
        let hidden = decoder.extend(k, &mut sequences, &all.reshape(&[transcripts.len(), rest, width])?)?;
        let rests = hidden.reshape(&[transcripts.len() * rest, width])?;
        let loss = finish(model, tape, &rests, &pieces)?;
        Ok((loss, Self { prefix, rests: Some(rests), rest, shared, transcripts }))
    }

    /// The states at crop tokens.
    pub(crate) fn crops(&self, model: &GarModel) -> Result<States> {
        let places = self.transcripts[0].regions().iter();
        let (index, slots): (Vec<u32>, Vec<usize>) =
            places.flat_map(|(slot, place)| place.clone().map(|row| (row as u32, *slot))).unzip();
        Ok(States { rows: model.kernels().rows.gather(&self.prefix, &index)?, slots })
    }

    /// The states at the names of regions, behind all crop tokens.
    pub(crate) fn names(&self, model: &GarModel) -> Result<States> {
        let tokens = self.transcripts[0]
            .regions()
            .iter()
            .map(|(slot, _)| Ok((*slot, model.tokenizer().id_of(&prompt_name(*slot))?)));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let (rows, start) = match &self.rests {
            Some(rests) => (rests, self.shared),
            None => {
                let ends = self.transcripts[0].regions().iter().map(|(_, place)| place.end);
                (&self.prefix, ends.max().unwrap_or(0))
            }
        };
        let (mut index, mut slots) = (Vec::new(), Vec::new());
        for (i, transcript) in self.transcripts.iter().enumerate() {
            let end = if self.rests.is_some() { transcript.ids.len() } else { self.shared };
            for position in start..end {
                let id = transcript.ids[position];
                if let Some((slot, _)) = tokens.iter().find(|(_, token)| *token == id) {
                    let row = if self.rests.is_some() { i * self.rest + position - self.shared } else { position };
                    index.push(row as u32);
                    slots.push(*slot);
                }
            }
        }
        Ok(States { rows: model.kernels().rows.gather(rows, &index)?, slots })
    }
}

/// Hidden states that choose a token of an answer, and the tokens.
struct Pieces {
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Pieces {
    /// The answers of a transcript whose hidden states of positions `read` stand at row `at`.
    fn take(&mut self, transcript: &Transcript, read: std::ops::Range<usize>, at: usize) {
        for position in transcript.answers.iter().cloned().flatten() {
            // The state before a token chooses it.
            if let Some(row) = (position - 1).checked_sub(read.start).filter(|row| *row < read.len()) {
                self.rows.push((at + row) as u32);
                self.targets.push(transcript.ids[position]);
            }
        }
    }
}

fn finish(model: &GarModel, tape: &Tape, hidden: &Tensor, pieces: &Pieces) -> Result<Loss> {
    let k = model.kernels();
    let logits = model.decoder().logits(k, &k.rows.gather(hidden, &pieces.rows)?)?;
    let node = tape.cross_entropy(&logits, &pieces.targets)?;
    let sum = node.to_f32_vec()?.first().copied().map_or(f64::NAN, f64::from);
    Ok(Loss { sum, tokens: pieces.targets.len(), node })
}

/// How many tokens all transcripts begin with; each keeps at least the state that chooses its first answer.
fn shared_prefix(transcripts: &[Transcript]) -> usize {
    let first = &transcripts[0];
    if transcripts.len() == 1 {
        return first.ids.len() - 1;
    }
    let alike = |t: &Transcript| {
        let start = t.answers.first().map_or(0, |answer| answer.start).saturating_sub(1);
        t.ids.iter().zip(&first.ids).take(start).take_while(|(a, b)| a == b).count()
    };
    transcripts.iter().map(alike).min().unwrap_or(0)
}

fn too_long(error: gar_core::Error) -> Error {
    match error {
        gar_core::Error::ContextFull { context, tokens } => Error::TooLong { context, tokens },
        other => other.into(),
    }
}
