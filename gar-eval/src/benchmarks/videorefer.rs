//! VideoRefer-Bench: objects of videos are described (D) or asked about (Q) (VideoRefer, §4).
//!
//! ```text
//! VideoRefer-Bench-D.json   [{"id", "video", "caption", "frame_idx", "annotation": [track, …]}]
//! VideoRefer-Bench-Q.json   [{"id", "video", "Question", "type", "options", "Answer", "frame_idx", "annotation"}]
//! DAVIS/JPEGImages/480p/…   folders of frames, named by `video`; of D's videos (`….mp4`) a folder without the ending
//! ```
//!
//! A track is an object of masks by frame number: `{"36": {"segmentation": RLE}}`. The n-th object of an entry is
//! `<Prompt n>`; questions name it `<objectK><region>`, objects in order of first mention.
use std::collections::BTreeMap;
use std::path::Path;

use gar_core::prompt::{Rle, multiple_choice};
use serde::Deserialize;

use super::keyed::distinct;
use super::video::{Track, VideoBenchmark, VideoItem};
use super::{Source, in_folder};
use crate::json::{self, Entry};
use crate::{Error, Result, score::VIDEOREFER_Q_TYPES as TYPES};

const DESCRIBE: &str = "Describe <Prompt0> in this video in detail: what it looks like and what it does over time.";

#[derive(Deserialize)]
struct Annotated {
    segmentation: Rle,
}

/// Loads `VideoRefer-Bench-D.json`, or the file of another name that `annotations` is.
///
/// # Errors
/// A field that is missing or of another type, two entries of one id, frame numbers that are none, a mask that is missing
/// in the entry's own frame, masks of different sizes.
pub fn load_d(annotations: &Path, videos: &Path) -> Result<VideoBenchmark> {
    load("videorefer-bench-d", &in_folder(annotations, "VideoRefer-Bench-D.json"), videos, |entry, tracks| {
        entry.text("caption")?;
        match tracks {
            1 => Ok((DESCRIBE.into(), None)),
            found => Err(entry.wrong("annotation", "one object", &found.to_string())),
        }
    })
}

/// Loads `VideoRefer-Bench-Q.json`, or the file of another name that `annotations` is.
///
/// # Errors
/// As [`load_d`]; an unknown type, an answer that is none of the options, a question that does not name its objects.
pub fn load_q(annotations: &Path, videos: &Path) -> Result<VideoBenchmark> {
    load("videorefer-bench-q", &in_folder(annotations, "VideoRefer-Bench-Q.json"), videos, |entry, tracks| {
        let kind = entry.text("type")?;
        if !TYPES.contains(&kind) {
            return Err(entry.wrong("type", &TYPES.join(", "), &format!("{kind:?}")));
        }
        let options: Vec<String> = entry.get("options", "a list of options, \"(A) …\"")?;
        let answer = entry.text("Answer")?;
        if !options.iter().any(|option| option == answer) {
            return Err(entry.wrong("Answer", "one of `options`", &format!("{answer:?}")));
        }
        let asked = entry.text("Question")?;
        let question = named(asked, tracks)
            .ok_or_else(|| entry.wrong("Question", &format!("`<region>` {tracks} times"), &format!("{asked:?}")))?;
        Ok((multiple_choice(question.trim(), &options), Some(kind.to_owned())))
    })
}

/// What the two have in common. `ask` gives question and category of an entry with so many tracks.
fn load(
    name: &'static str,
    path: &Path,
    videos: &Path,
    ask: impl Fn(&Entry<'_>, usize) -> Result<(String, Option<String>)>,
) -> Result<VideoBenchmark> {
    let (bytes, source) = Source::read(path)?;
    let mut items = Vec::new();
    for (at, mut fields) in json::objects(path, &bytes)?.into_iter().enumerate() {
        let place = format!("#{at}");
        let entry = Entry { path, name: &place, fields: &fields };
        let id: u64 = entry.get("id", "a whole number")?;
        let (tracks, frame) = tracks(&entry)?;
        let (question, category) = ask(&entry, tracks.len())?;
        let video = entry.text("video")?;
        let video = videos.join(video.strip_suffix(".mp4").unwrap_or(video));
        fields.shift_remove("annotation");
        items.push(VideoItem { id: id.to_string(), video, tracks, frame, question, category, entry: fields });
    }
    distinct(path, items.iter().map(|item| item.id.as_str()))?;
    Ok(VideoBenchmark { name, sources: vec![source], items })
}

/// The objects of an entry and the number of its own frame.
fn tracks(entry: &Entry<'_>) -> Result<(Vec<Track>, usize)> {
    const FRAME: &str = "a frame number, as text";
    let number = |field: &str, text: &str| text.parse::<usize>().map_err(|_| entry.wrong(field, FRAME, text));
    let frame = number("frame_idx", entry.text("frame_idx")?)?;
    let objects: Vec<BTreeMap<String, Annotated>> =
        entry.get("annotation", "a list of objects {\"36\": {\"segmentation\": {\"size\", \"counts\"}}}")?;
    let mut tracks = Vec::with_capacity(objects.len());
    let mut size = None;
    for (slot, object) in objects.into_iter().enumerate() {
        let mut track = Track::new();
        for (at, Annotated { segmentation }) in object {
            let [height, width] = segmentation.size;
            let (expected, found) = (*size.get_or_insert((width, height)), (width, height));
            if expected != found {
                return Err(Error::MaskSize { item: entry.name.into(), slot, expected, found });
            }
            track.insert(number("annotation", &at)?, segmentation);
        }
        if !track.contains_key(&frame) {
            return Err(entry.wrong("annotation", &format!("a mask in frame {frame} for object {slot}"), "none"));
        }
        tracks.push(track);
    }
    match tracks.is_empty() {
        true => Err(entry.wrong("annotation", "at least one object", "none")),
        false => Ok((tracks, frame)),
    }
}

/// A question with `<objectK><region>` and `<region>` replaced by `<Prompt0>`, `<Prompt1>`, … in order, and later mentions
/// of `<objectK>` by the same name. `None` unless there are `count` regions.
fn named(question: &str, count: usize) -> Option<String> {
    const REGION: &str = "<region>";
    let mut text = String::new();
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut slot = 0;
    let mut pieces = question.split(REGION).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            text.push_str(piece);
            break;
        }
        let object = piece.rfind("<object").filter(|&at| piece[at..].ends_with('>') && !piece[at + 1..].contains('<'));
        match object {
            Some(at) => {
                text.push_str(&piece[..at]);
                names.push((piece[at..].to_owned(), slot));
            }
            None => text.push_str(piece),
        }
        text.push_str(&format!("<Prompt{slot}>"));
        slot += 1;
    }
    for (name, slot) in names {
        text = text.replace(&name, &format!("<Prompt{slot}>"));
    }
    (slot == count && !text.contains("<object")).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn objects_become_prompts() {
        for (question, count, expected) in [
            ("What is <object3><region> not wearing?", 1, Some("What is <Prompt0> not wearing?")),
            ("Is <region> red?", 1, Some("Is <Prompt0> red?")),
            (
                "Does <object4><region> pass <object1><region>, or <object1> pass <object4>?",
                2,
                Some("Does <Prompt0> pass <Prompt1>, or <Prompt1> pass <Prompt0>?"),
            ),
            ("What is <object3> not wearing?", 1, None),
            ("Is <region> red?", 2, None),
            ("Is <region> <object9> red?", 1, None),
        ] {
            assert_eq!(named(question, count).as_deref(), expected, "{question}");
        }
    }
}
