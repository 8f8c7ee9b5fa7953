//! Where the image and the regions stand in a tokenized prompt.

use std::ops::Range;

use crate::text::prompt_name;
use crate::{Error, Result};

/// The places of the placeholder tokens in a prompt: where image features and replayed region features are spliced in.
///
/// ```
/// use gar_prompt::TokenLayout;
///
/// //         text image…… text crop 0… text
/// let ids = [1,   9, 9, 9, 2,  7, 7,   3];
/// let layout = TokenLayout::find(&ids, 9, 3, &[(0, 7)], 2)?;
/// assert_eq!(layout.image, 1..4);
/// assert_eq!(layout.regions, [(0, 5..7)]);
/// assert_eq!(layout.len, 8);
/// # Ok::<(), gar_prompt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLayout {
    /// Positions of the image's tokens; `0..0` where the prompt has no image.
    pub image: Range<usize>,
    /// Slot and positions of each region's crop tokens, in prompt order.
    pub regions: Vec<(usize, Range<usize>)>,
    /// Tokens in the prompt.
    pub len: usize,
}

impl TokenLayout {
    /// Finds the placeholders in `ids`.
    ///
    /// `image_token` must stand there `image_count` times, and the token of each (slot, token) in `crops`
    /// `crop_count` times, each in one run and nowhere else.
    ///
    /// # Errors
    /// [`Error::TokenRun`]; [`Error::SharedToken`] where two placeholders have one token id.
    pub fn find(
        ids: &[u32],
        image_token: u32,
        image_count: usize,
        crops: &[(usize, u32)],
        crop_count: usize,
    ) -> Result<Self> {
        for (i, &(slot, token)) in crops.iter().enumerate() {
            let first = if token == image_token {
                "image".to_owned()
            } else if let Some((other, _)) = crops[..i].iter().find(|(_, t)| *t == token) {
                prompt_name(*other)
            } else {
                continue;
            };
            return Err(Error::SharedToken { first, second: prompt_name(slot), token });
        }
        let image = run_of(ids, image_token, image_count, || "image".to_owned())?;
        let regions = crops
            .iter()
            .map(|&(slot, token)| Ok((slot, run_of(ids, token, crop_count, || prompt_name(slot))?)))
            .collect::<Result<_>>()?;
        Ok(Self { image, regions, len: ids.len() })
    }
}

/// The one run of `expected` copies of `token`; `0..0` where none are expected and found.
fn run_of(ids: &[u32], token: u32, expected: usize, what: impl Fn() -> String) -> Result<Range<usize>> {
    let start = ids.iter().position(|&id| id == token).unwrap_or(0);
    let found = ids.iter().filter(|&&id| id == token).count();
    let runs = ids.chunk_by(|a, b| (*a == token) == (*b == token)).filter(|run| run[0] == token).count();
    if found != expected || runs > 1 {
        return Err(Error::TokenRun { what: what(), token, expected, found, runs });
    }
    Ok(start..start + found)
}
