//! MDVP-Bench, box captions: as Ferret-Bench, a ratio of the mean scores of two answers, in six domains of four groups.
use std::path::Path;

use super::{Layout, Overall, Scored, ferret_bench};
use crate::Result;

const LAYOUT: Layout = Layout {
    benchmark: "mdvp-bench",
    categories: &[
        "natural_detailed_caption_box",
        "ocr_doc_detailed_caption_box",
        "ocr_spotting_detailed_caption_box",
        "multipanel_detailed_caption_box",
        "android_detailed_caption_box",
        "web_detailed_caption_box",
    ],
    groups: &[
        ("natural", &["natural_detailed_caption_box"]),
        ("ocr", &["ocr_doc_detailed_caption_box", "ocr_spotting_detailed_caption_box"]),
        ("multi-panel", &["multipanel_detailed_caption_box"]),
        ("screenshot", &["android_detailed_caption_box", "web_detailed_caption_box"]),
    ],
    groups_are: Overall::MeanOfCategories,
    overall: Overall::MeanOfCategories,
    scale: 100.0,
};

/// Scores a judge's review. A domain's score is 100 · mean of the model's scores / mean of the reference's, and so above
/// 100 where the model was found better; a group's is the mean of its domains', as published.
///
/// # Errors
/// Those of [`ferret_bench::score`].
pub fn score(path: &Path) -> Result<Scored> {
    Ok(Scored { layout: LAYOUT, ..ferret_bench::score(path)? })
}
