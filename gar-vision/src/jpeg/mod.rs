//! JPEG decoding that equals libjpeg's, value for value.
//!
//! The model was trained on pictures that libjpeg decoded with its defaults: accurate integer IDCT, smooth chroma
//! upsampling, 16-bit fixed-point colours. Decoders that round elsewhere differ in one value of a hundred, which is more than
//! all the rest of the vision side. Three files: segments (this one), coefficients from bits (`entropy`), pixels from
//! coefficients (`pixels`). The standard is ITU-T T.81.

mod entropy;
mod pixels;

use entropy::{Bits, Huffman, Scan};

use crate::{Error, Result};

/// A decoded picture: width, height and RGB bytes.
pub(crate) type Decoded = (usize, usize, Vec<u8>);

/// One colour plane.
struct Component {
    id: u8,
    /// Sampling factors: blocks of an MCU, across and down.
    across: usize,
    down: usize,
    quantization: usize,
    /// The table of its first scan, in zigzag order.
    latched: Option<[u16; 64]>,
    /// Samples that belong to the picture.
    width: usize,
    height: usize,
    /// Blocks that are stored: whole MCUs.
    columns: usize,
    rows: usize,
    /// [rows, columns, 64], row by row inside a block.
    coefficients: Vec<i16>,
}

struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    mcu_columns: usize,
    mcu_rows: usize,
    components: Vec<Component>,
}

impl Frame {
    /// Largest sampling factors.
    fn sampling(&self) -> (usize, usize) {
        self.components.iter().fold((1, 1), |(a, d), c| (a.max(c.across), d.max(c.down)))
    }
}

/// Decodes a grey or three-component JPEG, sequential or progressive, of 8 bits a sample.
///
/// `None` for another kind of JPEG (CMYK, arithmetic coding, lossless, uneven sampling factors).
///
/// # Errors
/// [`Error::Truncated`] where data end early, [`Error::BadJpeg`] where they contradict themselves.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Decoded>> {
    let mut quantization = [None; 4];
    let mut huffman: [[Option<Huffman>; 4]; 2] = Default::default();
    let mut frame: Option<Frame> = None;
    let (mut restart_interval, mut jfif, mut adobe) = (0, false, None);
    let (mut rest, mut scans) = (bytes, 0);
    loop {
        let marker = next_marker(&mut rest).ok_or_else(|| truncated(bytes))?;
        match marker {
            0xD9 => break,
            // Without a body: start of image, TEM, restarts, stuffing.
            0xD8 | 0x00 | 0x01 | 0xD0..=0xD7 => continue,
            _ => {}
        }
        let body = segment(&mut rest).ok_or_else(|| truncated(bytes))?;
        match marker {
            0xDB => quantization_tables(body, &mut quantization)?,
            0xC4 => huffman_tables(body, &mut huffman)?,
            0xC0..=0xC2 if frame.is_none() => match start_of_frame(body, marker == 0xC2)? {
                Some(read) => frame = Some(read),
                None => return Ok(None),
            },
            0xC0..=0xC2 => return Err(bad("frame", "one", "a second one")),
            0xC3 | 0xC5..=0xCF => return Ok(None),
            0xDD => match body {
                [high, low, ..] => restart_interval = usize::from(u16::from_be_bytes([*high, *low])),
                _ => return Err(bad("restart interval", "two bytes", body.len())),
            },
            0xE0 => jfif |= body.starts_with(b"JFIF\0"),
            0xEE if body.starts_with(b"Adobe") => adobe = body.get(11).copied(),
            0xDA => {
                let frame = frame.as_mut().ok_or_else(|| bad("scan", "a frame before it", "none"))?;
                let scan = Scan::parse(body, frame)?;
                for &(i, ..) in &scan.components {
                    let component = &mut frame.components[i];
                    if component.latched.is_none() {
                        component.latched = quantization[component.quantization];
                    }
                }
                let mut bits = Bits::new(rest);
                scan.decode(frame, &huffman, restart_interval, &mut bits)?;
                rest = bits.remaining();
                scans += 1;
            }
            _ => {}
        }
    }
    match frame {
        Some(frame) if scans > 0 => pixels::reconstruct(frame, jfif, adobe),
        _ => Err(bad("file", "a frame and a scan", format!("{scans} scans"))),
    }
}

/// Checks that every segment is as long as it says and that the picture ends with its marker, for the kinds of JPEG
/// that another decoder reads: it would fill a missing end with grey.
pub(crate) fn check_complete(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    loop {
        match next_marker(&mut rest).ok_or_else(|| truncated(bytes))? {
            0xD9 => return Ok(()),
            0xD8 | 0x00 | 0x01 | 0xD0..=0xD7 => {}
            _ => {
                segment(&mut rest).ok_or_else(|| truncated(bytes))?;
            }
        }
    }
}

