//! From a picture to the tower's input: resize, cut into tiles, say what their bytes stand for.

use std::path::Path;

use gar_kernels::Kernels;
use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde::Deserialize;

use crate::{Error, Image, Result, TileGrid, Tiles, resize};

/// A picture as the tower takes it: bytes, and what they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct TiledImage {
    /// The grid of the tiles after the thumbnail.
    pub grid: TileGrid,
    /// Tiles [T, 3, S, S] before normalisation, T = 1 + columns · rows: the thumbnail, then the grid row by row. Of
    /// [`VisionInput::Vanilla`] the one tile, T = 1.
    pub pixels: Array4<u8>,
    /// [3, 256]: the normalised value of each byte of a channel.
    pub levels: Array2<f32>,
}

impl TiledImage {
    /// The thumbnail [3, S, S], which is the first tile.
    pub fn thumb(&self) -> ArrayView3<'_, u8> {
        self.pixels.index_axis(Axis(0), 0)
    }

    /// The normalised tiles [T, 3, S, S].
    pub fn normalized(&self) -> Array4<f32> {
        let mut values = Array4::zeros(self.pixels.dim());
        for (mut values, pixels) in values.outer_iter_mut().zip(self.pixels.outer_iter()) {
            for ((mut values, pixels), levels) in
                values.outer_iter_mut().zip(pixels.outer_iter()).zip(self.levels.rows())
            {
                values.zip_mut_with(&pixels, |value, &byte| *value = levels[usize::from(byte)]);
            }
        }
        values
    }

    /// The tiles on the device of `k`, for a [`VisionTower`](crate::VisionTower).
    ///
    /// # Errors
    /// [`Error::Kernels`] where the device refuses.
    pub fn upload(self, k: &Kernels) -> Result<Tiles> {
        Tiles::upload(k, self.pixels, &self.levels)
    }
}

/// What the tower is shown of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VisionInput {
    /// AnyRes: a thumbnail and a grid of tiles (`"thumb+tile"`).
    #[default]
    ThumbTile,
    /// The picture resized to one tile (`"vanilla"`), as frames of a video are shown. The tile is both the global view and
    /// the map that regions are replayed from; the grid is 1 × 1.
    Vanilla,
}

/// Cuts pictures and label maps into tiles.
///
/// Fields are what `preprocessor_config.json` states; [`Default`] holds the values of the reference.
///
/// ```
/// # fn main() -> gar_vision::Result<()> {
/// use gar_vision::{Image, ImageProcessor};
/// use ndarray::Array3;
///
/// let processor = ImageProcessor::from_json(br#"{"tile_size": 28, "max_num_tiles": 4}"#)?;
/// let tiled = processor.process(&Image::from_rgb(Array3::zeros((20, 50, 3)))?)?;
/// assert_eq!((tiled.grid.columns, tiled.grid.rows), (3, 1));
/// assert_eq!(tiled.pixels.shape(), [4, 3, 28, 28]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    /// Side S of a tile in pixels.
    pub tile_size: usize,
    /// Most tiles of the grid, the thumbnail not counted.
    pub max_num_tiles: usize,
    /// Whether pictures are cut into tiles at all.
    pub input: VisionInput,
    /// Factor from bytes to the unit of `mean` and `std`; none leaves them at 0…255.
    pub rescale: Option<f64>,
    /// Mean and standard deviation per channel; none leaves values as rescaled.
    pub normalize: Option<Normalization>,
}

/// Per-channel normalisation, (x − mean) / std.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Mean of the red, green and blue channel.
    pub mean: [f32; 3],
    /// Standard deviation of the red, green and blue channel.
    pub std: [f32; 3],
}

