//! What can go wrong on the image side.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names what was wrong, where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something about one file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<Error>,
    },
    /// The file could not be read.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// The encoded picture is larger than the limit.
    #[error("picture file of {bytes} bytes, expected at most {limit}")]
    FileTooLarge {
        /// Size found.
        bytes: u64,
        /// [`DecodeLimits::max_bytes`](crate::DecodeLimits::max_bytes).
        limit: u64,
    },
    /// The header promises more pixels than the limit.
    #[error("picture of {width}×{height} pixels, expected at most {limit} pixels")]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`DecodeLimits::max_pixels`](crate::DecodeLimits::max_pixels).
        limit: u64,
    },
    /// The file ends early.
    #[error("{format} file of {bytes} bytes ends before {missing}")]
    Truncated {
        /// Format of the picture.
        format: &'static str,
        /// Bytes found.
        bytes: usize,
        /// What should have followed.
        missing: &'static str,
    },
    /// A JPEG file contradicts itself.
    #[error("JPEG {what}: expected {expected}, found {found}")]
    BadJpeg {
        /// Part of the file.
        what: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The picture could not be decoded.
    #[error("cannot decode picture: {0}")]
    Decode(#[from] image::ImageError),
    /// A picture or label map without a pixel.
    #[error("picture of {width}×{height} pixels, expected at least 1×1")]
    EmptyImage {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A pixel array of the wrong shape.
    #[error("pixels of shape {found:?}, expected [height, width, channels] = {expected:?}")]
    PixelBuffer {
        /// Shape expected.
        expected: [usize; 3],
        /// Shape found.
        found: Vec<usize>,
    },
    /// A tensor of a checkpoint or an operation refused.
    #[error(transparent)]
    Kernels(#[from] gar_kernels::Error),
    /// A tile grid that no picture has.
    #[error("tile grid of {columns}×{rows} tiles, expected at least 1×1 and at most {limit} tiles")]
    Grid {
        /// Tiles in a row.
        columns: usize,
        /// Rows of tiles.
        rows: usize,
        /// Most tiles of a grid.
        limit: usize,
    },
    /// A configuration that is not JSON of the expected form.
    #[error("{what}: {source}")]
    Json {
        /// The configuration read.
        what: &'static str,
        /// The parser's message.
        source: serde_json::Error,
    },
    /// A configuration value that this crate cannot honour.
    #[error("{key} = {found}, expected {expected}")]
    Unsupported {
        /// Full name of the key.
        key: String,
        /// The value found.
        found: String,
        /// What would be supported.
        expected: String,
    },
}
