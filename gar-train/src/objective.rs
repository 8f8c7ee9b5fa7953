//! The loss of a sample: cross-entropy of what the assistant says (SPEC §10).
use gar_core::{Exchange, GarModel, Scene, Transcript, kernels::Tensor, llm::Sequence, prompt::prompt_name};
use serde::{Deserialize, Serialize};

use crate::{Choice, Error, Result, Sample, Tape, probe::States};

/// The loss of one sample.
pub struct Loss {
    /// Sum of the cross-entropies in nats.
    pub sum: f64,
    /// Tokens of answers.
    pub tokens: usize,
    /// The sum as a tensor `[1]`, for [`Tape::backward`].
    pub node: Tensor,
}

/// What weighs the same in the mean loss of a step's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weigh {
    /// Each token, as in the paper: long answers say most.
    #[default]
    Tokens,
    /// Each conversation of a picture: a letter is learnt as a caption is.
    Conversations,
}

/// Conversations that are read together. They are sorted by length, so that few tokens are padding.
const TOGETHER: usize = 4;

/// The loss of one sample; `model` computes with the tape's table.
///
/// The picture and what all conversations begin with are read once; the rests are read a few together, padded to the
/// longest. Padding stands behind what counts, and attention is causal, so it has no influence.
pub fn loss(model: &GarModel, tape: &Tape, sample: &Sample) -> Result<Loss> {
    let scene = model.scene(&sample.image, &sample.regions)?;
    Ok(Reading::of(model, tape, &scene, &sample.conversations, Weigh::Tokens)?.0)
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
    /// [parts · rest, D] behind each layer.
    layers: Vec<Tensor>,
    /// Rows of a part, padding included.
    rest: usize,
    /// The position that a part begins at.
    start: usize,
    /// The conversation of each part.
    members: Vec<usize>,
}

impl Block {
    /// Lets sequences read `embeds` [parts, rest, D].
    fn read(
        model: &GarModel,
        sequences: &mut [&mut dyn Sequence],
        embeds: &Tensor,
        start: usize,
        members: Vec<usize>,
    ) -> Result<Self> {
        let [parts, rest, width] = embeds.dims("loss", "embeds")?;
        let mut layers = Vec::new();
        model
            .decoder()
            .extend_seen(model.kernels(), sequences, embeds, &mut |_, states| layers.push(states.clone()))?;
        for states in &mut layers {
            *states = states.reshape(&[parts * rest, width])?;
        }
        Ok(Self { layers, rest, start, members })
    }

    /// The states behind a layer, counted from 1; behind the last where none is named.
    fn states(&self, layer: Option<usize>) -> Result<&Tensor> {
        let layers = self.layers.len();
        let layer = layer.unwrap_or(layers);
        layer.checked_sub(1).and_then(|at| self.layers.get(at)).ok_or(Error::NoLayer { layer, layers })
    }

    /// The positions of a part that are no padding: conversation, position, row of `states`.
    fn places<'t>(
        &'t self,
        transcripts: &'t [Transcript],
        part: usize,
    ) -> impl Iterator<Item = (&'t Transcript, usize, u32)> {
        let transcript = &transcripts[self.members[part]];
        let end = transcript.ids.len().min(self.start + self.rest);
        let row = move |position: usize| (part * self.rest + position - self.start) as u32;
        (self.start..end).map(move |position| (transcript, position, row(position)))
    }
}