impl Default for ImageProcessor {
    /// AnyRes with 448-pixel tiles, at most 36 of them, bytes to −1…1.
    fn default() -> Self {
        let normalize = Some(Normalization { mean: [0.5; 3], std: [0.5; 3] });
        let input = VisionInput::ThumbTile;
        Self { tile_size: 448, max_num_tiles: 36, input, rescale: Some(1.0 / 255.0), normalize }
    }
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`Error::InFile`] with the path and the cause, which is [`Error::Io`] or an error of [`ImageProcessor::from_json`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = || Self::from_json(&std::fs::read(path)?);
        read().map_err(|source| Error::InFile { path: path.into(), source: Box::new(source) })
    }

    /// Parses the text of `preprocessor_config.json`. Absent keys keep their defaults.
    ///
    /// # Errors
    /// [`Error::Json`] where the text is not of the expected form, [`Error::Unsupported`] for a value that asks for
    /// another computation than this one.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let config: Config = serde_json::from_slice(text)
            .map_err(|source| Error::Json { what: "preprocessor configuration", source })?;
        let default = Self::default();
        let only = |key: &str, found: String, expected: &str| Err(unsupported(key, found, expected));
        let input = match config.vision_input_type.as_deref() {
            None | Some("thumb+tile") => VisionInput::ThumbTile,
            Some("vanilla") => VisionInput::Vanilla,
            Some(kind) => return only("vision_input_type", format!("{kind:?}"), "\"thumb+tile\" or \"vanilla\""),
        };
        if let Some(filter) = config.resample.filter(|&filter| filter != 3) {
            return only("resample", filter.to_string(), "3 (bicubic)");
        }
        if config.do_resize == Some(false) {
            return only("do_resize", "false".into(), "true");
        }
        let [mean, std] = [config.image_mean, config.image_std].map(|v| v.map_or([0.5; 3], PerChannel::each));
        let processor = Self {
            tile_size: config.tile_size.unwrap_or(default.tile_size),
            max_num_tiles: config.max_num_tiles.unwrap_or(default.max_num_tiles),
            input,
            rescale: config.do_rescale.unwrap_or(true).then_some(config.rescale_factor.unwrap_or(1.0 / 255.0)),
            normalize: config.do_normalize.unwrap_or(true).then_some(Normalization { mean, std }),
        };
        processor.check()?;
        Ok(processor)
    }

    /// The same processor with another bound on the tiles of the grid.
    #[must_use]
    pub fn with_max_tiles(self, max_num_tiles: usize) -> Self {
        Self { max_num_tiles, ..self }
    }

    /// Resizes and cuts a picture, and tells what its bytes stand for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a field of the processor has no meaning (a tile size of zero, say).
    pub fn process(&self, image: &Image) -> Result<TiledImage> {
        self.check()?;
        let size = self.tile_size;
        let grid = match self.input {
            VisionInput::ThumbTile => TileGrid::choose(image.width(), image.height(), size, self.max_num_tiles)?,
            VisionInput::Vanilla => TileGrid { columns: 1, rows: 1 },
        };
        let thumb = resize::bicubic(image.pixels(), size, size)?;
        let canvas = match grid.tiles() {
            1 => thumb.view().into(),
            _ => resize::bicubic_or_same(image.pixels(), grid.rows * size, grid.columns * size)?,
        };
        let count = self.count(&grid);
        let mut pixels = vec![0; count * 3 * size * size];
        let lines = Lines::new(thumb.view(), canvas.view(), &grid, size);
        pixels.par_chunks_exact_mut(size).enumerate().for_each(|(i, row)| {
            let (tile, channel, y) = (i / size / 3, i / size % 3, i % size);
            row.iter_mut().zip(lines.of(tile, y).chunks_exact(3)).for_each(|(o, p)| *o = p[channel]);
        });
        let shape = [count, 3, size, size];
        let pixels = Array4::from_shape_vec(shape, pixels)
            .map_err(|_| Error::PixelBuffer { expected: [size, size, 3], found: shape.to_vec() })?;
        Ok(TiledImage { grid, pixels, levels: self.levels() })
    }

    /// Cuts a label map [H, W] as [`ImageProcessor::process`] cuts the picture: [T, S, S].
    ///
    /// A label map holds the index of the region that covers a pixel, or `none`, which is above every index. It is
    /// resized like a picture, bicubically, as the released code does and its weights expect; labels are then rounded, and
    /// those above `none` become `none`. So a region is everywhere where the result is below `none`, which includes a
    /// soft rim around it; labels between two regions, or between one and none, need not be labels of the map.
    ///
    /// # Errors
    /// [`Error::EmptyImage`] for an empty map, [`Error::Grid`] for an empty grid or one beyond
    /// [`TileGrid::MAX_TILES`], [`Error::Unsupported`] as in [`ImageProcessor::process`].
    pub fn process_labels(&self, labels: ArrayView2<'_, u8>, none: u8, grid: &TileGrid) -> Result<Array3<u8>> {
        self.check()?;
        grid.check()?;
        let size = self.tile_size;
        let labels = labels.insert_axis(Axis(2));
        let labels = labels.as_standard_layout();
        let thumb = resize::bicubic_or_same(labels.view(), size, size)?;
        let canvas = resize::bicubic_or_same(labels.view(), grid.rows * size, grid.columns * size)?;
        let shape = [self.count(grid), size, size];
        let mut tiles = vec![0; shape.iter().product()];
        let lines = Lines::new(thumb.view(), canvas.view(), grid, size);
        tiles.par_chunks_exact_mut(size).enumerate().for_each(|(i, row)| {
            row.iter_mut().zip(lines.of(i / size, i % size)).for_each(|(o, &label)| *o = label.min(none));
        });
        Array3::from_shape_vec(shape, tiles)
            .map_err(|_| Error::PixelBuffer { expected: [size, size, 1], found: shape.to_vec() })
    }

    /// T, how many tiles a grid stands for.
    fn count(&self, grid: &TileGrid) -> usize {
        match self.input {
            VisionInput::ThumbTile => 1 + grid.tiles(),
            VisionInput::Vanilla => 1,
        }
    }

    /// The normalised value of each byte of a channel, [3, 256]. Rescaling is folded into mean and deviation first, in f32,
    /// as the reference does: (x − 127.5) / 127.5 rounds otherwise than (x / 255 − 0.5) / 0.5.
    pub fn levels(&self) -> Array2<f32> {
        Array2::from_shape_fn((3, 256), |(c, x)| {
            let x = x as f32;
            match (self.normalize, self.rescale) {
                (Some(n), Some(scale)) => {
                    let unit = (1.0 / scale) as f32;
                    (x - n.mean[c] * unit) / (n.std[c] * unit)
                }
                (Some(n), None) => (x - n.mean[c]) / n.std[c],
                (None, Some(scale)) => x * scale as f32,
                (None, None) => x,
            }
        })
    }

    fn check(&self) -> Result<()> {
        // A canvas side is at most `MAX_TILES · tile_size`; 2¹⁴ pixels a tile keep every size below in range.
        if !(1..=1 << 14).contains(&self.tile_size) {
            return Err(unsupported("tile_size", self.tile_size, "1 to 16384"));
        }
        if !(1..=TileGrid::MAX_TILES).contains(&self.max_num_tiles) {
            return Err(unsupported("max_num_tiles", self.max_num_tiles, &format!("1 to {}", TileGrid::MAX_TILES)));
        }
        if let Some(scale) = self.rescale.filter(|s| !s.is_finite() || *s <= 0.0) {
            return Err(unsupported("rescale_factor", scale, "a positive number"));
        }
        if let Some(n) = self.normalize {
            if n.std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
                return Err(unsupported("image_std", format!("{:?}", n.std), "positive numbers"));
            }
            if n.mean.iter().any(|m| !m.is_finite()) {
                return Err(unsupported("image_mean", format!("{:?}", n.mean), "finite numbers"));
            }
        }
        Ok(())
    }
}

