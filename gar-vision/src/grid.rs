//! AnyRes: into how many tiles a picture is cut.

use crate::{Error, Result};

/// The grid of tiles that covers a picture, besides the thumbnail.
///
/// ```
/// use gar_vision::TileGrid;
/// # fn main() -> gar_vision::Result<()> {
/// let grid = TileGrid::choose(2048, 1365, 448, 16)?;
/// assert_eq!((grid.columns, grid.rows), (3, 2));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileGrid {
    /// Tiles side by side.
    pub columns: usize,
    /// Tiles one below the other.
    pub rows: usize,
}

impl TileGrid {
    /// Most tiles that a grid may have: far above what a model is trained with (16), and a bound on memory.
    pub const MAX_TILES: usize = 1024;

    /// Number of tiles of the grid, the thumbnail not counted.
    pub fn tiles(&self) -> usize {
        self.columns * self.rows
    }

    /// Chooses the grid for a picture of `width` × `height` pixels, with tiles of `tile_size` pixels a side and at
    /// most `max_num_tiles` of them.
    ///
    /// Among the grids whose canvas is at least as large as the picture on both sides, it is the one in which the
    /// picture's shorter side would be longest when fitted with its aspect ratio kept; a tie goes to the grid listed
    /// later. When no canvas is large enough, it is the grid of the closest aspect ratio, on the side of the square,
    /// with the most tiles. The picture is then *stretched* to the canvas.
    ///
    /// # Errors
    /// [`Error::EmptyImage`] where a side is zero; [`Error::Unsupported`] where `tile_size` is zero or
    /// `max_num_tiles` is not in 1…[`TileGrid::MAX_TILES`].
    pub fn choose(width: usize, height: usize, tile_size: usize, max_num_tiles: usize) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(Error::EmptyImage { width, height });
        }
        if tile_size == 0 {
            return Err(unsupported("tile_size", tile_size, "at least 1".into()));
        }
        if max_num_tiles == 0 || max_num_tiles > Self::MAX_TILES {
            return Err(unsupported("max_num_tiles", max_num_tiles, format!("1 to {}", Self::MAX_TILES)));
        }
        let by_ratio = grids_by_ratio(max_num_tiles);
        let (width, height) = (width as f64, height as f64);
        Ok(largest_fit(&by_ratio, width, height, tile_size).unwrap_or_else(|| closest_ratio(&by_ratio, width / height)))
    }

    fn ratio(&self) -> f64 {
        self.columns as f64 / self.rows as f64
    }

    /// Checks a grid that was built by hand.
    pub(crate) fn check(&self) -> Result<()> {
        match self.columns.checked_mul(self.rows) {
            Some(1..=Self::MAX_TILES) => Ok(()),
            _ => Err(Error::Grid { columns: self.columns, rows: self.rows, limit: Self::MAX_TILES }),
        }
    }
}

/// All grids of at most `max_num_tiles` tiles: from many tiles to few and from tall to wide, but grouped by aspect
/// ratio in the order in which the ratios appear. The order decides ties.
fn grids_by_ratio(max_num_tiles: usize) -> Vec<Vec<TileGrid>> {
    let mut groups: Vec<Vec<TileGrid>> = Vec::new();
    for tiles in (1..=max_num_tiles).rev() {
        for columns in (1..=tiles).filter(|c| tiles % c == 0) {
            let grid = TileGrid { columns, rows: tiles / columns };
            match groups.iter_mut().find(|group| group[0].ratio() == grid.ratio()) {
                Some(group) => group.push(grid),
                None => groups.push(vec![grid]),
            }
        }
    }
    groups
}

/// The grid that holds the picture without shrinking it and leaves its shorter side longest, if any holds it.
fn largest_fit(groups: &[Vec<TileGrid>], width: f64, height: f64, tile_size: usize) -> Option<TileGrid> {
    let mut best: Option<(TileGrid, f64)> = None;
    for &grid in groups.iter().flatten() {
        let canvas = [grid.columns as f64 * tile_size as f64, grid.rows as f64 * tile_size as f64];
        if canvas[0] < width || canvas[1] < height {
            continue;
        }
        let side = shorter_side(width, height, canvas);
        if best.is_none_or(|(_, longest)| side >= longest) {
            best = Some((grid, side));
        }
    }
    best.map(|(grid, _)| grid)
}

/// The picture's shorter side, in pixels, once fitted to `canvas`: its width if it is upright, else its height. It is
/// derived from the longer side and floored, which is not always the scaled shorter side.
fn shorter_side(width: f64, height: f64, canvas: [f64; 2]) -> f64 {
    let ratio = width / height;
    let scale = (canvas[0] / width).min(canvas[1] / height);
    if ratio > 1.0 {
        (scale * width / ratio).floor()
    } else if ratio == 1.0 {
        scale * height
    } else {
        (scale * height * ratio).floor()
    }
}

/// The largest grid of the closest aspect ratio: not above the picture's when it is lying, above it when upright.
fn closest_ratio(groups: &[Vec<TileGrid>], ratio: f64) -> TileGrid {
    let lying = ratio >= 1.0;
    let distance = |r: f64| if lying { (r - ratio).abs() } else { (1.0 / r - 1.0 / ratio).abs() };
    let mut best = (&groups[0], f64::INFINITY);
    for group in groups {
        let r = group[0].ratio();
        if (if lying { r <= ratio } else { r > ratio }) && distance(r) < best.1 {
            best = (group, distance(r));
        }
    }
    // Grids of one ratio are listed from large to small.
    best.0[0]
}

fn unsupported(key: &str, found: usize, expected: String) -> Error {
    Error::Unsupported { key: key.into(), found: found.to_string(), expected }
}
