//! From a sample to what a model is trained on: regions in slots, messages with crop tokens, and which tokens count.

use std::path::Path;

use gar_prompt::{DESCRIBE, Mask, RegionSet, prompt_name, user_text};
use gar_vision::Image;

use crate::rng::Rng;
use crate::sample::{Sample, Speaker, Turn};
use crate::{Error, Result, instruction};

/// How samples are prepared (SPEC §10).
///
/// A conversation of *captions*, which names no region, gets its questions here: regions stand in slots drawn at random,
/// each turn shows one region and asks for its caption. At most `prompt_slots − 1` of the masks are shown, so that a slot
/// stays empty. A conversation that *names* regions keeps its words and numbers; the regions it names are shown before
/// its first question, in ascending order.
///
/// The texts are those the released code trains with. It writes a space before the line end after a single region's name,
/// which its inference, and [`user_text`] for [`DESCRIBE`], leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Prompt slots of the model, at least 1.
    pub prompt_slots: usize,
    /// Crop tokens a region: vectors that are replayed, 256 in the published models.
    pub crop_tokens: usize,
    /// Whether captions are asked for in varied words, or always with [`DESCRIBE`].
    pub vary_instructions: bool,
    /// How many of a hundred further regions are preceded by a question about an empty slot, once a sample at most.
    pub absent_percent: u32,
}

impl Recipe {
    /// The paper's recipe for a model of so many slots and crop tokens.
    pub fn new(prompt_slots: usize, crop_tokens: usize) -> Self {
        Self { prompt_slots, crop_tokens, vary_instructions: true, absent_percent: 5 }
    }
}

/// A sample ready for a tokenizer: put the image before the first turn, and the turns into the chat template.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The picture.
    pub image: Image,
    /// The regions that are shown, in the order they first appear in the text.
    pub regions: RegionSet,
    /// User and assistant in turn, beginning with the user. Regions appear as copies of their crop tokens.
    pub turns: Vec<Turn>,
}

impl Recipe {
    /// Prepares a sample. `folder` is what its picture's path is relative to; `crop_token` gives a slot's token, such as
    /// [`crop_token_name`](gar_prompt::crop_token_name).
    ///
    /// # Errors
    /// Those of [`Sample::decode_image`] and [`Sample::decode_masks`]; [`Error::Conversation`] where the turns do not
    /// alternate, where captions and masks differ in number, or where a region is named that has no mask or no slot.
    pub fn prepare(
        &self,
        sample: &Sample,
        folder: &Path,
        crop_token: impl Fn(usize) -> String,
        rng: &mut Rng,
    ) -> Result<Prepared> {
        check_turns(&sample.conversations)?;
        let image = sample.decode_image(folder)?;
        let masks = sample.decode_masks(&image)?;
        let named = names(&sample.conversations)?;
        let crops = |slot: usize| crop_token(slot).repeat(self.crop_tokens);
        let (regions, turns) = if named.is_empty() {
            self.captions(&sample.conversations, masks, &crops, rng)?
        } else {
            self.questions(&sample.conversations, &masks, &named, &crop_token)?
        };
        Ok(Prepared { image, regions, turns })
    }

    fn captions(
        &self,
        turns: &[Turn],
        masks: Vec<Mask>,
        crops: &dyn Fn(usize) -> String,
        rng: &mut Rng,
    ) -> Result<(RegionSet, Vec<Turn>)> {
        let captions: Vec<&str> = turns.iter().filter(|t| t.from == Speaker::Gpt).map(|t| t.value.as_str()).collect();
        if captions.len() != masks.len() {
            return Err(Error::Conversation {
                expected: format!("a caption for each of {} masks", masks.len()),
                found: format!("{} captions", captions.len()),
            });
        }
        let mut slots: Vec<usize> = (0..self.prompt_slots).collect();
        rng.shuffle(&mut slots);
        let shown = masks.len().min(self.prompt_slots.saturating_sub(1).max(1));
        let (used, empty) = slots.split_at(shown.min(slots.len()));
        let mut absent = empty.first().copied();
        let ask = |caption: &str, rng: &mut Rng| {
            if self.vary_instructions { instruction(caption, rng) } else { DESCRIBE.to_owned() }
        };

        let mut regions = RegionSet::new();
        let mut prepared = Vec::with_capacity(2 * shown + 2);
        for (at, ((&slot, mask), &caption)) in used.iter().zip(masks).zip(&captions).enumerate() {
            regions.push(slot, mask)?;
            if at > 0
                && rng.percent(self.absent_percent)
                && let Some(empty) = absent.take()
            {
                let name = prompt_name(empty);
                prepared.push(Turn::human(format!("{name}: {}", ask(caption, rng))));
                prepared.push(Turn::gpt(format!("{name} is not in the image.")));
            }
            let question = format!("{}: {}{}", prompt_name(slot), crops(slot), ask(caption, rng));
            prepared.push(Turn::human(if at == 0 { opening(used) + &question } else { question }));
            prepared.push(Turn::gpt(caption));
        }
        Ok((regions, prepared))
    }