/// Where the lines of tiles stand: the thumbnail's and the canvas's, both [rows, columns, channels] without gaps.
struct Lines<'a> {
    thumb: &'a [u8],
    canvas: &'a [u8],
    /// Tiles of the canvas in a row.
    columns: usize,
    size: usize,
    /// Bytes of a line of a tile.
    bytes: usize,
}

impl<'a> Lines<'a> {
    fn new(thumb: ArrayView3<'a, u8>, canvas: ArrayView3<'a, u8>, grid: &TileGrid, size: usize) -> Self {
        let bytes = size * thumb.dim().2;
        let slice = |view: ArrayView3<'a, u8>| view.to_slice().unwrap_or_default();
        Self { thumb: slice(thumb), canvas: slice(canvas), columns: grid.columns, size, bytes }
    }

    /// Line `y` of tile `t`, of which the thumbnail is the first.
    fn of(&self, t: usize, y: usize) -> &'a [u8] {
        match t.checked_sub(1) {
            None => &self.thumb[y * self.bytes..][..self.bytes],
            Some(t) => {
                let line = (t / self.columns * self.size + y) * self.columns + t % self.columns;
                &self.canvas[line * self.bytes..][..self.bytes]
            }
        }
    }
}

fn unsupported(key: &str, found: impl ToString, expected: &str) -> Error {
    Error::Unsupported { key: key.into(), found: found.to_string(), expected: expected.into() }
}

/// The keys of `preprocessor_config.json` that decide the computation. Others name classes or defaults that this path
/// never reads (`size`, which the tile size replaces, among them).
#[derive(Deserialize)]
struct Config {
    vision_input_type: Option<String>,
    tile_size: Option<usize>,
    max_num_tiles: Option<usize>,
    do_resize: Option<bool>,
    resample: Option<u32>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<PerChannel>,
    image_std: Option<PerChannel>,
}

/// One number for all channels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerChannel {
    All(f32),
    Each([f32; 3]),
}

impl PerChannel {
    fn each(self) -> [f32; 3] {
        match self {
            Self::All(v) => [v; 3],
            Self::Each(v) => v,
        }
    }
}
