//! Statistics of an annotation file (Grasp Any Region, Fig. 6): prompts, mask areas, picture sizes.
mod plot;

use std::collections::BTreeMap;
use std::path::Path;

use gar_core::prompt::Rle;
use serde::Serialize;

pub use plot::{png, svg};

use crate::json::Entry;
use crate::score::{gar_bench::ID, read_output};
use crate::{Error, Result};

/// What a file of questions with masks holds.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Entries of the file.
    pub questions: usize,
    /// Masks of all entries.
    pub masks: usize,
    /// How many questions have how many prompts.
    pub prompts: BTreeMap<usize, usize>,
    /// The mean area of a question's masks, in per cent of its picture; over questions.
    pub area_per_question: Spread,
    /// A mask's area, in per cent of its picture; over masks.
    pub area_per_mask: Spread,
    /// Pictures' widths in pixels; over questions.
    pub width: Spread,
    /// Pictures' heights in pixels; over questions.
    pub height: Spread,
}

/// How values are spread.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// The values in ascending order, for plots.
    #[serde(skip)]
    pub values: Vec<f64>,
}

impl Spread {
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let count = values.len();
        Self {
            mean: values.iter().sum::<f64>() / count as f64,
            min: at(0),
            median: (at(count.saturating_sub(1) / 2) + at(count / 2)) / 2.0,
            max: at(count.saturating_sub(1)),
            values,
        }
    }
}

/// Reads a list of entries with `mask_rles`, or one `mask_rle` each: annotations, or an output that keeps them.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`] for an entry without masks; [`Error::Region`] for malformed runs;
/// [`Error::MaskSize`] for masks of different sizes in one entry.
pub fn read(path: &Path) -> Result<Stats> {
    let file = read_output(path, ID)?;
    let mut prompts = BTreeMap::new();
    let (mut per_question, mut per_mask) = (Vec::new(), Vec::new());
    let (mut widths, mut heights) = (Vec::new(), Vec::new());
    for entry in file.iter() {
        let masks = masks(&entry)?;
        let areas = masks.iter().enumerate().map(|(slot, rle)| area(&entry, slot, rle, masks[0].size));
        let areas: Vec<f64> = areas.collect::<Result<_>>()?;
        *prompts.entry(areas.len()).or_default() += 1;
        per_question.push(areas.iter().sum::<f64>() / areas.len() as f64);
        per_mask.extend(areas);
        widths.push(masks[0].size[1] as f64);
        heights.push(masks[0].size[0] as f64);
    }
    Ok(Stats {
        questions: per_question.len(),
        masks: per_mask.len(),
        prompts,
        area_per_question: Spread::new(per_question),
        area_per_mask: Spread::new(per_mask),
        width: Spread::new(widths),
        height: Spread::new(heights),
    })
}

/// An entry's masks: at least one.
fn masks(entry: &Entry<'_>) -> Result<Vec<Rle>> {
    let masks: Vec<Rle> = match entry.fields.contains_key("mask_rle") {
        true => vec![entry.get("mask_rle", "a COCO RLE object")?],
        false => entry.get("mask_rles", "a list of COCO RLE objects")?,
    };
    match masks.is_empty() {
        true => Err(entry.wrong("mask_rles", "at least one mask", "none")),
        false => Ok(masks),
    }
}

/// Set pixels in per cent, from the runs alone.
fn area(entry: &Entry<'_>, slot: usize, rle: &Rle, size: [usize; 2]) -> Result<f64> {
    if rle.size != size {
        let [expected, found] = [size, rle.size].map(|[height, width]| (width, height));
        return Err(Error::MaskSize { item: entry.name.to_owned(), slot, expected, found });
    }
    let refused = Error::region(entry.name, slot);
    let runs: Vec<u64> = rle.runs().map_err(refused)?.into_iter().map(u64::from).collect();
    let pixels = rle.size[0] as f64 * rle.size[1] as f64;
    if runs.iter().sum::<u64>() as f64 != pixels || pixels == 0.0 {
        // Decoding words the refusal; it passes only for a mask without a pixel.
        rle.to_mask().map_err(refused)?;
        return Err(entry.wrong("mask_rles", "masks with pixels", "0"));
    }
    Ok(100.0 * runs.iter().skip(1).step_by(2).sum::<u64>() as f64 / pixels)
}

/// A table for a terminal.
pub fn table(stats: &Stats) -> String {
    let mut text = format!("{} questions, {} masks\n\nprompts  questions\n", stats.questions, stats.masks);
    for (prompts, questions) in &stats.prompts {
        text += &format!("{prompts:>7}  {questions:>9}\n");
    }
    text += &format!("\n{:28}{:>10}{:>10}{:>10}{:>10}\n", "", "mean", "min", "median", "max");
    let lines = [
        ("mask area per question, %", &stats.area_per_question, 3),
        ("mask area per mask, %", &stats.area_per_mask, 3),
        ("width, pixels", &stats.width, 0),
        ("height, pixels", &stats.height, 0),
    ];
    for (name, Spread { mean, min, median, max, .. }, digits) in lines {
        text += &format!("{name:28}{mean:>10.digits$}{min:>10.digits$}{median:>10.digits$}{max:>10.digits$}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(text: &str) -> Result<Stats> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn areas_are_means_of_masks_then_of_questions() {
        let found = stats(
            r#"[{"image": "a", "mask_rles": [{"size": [2, 5], "counts": [0, 10]}, {"size": [2, 5], "counts": [9, 1]}]},
                {"image": "b", "mask_rle": {"size": [4, 1], "counts": [1, 1, 2]}}]"#,
        )
        .unwrap();
        assert_eq!((found.questions, found.masks), (2, 3));
        assert_eq!(found.prompts, BTreeMap::from([(1, 1), (2, 1)]));
        assert_eq!((found.area_per_question.mean, found.area_per_mask.mean), (40.0, 45.0));
        assert_eq!((found.area_per_mask.min, found.area_per_mask.median, found.area_per_mask.max), (10.0, 25.0, 100.0));
        assert_eq!((found.width.median, found.height.max), (3.0, 4.0));
        assert!(table(&found).contains("mask area per question, %       40.000"), "{}", table(&found));
    }

    #[test]
    fn masks_that_do_not_hold_are_refused() {
        for (masks, says) in [
            ("[]", "a: `mask_rles`: expected at least one mask"),
            (r#"[{"size": [2, 2], "counts": [3]}]"#, "a: region 0: "),
            (r#"[{"size": [1, 2], "counts": [2]}, {"size": [2, 1], "counts": [2]}]"#, "region 1: expected a mask of"),
            (r#"[{"size": [0, 2], "counts": [0]}]"#, "expected masks with pixels"),
            ("3", "a: `mask_rles`: expected a list"),
        ] {
            let error = stats(&format!(r#"[{{"image": "a", "mask_rles": {masks}}}]"#)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
