//! What a configuration asks for is drawn.
use super::*;

/// The colour that most pixels of a mask have.
fn usual_color(scene: &Scene, mask: &Mask) -> [u8; 3] {
    let mut counts = BTreeMap::new();
    for ((y, x), _) in mask.view().indexed_iter().filter(|&(_, &set)| set) {
        *counts.entry([0, 1, 2].map(|channel| scene.image.pixels()[[y, x, channel]])).or_insert(0) += 1;
    }
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(color, _)| color).unwrap()
}

/// Of every plain thing of paper in a mirror, whose colour is even: whether it looks there as it does in the room.
fn shown_as_they_are(scene: &Scene) -> Vec<bool> {
    let flat = |look: &&Look| (look.material, look.texture) == (Material::Paper, Texture::Plain);
    let things = scene.objects.iter().filter(|object| object.kind.look().filter(flat).is_some());
    let reflections = things.filter_map(|object| Some((&object.mask, &scene.objects[object.reflects?].mask)));
    reflections.map(|(mask, original)| usual_color(scene, mask) == usual_color(scene, original)).collect()
}

/// The first `count` scenes of a configuration.
fn drawn(config: SceneConfig, count: u64) -> impl Iterator<Item = Scene> {
    let generator = SceneGenerator::new(config, 3, Split::Train).unwrap();
    (0..count).map(move |index| generator.scene(index).unwrap())
}

/// As [`drawn`], with a mirror or a screen.
fn panes(clear_percent: u32, count: u64) -> impl Iterator<Item = Scene> {
    drawn(SceneConfig { kinds: [0, 0, 1], clear_percent, ..SceneConfig::default() }, count)
}

#[test]
fn a_clear_pane_shows_things_as_they_are_in_the_room() {
    let mut compared = 0;
    for (clear, tinted) in panes(100, 600).zip(panes(0, 600)) {
        // Panes look different; what is there and what is asked stays.
        assert_ne!(clear.image.pixels(), tinted.image.pixels());
        assert_eq!(format!("{:?}", clear.questions), format!("{:?}", tinted.questions));
        for (object, same) in clear.objects.iter().zip(&tinted.objects) {
            assert_eq!((object.kind, object.nature, &object.mask), (same.kind, same.nature, &same.mask));
        }
        let (clear, tinted) = (shown_as_they_are(&clear), shown_as_they_are(&tinted));
        assert!(clear.iter().all(|&same| same) && !tinted.contains(&true), "{clear:?}, {tinted:?}");
        compared += clear.len();
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn some_panes_are_clear_where_some_are_asked_for() {
    let all: Vec<bool> = panes(40, 900).flat_map(|scene| shown_as_they_are(&scene)).collect();
    let clear = all.iter().filter(|&&same| same).count();
    assert!(clear >= 3 && all.len() >= 2 * clear, "{clear} of {}", all.len());
}

#[test]
fn pairs_fill_a_room_where_they_are_asked_for() {
    let rooms = |pairs_percent| {
        let regions = [0, 0, 0, 0, 1];
        drawn(SceneConfig { kinds: [1, 0, 0], regions, pairs_percent, ..SceneConfig::default() }, 300)
    };
    let (mut overlapping, mut regions) = (0, 0);
    for scene in rooms(100) {
        assert!(scene.objects.iter().all(|object| matches!(object.kind, Kind::Thing(_))));
        for slot in scene.regions.slots() {
            let others = scene.regions.slots().into_iter().filter(|&other| other != slot);
            let own = scene.object(slot).unwrap();
            let stands = |relation| others.clone().any(|other| is_seen(relation, own, scene.object(other).unwrap()));
            match scene.is_in_front(slot) {
                Some(front) => {
                    // The other one may be no region.
                    assert!(!stands(if front { Relation::Behind } else { Relation::InFrontOf }));
                    assert!(front != own.is_hidden());
                    overlapping += 1;
                }
                // Hardly a touch, or none.
                None => assert!(!own.is_hidden()),
            }
            regions += 1;
        }
    }
    // Three pairs do not always find room; single things then fill up the five.
    assert!(overlapping * 5 > regions * 3, "{overlapping} of {regions}");
    let stand =
        |scene: Scene| scene.regions.slots().into_iter().filter(|&slot| scene.is_in_front(slot).is_some()).count();
    let usual: usize = rooms(0).map(stand).sum();
    assert!(usual * 2 < overlapping, "{usual}");
}

#[test]
fn questions_about_empty_slots_are_as_frequent_as_in_the_paper() {
    let several = scenes().iter().filter(|scene| (2..5).contains(&scene.regions.len()));
    let asked = several.clone().filter(|s| s.questions.iter().any(|q| q.category == Category::Absent)).count();
    let share = asked as f64 / several.count() as f64;
    assert!((0.03..0.07).contains(&share), "{share}");
    for scene in scenes() {
        for question in scene.questions.iter().filter(|q| q.category == Category::Absent) {
            assert!(scene.object(question.slots[0]).is_none(), "{question:?}");
        }
    }
}

#[test]
fn categories_are_asked_again() {
    let count = |again: Vec<Category>| {
        let config = SceneConfig { again, questions: 12, ..SceneConfig::default() };
        let generator = SceneGenerator::new(config, 5, Split::Train).unwrap();
        let scenes = (0..60).map(|index| generator.scene(index).unwrap());
        let asked: Vec<Category> = scenes.flat_map(|scene| scene.questions).map(|question| question.category).collect();
        let of = |category| asked.iter().filter(|&&one| one == category).count() as f64 / asked.len() as f64;
        (of(Category::Ordering), of(Category::Absent))
    };
    let (usual, again) = (count(Vec::new()), count(vec![Category::Ordering; 3]));
    assert!(again.0 > 1.7 * usual.0, "{usual:?} {again:?}");
    // What a scene does not have is not asked for.
    assert!(count(vec![Category::Absent; 9]).1 < 0.05);
}

#[test]
fn questions_have_the_form_that_is_asked_for() {
    for (choice_percent, form) in [(0, Form::Open), (100, Form::MultipleChoice)] {
        let config = SceneConfig { choice_percent, ..SceneConfig::default() };
        let generator = SceneGenerator::new(config, 2, Split::Train).unwrap();
        let asked = (0..30).flat_map(|index| generator.scene(index).unwrap().questions);
        let colors: Vec<_> = asked.filter(|question| question.category == Category::Color).collect();
        assert!(!colors.is_empty() && colors.iter().all(|question| question.form == form));
    }
}

#[test]
fn configurations_out_of_range_are_refused() {
    let usual = SceneConfig::default;
    for (config, key) in [
        (SceneConfig { size: 55, ..usual() }, "size"),
        (SceneConfig { size: 1025, ..usual() }, "size"),
        (SceneConfig { prompt_slots: 0, ..usual() }, "prompt_slots"),
        (SceneConfig { kinds: [0; 3], ..usual() }, "kinds"),
        (SceneConfig { kinds: [u32::MAX; 3], ..usual() }, "kinds"),
        // Two slots have no room for three regions.
        (SceneConfig { prompt_slots: 2, regions: [0, 0, 1, 0, 0], ..usual() }, "regions"),
        (SceneConfig { absent_percent: 101, ..usual() }, "absent_percent"),
        (SceneConfig { choice_percent: 101, ..usual() }, "choice_percent"),
        (SceneConfig { clear_percent: 101, ..usual() }, "clear_percent"),
        (SceneConfig { pairs_percent: 101, ..usual() }, "pairs_percent"),
    ] {
        let error = SceneGenerator::new(config, 0, Split::Train).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{key}: expected ")), "{error}");
    }
}
