use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with a region prompt. Sizes are width × height in pixels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mask claims more pixels than [`MAX_PIXELS`](crate::MAX_PIXELS).
    #[error("mask: expected at most {limit} pixels, found {width}×{height}")]
    TooLarge {
        /// Claimed width.
        width: usize,
        /// Claimed height.
        height: usize,
        /// The most pixels a mask may have.
        limit: usize,
    },
    /// A region without a single pixel.
    #[error("region {slot}: expected at least one set pixel, found none in {width}×{height}")]
    EmptyMask {
        /// Prompt slot of the region.
        slot: usize,
        /// Mask width.
        width: usize,
        /// Mask height.
        height: usize,
    },
    /// The box of a mask without a single pixel was asked for.
    #[error("mask box: expected at least one set pixel, found none in {width}×{height}")]
    NoBox {
        /// Mask width.
        width: usize,
        /// Mask height.
        height: usize,
    },
    /// A run-length string holds a byte that is not one of its 64 characters (`0` to `o`).
    #[error("RLE: expected a character from '0' to 'o' at byte {at}, found {found:#04x}")]
    RleByte {
        /// Byte offset in the string.
        at: usize,
        /// The byte there.
        found: u8,
    },
    /// A run-length string ends inside a number.
    #[error("RLE: expected a further character in run {run}, found the end of the string")]
    RleTruncated {
        /// Index of the unfinished run.
        run: usize,
    },
    /// A run length is negative or does not fit 32 bits.
    #[error("RLE: expected run {run} between 0 and {}, found {found}", u32::MAX)]
    RleRun {
        /// Index of the run.
        run: usize,
        /// Its value, or what could be read of it.
        found: i64,
    },
    /// The runs do not add up to the mask's pixels.
    #[error("RLE: expected runs that add up to {width}×{height} = {expected} pixels, found {found}")]
    RleLength {
        /// Mask width.
        width: usize,
        /// Mask height.
        height: usize,
        /// Pixels of the mask.
        expected: u64,
        /// Sum of the runs; where they run past the size, the sum up to the first run that does.
        found: u64,
    },
    /// Text that is not a COCO run-length object.
    #[error("RLE: expected {{\"size\": [height, width], \"counts\": string or list}}: {source}")]
    RleJson {
        /// What the JSON reader found.
        source: serde_json::Error,
    },
    /// A polygon with an odd number of coordinates, or with fewer than three points.
    #[error("polygon {index}: expected an even number of coordinates, at least 6, found {found}")]
    PolygonLength {
        /// Index of the polygon in its list.
        index: usize,
        /// Number of coordinates.
        found: usize,
    },
    /// A coordinate that is not a number or is too far away.
    #[error("{what}: expected coordinate {at} to be a number within ±{limit}, found {found}")]
    Coordinate {
        /// What the coordinate belongs to, such as `polygon 2`.
        what: String,
        /// Index of the coordinate, x and y counted separately.
        at: usize,
        /// Its value.
        found: f64,
        /// The greatest magnitude accepted.
        limit: f64,
    },
    /// A box whose right or bottom edge is not beyond its left or top edge.
    #[error("box: expected x1 < x2 and y1 < y2, found {found:?}")]
    BoxOrder {
        /// The box, x1, y1, x2, y2.
        found: [f64; 4],
    },
    /// A scribble without points.
    #[error("scribble: expected at least one point, found none")]
    NoPoints,
    /// A scribble's width that is not a positive number.
    #[error("scribble: expected a width above 0 and at most {limit} pixels, found {found}")]
    ScribbleWidth {
        /// The width.
        found: f64,
        /// The greatest width accepted.
        limit: f64,
    },
    /// A file that cannot be read.
    #[error("mask picture {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A picture in a file is refused.
    #[error("mask picture {}: {source}", path.display())]
    PictureFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Error>,
    },
    /// Bytes that are not a whole picture of a known format.
    #[error("mask picture: expected a complete picture: {source}")]
    Picture {
        /// What the decoder found.
        source: image::ImageError,
    },
    /// A JPEG whose data stop before its end marker.
    #[error("mask picture: expected a JPEG end marker after the first scan, found the end of the data ({bytes} bytes)")]
    JpegTruncated {
        /// Bytes there are.
        bytes: usize,
    },
    /// A picture of a kind that has no mask reading.
    #[error("mask picture: expected 8 or 16 bit samples, found {found}")]
    PictureSamples {
        /// The sample type found.
        found: String,
    },
    /// A mask of another size than the regions before it, or than the image.
    #[error("region {slot}: expected a mask of {}×{}, found {}×{}", expected.0, expected.1, found.0, found.1)]
    MaskSize {
        /// Prompt slot of the region.
        slot: usize,
        /// Width and height expected.
        expected: (usize, usize),
        /// Width and height found.
        found: (usize, usize),
    },
    /// Two regions in one slot.
    #[error("region {slot}: expected a free slot, found it taken (slots: {taken:?})")]
    SlotTaken {
        /// The slot.
        slot: usize,
        /// The slots in use.
        taken: Vec<usize>,
    },
    /// More regions than the model has prompt slots.
    #[error("regions: expected at most {slots}, the model's prompt slots, found {found}")]
    TooManyRegions {
        /// Prompt slots of the model.
        slots: usize,
        /// Number of regions.
        found: usize,
    },
    /// A slot the model does not have.
    #[error("region {slot}: expected a slot below {slots}, the model's prompt slots")]
    SlotOutOfRange {
        /// The slot.
        slot: usize,
        /// Prompt slots of the model.
        slots: usize,
    },
    /// More prompt slots than a label map can tell apart.
    #[error("label map: expected at most {} prompt slots, found {found}", u8::MAX)]
    TooManySlots {
        /// Prompt slots asked for.
        found: usize,
    },
    /// Something that needs a region was asked of an empty set.
    #[error("{what}: expected at least one region, found none")]
    NoRegions {
        /// What was asked.
        what: &'static str,
    },
    /// A question names a region that is not there.
    #[error("question: expected only the regions of slots {slots:?}, found {name}")]
    UnknownPrompt {
        /// The name in the question, such as `<Prompt3>`.
        name: String,
        /// The slots there are.
        slots: Vec<usize>,
    },
    /// A placeholder token stands another number of times in the sequence than it should, or not in one piece.
    #[error(
        "token layout: expected {what} (token {token}) {expected} times in one run, \
         found {found} in {runs} run(s)"
    )]
    TokenRun {
        /// `image`, or the region's name.
        what: String,
        /// Token id.
        token: u32,
        /// Copies expected.
        expected: usize,
        /// Copies found.
        found: usize,
        /// Contiguous runs they stand in.
        runs: usize,
    },
    /// Two placeholders share one token id, so that their runs cannot be told apart.
    #[error("token layout: expected different tokens for {first} and {second}, found {token} for both")]
    SharedToken {
        /// First owner.
        first: String,
        /// Second owner.
        second: String,
        /// The token id.
        token: u32,
    },
    /// Label tiles that do not divide into patches.
    #[error("mask encoder: expected label tiles [T, S, S] with S a multiple of {patch}, found {found:?}")]
    Tiles {
        /// Side of a patch.
        patch: usize,
        /// Tiles, height, width.
        found: (usize, usize, usize),
    },
    /// A tensor operation or a checkpoint refuses.
    #[error(transparent)]
    Kernel(#[from] gar_kernels::Error),
}
