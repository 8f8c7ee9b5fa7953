//! A checkpoint, loaded.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use gar_kernels::{Kernels, NoProgress, Progress, Weights};
use gar_llm::{ChatTemplate, Decoder, Llama, LlamaNames, Tokenizer, stop_tokens};
use gar_prompt::{MaskEncoder, RegionSet};
use gar_vision::{Image, ImageProcessor, PerceptionEncoder, Projector, TowerSpec, VisionTower};

use crate::{
    EncodingKind, Error, Eye, GarConfig, PlainForm, PromptForm, RegionEncoding, ReplayBoxes, Result, Scene, Timings,
    View, eyes::Eyes, parts::Parts, prompting::Prompting,
};

/// A GAR checkpoint, ready to answer. Cloning shares it.
#[derive(Clone)]
pub struct GarModel {
    pub(crate) parts: Arc<Parts>,
}

/// A checkpoint directory, before its weights are read: what to compute with, and what to replace.
pub struct GarBuilder {
    directory: PathBuf,
    config: GarConfig,
    kernels: Kernels,
    progress: Arc<dyn Progress>,
    tower: Option<Arc<dyn VisionTower>>,
    decoder: Option<Arc<dyn Decoder>>,
    encoding: Option<Arc<dyn RegionEncoding>>,
    form: Arc<dyn PromptForm>,
}

