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

/// Conversations that are read together. They are sorted by length, so that few tokens are padding.
const TOGETHER: usize = 4;

/// The loss of one sample; `model` computes with the tape's table.
///
/// The picture and what all conversations begin with are read once; the rests are read a few together, padded to the
/// longest. Padding stands behind what counts, and attention is causal, so it has no influence.
pub fn loss(model: &GarModel, tape: &Tape, sample: &Sample) -> Result<Loss> {
    let scene = model.scene(&sample.image, &sample.regions)?;
    Ok(Reading::of(model, tape, &scene, &sample.conversations)?.0)
}

/// What the decoder made of a sample, for probes.
pub(crate) struct Reading {
    transcripts: Vec<Transcript>,
    /// What all conversations begin with, as the beginning of the first.
    prefix: Block,
    /// The conversations' own parts; none where there is one conversation, which is all prefix.
    rests: Vec<Block>,
}

/// Decoder states of parts of conversations.
struct Block {
    /// [parts · rest, D].
    states: Tensor,
    /// Rows of a part, padding included.
    rest: usize,
    /// The position that a part begins at.
    start: usize,
    /// The conversation of each part.
    members: Vec<usize>,
}

impl Block {
    /// The positions of each part that are no padding: conversation, position, row of `states`.
    fn places<'t>(&'t self, transcripts: &'t [Transcript]) -> impl Iterator<Item = (&'t Transcript, usize, u32)> {
        self.members.iter().enumerate().flat_map(move |(at, &member)| {
            let end = transcripts[member].ids.len().min(self.start + self.rest);
            let row = move |position: usize| (at * self.rest + position - self.start) as u32;
            (self.start..end).map(move |position| (&transcripts[member], position, row(position)))
        })
    }
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
        let longest = transcripts.iter().map(|t| t.ids.len()).max().unwrap_or(0);

        let mut first = decoder.sequence(k, longest.min(decoder.context()))?;
        let embeds = scene.embeddings(&transcripts[0], 0..shared)?;
        let [_, width] = embeds.dims("loss", "embeds")?;
        // A conversation alone is all prefix, but for its last token: nobody asks what follows it.
        let states = decoder.extend(k, &mut [first.as_mut()], &embeds.reshape(&[1, shared, width])?)?;
        let states = states.reshape(&[shared, width])?;
        let prefix = Block { states, rest: shared, start: 0, members: vec![0] };
        let mut order: Vec<usize> = (0..transcripts.len()).collect();
        order.sort_by_key(|&member| transcripts[member].ids.len());
        if transcripts.len() == 1 {
            order.clear();
        }
        let read = |members: &[usize]| read(model, scene, first.as_ref(), &transcripts, members, shared);
        let rests = order.chunks(TOGETHER).map(read).collect::<Result<Vec<_>>>()?;
        let reading = Self { transcripts, prefix, rests };
        let losses = reading.last().iter().map(|block| reading.finish(model, tape, block));
        let losses = losses.collect::<Result<Vec<_>>>()?;
        let nodes: Vec<(Tensor, f32)> = losses.iter().map(|loss| (loss.node.clone(), 1.0)).collect();
        let loss = Loss {
            sum: losses.iter().map(|loss| loss.sum).sum(),
            tokens: losses.iter().map(|loss| loss.tokens).sum(),
            node: tape.weighted_sum(&nodes)?,
        };
        Ok((loss, reading))
    }

    /// The blocks that hold answers.
    fn last(&self) -> &[Block] {
        if self.rests.is_empty() { std::slice::from_ref(&self.prefix) } else { &self.rests }
    }

    /// The loss of a block's answers.
    fn finish(&self, model: &GarModel, tape: &Tape, block: &Block) -> Result<Loss> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (transcript, position, row) in block.places(&self.transcripts) {
            // The state before a token chooses it.
            if transcript.answers.iter().any(|answer| answer.contains(&(position + 1))) {
                rows.push(row);
                targets.push(transcript.ids[position + 1]);
            }
        }
        let k = model.kernels();
        let logits = model.decoder().logits(k, &k.rows.gather(&block.states, &rows)?)?;
        let node = tape.cross_entropy(&logits, &targets)?;
        let sum = node.to_f32_vec()?.first().copied().map_or(f64::NAN, f64::from);
        Ok(Loss { sum, tokens: targets.len(), node })
    }

    /// The states at crop tokens.
    pub(crate) fn crops(&self, model: &GarModel) -> Result<States> {
        let places = self.transcripts[0].regions().iter();
        let (index, slots): (Vec<u32>, Vec<usize>) =
            places.flat_map(|(slot, place)| place.clone().map(|row| (row as u32, *slot))).unzip();
        Ok(States { rows: model.kernels().rows.gather(&self.prefix.states, &index)?, slots })
    }

    /// The states at the names of regions, behind all crop tokens.
    pub(crate) fn names(&self, model: &GarModel, tape: &Tape) -> Result<States> {
        let regions = self.transcripts[0].regions();
        let begin = regions.iter().map(|(_, place)| place.end).max().unwrap_or(0);
        let token = |(slot, _): &(usize, _)| Ok((*slot, model.tokenizer().id_of(&prompt_name(*slot))?));
        let tokens = regions.iter().map(token).collect::<Result<Vec<_>>>()?;
        let (mut rows, mut slots) = (Vec::new(), Vec::new());
        for block in self.last() {
            let mut index = Vec::new();
            for (transcript, position, row) in block.places(&self.transcripts) {
                let named = tokens.iter().find(|(_, token)| *token == transcript.ids[position]);
                if let Some((slot, _)) = named.filter(|_| position >= begin) {
                    index.push(row);
                    slots.push(*slot);
                }
            }
            rows.push(model.kernels().rows.gather(&block.states, &index)?);
        }
        let width = self.prefix.states.as_rows().1;
        Ok(States { rows: tape.join(&rows, &[slots.len(), width])?, slots })
    }
}

/// Reads what some conversations have behind position `shared`, which is where `prefix` ends.
fn read(
    model: &GarModel,
    scene: &Scene,
    prefix: &dyn Sequence,
    transcripts: &[Transcript],
    members: &[usize],
    shared: usize,
) -> Result<Block> {
    let (k, decoder) = (model.kernels(), model.decoder());
    let rest = members.iter().map(|&member| transcripts[member].ids.len() - shared).max().unwrap_or(0);
    let mut forks = members.iter().map(|_| prefix.fork()).collect::<Result<Vec<Box<dyn Sequence>>, _>>()?;
    let mut sequences: Vec<&mut dyn Sequence> = Vec::with_capacity(forks.len());
    for fork in &mut forks {
        sequences.push(fork.as_mut());
    }
    let (count, width) = (members.len(), decoder.width());
    let mut all = k.device.zeros(&[count * rest, width], gar_core::kernels::DType::F32)?;
    for (at, &member) in members.iter().enumerate() {
        let transcript = &transcripts[member];
        let own = scene.embeddings(transcript, shared..transcript.ids.len())?;
        let index: Vec<u32> = (0..transcript.ids.len() - shared).map(|row| (at * rest + row) as u32).collect();
        all = k.rows.scatter(&all, &index, &own)?;
    }
    let states = decoder.extend(k, &mut sequences, &all.reshape(&[count, rest, width])?)?;
    Ok(Block { states: states.reshape(&[count * rest, width])?, rest, start: shared, members: members.to_vec() })
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
