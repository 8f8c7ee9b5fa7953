//! From a conversation to token ids, and where the image and the regions stand in them.
use std::sync::Arc;

use gar_llm::{ChatTemplate, Message, Part, Tokenizer};
use gar_prompt::{TokenLayout, prompt_name, user_text};

use crate::{Error, GarConfig, PromptForm, Result};

/// The text side of a prompt: tokenizer, template and the tokens that stand for features.
pub(crate) struct Prompting {
    pub(crate) tokenizer: Tokenizer,
    template: ChatTemplate,
    image: (u32, String),
    /// Id and text of each slot's crop token.
    crops: Vec<(u32, String)>,
    form: Arc<dyn PromptForm>,
}

/// Token ids of a prompt and the places of features in them.
pub(crate) struct PromptTokens {
    pub(crate) ids: Vec<u32>,
    pub(crate) layout: TokenLayout,
}

/// How many tokens stand for what.
#[derive(Clone, Copy)]
pub(crate) struct FeatureCounts {
    /// Of the whole image; 0 where it is not shown.
    pub(crate) image: usize,
    /// Of one region.
    pub(crate) region: usize,
}

impl Prompting {
    /// Looks up every token that a prompt needs.
    pub(crate) fn new(
        tokenizer: Tokenizer,
        template: ChatTemplate,
        config: &GarConfig,
        form: Arc<dyn PromptForm>,
    ) -> Result<Self> {
        let named = |id: u32| Ok::<_, Error>((id, tokenizer.token_of(id)?));
        let image = named(config.image_token)?;
        let crops = config.crop_tokens.iter().map(|&id| named(id)).collect::<Result<_>>()?;
        for slot in 0..config.prompt_slots {
            tokenizer.id_of(&prompt_name(slot))?;
        }
        Ok(Self { tokenizer, template, image, crops, form })
    }

    /// The first turn of a conversation: the image, the regions and a question.
    pub(crate) fn opening(&self, slots: &[usize], question: &str, counts: FeatureCounts) -> Result<Message> {
        let text = self.opening_text(slots, question, counts.region)?;
        Ok(Message::parts("user", [Part::Image, Part::Text(text)]))
    }

    /// A later turn: a question about the regions that were shown.
    pub(crate) fn follow_up(&self, slots: &[usize], question: &str) -> Result<Message> {
        self.check(question)?;
        // The opening's own text is not needed; building it checks the names in the question.
        user_text(slots, question, 0, |_| String::new())?;
        Ok(Message::parts("user", [Part::Text(question.into())]))
    }

    /// Renders a conversation that begins with an opening.
    pub(crate) fn tokens(&self, messages: &[Message], slots: &[usize], counts: FeatureCounts) -> Result<PromptTokens> {
        let ids = self.tokenizer.encode(&self.render(messages, true, counts)?, self.form.adds_special_tokens())?;
        let layout = self.layout(&ids, slots, counts)?;
        Ok(PromptTokens { ids, layout })
    }

    /// The text of a conversation that begins with an opening, the image's token repeated for every feature.
    pub(crate) fn render(&self, messages: &[Message], opens_answer: bool, counts: FeatureCounts) -> Result<String> {
        let text = self.template.render(messages, opens_answer)?;
        let token = &self.image.1;
        match text.matches(token.as_str()).count() {
            1 => Ok(text.replace(token.as_str(), &token.repeat(counts.image))),
            found => Err(Error::ImagePlaceholder { token: token.clone(), found }),
        }
    }

    /// Where the image and the regions stand in `ids`.
    pub(crate) fn layout(&self, ids: &[u32], slots: &[usize], counts: FeatureCounts) -> Result<TokenLayout> {
        let crops: Vec<(usize, u32)> = slots.iter().filter_map(|&slot| Some((slot, self.crops.get(slot)?.0))).collect();
        Ok(TokenLayout::find(ids, self.image.0, counts.image, &crops, counts.region)?)
    }

    /// Those of `slots` whose crop tokens stand in `ids`.
    pub(crate) fn shown(&self, ids: &[u32], slots: &[usize]) -> Vec<usize> {
        let stands = |slot: &usize| self.crops.get(*slot).is_some_and(|(token, _)| ids.contains(token));
        slots.iter().copied().filter(stands).collect()
    }

    /// The text of an opening: the regions, each with its crop tokens, and a question.
    pub(crate) fn opening_text(&self, slots: &[usize], question: &str, region: usize) -> Result<String> {
        self.check(question)?;
        // The label map was refused for slots that have neither.
        let own = |slot: usize| self.crops.get(slot).map(|(_, text)| text.clone());
        let crop = |slot| own(slot).or_else(|| self.form.crop_token(slot)).unwrap_or_default();
        Ok(user_text(slots, question, region, crop)?)
    }

    /// Refuses a question that would forge the prompt's own structure.
    fn check(&self, question: &str) -> Result<()> {
        for id in self.tokenizer.encode(question, false)? {
            let token = self.tokenizer.token_of(id)?;
            if token.starts_with("<|") && token.ends_with("|>") && token.len() > 4 {
                return Err(Error::ReservedToken { token });
            }
        }
        Ok(())
    }
}