    fn questions(
        &self,
        turns: &[Turn],
        masks: &[Mask],
        named: &[usize],
        crop_token: &dyn Fn(usize) -> String,
    ) -> Result<(RegionSet, Vec<Turn>)> {
        let mut regions = RegionSet::new();
        for &slot in named {
            let mask = masks.get(slot).filter(|_| slot < self.prompt_slots).ok_or_else(|| Error::Conversation {
                expected: format!("names of {} masks in {} slots", masks.len(), self.prompt_slots),
                found: prompt_name(slot),
            })?;
            regions.push(slot, mask.clone())?;
        }
        let mut prepared = turns.to_vec();
        if let Some(first) = prepared.first_mut() {
            let question = first.value.strip_prefix("<image>").unwrap_or(&first.value).trim_start_matches('\n');
            first.value = user_text(named, "", self.crop_tokens, crop_token)? + question;
        }
        Ok((regions, prepared))
    }
}

/// `There are some objects I am curious about: <Prompt3>; <Prompt0>; ` and a line end.
fn opening(slots: &[usize]) -> String {
    let names: String = slots.iter().map(|&slot| prompt_name(slot) + "; ").collect();
    format!("There are some objects I am curious about: {names}\n")
}

/// Refuses turns that are not question, answer, question, answer, ….
fn check_turns(turns: &[Turn]) -> Result<()> {
    let refuse = |found: String| {
        Err(Error::Conversation { expected: "`human` and `gpt` in turn, beginning with `human`".into(), found })
    };
    if turns.is_empty() || turns.len() % 2 == 1 {
        return refuse(format!("{} turns", turns.len()));
    }
    for (at, turn) in turns.iter().enumerate() {
        if (turn.from == Speaker::Human) != (at % 2 == 0) {
            return refuse(format!("{:?} in turn {at}", turn.from));
        }
        if at > 0 && turn.value.contains("<image>") {
            return refuse(format!("a second `<image>` in turn {at}"));
        }
    }
    Ok(())
}

/// The K of every `<PromptK>`, ascending.
fn names(turns: &[Turn]) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for turn in turns {
        for part in turn.value.split("<Prompt").skip(1) {
            let Some((digits, _)) = part.split_once('>') else { continue };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            let slot = digits.parse().map_err(|_| Error::Conversation {
                expected: "names of masks".into(),
                found: format!("<Prompt{digits}>"),
            })?;
            if !found.contains(&slot) {
                found.push(slot);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Which tokens are learnt: the assistant's, each answer from behind its `header` through its `end` token (SPEC §10).
/// An answer that does not end is not learnt.
///
/// `header` is what the chat template puts before an answer, such as the tokens of
/// `<|start_header_id|>assistant<|end_header_id|>` and two line ends; `end` is `<|eot_id|>`.
///
/// ```
/// let learnt = gar_data::answer_mask(&[1, 7, 8, 5, 6, 9, 2, 7, 8, 3], &[7, 8], 9);
/// assert_eq!(learnt, [false, false, false, true, true, true, false, false, false, false]);
/// ```
pub fn answer_mask(tokens: &[u32], header: &[u32], end: u32) -> Vec<bool> {
    let mut learnt = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        if header.is_empty() || !tokens[at..].starts_with(header) {
            at += 1;
            continue;
        }
        let start = at + header.len();
        let Some(length) = tokens[start..].iter().position(|&token| token == end) else { break };
        learnt[start..=start + length].fill(true);
        at = start + length + 1;
    }
    learnt
}
