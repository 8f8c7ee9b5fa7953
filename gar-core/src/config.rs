//! A checkpoint's `config.json`: what joins the parts.
use std::path::{Path, PathBuf};

use gar_llm::LlamaConfig;
use gar_vision::{PerceptionConfig, TowerSpec};
use serde::Deserialize;
use serde_json::Value;

use crate::{EncodingKind, Error, ReplayBoxes, Result};

/// What `config.json` of a GAR checkpoint states, apart from the decoder's own part.
#[derive(Clone, Debug)]
pub struct GarConfig {
    /// Slots P for regions.
    pub prompt_slots: usize,
    /// The crop token of each slot.
    pub crop_tokens: Vec<u32>,
    /// The token that stands for one feature of the image.
    pub image_token: u32,
    /// The token that stands for one feature of a video frame, where the checkpoint names one.
    pub video_token: Option<u32>,
    /// Patches pooled into one feature, along a side.
    pub pooling: usize,
    /// The vision tower.
    pub tower: PerceptionConfig,
    /// `text_config`, for the decoder to read.
    pub text: Value,
    /// Width D of the decoder.
    pub decoder_width: usize,
    /// How regions are shown to the decoder.
    pub region_encoding: EncodingKind,
    /// Which boxes the replay samples, where regions are replayed.
    pub replay_boxes: ReplayBoxes,
    /// `gar_domain`: the one kind of picture that the model knows, in words; `None` for any.
    pub domain: Option<String>,
    /// The file, for messages.
    pub path: PathBuf,
}

/// The keys as they are written.
#[derive(Deserialize)]
struct Raw {
    model_type: String,
    prompt_numbers: usize,
    crop_tokens_ids: Vec<u32>,
    #[serde(default)]
    kernel_size: Option<[usize; 2]>,
    #[serde(default)]
    mask_path_embedding_out_channels: Option<usize>,
    #[serde(default)]
    region_encoding: Option<String>,
    #[serde(default)]
    replay_boxes: Option<String>,
    #[serde(default)]
    gar_domain: Option<String>,
    mllm_config: RawMllm,
}

#[derive(Deserialize)]
struct RawMllm {
    text_config: Value,
    vision_config: Value,
    #[serde(default)]
    vision_use_cls_token: Option<bool>,
    #[serde(default = "one")]
    projector_pooling_ratio: usize,
    image_token_id: u32,
    #[serde(default)]
    video_token_id: Option<u32>,
}

fn one() -> usize {
    1
}

impl GarConfig {
    /// Reads `config.json` of a checkpoint directory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] for a key that is missing, of another type or at odds with another key, and what
    /// the tower refuses.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let text = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        Self::from_json(&text, path)
    }

    /// The configuration of a Llama decoder, from [`text`](Self::text).
    ///
    /// # Errors
    /// What [`LlamaConfig::from_json`] refuses.
    pub fn llama(&self) -> Result<LlamaConfig> {
        Ok(LlamaConfig::from_json(&self.text, "config.json: mllm_config.text_config")?)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(text: &[u8], path: PathBuf) -> Result<Self> {
        let wrong = |field: &str, expected: String, found: String| Error::Config {
            path: path.clone(),
            field: field.into(),
            expected,
            found,
        };
        let raw: Raw = serde_json::from_slice(text)
            .map_err(|e| wrong("config", "the keys of a GAR checkpoint".into(), e.to_string()))?;
        if raw.model_type != "GAR" {
            return Err(wrong("model_type", "\"GAR\"".into(), format!("{:?}", raw.model_type)));
        }
        let slots = raw.prompt_numbers;
        if slots == 0 || slots > usize::from(u8::MAX) {
            return Err(wrong("prompt_numbers", "1 to 255".into(), slots.to_string()));
        }
        if raw.crop_tokens_ids.len() != slots {
            let found = format!("{} entries", raw.crop_tokens_ids.len());
            return Err(wrong("crop_tokens_ids", format!("{slots} entries, one a slot"), found));
        }
        let tower = PerceptionConfig::from_json(&raw.mllm_config.vision_config)?;
        let TowerSpec { patch_size, width, .. } = tower.spec;
        if let Some(class_token) = raw.mllm_config.vision_use_cls_token
            && class_token != tower.class_token
        {
            let expected = format!("{}, as the architecture has it", tower.class_token);
            return Err(wrong("mllm_config.vision_use_cls_token", expected, class_token.to_string()));
        }
        if let Some(kernel) = raw.kernel_size
            && kernel != [patch_size; 2]
        {
            return Err(wrong(
                "kernel_size",
                format!("{:?}, the tower's patch", [patch_size; 2]),
                format!("{kernel:?}"),
            ));
        }
        if let Some(channels) = raw.mask_path_embedding_out_channels
            && channels != width
        {
            let expected = format!("{width}, the tower's width");
            return Err(wrong("mask_path_embedding_out_channels", expected, channels.to_string()));
        }
        let region_encoding = match raw.region_encoding.as_deref() {
            None => EncodingKind::default(),
            Some(name) => EncodingKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                let names = EncodingKind::ALL.map(|kind| format!("{:?}", kind.name())).join(" or ");
                wrong("region_encoding", names, format!("{name:?}"))
            })?,
        };
        let replay_boxes = match raw.replay_boxes.as_deref() {
            None | Some("released") => ReplayBoxes::Released,
            Some("paper") => ReplayBoxes::Paper,
            Some(other) => {
                return Err(wrong("replay_boxes", "\"released\" or \"paper\"".into(), format!("{other:?}")));
            }
        };
        let hidden = raw.mllm_config.text_config.get("hidden_size");
        let decoder_width = hidden.and_then(Value::as_u64).and_then(|d| usize::try_from(d).ok()).ok_or_else(|| {
            let found = hidden.map_or("nothing".into(), Value::to_string);
            wrong("mllm_config.text_config.hidden_size", "a positive integer".into(), found)
        })?;
        Ok(Self {
            prompt_slots: slots,
            crop_tokens: raw.crop_tokens_ids,
            image_token: raw.mllm_config.image_token_id,
            video_token: raw.mllm_config.video_token_id,
            pooling: raw.mllm_config.projector_pooling_ratio,
            tower,
            text: raw.mllm_config.text_config,
            decoder_width,
            region_encoding,
            replay_boxes,
            domain: raw.gar_domain,
            path,
        })
    }

    /// Pixels along a feature: patch size × pooling.
    pub fn stride(&self) -> usize {
        self.tower.spec.patch_size * self.pooling
    }
}
