//! A walk over the segments of a JPEG file, to refuse what the lenient decoder would fill with grey.

use crate::{Error, Result};

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Checks that `bytes` hold a whole JPEG: every segment as long as it says, and an end-of-image marker.
///
/// Within a scan a marker byte 0xFF is always followed by 0x00 or a restart marker unless the scan is over (ITU-T T.81,
/// B.1.1.5), so a cut file is one whose walk ends before end-of-image.
pub(crate) fn check_complete(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    loop {
        let marker = next_marker(&mut rest).ok_or_else(|| truncated(bytes.len()))?;
        match marker {
            END_OF_IMAGE => return Ok(()),
            // Markers without a body: start of image, TEM, restarts, and the stuffed zero of a scan.
            START_OF_IMAGE | 0x00 | 0x01 | 0xD0..=0xD7 => {}
            _ => {
                let length = match rest {
                    [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                    _ => return Err(truncated(bytes.len())),
                };
                rest = rest.get(length.max(2)..).ok_or_else(|| truncated(bytes.len()))?;
                if marker == START_OF_SCAN && rest.is_empty() {
                    return Err(truncated(bytes.len()));
                }
            }
        }
    }
}

/// Moves past the next 0xFF (and its fill bytes) and returns the byte that follows.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    let at = rest.iter().position(|&b| b == 0xFF)?;
    let after = &rest[at..];
    let code = after.iter().position(|&b| b != 0xFF)?;
    *rest = &after[code + 1..];
    Some(after[code])
}

fn truncated(bytes: usize) -> Error {
    Error::Truncated { format: "JPEG", bytes, missing: "the end-of-image marker" }
}