impl GarModel {
    /// Reads the configuration of a checkpoint directory in the released Hugging Face layout.
    ///
    /// # Errors
    /// A `config.json` that is missing or does not hold together.
    pub fn open(directory: impl AsRef<Path>) -> Result<GarBuilder> {
        let directory = directory.as_ref().to_path_buf();
        Ok(GarBuilder {
            config: GarConfig::read(&directory)?,
            directory,
            kernels: Kernels::cpu(),
            progress: Arc::new(NoProgress),
            tower: None,
            decoder: None,
            encoding: None,
            form: Arc::new(PlainForm),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &GarConfig {
        &self.parts.config
    }

    /// The operations it computes with.
    pub fn kernels(&self) -> &Kernels {
        &self.parts.kernels
    }

    /// The same weights, computed with another table of operations of the same device: a tape, a checker.
    #[must_use]
    pub fn with_kernels(&self, kernels: Kernels) -> Self {
        let parts = Parts { kernels, ..Parts::clone(&self.parts) };
        Self { parts: Arc::new(parts) }
    }

    /// The same architecture and text side with other weights, named as in a checkpoint. A tower or a decoder that was
    /// put in by the builder gives way to the checkpoint's own; a region encoding stays, with other weights where it has any.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or not finite.
    pub fn with_weights(&self, weights: &Weights) -> Result<Self> {
        let Parts { kernels: k, config, encoding, .. } = self.parts.as_ref();
        let TowerSpec { width, patch_size, .. } = config.tower.spec;
        let parts = Parts {
            mask_encoder: MaskEncoder::load(weights, k, width, patch_size)?,
            tower: load_tower(weights, k, config)?,
            projector: load_projector(weights, k, config)?,
            decoder: Arc::new(Llama::load(weights, &LlamaNames::gar(), config.llama()?, k, &NoProgress)?),
            encoding: encoding.with_weights(k, weights)?.unwrap_or_else(|| Arc::clone(encoding)),
            ..Parts::clone(&self.parts)
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.parts.prompting.tokenizer
    }

    /// How many tokens stand for a region in the prompt.
    pub fn tokens_per_region(&self) -> usize {
        self.parts.encoding.tokens(self.parts.projector.grid())
    }

    /// The token that is repeated in a region's place; `None` for a slot that the checkpoint does not have.
    pub fn crop_token(&self, slot: usize) -> Option<String> {
        let id = *self.parts.config.crop_tokens.get(slot)?;
        self.tokenizer().token_of(id).ok()
    }

    /// The decoder.
    pub fn decoder(&self) -> &dyn Decoder {
        self.parts.decoder.as_ref()
    }

    /// Encodes a picture with its regions once, to be asked many times.
    ///
    /// # Errors
    /// Masks of another size than the picture, slots that the checkpoint does not have, no regions where the picture itself
    /// is not shown ([`RegionEncoding::shows_picture`]), what an operation refuses.
    pub fn scene(&self, image: &Image, regions: &RegionSet) -> Result<Scene> {
        self.scene_with(image, regions, None)
    }

    /// As [`scene`](Self::scene), with another bound on the tiles of the grid.
    ///
    /// # Errors
    /// As [`scene`](Self::scene).
    pub fn scene_with(&self, image: &Image, regions: &RegionSet, max_tiles: Option<usize>) -> Result<Scene> {
        let parts = &self.parts;
        regions.check_image(image.width(), image.height())?;
        let started = Instant::now();
        let eyes = Eyes::new(parts, image, regions, max_tiles);
        let mut scene = self.scene_of(&eyes)?;
        // Devices work behind the caller's back; time is told when the work is done.
        parts.kernels.device.synchronize()?;
        let preprocess = eyes.tiling();
        let vision = started.elapsed() - preprocess;
        scene.timings = Timings { preprocess, vision, ..Timings::default() };
        Ok(scene)
    }

    /// The scene that the model's eyes look at.
    pub(crate) fn scene_of(&self, eyes: &Eyes<'_>) -> Result<Scene> {
        let Parts { kernels, encoding, .. } = self.parts.as_ref();
        let regions = eyes.regions;
        let picture = match encoding.shows_picture() {
            true => Some(eyes.picture()?.tokens.clone()),
            false if regions.is_empty() => {
                return Err(
                    gar_prompt::Error::NoRegions { what: "a prompt that does not show the whole picture" }.into()
                );
            }
            false => None,
        };
        let shown = match regions.is_empty() {
            true => Vec::new(),
            false => encoding.encode(&View { kernels, image: eyes.image, regions, eye: eyes })?,
        };
        Ok(Scene::new(self.clone(), regions.slots(), eyes.grid(), picture, shown))
    }
}

impl GarBuilder {
    /// Computes with another table of operations.
    #[must_use]
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Reports progress of loading and of encoding pictures.
    #[must_use]
    pub fn with_progress(self, progress: Arc<dyn Progress>) -> Self {
        Self { progress, ..self }
    }

    /// Samples other boxes than the checkpoint asks for.
    #[must_use]
    pub fn with_replay_boxes(mut self, boxes: ReplayBoxes) -> Self {
        self.config.replay_boxes = boxes;
        self
    }

    /// Sees with another tower; it must give the patches and the width that the configuration states.
    #[must_use]
    pub fn with_tower(self, tower: Arc<dyn VisionTower>) -> Self {
        Self { tower: Some(tower), ..self }
    }

    /// Speaks with another decoder; it must have the width that the configuration states.
    #[must_use]
    pub fn with_decoder(self, decoder: Arc<dyn Decoder>) -> Self {
        Self { decoder: Some(decoder), ..self }
    }

    /// Shows regions to the decoder in another way than the configuration says.
    #[must_use]
    pub fn with_region_encoding(self, encoding: Arc<dyn RegionEncoding>) -> Self {
        Self { encoding: Some(encoding), ..self }
    }

    /// Puts prompts in another form; see [`PromptForm`].
    #[must_use]
    pub fn with_prompt_form(self, form: Arc<dyn PromptForm>) -> Self {
        Self { form, ..self }
    }

    /// The configuration as it was read.
    pub fn config(&self) -> &GarConfig {
        &self.config
    }

    /// Reads weights, tokenizer and templates.
    ///
    /// # Errors
    /// A file that is missing or does not hold, a tensor that is missing, misshapen or not finite, a tokenizer without
    /// the tokens that prompts need, parts that do not fit together.
    pub fn load(self) -> Result<GarModel> {
        let Self { directory, config, kernels, progress, tower, decoder, encoding, form } = self;
        let processor = ImageProcessor::open(directory.join("preprocessor_config.json"))?;
        let spec = config.tower.spec;
        if processor.tile_size != spec.tile_size {
            let expected = format!("{}, the tower's `img_size`", spec.tile_size);
            return Err(Error::Config {
                path: directory.join("preprocessor_config.json"),
                field: "tile_size".into(),
                expected,
                found: processor.tile_size.to_string(),
            });
        }
        let tokenizer = Tokenizer::open(&directory)?;
        let template = ChatTemplate::open(&directory, &tokenizer)?
            .ok_or_else(|| gar_llm::Error::NoChatTemplate { dir: directory.clone() })?;
        let prompting = Arc::new(Prompting::new(tokenizer, template, &config, Arc::clone(&form))?);
        let weights = Weights::open(&directory)?.converted_to(kernels.device.weight_type());
        let mask_encoder = MaskEncoder::load(&weights, &kernels, spec.width, spec.patch_size)?;
        progress.start("loading the tower", 1);
        let tower = match tower {
            Some(tower) => tower,
            None => load_tower(&weights, &kernels, &config)?,
        };
        let projector = load_projector(&weights, &kernels, &config)?;
        progress.advance(1);
        progress.finish();
        let text = config.llama()?;
        let stop_tokens = stop_tokens(&directory, &text.eos_token_ids)?;
        let decoder = match decoder {
            Some(decoder) => decoder,
            None => Arc::new(Llama::load(&weights, &LlamaNames::gar(), text, &kernels, progress.as_ref())?),
        };
        if decoder.width() != config.decoder_width {
            return Err(Error::Config {
                path: config.path,
                field: "mllm_config.text_config.hidden_size".into(),
                expected: format!("{}, the decoder's width", decoder.width()),
                found: config.decoder_width.to_string(),
            });
        }
        let encoding = match encoding {
            Some(encoding) => encoding,
            None => EncodingKind::load(&config, &kernels, &weights)?,
        };
        let parts = Parts {
            kernels,
            config,
            processor,
            mask_encoder,
            tower,
            projector,
            encoding,
            form,
            prompting,
            decoder,
            stop_tokens,
            progress,
        };
        Ok(GarModel { parts: Arc::new(parts) })
    }
}

fn load_tower(weights: &Weights, kernels: &Kernels, config: &GarConfig) -> Result<Arc<dyn VisionTower>> {
    let scope = weights.scope("mllm.model.vision_tower.timm_model");
    Ok(Arc::new(PerceptionEncoder::load(kernels, config.tower.clone(), &scope)?))
}

fn load_projector(weights: &Weights, kernels: &Kernels, config: &GarConfig) -> Result<Projector> {
    let scope = weights.scope("mllm.model.multi_modal_projector");
    Ok(Projector::load(kernels, config.tower.spec, config.decoder_width, config.pooling, &scope)?)
}
