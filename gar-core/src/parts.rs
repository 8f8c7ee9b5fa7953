//! What a loaded model is made of, and what its parts do together.
use std::sync::Arc;

use gar_kernels::{Kernels, Progress, Tensor};
use gar_llm::Decoder;
use gar_prompt::{MaskEncoder, RegionSet};
use gar_vision::{Image, ImageProcessor, Projector, TileGrid, TiledImage, Tiles, VisionTower};
use ndarray::{Array3, Array4};

use crate::{
    GarConfig, ImageFeatures, PromptForm, RegionEncoding, Result,
    looked::{DistinctTiles, Looked},
    prompting::{FeatureCounts, Prompting},
};

/// What a model is made of; cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) kernels: Kernels,
    pub(crate) config: GarConfig,
    pub(crate) processor: ImageProcessor,
    pub(crate) mask_encoder: MaskEncoder,
    pub(crate) tower: Arc<dyn VisionTower>,
    pub(crate) projector: Projector,
    pub(crate) encoding: Arc<dyn RegionEncoding>,
    pub(crate) form: Arc<dyn PromptForm>,
    pub(crate) prompting: Arc<Prompting>,
    pub(crate) decoder: Arc<dyn Decoder>,
    pub(crate) stop_tokens: Vec<u32>,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Parts {
    /// The picture's tiles and the label map's, [T, S, S].
    pub(crate) fn tiles(
        &self,
        image: &Image,
        regions: &RegionSet,
        max_tiles: Option<usize>,
    ) -> Result<(TiledImage, Array3<u8>)> {
        let processor = self.processor.clone().with_max_tiles(max_tiles.unwrap_or(self.processor.max_num_tiles));
        let tiled = processor.process(image)?;
        let labels = match regions.is_empty() {
            true => {
                Array3::from_elem((tiled.pixels.shape()[0], processor.tile_size, processor.tile_size), self.no_prompt())
            }
            false => {
                let map = self.form.label_map(regions, self.config.prompt_slots)?;
                processor.process_labels(map.view(), self.no_prompt(), &tiled.grid)?
            }
        };
        Ok((tiled, labels))
    }

    /// The label of pixels that no region covers.
    pub(crate) fn no_prompt(&self) -> u8 {
        // The configuration was refused unless its slots fit.
        u8::try_from(self.config.prompt_slots).unwrap_or(u8::MAX)
    }

    /// What the decoder reads of a picture with this grid.
    pub(crate) fn features(&self, looked: &Looked, grid: TileGrid) -> Result<ImageFeatures> {
        Ok(ImageFeatures { tokens: looked.tokens(&self.kernels)?, grid, side: self.projector.grid() })
    }

    /// Tiles [T, 3, S, S], as the processor cuts them, and their labels [T, S, S], through the mask encoder, the tower and the
    /// projector. `what` is for the progress, which counts the tiles that differ.
    pub(crate) fn look(&self, what: &'static str, pixels: Array4<u8>, labels: Array3<u8>) -> Result<Looked> {
        let k = &self.kernels;
        let distinct = DistinctTiles::of(&pixels, &labels);
        let count = distinct.count() as u64;
        self.progress.start(what, count);
        let prompt = self.mask_encoder.encode(k, distinct.select(labels).view(), self.no_prompt())?;
        let tiles = Tiles::upload(k, distinct.select(pixels), &self.processor.levels())?;
        let vision = self.tower.encode(k, &tiles, Some(&prompt))?;
        let tokens = self.projector.project(k, &vision)?;
        self.progress.advance(count);
        self.progress.finish();
        Ok(Looked { tiles: distinct, vision, tokens })
    }

    /// How many tokens stand for the features [T, n, D] of a picture, if it is shown, and for a region.
    pub(crate) fn counts(&self, picture: Option<&Tensor>) -> FeatureCounts {
        let image = picture.map_or(0, |features| features.as_rows().0);
        FeatureCounts { image, region: self.encoding.tokens(self.projector.grid()) }
    }
}
