//! Datasets are read back as they were written, and damaged ones are refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gar_data::scene::{SceneConfig, SceneGenerator, Split};
use gar_data::{Dataset, Error, JsonLines, Picture, Sample, Turn};
use gar_prompt::Rle;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn all(path: impl AsRef<Path>) -> Vec<Sample> {
    Dataset::open(path).unwrap().samples().map(Result::unwrap).collect()
}

/// The first error of a dataset, or of its first sample.
fn refusal(path: impl AsRef<Path>) -> String {
    let found = Dataset::open(path).and_then(|dataset| dataset.samples().find_map(Result::err).map_or(Ok(()), Err));
    found.unwrap_err().to_string()
}

fn write(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn scenes_survive_json_lines() {
    let config = SceneConfig { shuffle_slots: false, ..SceneConfig::default() };
    let generator = SceneGenerator::new(config, 5, Split::Train).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("\n");
    let mut samples = Vec::new();
    for index in 0..6 {
        let scene = generator.scene(index).unwrap();
        let sample = Sample::from_scene(&scene).unwrap();
        let image = sample.decode_image(folder.path()).unwrap();
        assert_eq!(image, scene.image);
        let masks = sample.decode_masks(&image).unwrap();
        assert!(masks.iter().eq(scene.regions.iter().map(|region| region.mask())));
        text += &serde_json::to_string(&sample).unwrap();
        text += "\n\n";
        samples.push(sample);
    }
    assert_eq!(all(write(&folder, "scenes.jsonl", text)), samples);
}

#[test]
fn images_are_data_or_paths() {
    let line = |image: &str| {
        let text = format!(
            r#"{{"image": "{image}", "mask_rle": [{{"size": [1, 1], "counts": [0, 1]}}], "conversations": []}}"#
        );
        serde_json::from_str::<Sample>(&text)
    };
    assert_eq!(line("a/b.jpg").unwrap().image, Picture::Path("a/b.jpg".into()));
    for prefix in ["data:base64,", "data:image/png;base64,"] {
        assert_eq!(line(&format!("{prefix}AAEC")).unwrap().image, Picture::Encoded(vec![0, 1, 2]));
    }
    for (image, found) in
        [("data:base64", "no comma"), ("data:text/plain,AAEC", "text/plain"), ("data:base64,A*", "Invalid")]
    {
        let error = line(image).unwrap_err().to_string();
        assert!(error.contains("expected base64") && error.contains(found), "{error}");
    }
}

#[test]
fn a_bad_line_does_not_hide_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(data("one.jsonl")).unwrap().lines().next().unwrap().to_owned();
    let path = write(&folder, "mixed.jsonl", format!("{good}\n{{\"image\": 3}}\n{good}\n"));
    let found: Vec<_> = JsonLines::open(&path).unwrap().collect();
    assert!(found[0].is_ok() && found[2].is_ok() && found.len() == 3);
    let error = found[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("mixed.jsonl: sample 1: expected an object with `image`"), "{error}");
}