impl Reading {
    /// Reads the conversations about a scene. The loss is told as the sum that it is; `weigh` is for its gradient.
    pub(crate) fn of(
        model: &GarModel,
        tape: &Tape,
        scene: &Scene,
        conversations: &[Vec<Exchange>],
        weigh: Weigh,
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
        let embeds = embeds.reshape(&[1, shared, width])?;
        let prefix = Block::read(model, &mut [first.as_mut()], &embeds, 0, vec![0])?;
        let mut order: Vec<usize> = (0..transcripts.len()).collect();
        order.sort_by_key(|&member| transcripts[member].ids.len());
        if transcripts.len() == 1 {
            order.clear();
        }
        let read = |members: &[usize]| read(model, scene, first.as_ref(), &transcripts, members, shared);
        let rests = order.chunks(TOGETHER).map(read).collect::<Result<Vec<_>>>()?;
        let reading = Self { transcripts, prefix, rests };
        let mut losses = Vec::new();
        for block in reading.answering() {
            reading.finish(model, tape, block, &mut losses)?;
        }
        let tokens: usize = losses.iter().map(|loss| loss.tokens).sum();
        let share = tokens as f32 / losses.len() as f32;
        let weight = |loss: &Loss| match weigh {
            Weigh::Tokens => 1.0,
            Weigh::Conversations => share / loss.tokens.max(1) as f32,
        };
        let nodes: Vec<(Tensor, f32)> = losses.iter().map(|loss| (loss.node.clone(), weight(loss))).collect();
        let sum = losses.iter().map(|loss| loss.sum).sum();
        Ok((Loss { sum, tokens, node: tape.weighted_sum(&nodes)? }, reading))
    }

    /// The blocks that hold answers.
    fn answering(&self) -> &[Block] {
        if self.rests.is_empty() { std::slice::from_ref(&self.prefix) } else { &self.rests }
    }

    /// The loss of the answers of each conversation in a block.
    fn finish(&self, model: &GarModel, tape: &Tape, block: &Block, losses: &mut Vec<Loss>) -> Result<()> {
        let (mut rows, mut targets, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for part in 0..block.members.len() {
            for (transcript, position, row) in block.places(&self.transcripts, part) {
                // The state before a token chooses it.
                if transcript.answers.iter().any(|answer| answer.contains(&(position + 1))) {
                    rows.push(row);
                    targets.push(transcript.ids[position + 1]);
                }
            }
            ends.push(rows.len());
        }
        let k = model.kernels();
        let logits = model.decoder().logits(k, &k.rows.gather(block.states(None)?, &rows)?)?;
        let mut start = 0;
        for end in ends {
            let node = tape.cross_entropy(&logits.rows(start..end)?, &targets[start..end])?;
            let sum = node.to_f32_vec()?.first().copied().map_or(f64::NAN, f64::from);
            losses.push(Loss { sum, tokens: end - start, node });
            start = end;
        }
        Ok(())
    }

    /// The states at crop tokens behind a layer.
    pub(crate) fn crops(&self, model: &GarModel, layer: Option<usize>) -> Result<States> {
        let places = self.transcripts[0].regions().iter();
        let (index, slots): (Vec<u32>, Vec<usize>) =
            places.flat_map(|(slot, place)| place.clone().map(|row| (row as u32, *slot))).unzip();
        Ok(States { rows: model.kernels().rows.gather(self.prefix.states(layer)?, &index)?, of: slots })
    }

    /// The states at the names of regions, behind all crop tokens and a layer.
    pub(crate) fn names(&self, model: &GarModel, tape: &Tape, layer: Option<usize>) -> Result<States> {
        let regions = self.transcripts[0].regions();
        let begin = regions.iter().map(|(_, place)| place.end).max().unwrap_or(0);
        let token = |(slot, _): &(usize, _)| Ok((*slot, model.tokenizer().id_of(&prompt_name(*slot))?));
        let tokens = regions.iter().map(token).collect::<Result<Vec<_>>>()?;
        let (mut rows, mut slots) = (Vec::new(), Vec::new());
        for block in self.answering() {
            let mut index = Vec::new();
            let places = (0..block.members.len()).flat_map(|part| block.places(&self.transcripts, part));
            for (transcript, position, row) in places {
                let named = tokens.iter().find(|(_, token)| *token == transcript.ids[position]);
                if let Some((slot, _)) = named.filter(|_| position >= begin) {
                    index.push(row);
                    slots.push(*slot);
                }
            }
            rows.push(model.kernels().rows.gather(block.states(layer)?, &index)?);
        }
        let width = model.decoder().width();
        Ok(States { rows: tape.join(&rows, &[slots.len(), width])?, of: slots })
    }

    /// Where options end: for each block the rows of its states, and the index of the choice that each row speaks of.
    pub(crate) fn option_ends(&self, model: &GarModel, choices: &[Choice]) -> Result<OptionEnds> {
        let mut ends = Vec::with_capacity(choices.len());
        for choice in choices {
            let ids = model.tokenizer().encode(&choice.text, false).map_err(gar_core::Error::from)?;
            let transcript = self.transcripts.get(choice.conversation);
            let begin = transcript.and_then(|t| t.ids.windows(ids.len().max(1)).position(|window| window == ids));
            let (conversation, text) = (choice.conversation, &choice.text);
            let begin = begin.ok_or_else(|| Error::NoOption { conversation, text: text.clone() })?;
            ends.push(begin + ids.len() - 1);
        }
        let (mut rows, mut of) = (Vec::new(), Vec::with_capacity(choices.len()));
        for block in self.answering() {
            let mut index = Vec::new();
            for (part, &member) in block.members.iter().enumerate() {
                for (at, _) in choices.iter().enumerate().filter(|(_, choice)| choice.conversation == member) {
                    // What all conversations begin with is nobody's own.
                    let Some(row) = ends[at].checked_sub(block.start) else { continue };
                    index.push((part * block.rest + row) as u32);
                    of.push(at);
                }
            }
            rows.push(index);
        }
        Ok(OptionEnds { rows, of })
    }

    /// The states where options end, behind a layer.
    pub(crate) fn options(
        &self,
        model: &GarModel,
        tape: &Tape,
        ends: &OptionEnds,
        layer: Option<usize>,
    ) -> Result<States> {
        let gather =
            |(block, index): (&Block, &Vec<u32>)| Ok(model.kernels().rows.gather(block.states(layer)?, index)?);
        let rows = self.answering().iter().zip(&ends.rows).map(gather).collect::<Result<Vec<_>>>()?;
        let width = model.decoder().width();
        Ok(States { rows: tape.join(&rows, &[ends.of.len(), width])?, of: ends.of.clone() })
    }
}

/// Where the options of a [`Reading`] end.
pub(crate) struct OptionEnds {
    /// Rows of the states of each block that holds answers.
    rows: Vec<Vec<u32>>,
    /// The index of the choice that each row speaks of, over all blocks.
    of: Vec<usize>,
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
    Block::read(model, &mut sequences, &all.reshape(&[count, rest, width])?, shared, members.to_vec())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gar_core::{
        Said,
        prompt::{Mask, RegionSet},
        vision::Image,
    };

