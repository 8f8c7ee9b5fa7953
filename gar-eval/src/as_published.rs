//! What the released evaluation does to a prompt beside what the model needs: imitated on request, off by default.
//!
//! The published numbers were made with these; a run that is to be set beside them digit by digit needs all, a run that
//! is to know how good a model is needs none. Each is one field of [`AsPublished`].
use std::sync::Arc;

use gar_core::kernels::{Kernels, Tensor, Weights};
use gar_core::prompt::{RegionSet, crop_token_name};
use gar_core::{EncodingKind, FeatureReplay, GarBuilder, PromptForm, RegionEncoding, View};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Quirks of the released evaluation of questions about several regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsPublished {
    /// Every region's features are replayed from the box of the last mask. The masks painted into the picture stay each
    /// region's own; with one region nothing changes. It has no meaning for checkpoints that do not replay.
    pub last_mask_boxes: bool,
    /// Regions in slots that the checkpoint does not have are asked about all the same: their masks are painted as
    /// `<NO_Prompt>`, their names are plain text to the tokenizer, and their crop tokens stand in the prompt without
    /// features in their place. Without this, such questions are refused.
    pub unpainted_slots: bool,
    /// The tokenizer adds its own `<|begin_of_text|>` before the one that the chat template wrote.
    pub second_bos: bool,
}

impl AsPublished {
    /// All of them.
    pub const ALL: Self = Self { last_mask_boxes: true, unpainted_slots: true, second_bos: true };

    /// Has a model imitate the chosen ones.
    #[must_use]
    pub fn apply(self, mut builder: GarBuilder) -> GarBuilder {
        let config = builder.config();
        if self.last_mask_boxes && config.region_encoding == EncodingKind::Replay {
            let replay = FeatureReplay { boxes: config.replay_boxes, stride: config.stride() };
            builder = builder.with_region_encoding(Arc::new(LastMaskBoxes(replay)));
        }
        if self.unpainted_slots || self.second_bos {
            builder = builder.with_prompt_form(Arc::new(PublishedForm(self)));
        }
        builder
    }
}

/// Shows every region as `E` shows the last one.
#[derive(Clone, Copy, Debug)]
pub struct LastMaskBoxes<E>(pub E);

impl<E: RegionEncoding> RegionEncoding for LastMaskBoxes<E> {
    fn tokens(&self, features_per_side: usize) -> usize {
        self.0.tokens(features_per_side)
    }

    fn shows_picture(&self) -> bool {
        self.0.shows_picture()
    }

    fn encode(&self, view: &View<'_>) -> gar_core::Result<Vec<Tensor>> {
        let Some(last) = view.regions.iter().last() else { return Ok(Vec::new()) };
        let mut alone = RegionSet::new();
        alone.push_region(last.clone())?;
        let shown = self.0.encode(&View { regions: &alone, ..*view })?;
        Ok(view.regions.iter().flat_map(|_| shown.iter().cloned()).collect())
    }

    fn with_weights(&self, k: &Kernels, weights: &Weights) -> gar_core::Result<Option<Arc<dyn RegionEncoding>>> {
        let other = self.0.with_weights(k, weights)?;
        Ok(other.map(|encoding| Arc::new(LastMaskBoxes(encoding)) as Arc<dyn RegionEncoding>))
    }
}

/// The prompt's form with the chosen quirks.
#[derive(Clone, Copy, Debug)]
struct PublishedForm(AsPublished);

impl PromptForm for PublishedForm {
    fn label_map(&self, regions: &RegionSet, prompt_slots: usize) -> gar_core::Result<Array2<u8>> {
        if !self.0.unpainted_slots {
            return Ok(regions.label_map(prompt_slots)?);
        }
        // Regions come in ascending slots, so one painted as `<NO_Prompt>` takes no pixel from those before it: it is as
        // if it were not there.
        let mut painted = RegionSet::new();
        for region in regions.iter().filter(|region| region.slot() < prompt_slots) {
            painted.push_region(region.clone())?;
        }
        match (painted.is_empty(), regions.size(), u8::try_from(prompt_slots)) {
            (true, Some((width, height)), Ok(none)) => Ok(Array2::from_elem((height, width), none)),
            _ => Ok(painted.label_map(prompt_slots)?),
        }
    }

    fn crop_token(&self, slot: usize) -> Option<String> {
        self.0.unpainted_slots.then(|| crop_token_name(slot))
    }

    fn adds_special_tokens(&self) -> bool {
        self.0.second_bos
    }
}
