//! How a loaded model looks at pictures: tiles, masks, tower, projector.
use std::{
    cell::{Cell, OnceCell},
    time::{Duration, Instant},
};

use gar_kernels::Tensor;
use gar_prompt::RegionSet;
use gar_vision::{Image, TileGrid};
use ndarray::{Array3, Array4, Axis};

use crate::{Eye, ImageFeatures, Result, parts::Parts};

/// A model that looks at one picture with its regions.
pub(crate) struct Eyes<'a> {
    parts: &'a Parts,
    pub(crate) image: &'a Image,
    pub(crate) regions: &'a RegionSet,
    max_tiles: Option<usize>,
    picture: OnceCell<ImageFeatures>,
    tiling: Cell<Duration>,
}

impl<'a> Eyes<'a> {
    pub(crate) fn new(parts: &'a Parts, image: &'a Image, regions: &'a RegionSet, max_tiles: Option<usize>) -> Self {
        Self { parts, image, regions, max_tiles, picture: OnceCell::new(), tiling: Cell::default() }
    }

    /// As if the picture had been looked at already.
    pub(crate) fn having_seen(self, features: ImageFeatures) -> Self {
        Self { picture: OnceCell::from(features), ..self }
    }

    /// How long tiling has taken so far.
    pub(crate) fn tiling(&self) -> Duration {
        self.tiling.get()
    }

    /// The picture's grid; one tile where it has not been looked at.
    pub(crate) fn grid(&self) -> TileGrid {
        self.picture.get().map_or(TileGrid { columns: 1, rows: 1 }, |features| features.grid)
    }

    /// Tiles, and counts the time.
    fn tiled<T>(&self, tile: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let tiled = tile();
        self.tiling.set(self.tiling.get() + started.elapsed());
        tiled
    }
}

impl Eye for Eyes<'_> {
    fn picture(&self) -> Result<&ImageFeatures> {
        if let Some(features) = self.picture.get() {
            return Ok(features);
        }
        let (tiled, labels) = self.tiled(|| self.parts.tiles(self.image, self.regions, self.max_tiles))?;
        let looked = self.parts.look("picture", tiled.pixels, labels)?;
        let features = self.parts.features(&looked, tiled.grid)?;
        Ok(self.picture.get_or_init(|| features))
    }

    fn tiles(&self, pictures: &[(Image, RegionSet)]) -> Result<Tensor> {
        let (pixels, labels) = self.tiled(|| {
            let side = self.parts.config.tower.spec.tile_size;
            let mut pixels = Array4::zeros((pictures.len(), 3, side, side));
            let mut labels = Array3::zeros((pictures.len(), side, side));
            for (i, (image, regions)) in pictures.iter().enumerate() {
                regions.check_image(image.width(), image.height())?;
                // The first tile is the thumbnail, which a grid of one tile repeats.
                let (tiled, labelled) = self.parts.tiles(image, regions, Some(1))?;
                pixels.index_axis_mut(Axis(0), i).assign(&tiled.pixels.index_axis(Axis(0), 0));
                labels.index_axis_mut(Axis(0), i).assign(&labelled.index_axis(Axis(0), 0));
            }
            Ok((pixels, labels))
        })?;
        self.parts.look("regions", pixels, labels)?.tokens(&self.parts.kernels)
    }
}