    use super::*;

    #[test]
    fn conversations_may_weigh_the_same() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let model = GarModel::open(fixtures.join("tile42")).unwrap().load().unwrap();
        let image = Image::open(fixtures.join("images/tiny.png")).unwrap();
        let mask = Mask::from_box(image.width(), image.height(), [0.0, 0.0, 2.0, 2.0]).unwrap();
        let said = || Said::Question("What is <Prompt0>?".into());
        let conversations: Vec<Vec<Exchange>> = ["A.", "A long answer of many words.", "Thing"]
            .map(|answer| vec![Exchange { said: said(), answer: answer.into() }])
            .into();
        let read = |conversations: &[Vec<Exchange>], weigh| {
            let (kernels, tape) = Tape::wrap(model.kernels().clone());
            let model = model.with_kernels(kernels);
            let scene = model.scene(&image, &RegionSet::numbered([mask.clone()]).unwrap()).unwrap();
            let loss = Reading::of(&model, &tape, &scene, conversations, weigh).unwrap().0;
            (loss.sum, loss.tokens as f64, f64::from(loss.node.to_f32_vec().unwrap()[0]))
        };
        let alone: Vec<_> = conversations.iter().map(|c| read(std::slice::from_ref(c), Weigh::Conversations)).collect();
        // Sums of a few dozen f32 terms, in another order.
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-4 * b.abs(), "{a} {b}");
        for &(sum, _, node) in &alone {
            near(node, sum);
        }
        let tokens: f64 = alone.iter().map(|(_, tokens, _)| tokens).sum();
        let sum: f64 = alone.iter().map(|(sum, ..)| sum).sum();
        let mean_of_means = alone.iter().map(|(sum, tokens, _)| sum / tokens).sum::<f64>() / 3.0;
        let (all, count, node) = read(&conversations, Weigh::Conversations);
        near(all, sum);
        assert_eq!(count, tokens);
        near(node / tokens, mean_of_means);
        near(read(&conversations, Weigh::Tokens).2, sum);
    }
}
