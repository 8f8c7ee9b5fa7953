//! How regions become labels, and text becomes tokens: a seam for evaluations that show a prompt in another way.
use gar_prompt::RegionSet;
use ndarray::Array2;

use crate::Result;

/// The form of a prompt. The methods' defaults are what this crate does without one; whoever imitates another program
/// overrides what that program does differently.
pub trait PromptForm: Send + Sync {
    /// The label map [H, W] of `regions`, which are not empty: at each pixel a slot, or `prompt_slots` where there is no
    /// region.
    ///
    /// # Errors
    /// Slots that the checkpoint does not have.
    fn label_map(&self, regions: &RegionSet, prompt_slots: usize) -> Result<Array2<u8>> {
        Ok(regions.label_map(prompt_slots)?)
    }

    /// The crop token's text of a slot that the checkpoint does not have, where such a slot may stand in the text. No
    /// features are spliced in for it: its tokens stay as the decoder embeds them.
    fn crop_token(&self, slot: usize) -> Option<String> {
        let _ = slot;
        None
    }

    /// Whether the tokenizer adds its own special tokens to what the chat template wrote, which holds them already.
    fn adds_special_tokens(&self) -> bool {
        false
    }
}

/// The form of the released code's own demonstrations, and the one that checkpoints were trained with.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainForm;

impl PromptForm for PlainForm {}
