//! One sample of a region dataset, as Grasp-Any-Region-Dataset is published.
//!
//! Three fields matter: `image`; `mask_rle`, one COCO run-length object or a list of them; and `conversations`, a list of
//! `{"from": "human" | "gpt", "value": text}`. A conversation that names `<PromptK>` speaks of mask K. One that names
//! none holds a caption for each mask, in order; its questions are then only placeholders.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gar_prompt::{Mask, Rle};
use gar_vision::{DecodeLimits, Image};
use image::ImageFormat;
use serde::{Deserialize, Serialize};

use crate::scene::{Category, Scene};
use crate::{Error, Result};

/// A picture as it stands in a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// An encoded picture: PNG, JPEG, ….
    Encoded(Vec<u8>),
    /// A file, relative to the dataset's folder unless absolute.
    Path(PathBuf),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Speaker {
    /// The user: `human`, or `user`.
    #[serde(rename = "human", alias = "user")]
    Human,
    /// The assistant: `gpt`, or `assistant`.
    #[serde(rename = "gpt", alias = "assistant")]
    Gpt,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub from: Speaker,
    /// The text. In the first turn a leading `<image>` is dropped when a sample is prepared.
    pub value: String,
}

impl Turn {
    /// A user's message.
    pub fn human(value: impl Into<String>) -> Self {
        Self { from: Speaker::Human, value: value.into() }
    }

    /// An assistant's message.
    pub fn gpt(value: impl Into<String>) -> Self {
        Self { from: Speaker::Gpt, value: value.into() }
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Sample {
    /// The picture.
    pub image: Picture,
    /// The masks, at least one.
    pub masks: Vec<Rle>,
    /// The messages.
    pub conversations: Vec<Turn>,
}

impl Sample {
    /// Decodes the picture. Paths are taken relative to `folder`.
    ///
    /// # Errors
    /// [`Error::Vision`].
    pub fn decode_image(&self, folder: &Path) -> Result<Image> {
        Ok(match &self.image {
            Picture::Encoded(bytes) => Image::decode(bytes, &DecodeLimits::default())?,
            Picture::Path(path) => Image::open(folder.join(path))?,
        })
    }

    /// Decodes the masks, which must be of the image's size and have a set pixel each.
    ///
    /// # Errors
    /// [`Error::MaskSize`], [`Error::EmptyMask`]; [`Error::Prompt`] where the runs are malformed.
    pub fn decode_masks(&self, image: &Image) -> Result<Vec<Mask>> {
        let expected = (image.width(), image.height());
        let decode = |(index, rle): (usize, &Rle)| {
            let found = (rle.size[1], rle.size[0]);
            if found != expected {
                return Err(Error::MaskSize { index, expected, found });
            }
            let mask = rle.to_mask()?;
            if mask.is_empty() { Err(Error::EmptyMask { index }) } else { Ok(mask) }
        };
        self.masks.iter().enumerate().map(decode).collect()
    }

    /// A drawn scene as a sample: its first question opens the conversation, the others follow.
    ///
    /// Mask K is that of slot K, so the scene's slots must be 0, 1, 2, …
    /// (`shuffle_slots: false` in [`SceneConfig`](crate::scene::SceneConfig)).
    ///
    /// # Errors
    /// [`Error::Conversation`] where they are not; [`Error::Encode`] where the picture cannot be written as PNG.
    pub fn from_scene(scene: &Scene) -> Result<Self> {
        let slots = scene.regions.slots();
        if slots.iter().enumerate().any(|(at, &slot)| at != slot) {
            return Err(Error::Conversation {
                expected: "regions in slots 0, 1, 2, …".into(),
                found: format!("slots {slots:?}"),
            });
        }
        let mut conversations = Vec::with_capacity(scene.questions.len() * 2);
        // A question about an empty slot names a mask that is not there.
        for question in scene.questions.iter().filter(|question| question.category != Category::Absent) {
            conversations.push(Turn::human(question.text()));
            conversations.push(Turn::gpt(question.answer.clone()));
        }
        let masks = scene.regions.iter().map(|region| Rle::encode(region.mask())).collect();
        Ok(Self { image: Picture::Encoded(png(&scene.image)?), masks, conversations })
    }
}

/// A picture as PNG.
///
/// # Errors
/// [`Error::Encode`].
pub fn png(image: &Image) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (image.width() as u32, image.height() as u32);
    let pixels: Vec<u8> = image.pixels().iter().copied().collect();
    image::write_buffer_with_format(
        &mut bytes,
        &pixels,
        width,
        height,
        image::ExtendedColorType::Rgb8,
        ImageFormat::Png,
    )?;
    Ok(bytes.into_inner())
}

/// A sample as it stands in JSON.
#[derive(Serialize, Deserialize)]
struct Written {
    image: String,
    mask_rle: Option<OneOrMany>,
    conversations: Vec<Turn>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected mask_rle as one {\"size\": [height, width], \"counts\": …} or a list of them")]
enum OneOrMany {
    One(Rle),
    Many(Vec<Rle>),
}

impl TryFrom<Written> for Sample {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let masks = match written.mask_rle {
            Some(OneOrMany::One(rle)) => vec![rle],
            Some(OneOrMany::Many(many)) if !many.is_empty() => many,
            _ => return Err(Error::NoMasks),
        };
        Ok(Self { image: picture_from_text(&written.image)?, masks, conversations: written.conversations })
    }
}

impl From<Sample> for Written {
    fn from(sample: Sample) -> Self {
        let image = match sample.image {
            Picture::Encoded(bytes) => format!("data:base64,{}", STANDARD.encode(bytes)),
            Picture::Path(path) => path.to_string_lossy().into_owned(),
        };
        let mut masks = sample.masks;
        let one = if masks.len() == 1 { masks.pop() } else { None };
        let mask_rle = Some(one.map_or(OneOrMany::Many(masks), OneOrMany::One));
        Self { image, mask_rle, conversations: sample.conversations }
    }
}

/// `data:base64,…` as the released code reads it, a usual data URL, or a path.
pub(crate) fn picture_from_text(text: &str) -> Result<Picture> {
    let Some(data) = text.strip_prefix("data:") else { return Ok(Picture::Path(text.into())) };
    let refuse = |found: String| Error::Base64 { found };
    let (head, body) = data.split_once(',').ok_or_else(|| refuse("no comma".into()))?;
    if head != "base64" && !head.ends_with(";base64") {
        return Err(refuse(format!("`data:{head},`")));
    }
    let bytes = STANDARD.decode(body).map_err(|error| refuse(error.to_string()))?;
    Ok(Picture::Encoded(bytes))
}