/// Moves past the next 0xFF (and its fill bytes) and returns the byte that follows.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    let after = &rest[rest.iter().position(|&b| b == 0xFF)?..];
    let code = after.iter().position(|&b| b != 0xFF)?;
    *rest = &after[code + 1..];
    Some(after[code])
}

/// The body of a segment, whose length (itself included) stands before it.
fn segment<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let body = rest.get(2..length)?;
    *rest = &rest[length..];
    Some(body)
}

fn quantization_tables(mut body: &[u8], tables: &mut [Option<[u16; 64]>; 4]) -> Result<()> {
    while let [head, rest @ ..] = body {
        let (wide, slot) = (head >> 4 != 0, usize::from(head & 15));
        let size = if wide { 128 } else { 64 };
        let (Some(values), Some(table)) = (rest.get(..size), tables.get_mut(slot)) else {
            return Err(bad("quantization table", "a slot of 0 to 3 and 64 entries", format!("slot {slot}")));
        };
        let value = |i: usize| match wide {
            true => u16::from_be_bytes([values[2 * i], values[2 * i + 1]]),
            false => u16::from(values[i]),
        };
        *table = Some(std::array::from_fn(value));
        body = &rest[size..];
    }
    Ok(())
}

fn huffman_tables(mut body: &[u8], tables: &mut [[Option<Huffman>; 4]; 2]) -> Result<()> {
    while let [head, rest @ ..] = body {
        let wrong = || bad("Huffman table", "a class of 0 or 1, a slot of 0 to 3, its codes", format!("{head:#04x}"));
        let counts = rest.get(..16).ok_or_else(wrong)?;
        let total = counts.iter().map(|&n| usize::from(n)).sum::<usize>();
        let values = rest.get(16..16 + total).ok_or_else(wrong)?;
        let slot = tables.get_mut(usize::from(head >> 4)).and_then(|c| c.get_mut(usize::from(head & 15)));
        *slot.ok_or_else(wrong)? = Some(Huffman::new(counts, values).ok_or_else(wrong)?);
        body = &rest[16 + total..];
    }
    Ok(())
}

/// Reads a frame header; `None` where it is of a kind that is left to another decoder.
fn start_of_frame(body: &[u8], progressive: bool) -> Result<Option<Frame>> {
    let [bits, h1, h0, w1, w0, count, specs @ ..] = body else {
        return Err(bad("frame header", "at least 6 bytes", body.len()));
    };
    let height = usize::from(u16::from_be_bytes([*h1, *h0]));
    let width = usize::from(u16::from_be_bytes([*w1, *w0]));
    if width == 0 || height == 0 {
        return Err(Error::EmptyImage { width, height });
    }
    if *bits != 8 || !matches!(count, 1 | 3) {
        return Ok(None);
    }
    let specs: Vec<_> =
        specs.chunks_exact(3).take(usize::from(*count)).map(|s| (s[0], s[1] >> 4, s[1] & 15, s[2])).collect();
    let valid = |s: &(u8, u8, u8, u8)| (1..=4).contains(&s.1) && (1..=4).contains(&s.2) && s.3 < 4;
    if specs.len() != usize::from(*count) || !specs.iter().all(valid) {
        return Err(bad("frame header", "sampling factors of 1 to 4 and a table of 0 to 3", format!("{specs:?}")));
    }
    let across = specs.iter().fold(1, |m, s| m.max(usize::from(s.1)));
    let down = specs.iter().fold(1, |m, s| m.max(usize::from(s.2)));
    if specs.iter().any(|s| !across.is_multiple_of(usize::from(s.1)) || !down.is_multiple_of(usize::from(s.2))) {
        return Ok(None);
    }
    let (mcu_columns, mcu_rows) = (width.div_ceil(8 * across), height.div_ceil(8 * down));
    let component = |&(id, a, d, table): &(u8, u8, u8, u8)| {
        let (a, d) = (usize::from(a), usize::from(d));
        let (columns, rows) = (mcu_columns * a, mcu_rows * d);
        Component {
            id,
            across: a,
            down: d,
            quantization: usize::from(table),
            latched: None,
            width: (width * a).div_ceil(across),
            height: (height * d).div_ceil(down),
            columns,
            rows,
            coefficients: vec![0; columns * rows * 64],
        }
    };
    let components = specs.iter().map(component).collect();
    Ok(Some(Frame { width, height, progressive, mcu_columns, mcu_rows, components }))
}

fn truncated(bytes: &[u8]) -> Error {
    Error::Truncated { format: "JPEG", bytes: bytes.len(), missing: "the end-of-image marker" }
}

fn bad(what: &'static str, expected: &'static str, found: impl ToString) -> Error {
    Error::BadJpeg { what, expected, found: found.to_string() }
}
