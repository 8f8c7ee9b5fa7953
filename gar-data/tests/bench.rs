//! The small benchmark has GAR-Bench's format and asks every category alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use gar_data::bench::{DetailedItem, MiniBench, MiniConfig, SimpleItem, VqaItem, mini_bench};
use gar_vision::Image;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[test]
fn categories_and_numbers_of_regions_are_dealt_evenly() {
    let bench = mini_bench(3, 90).unwrap();
    assert_eq!((bench.vqa.len(), bench.simple.len(), bench.detailed.len(), bench.pictures.len()), (70, 10, 10, 90));
    let mut cells = BTreeMap::<(&str, usize), usize>::new();
    for item in &bench.vqa {
        *cells.entry((&item.category, item.mask_rles.len())).or_default() += 1;
        assert!(item.choices.iter().filter(|choice| choice.starts_with(&format!("{}. ", item.answer))).count() == 1);
        let highest = (0..9).rev().find(|slot| item.question.contains(&format!("<Prompt{slot}>"))).unwrap();
        assert!(highest < item.mask_rles.len(), "{}", item.question);
    }
    for category in ["color", "shape", "texture/pattern", "material", "ordering", "mirror"] {
        assert!((1..=5).all(|n| cells[&(category, n)] == 2), "{cells:?}");
    }
    assert!((2..=5).all(|n| cells[&("relation", n)] >= 2), "{cells:?}");

    // A picture and its scene belong together, and the truth judges captions.
    for item in &bench.detailed {
        let scene = bench.scene(&item.image).unwrap().unwrap();
        assert_eq!(&scene.image, &bench.pictures[&item.image]);
        let look = scene.object(0).unwrap().kind.look().unwrap().phrase();
        let good = format!("A {look}. It is {} <Prompt1>.", item.predicate_name);
        assert!(bench.judge(item, &good).unwrap().unwrap().passes(), "{item:?}");
        assert!(!bench.judge(item, &format!("A {look}.")).unwrap().unwrap().passes());
        assert!(good.contains(&item.subject_name));
    }
    assert!(bench.scene("images/none.png").unwrap().is_none());
    assert_eq!(mini_bench(3, 20).unwrap().vqa.len(), mini_bench(4, 20).unwrap().vqa.len());
    assert_ne!(mini_bench(3, 9).unwrap().vqa, mini_bench(4, 9).unwrap().vqa);
}

#[test]
fn a_bound_on_regions_leaves_out_what_it_rules_out() {
    let draw =
        |most_regions| MiniBench::draw(MiniConfig { questions: 18, most_regions, ..MiniConfig::default() }).unwrap();
    let most = |bench: &MiniBench| bench.vqa.iter().map(|item| item.mask_rles.len()).max();
    let (two, one) = (draw(2), draw(1));
    assert_eq!((most(&two), two.vqa.len(), two.simple.len(), two.detailed.len()), (Some(2), 14, 2, 2));
    assert_eq!((most(&one), one.vqa.len(), one.pictures.len()), (Some(1), 18, 18));
    assert!(one.vqa.iter().all(|item| item.category != "relation"));
}

#[test]
fn panes_are_as_asked_for() {
    let draw =
        |clear_panes| MiniBench::draw(MiniConfig { questions: 18, clear_panes, ..MiniConfig::default() }).unwrap();
    let (clear, tinted) = (draw(true), draw(false));
    assert_eq!((&clear.vqa, clear.pictures == tinted.pictures), (&tinted.vqa, false));
    for (name, picture) in &clear.pictures {
        assert_eq!(&clear.scene(name).unwrap().unwrap().image, picture, "{name}");
    }
}

#[test]
fn files_are_read_back() {
    let (bench, folder) = (mini_bench(1, 18).unwrap(), tempfile::tempdir().unwrap());
    bench.write(folder.path()).unwrap();
    let vqa: Vec<VqaItem> = read(folder.path().join("GAR-Bench-VQA.json"));
    let simple: Vec<SimpleItem> = read(folder.path().join("GAR-Bench-Caption-Simple.json"));
    let detailed: Vec<DetailedItem> = read(folder.path().join("GAR-Bench-Caption-Detailed.json"));
    assert_eq!((&vqa, &simple, &detailed), (&bench.vqa, &bench.simple, &bench.detailed));
    for (name, picture) in &bench.pictures {
        assert_eq!(&Image::open(folder.path().join(name)).unwrap(), picture);
    }
    let error = bench.write(folder.path().join("GAR-Bench-VQA.json")).unwrap_err().to_string();
    assert!(error.contains("cannot read or write"), "{error}");
}

fn read<T: DeserializeOwned>(path: PathBuf) -> Vec<T> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The real annotations, where `GAR_BENCH` names their folder, are read and written without loss.
#[test]
fn the_format_is_that_of_gar_bench() {
    fn same<T: Serialize + DeserializeOwned>(path: PathBuf) {
        let text = std::fs::read(path).unwrap();
        let items: Vec<T> = serde_json::from_slice(&text).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(serde_json::to_value(items).unwrap(), value);
    }
    let Some(folder) = std::env::var_os("GAR_BENCH").map(|folder| PathBuf::from(folder).join("GAR-Bench")) else {
        return;
    };
    same::<VqaItem>(folder.join("GAR-Bench-VQA.json"));
    same::<SimpleItem>(folder.join("GAR-Bench-Caption-Simple.json"));
    same::<DetailedItem>(folder.join("GAR-Bench-Caption-Detailed.json"));
}