#[test]
fn samples_without_usable_masks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (mask, expected) in
        [("null", "at least one mask, found none"), ("[]", "at least one mask, found none"), ("7", "mask_rle as one")]
    {
        let line = format!(r#"{{"image": "x.png", "mask_rle": {mask}, "conversations": []}}"#);
        let error = refusal(write(&folder, "bad.jsonl", line));
        assert!(error.contains(expected), "{error}");
    }
    let good = &all(data("one.jsonl"))[0];
    let image = good.decode_image(Path::new("")).unwrap();
    let masks = |text: &str| Sample { masks: vec![Rle::from_json(text).unwrap()], ..good.clone() }.decode_masks(&image);
    assert!(matches!(
        masks(r#"{"size": [3, 4], "counts": [12]}"#),
        Err(Error::MaskSize { index: 0, expected: (56, 56), found: (4, 3) })
    ));
    assert!(matches!(masks(r#"{"size": [56, 56], "counts": [3136]}"#), Err(Error::EmptyMask { index: 0 })));
    assert!(matches!(masks(r#"{"size": [56, 56], "counts": [1, 2]}"#), Err(Error::Prompt(_))));
}

#[test]
fn paths_that_hold_no_dataset_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("a folder without such shards"));
    assert!(refusal(folder.path().join("absent")).contains("absent: cannot read"));
    assert!(refusal(write(&folder, "x.txt", "")).contains("a file with another ending"));
    write(&folder, "data-00000-of-00003.arrow", "");
    write(&folder, "data-00002-of-00003.arrow", "");
    let error = refusal(folder.path());
    assert!(
        error.contains("expected all of 3 shards, found 2; the first missing is data-00001-of-00003.arrow"),
        "{error}"
    );
}

#[test]
fn turns_have_two_speakers() {
    let turns: Vec<Turn> = serde_json::from_str(
        r#"[{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}, {"from": "human", "value": "c"}]"#,
    )
    .unwrap();
    assert_eq!(turns, [Turn::human("a"), Turn::gpt("b"), Turn::human("c")]);
    assert!(serde_json::from_str::<Turn>(r#"{"from": "system", "value": ""}"#).is_err());
}

#[cfg(feature = "arrow")]
mod shards {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, UInt32Builder};
    use arrow_array::{
        ArrayRef, FixedSizeListArray, Int64Array, LargeBinaryArray, ListArray, RecordBatch, StringArray, StructArray,
    };
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field};
    use gar_data::ArrowShard;
    use gar_prompt::Counts;

    use super::*;

    fn equal(folder: &Path, name: &str) {
        let (written, read) = (all(folder.join(format!("{name}.jsonl"))), all(folder.join(name)));
        assert!(!written.is_empty());
        assert_eq!(written, read, "{name}");
    }

    /// Shards that `datasets` 4.4.1 wrote: one mask a sample, over two files; and several masks a sample.
    #[test]
    fn shards_of_datasets_are_read_back_equal() {
        equal(&data(""), "one");
        equal(&data(""), "many");
        assert!(all(data("one")).iter().all(|sample| sample.masks.len() == 1));
        assert!(all(data("many")).iter().all(|sample| sample.masks.len() == 3));
    }

    /// The same with shards that were written just now: `GAR_SHARDS` is a folder of pairs `NAME.jsonl` and `NAME/`.
    #[test]
    fn fresh_shards_are_read_back_equal() {
        let Some(folder) = std::env::var_os("GAR_SHARDS").map(PathBuf::from) else { return };
        let mut pairs = 0;
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                equal(&folder, path.file_stem().unwrap().to_str().unwrap());
                pairs += 1;
            }
        }
        assert!(pairs > 0, "no pairs in {}", folder.display());
    }

    #[test]
    fn truncated_shards_are_refused() {
        let bytes = std::fs::read(data("many/data-00000-of-00001.arrow")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for keep in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
            let error = refusal(write(&folder, "cut.arrow", &bytes[..keep]));
            assert!(
                error.contains("expected the end-of-stream marker") && error.contains(&keep.to_string()),
                "{keep}: {error}"
            );
        }
        // The marker is there but the middle is not.
        let mut torn = bytes[..bytes.len() / 2].to_vec();
        torn.extend_from_slice(&bytes[bytes.len() - 8..]);
        assert!(refusal(write(&folder, "torn.arrow", torn)).contains("Arrow shard: "));
        assert!(
            refusal(write(&folder, "text.arrow", [b"no Arrow stream".as_slice(), &bytes[bytes.len() - 8..]].concat()))
                .contains("Arrow shard: ")
        );
    }

    /// Damage is an error or other samples, and never takes the program along.
    #[test]
    fn damaged_shards_do_not_panic() {
        let bytes = std::fs::read(data("many/data-00000-of-00001.arrow")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        // The metadata stands in the first 3,000 bytes or so; each step lands in another field.
        for at in (8..bytes.len().min(4000)).step_by(13) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xA5;
            let path = write(&folder, "damaged.arrow", damaged);
            let Ok(shard) = ArrowShard::open(path) else { continue };
            for sample in shard.take(50) {
                let _ =
                    sample.map(|sample| sample.decode_image(Path::new("")).map(|image| sample.decode_masks(&image)));
            }
        }
        std::panic::set_hook(quiet);
    }

    /// A shard of one row from columns given by name.
    fn one_row(folder: &tempfile::TempDir, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        write(folder, "row.arrow", writer.into_inner().unwrap())
    }

    fn structure(fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
        let (fields, arrays): (Vec<_>, Vec<_>) =
            fields.into_iter().map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array)).unzip();
        Arc::new(StructArray::new(fields.into(), arrays, None))
    }

    /// A list column with one cell that holds all of `array`.
    fn listed(array: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("item", array.data_type().clone(), true));
        Arc::new(ListArray::from(FixedSizeListArray::new(field, array.len() as i32, array, None)))
    }

    fn text(value: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    fn rle(counts: ArrayRef) -> ArrayRef {
        structure(vec![("size", listed(Arc::new(Int64Array::from(vec![2, 3])))), ("counts", counts)])
    }

    fn turns(from: &str) -> ArrayRef {
        listed(structure(vec![("from", text(from)), ("value", text("A cat."))]))
    }

    #[test]
    fn kindred_types_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: ArrayRef = Arc::new(LargeBinaryArray::from(vec![b"141".as_slice()]));
        let mut runs = ListBuilder::new(UInt32Builder::new());
        runs.append_value([Some(1), Some(4), Some(1)]);
        let runs: ArrayRef = Arc::new(runs.finish());
        for counts in [text("141"), bytes, runs] {
            let listed_too = listed(rle(counts.clone()));
            for mask in [rle(counts), listed_too] {
                let path = one_row(
                    &folder,
                    vec![("image", text("x.png")), ("mask_rle", mask), ("conversations", turns("gpt"))],
                );
                let sample = &all(path)[0];
                assert_eq!(sample.image, Picture::Path("x.png".into()));
                assert_eq!(sample.masks[0].to_mask().unwrap().area(), 4);
                assert!(matches!(sample.masks[0].counts, Counts::Compressed(_) | Counts::Uncompressed(_)));
            }
        }
    }

    #[test]
    fn other_columns_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let good = || vec![("image", text("x.png")), ("mask_rle", rle(text("141"))), ("conversations", turns("gpt"))];
        let with = |at: usize, column: ArrayRef| {
            let mut columns = good();
            columns[at].1 = column;
            columns
        };
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let null: ArrayRef = arrow_array::new_null_array(rle(text("141")).data_type(), 1);
        let nothing: ArrayRef = arrow_array::new_null_array(&DataType::Null, 1);
        for (columns, expected) in [
            (good()[..2].to_vec(), "expected a column `conversations`, found [\"image\", \"mask_rle\"]"),
            (with(0, number.clone()), "column `image`: expected text, found Int64"),
            (with(0, structure(vec![("path", text("x"))])), "expected a column `image.bytes`"),
            (with(1, number), "column `mask_rle`: expected a struct, found Int64"),
            (with(1, null), "mask_rle: expected at least one mask, found none"),
            (with(1, nothing), "mask_rle: expected at least one mask, found none"),
            (with(2, text("hello")), "column `conversations`: expected a list, found Utf8"),
            (with(2, turns("system")), "expected turns from `human` and `gpt`, found `system`"),
        ] {
            let error = refusal(one_row(&folder, columns));
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }
}
