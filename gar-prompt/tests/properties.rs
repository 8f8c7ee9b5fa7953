//! Laws of masks and their codecs, over random and hostile input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use gar_prompt::{Counts, DESCRIBE, Mask, RegionSet, Rle, TokenLayout, crop_token_name, user_text};
use ndarray::Array2;
use proptest::prelude::*;

fn mask() -> impl Strategy<Value = Mask> {
    (0_usize..40, 0_usize..40, 0.0_f64..=1.0).prop_flat_map(|(h, w, density)| {
        prop::collection::vec(prop::bool::weighted(density), h * w)
            .prop_map(move |pixels| Mask::from_array(Array2::from_shape_vec((h, w), pixels).unwrap()))
    })
}

/// Any f64: ordinary, huge, NaN, infinite.
fn coordinate() -> impl Strategy<Value = f64> {
    prop_oneof![6 => -80.0..80.0, 3 => -1e6..1e6, 1 => any::<f64>()]
}

proptest! {
    #[test]
    fn run_lengths_round_trip(mask in mask()) {
        let rle = Rle::encode(&mask);
        prop_assert_eq!(&rle.to_mask().unwrap(), &mask);
        prop_assert_eq!(&Rle::encode_uncompressed(&mask).to_mask().unwrap(), &mask);
        let json = serde_json::to_string(&rle).unwrap();
        prop_assert_eq!(Rle::from_json(&json).unwrap(), rle);
    }

    #[test]
    fn any_string_of_runs_is_read_or_refused(h in 0_usize..9, w in 0_usize..9, text in "[ -~]{0,24}|[0-o]{0,24}|[0-4]{0,9}") {
        let rle = Rle { size: [h, w], counts: Counts::Compressed(text) };
        if let Ok(mask) = rle.to_mask() {
            prop_assert_eq!((mask.height(), mask.width()), (h, w));
            let set: u32 = rle.runs().unwrap().iter().skip(1).step_by(2).sum();
            prop_assert_eq!(mask.area(), set as usize);
        }
    }

    #[test]
    fn any_list_of_runs_is_read_or_refused(h in any::<usize>(), w in any::<usize>(), runs in prop::collection::vec(any::<u32>(), 0..9)) {
        let _ = Rle { size: [h % 50, w % 50], counts: Counts::Uncompressed(runs.clone()) }.to_mask();
        let huge = Rle { size: [h | 1 << 40, w], counts: Counts::Uncompressed(runs) };
        prop_assert!(huge.to_mask().is_err());
    }

    #[test]
    fn any_polygon_is_filled_or_refused(
        h in 0_usize..30, w in 0_usize..30,
        polygons in prop::collection::vec(prop::collection::vec(coordinate(), 0..14), 0..3),
    ) {
        let sound = polygons.iter().all(|p| p.len() >= 6 && p.len() % 2 == 0 && p.iter().all(|v| v.abs() <= 1e6));
        let mask = Mask::from_polygons(w, h, &polygons);
        prop_assert_eq!(mask.is_ok(), sound);
    }

    #[test]
    fn a_union_of_polygons_is_the_or_of_each(
        a in prop::collection::vec(-9.0..39.0, 8), b in prop::collection::vec(-9.0..39.0, 6),
    ) {
        let [one, two] = [&a, &b].map(|p| Mask::from_polygons(30, 20, &[p]).unwrap());
        let both = Mask::from_polygons(30, 20, &[a, b]).unwrap();
        prop_assert_eq!(both.into_array(), &one.view() | &two.view());
    }

    #[test]
    fn whole_number_boxes_agree_with_polygons(x1 in 0_u8..30, y1 in 0_u8..20, dx in 1_u8..9, dy in 1_u8..9) {
        let [x1, y1, x2, y2] = [x1, y1, x1 + dx, y1 + dy].map(f64::from);
        let by_box = Mask::from_box(30, 20, [x1, y1, x2, y2]).unwrap();
        prop_assert_eq!(by_box, Mask::from_polygons(30, 20, &[[x1, y1, x1, y2, x2, y2, x2, y1]]).unwrap());
    }

    #[test]
    fn scribbles_hold_the_pixels_near_the_line(
        h in 0_usize..24, w in 0_usize..24, pen in 0.01..30.0,
        points in prop::collection::vec((-9.0..33.0, -9.0..33.0), 1..5),
    ) {
        let mask = Mask::from_scribble(w, h, &points, pen).unwrap();
        let ends: Vec<_> = if points.len() == 1 { vec![(points[0], points[0])] } else { points.windows(2).map(|p| (p[0], p[1])).collect() };
        for ((y, x), &set) in mask.view().indexed_iter() {
            let (cx, cy) = (x as f64 + 0.5, y as f64 + 0.5);
            let near = ends.iter().map(|&((ax, ay), (bx, by)): &((f64, f64), (f64, f64))| {
                let (dx, dy) = (bx - ax, by - ay);
                let t = (((cx - ax) * dx + (cy - ay) * dy) / (dx * dx + dy * dy).max(1e-300)).clamp(0.0, 1.0);
                (cx - ax - t * dx).hypot(cy - ay - t * dy)
            }).fold(f64::INFINITY, f64::min);
            if (near - pen / 2.0).abs() > 1e-9 {
                prop_assert_eq!(set, near < pen / 2.0, "{} {}", x, y);
            }
        }
    }

    #[test]
    fn any_scribble_or_box_is_drawn_or_refused(v in prop::collection::vec(coordinate(), 6)) {
        let _ = Mask::from_box(9, 7, [v[0], v[1], v[2], v[3]]);
        let _ = Mask::from_scribble(9, 7, &[(v[0], v[1]), (v[2], v[3])], v[4]);
    }

    #[test]
    fn any_bytes_are_a_picture_or_refused(head in 0_usize..6, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let heads: [&[u8]; 6] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\x10\0\0\0WEBP"];
        prop_assert!(Mask::from_picture(&[heads[head], &bytes].concat()).is_err() || head > 2);
    }

    #[test]
    fn boxes_hold_exactly_the_set_pixels(mask in mask()) {
        match mask.bounds() {
            None => prop_assert!(mask.is_empty() && mask.area() == 0 && mask.normalized_box().is_err()),
            Some(b) => {
                let set: Vec<_> = mask.view().indexed_iter().filter(|(_, set)| **set).map(|(at, _)| at).collect();
                prop_assert_eq!(set.iter().map(|p| p.1).min(), Some(b.x_min));
                prop_assert_eq!(set.iter().map(|p| p.1).max(), Some(b.x_max));
                prop_assert_eq!(set.iter().map(|p| p.0).min(), Some(b.y_min));
                prop_assert_eq!(set.iter().map(|p| p.0).max(), Some(b.y_max));
            }
        }
    }

    #[test]
    fn labels_name_the_first_region_that_covers_a_pixel(
        grids in prop::collection::vec(prop::collection::vec(any::<bool>(), 12), 1..5), slots in 5_usize..=255,
    ) {
        let masks = grids.iter().map(|g| {
            let mut g = g.clone();
            g[0] = true;
            Mask::from_array(Array2::from_shape_vec((3, 4), g).unwrap())
        });
        let mut regions = RegionSet::new();
        for (i, mask) in masks.enumerate() {
            regions.push(slots - 1 - i, mask).unwrap();
        }
        let labels = regions.label_map(slots).unwrap();
        for (at, &label) in labels.indexed_iter() {
            let first = regions.iter().find(|r| r.mask().view()[at]).map(|r| r.slot());
            prop_assert_eq!(usize::from(label), first.unwrap_or(slots));
        }
    }

    #[test]
    fn text_and_layout_never_panic(question in "(<Prompt|[0-9]{0,3}|>|é|x){0,8}", slots in prop::collection::vec(0_usize..9, 0..4)) {
        let _ = user_text(&slots, &question, 2, crop_token_name);
        prop_assert!(user_text(&slots, DESCRIBE, 2, crop_token_name).unwrap().ends_with(DESCRIBE));
    }

    #[test]
    fn layouts_are_found_where_they_were_put(gaps in prop::collection::vec(0_usize..4, 4), images in 1_usize..6, crops in 1_usize..6) {
        let mut ids = vec![1; gaps[0]];
        ids.extend(vec![9; images]);
        ids.extend(vec![1; gaps[1]]);
        ids.extend(vec![7; crops]);
        ids.extend(vec![1; gaps[2]]);
        let layout = TokenLayout::find(&ids, 9, images, &[(3, 7)], crops).unwrap();
        let start = gaps[0] + images + gaps[1];
        prop_assert_eq!(&layout.image, &(gaps[0]..gaps[0] + images));
        prop_assert_eq!(&layout.regions, &vec![(3, start..start + crops)]);
        ids.extend([1, 7]);
        prop_assert!(TokenLayout::find(&ids, 9, images, &[(3, 7)], crops).is_err());
        prop_assert!(TokenLayout::find(&ids, 9, images, &[(3, 7)], crops + 1).is_err());
    }
}
